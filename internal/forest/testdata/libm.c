/* Prints the hashes of TestMathIsTheCLibrarys: cc -O2 -fno-builtin libm.c -lm && ./a.out
 * Measured with glibc 2.36 on x86-64 with FMA. Stride 1 compares every float32. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void report(const char *name, float (*f)(float), uint64_t stride) {
    uint64_t hash = 1469598103934665603ull, count = 0;
    for (uint64_t i = 0; i < 1ull << 32; i += stride) {
        uint32_t bits = (uint32_t)i;
        float x, y;
        memcpy(&x, &bits, 4);
        y = f(x);
        if (isnan(x) || isnan(y)) continue;
        memcpy(&bits, &y, 4);
        hash = (hash ^ bits) * 1099511628211ull;
        count++;
    }
    printf("%s: stride %llu, %llu values, %016llx\n", name, (unsigned long long)stride,
           (unsigned long long)count, (unsigned long long)hash);
}

int main(int argc, char **argv) {
    uint64_t stride = argc > 1 ? strtoull(argv[1], 0, 10) : 1021;
    report("expf", expf, stride);
    report("logf", logf, stride);
    return 0;
}
