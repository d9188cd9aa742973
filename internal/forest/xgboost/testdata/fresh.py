"""Train models that nobody has seen before, for the comparison of a test with the XGBoost installed here.

usage: python fresh.py OUT-FOLDER SEED COUNT

Each model has random parameters, data and shape, drawn from SEED, and goes into OUT-FOLDER/fresh.tar.gz as
make.py writes fixtures.
"""

import os
import sys

import numpy as np

import make


def case(rng, number):
    """A random Case: any objective, booster and shape."""
    objective = rng.choice([o for o in sorted(make.OBJECTIVES) if make.OBJECTIVES[o][2] <= make.VERSION])
    if rng.random() < 0.3:
        objective = "binary:logistic"  # which has the most kinds of data below
    kind, params, _ = make.OBJECTIVES[objective]
    params = {"objective": objective, **params}
    booster = rng.choice(["gbtree", "gbtree", "gbtree", "dart", "gblinear"])
    if booster == "gblinear" and objective not in make.ADAPTIVE:
        return make.Case(f"{number}-linear-{objective}", kind, {**make.LINEAR, **params}, rounds=int(rng.integers(1, 8)))
    if objective == "binary:logistic" and rng.random() < 0.6:
        kind = rng.choice(["category", "wide", "named", "weighted", "labels"])
    shape = {
        "tree_method": "hist", "max_depth": int(rng.integers(1, 9)), "eta": float(rng.uniform(0.05, 1)),
        "subsample": float(rng.uniform(0.5, 1)), "colsample_bynode": float(rng.uniform(0.4, 1)),
        "min_child_weight": float(rng.uniform(0, 2)), "lambda": float(rng.uniform(0, 3)),
        "num_parallel_tree": int(rng.integers(1, 4)), "max_cat_to_onehot": int(rng.integers(1, 50)),
    }
    if objective in make.ADAPTIVE:
        shape["num_parallel_tree"] = 1  # up to 3.1 these refuse forests
    if booster == "dart":
        shape.update(booster="dart", rate_drop=0.3)
    return make.Case(f"{number}-{booster}-{objective}-{kind}", kind, {**shape, **params}, rounds=int(rng.integers(1, 12)), legacy=kind != "category")


def main():
    folder, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rng = np.random.Generator(np.random.PCG64(seed))
    entries = {}
    for number in range(count):
        c = case(rng, number)
        for name, data in make.build(c, seed=seed + number).items():
            entries[f"{c.name.replace(':', '-')}/{name}"] = data
    make.pack(os.path.join(folder, "fresh.tar.gz"), entries)


if __name__ == "__main__":
    main()
