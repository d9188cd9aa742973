"""Writes buckets.csv: the bucket of some keys by an xxh64 of its own, so that Go, HAProxy and Envoy have something to agree with.

Run it in this folder: python3 make_buckets.py > buckets.csv
"""

import csv
import sys

MASK = (1 << 64) - 1
P1, P2, P3, P4, P5 = (
    11400714785074694791,
    14029467366897019727,
    1609587929392839161,
    9650029242287828579,
    2870177450012600261,
)


def rotl(x, r):
    return ((x << r) | (x >> (64 - r))) & MASK


def step(acc, word):
    return (rotl((acc + word * P2) & MASK, 31) * P1) & MASK


def xxh64(data):
    n, i = len(data), 0

    def word(size):
        return int.from_bytes(data[i : i + size], "little")

    if n >= 32:
        lanes = [(P1 + P2) & MASK, P2, 0, -P1 & MASK]
        while i + 32 <= n:
            for k in range(4):
                lanes[k] = step(lanes[k], word(8))
                i += 8
        h = sum(rotl(v, r) for v, r in zip(lanes, (1, 7, 12, 18))) & MASK
        for v in lanes:
            h = ((h ^ step(0, v)) * P1 + P4) & MASK
    else:
        h = P5
    h = (h + n) & MASK
    while i + 8 <= n:
        h = (rotl(h ^ step(0, word(8)), 27) * P1 + P4) & MASK
        i += 8
    if i + 4 <= n:
        h = (rotl(h ^ (word(4) * P1 & MASK), 23) * P2 + P3) & MASK
        i += 4
    while i < n:
        h = (rotl(h ^ (data[i] * P5 & MASK), 11) * P1) & MASK
        i += 1
    h = ((h ^ (h >> 33)) * P2) & MASK
    h = ((h ^ (h >> 29)) * P3) & MASK
    return h ^ (h >> 32)


assert xxh64(b"") == 0xEF46DB3751D8E999
out = csv.writer(sys.stdout, lineterminator="\n")
out.writerow(["salt", "key", "bucket"])
for salt in ("", "s4lt", "9f2c1b7a5e3d4c6f8a0b1c2d3e4f5a6b"):
    for key in ("", "1", "42", "customer-1", "customer-123456", "6f1ed002-ab59-4ac1-9b3c-1f0d6b1f4a77", "grüße", "名前", "a" * 100):
        out.writerow([salt, key, xxh64((salt + ":" + key).encode()) % 10000])
