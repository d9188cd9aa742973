"""Write the parity fixtures of the Go reader with the XGBoost that is installed here.

usage: python make.py OUT-FOLDER

It trains one small model per case (objective x booster x kind), saves it in every format that this version
of XGBoost writes, and records what this version predicts for a set of awkward rows: missing values, both
zeros, denormals, values at and one step beside the thresholds of the model, float64 values that round onto a
threshold, unknown categories. Everything goes into OUT-FOLDER/xgboost-VERSION.tar.gz, byte for byte the same
at every run of the same version. Version 3.2 also writes tiny.ubj and tiny.json for the tests of other packages.

A case that fails is a failure of the script: what a version cannot write is said by `since`, `legacy` and `broken`.
"""

import gzip
import io
import json
import os
import sys
import tarfile
import tempfile
import warnings

import numpy as np
import xgboost as xgb

warnings.filterwarnings("ignore")
VERSION = tuple(int(p) for p in xgb.__version__.split(".")[:3])
LEGACY_UNTIL = (3, 1)  # the first version that no longer writes the binary format
FLOAT_MAX = 3.40282356e38  # a float64 above FLT_MAX that rounds onto it


class Case:
    """One model to train. `kind` names the data set; `params` go to xgb.train."""

    def __init__(self, name, kind, params, rounds=3, since=(1, 7), legacy=True, stop=0, broken=()):
        self.name, self.kind, self.params, self.rounds = name, kind, params, rounds
        self.since, self.legacy, self.stop, self.broken = since, legacy, stop, broken


# objective -> (data set, further parameters, first version)
OBJECTIVES = {
    "reg:squarederror": ("regression", {}, (1, 7)),
    "reg:squaredlogerror": ("positive", {}, (1, 7)),
    "reg:logistic": ("share", {}, (1, 7)),
    "reg:pseudohubererror": ("regression", {}, (1, 7)),
    "reg:absoluteerror": ("regression", {}, (1, 7)),
    "reg:gamma": ("positive", {}, (1, 7)),
    "reg:tweedie": ("positive", {"tweedie_variance_power": 1.3}, (1, 7)),
    "reg:quantileerror": ("regression", {"quantile_alpha": 0.3}, (2, 0)),
    "binary:logistic": ("binary", {}, (1, 7)),
    "binary:logitraw": ("binary", {}, (1, 7)),
    "binary:hinge": ("binary", {}, (1, 7)),
    "count:poisson": ("count", {}, (1, 7)),
    "survival:cox": ("cox", {}, (1, 7)),
    "survival:aft": ("interval", {"aft_loss_distribution": "logistic"}, (1, 7)),
    "multi:softmax": ("classes", {"num_class": 4}, (1, 7)),
    "multi:softprob": ("classes", {"num_class": 4}, (1, 7)),
    "rank:pairwise": ("rank", {}, (1, 7)),
    "rank:ndcg": ("rank", {}, (1, 7)),
    "rank:map": ("rank-binary", {}, (1, 7)),
}
ADAPTIVE = {"reg:absoluteerror", "reg:quantileerror"}  # they re-fit leaves, so the linear booster refuses them

TREE = {"max_depth": 3, "eta": 0.4, "tree_method": "hist"}
DART = {"booster": "dart", "rate_drop": 0.4, "one_drop": 1, "max_depth": 3, "eta": 0.6, "tree_method": "hist"}
LINEAR = {"booster": "gblinear", "updater": "coord_descent", "feature_selector": "cyclic", "eta": 0.3}


def cases():
    """Every case, whatever the version."""
    for objective, (kind, params, since) in OBJECTIVES.items():
        name = objective.replace(":", "-")
        params = {"objective": objective, **params}
        yield Case(f"gbtree-{name}", kind, {**TREE, **params}, since=since)
        yield Case(f"dart-{name}", kind, {**DART, **params}, rounds=5, since=since)
        if objective not in ADAPTIVE:
            yield Case(f"gblinear-{name}", kind, {**LINEAR, **params}, since=since)
    logistic = {**TREE, "objective": "binary:logistic"}
    squared = {**TREE, "objective": "reg:squarederror"}
    softprob = {**TREE, "objective": "multi:softprob", "num_class": 3}
    yield from shape_cases(logistic, squared, softprob)
    yield from category_cases(logistic, squared, softprob)
    yield from output_cases(logistic, squared, softprob)


def shape_cases(logistic, squared, softprob):
    """Shapes of trees and of boosting."""
    forest = {"num_parallel_tree": 3, "subsample": 0.7, "colsample_bynode": 0.8}
    yield Case("forest-logistic", "binary", {**logistic, **forest})
    yield Case("forest-softprob", "classes3", {**softprob, **forest})
    yield Case("forest-dart", "binary", {**DART, "objective": "binary:logistic", "num_parallel_tree": 2}, rounds=4)
    yield Case("random-forest", "binary", {**logistic, "num_parallel_tree": 8, "eta": 1, "subsample": 0.6}, rounds=1)
    yield Case("stop-logistic", "binary", {**logistic, "eta": 1.0}, rounds=30, stop=2)
    yield Case("stop-softprob", "classes3", {**softprob, "eta": 1.2}, rounds=20, stop=2)
    yield Case("stop-dart", "binary", {**DART, "objective": "binary:logistic", "eta": 1.0}, rounds=20, stop=2)
    yield Case("stop-forest", "binary", {**logistic, **forest, "eta": 1.2}, rounds=20, stop=2)
    yield Case("stump", "binary", {**logistic, "max_depth": 1}, rounds=6)
    yield Case("one-leaf", "binary", {**logistic, "gamma": 1e6})
    yield Case("lossguide", "binary", {**logistic, "grow_policy": "lossguide", "max_leaves": 12, "max_depth": 0})
    yield Case("deep", "noise", {**logistic, "max_depth": 24, "min_child_weight": 0, "lambda": 0.01}, rounds=2)
    yield Case("exact", "binary", {**logistic, "tree_method": "exact"})
    yield Case("approx", "regression", {**squared, "tree_method": "approx"})
    yield Case("pruned", "binary", {**logistic, "tree_method": "exact", "updater": "grow_colmaker,prune", "gamma": 3, "max_depth": 6})
    yield Case("wide", "wide", logistic)
    yield Case("base-score", "binary", {**logistic, "base_score": 0.137})
    yield Case("base-poisson", "count", {**TREE, "objective": "count:poisson", "base_score": 2.25})
    yield Case("base-squared", "regression", {**squared, "base_score": -3.75})
    yield Case("base-linear", "binary", {**LINEAR, "objective": "binary:logistic", "base_score": 0.2})
    yield Case("one-class", "zeros", logistic, broken=((3, 0),))  # 3.0 estimates a base score of 0 and refuses it
    yield Case("names", "named", logistic)
    yield Case("weights", "weighted", {**logistic, "scale_pos_weight": 7, "max_delta_step": 1})


def category_cases(logistic, squared, softprob):
    """Categorical splits, one category a node and sets of categories."""
    hot = {"max_cat_to_onehot": 64, "max_depth": 4}
    sets = {"max_cat_to_onehot": 1, "max_depth": 4}
    yield Case("cat-onehot", "category", {**logistic, **hot}, legacy=False)
    yield Case("cat-partition", "category", {**logistic, **sets}, legacy=False)
    yield Case("cat-partition-approx", "category", {**logistic, **sets, "tree_method": "approx"}, legacy=False)
    yield Case("cat-squared", "category", {**squared, **sets}, legacy=False)
    yield Case("cat-softprob", "category3", {**softprob, **sets}, legacy=False)
    yield Case("cat-dart", "category", {**DART, "objective": "binary:logistic", **sets}, rounds=5, legacy=False)
    yield Case("cat-lossguide", "category", {**logistic, **sets, "grow_policy": "lossguide", "max_leaves": 9}, legacy=False)


def output_cases(logistic, squared, softprob):
    """Several values a row."""
    vector = {"multi_strategy": "multi_output_tree"}
    yield Case("targets-squared", "targets", squared)
    yield Case("targets-logistic", "labels", logistic)
    yield Case("targets-linear", "targets", {**LINEAR, "objective": "reg:squarederror"})
    yield Case("targets-dart", "targets", {**DART, "objective": "reg:squarederror"}, rounds=5)
    yield Case("vector-squared", "targets", {**squared, **vector}, since=(2, 0), legacy=False)
    yield Case("vector-logistic", "labels", {**logistic, **vector}, since=(2, 0), legacy=False)
    yield Case("vector-softprob", "classes3", {**softprob, **vector}, since=(2, 0), legacy=False)
    yield Case("vector-softmax", "classes3", {**softprob, **vector, "objective": "multi:softmax"}, since=(2, 0), legacy=False)
    yield Case("vector-forest", "targets", {**squared, **vector, "num_parallel_tree": 2, "subsample": 0.7}, since=(2, 0), legacy=False)
    yield Case("vector-stop", "targets", {**squared, **vector, "eta": 1.3}, rounds=20, stop=2, since=(2, 0), legacy=False)
    yield Case("vector-one-leaf", "targets", {**squared, **vector, "min_child_weight": 1e6}, since=(2, 0), legacy=False)
    alphas = {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5, 0.9]}
    yield Case("quantiles", "regression", {**TREE, **alphas, "eta": 1.0}, since=(2, 0))


def features(rng, rows, columns=5):
    """rows x columns float64 with zeros of both signs, small and large scales, and 10 % missing."""
    x = rng.standard_normal((rows, columns))
    x[:, 1] = rng.integers(-3, 4, rows) / 2.0
    x[:, 2] = np.exp(3 * x[:, 2])
    x[:, 3] = np.where(rng.random(rows) < 0.3, -0.0, x[:, 3] * 1e-39)
    return np.where(rng.random((rows, columns)) < 0.1, np.nan, x)


def signal(rng, x):
    """A smooth target of the first columns plus noise."""
    z = np.nan_to_num(x[:, 0]) + 2 * np.nan_to_num(x[:, 1]) + 0.01 * np.nan_to_num(x[:, 2]).clip(0, 99)
    return z + 0.3 * rng.standard_normal(len(x))


def category_features(rng, rows):
    """Two numeric columns, one of 5 categories and one of 40 (beyond a machine word)."""
    x = rng.standard_normal((rows, 4))
    x[:, 1] = rng.integers(0, 5, rows)
    x[:, 3] = rng.integers(0, 40, rows)
    return np.where(rng.random(x.shape) < 0.08, np.nan, x)


def dataset(kind, rng):
    """(features, labels, keyword arguments of DMatrix, setters) of a data set."""
    rows = 240
    if kind.startswith("category"):
        x = category_features(rng, rows)
        score = np.nan_to_num(x[:, 0]) + (np.nan_to_num(x[:, 1]) == 2) + np.sin(np.nan_to_num(x[:, 3]) * 2.3) * 1.5
        y = np.digitize(score, [-0.5, 1.0]) if kind == "category3" else (score > 0.3)
        return x, y.astype(float), {"feature_types": ["q", "c", "q", "c"], "enable_categorical": True}, {}
    x = features(rng, rows, 70 if kind == "wide" else 5)
    z = signal(rng, x)
    more, fields = {}, {}
    if kind == "regression":
        y = z
    elif kind == "positive":
        y = np.exp(z / 4) + 0.01
    elif kind == "share":
        y = 1 / (1 + np.exp(-z))
    elif kind in ("binary", "named", "weighted", "wide"):
        y = z > 0.4
    elif kind == "zeros":
        y = np.zeros(rows)
    elif kind == "noise":
        y = rng.random(rows) < 0.5
    elif kind == "count":
        y = rng.poisson(np.exp(z / 4))
    elif kind == "cox":
        y = np.exp(z / 4) * np.where(rng.random(rows) < 0.3, -1, 1)
    elif kind == "interval":
        y = None
        low = np.exp(z / 4)
        fields = {"label_lower_bound": low, "label_upper_bound": np.where(rng.random(rows) < 0.3, np.inf, low)}
    elif kind == "classes":
        y = np.digitize(z, [-1.5, 0.0, 1.5])
    elif kind == "classes3":
        y = np.digitize(z, [-0.7, 0.9])
    elif kind == "rank":
        y = np.digitize(z, [-0.7, 0.9])
    elif kind == "rank-binary":
        y = z > 0
    elif kind == "targets":
        y = np.stack([z, -z / 2, np.nan_to_num(x[:, 4])], axis=1)
    elif kind == "labels":
        y = np.stack([z > 0, np.nan_to_num(x[:, 4]) > 0.2], axis=1)
    else:
        raise ValueError(kind)
    if kind.startswith("rank"):
        fields = {"group": [24] * 10}
    if kind == "weighted":
        more["weight"] = rng.random(rows) + 0.1
    if kind == "named":
        more.update(feature_names=["Amount", "age in \"years\"", "V3", "Zürich", "a\\b/c"], feature_types=["float", "int", "q", "float", "i"])
    return x, None if y is None else y.astype(float), more, fields


def matrix(x, y, more, fields):
    """The DMatrix of a data set, one thread."""
    d = xgb.DMatrix(x, label=y, nthread=1, **more)
    for key, value in fields.items():
        if key == "group":
            d.set_group(value)
        else:
            d.set_float_info(key, value)
    return d


def thresholds(document):
    """(column, threshold) of the numeric splits, in file order, without repetition."""
    booster = document["learner"]["gradient_booster"]
    model = booster.get("gbtree", booster).get("model", {})
    seen = {}
    for tree in model.get("trees", []):
        kinds = tree.get("split_type") or [0] * len(tree["left_children"])
        for left, kind, column, value in zip(tree["left_children"], kinds, tree["split_indices"], tree["split_conditions"]):
            if left >= 0 and kind == 0 and value is not None:
                seen[(column, value)] = True
    return list(seen)


def probes(x, document, categorical):
    """float64 rows to score: ordinary ones first, then the awkward ones."""
    columns = x.shape[1]
    rows = list(x[:16].copy())
    for value in (np.nan, 0.0, -0.0, 1e-45, -1e-40, 5e-324, FLOAT_MAX, -3.4e38, 1e30):
        rows.append(np.full(columns, value))
    for column, text in thresholds(document)[:10]:
        t = np.float32(text)
        up, down = np.nextafter(t, np.float32(np.inf)), np.nextafter(t, np.float32(-np.inf))
        for value in (t, up, down, float(t) * (1 + 2.0**-30), (float(t) + float(down)) / 2, np.nan):
            row = x[len(rows) % len(x)].copy()
            row[column] = value
            rows.append(row)
    if categorical:
        for value in (0, 1, 2, 2.75, 4, 31, 32, 39, 40, 63, 64, 1000, -1, -0.5, -0.0, 16777215, 16777216, 3e9, np.nan):
            row = x[len(rows) % len(x)].copy()
            row[1] = row[3] = value
            rows.append(row)
    return np.array(rows, dtype=np.float64)


def train(case, rng):
    """(booster, features, DMatrix keyword arguments that name the features)."""
    x, y, more, fields = dataset(case.kind, rng)
    half = len(x) * 2 // 3 if case.stop else len(x)
    d = matrix(x[:half], None if y is None else y[:half], more, fields)
    options = {}
    if case.stop:
        options = {"evals": [(matrix(x[half:], y[half:], more, fields), "held")], "early_stopping_rounds": case.stop, "verbose_eval": False}
    booster = xgb.train({"seed": 7, "nthread": 1, "verbosity": 0, **case.params}, d, num_boost_round=case.rounds, **options)
    named = {k: v for k, v in more.items() if k != "weight"}
    return booster, x, named


def save(booster, extension):
    """The bytes that this version writes for a file with this extension."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model." + extension)
        booster.save_model(path)
        with open(path, "rb") as f:
            return f.read()


def load(data, extension):
    """A Booster from those bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model." + extension)
        with open(path, "wb") as f:
            f.write(data)
        return xgb.Booster({"nthread": 1}, model_file=path)


def predictions(booster, d, trees):
    """{file name: float32 bytes} of margins and outputs of the rounds in `trees`."""
    out = {}
    for name, margin in (("margin", True), ("output", False)):
        values = booster.predict(d, output_margin=margin, iteration_range=trees)
        out[name] = np.ascontiguousarray(values, dtype="<f4")
    return out


def build(case, seed=None):
    """{file name: bytes} of one case. Its data follows from its name, or from a seed."""
    if seed is None:
        seed = np.random.RandomState(sum(case.name.encode())).randint(1 << 30)
    rng = np.random.Generator(np.random.PCG64(seed))
    booster, x, named = train(case, rng)
    files = {"model.ubj": save(booster, "ubj"), "model.json": save(booster, "json")}
    if case.legacy and VERSION < LEGACY_UNTIL:
        files["model.deprecated"] = save(booster, "deprecated")
    document = json.loads(files["model.json"])
    rows = probes(x, document, case.kind.startswith("category"))
    d = xgb.DMatrix(rows, nthread=1, **named)
    wanted = predictions(booster, d, (0, 0))
    for name in files:
        again = predictions(load(files[name], name.split(".")[1]), d if name != "model.deprecated" else xgb.DMatrix(rows, nthread=1), (0, 0))
        for key in wanted:
            if again[key].tobytes() != wanted[key].tobytes():
                raise SystemExit(f"{case.name}: {name} read back by XGBoost itself predicts another {key}")
    best = document["learner"]["attributes"].get("best_iteration")
    meta = {
        "name": case.name, "xgboost": xgb.__version__, "objective": case.params["objective"],
        "rows": len(rows), "features": int(x.shape[1]), "groups": int(wanted["margin"].size // len(rows)),
        "outputs": int(wanted["output"].size // len(rows)), "best_iteration": None if best is None else int(best),
        "feature_names": named.get("feature_names"), "feature_types": named.get("feature_types"),
    }
    if best is not None and case.params.get("booster") != "gblinear":
        for key, values in predictions(booster, d, (0, int(best) + 1)).items():
            files["best_" + key + ".f32"] = values.tobytes()
    files["rows.f64"] = rows.astype("<f8").tobytes()
    for key, values in wanted.items():
        files[key + ".f32"] = values.tobytes()
    files["meta.json"] = json.dumps(meta, sort_keys=True, ensure_ascii=False).encode()
    return files


def pack(path, entries):
    """A tar.gz without clocks, users or machine in it."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(entries):
            info = tarfile.TarInfo(name)
            info.size = len(entries[name])
            tar.addfile(info, io.BytesIO(entries[name]))
    with open(path, "wb") as f:
        with gzip.GzipFile(filename="", fileobj=f, mode="wb", compresslevel=9, mtime=0) as z:
            z.write(raw.getvalue())


def tiny(folder):
    """One small binary:logistic model with names, and what it scores, for the tests of other packages."""
    rng = np.random.Generator(np.random.PCG64(11))
    x = rng.standard_normal((300, 3)).round(3)
    y = (x[:, 0] + x[:, 1] * x[:, 2] > 0.2).astype(float)
    names = ["amount", "age", "hour"]
    d = xgb.DMatrix(x, label=y, feature_names=names, nthread=1)
    booster = xgb.train({"objective": "binary:logistic", "max_depth": 3, "eta": 0.5, "nthread": 1, "seed": 1, "verbosity": 0}, d, num_boost_round=4)
    with open(os.path.join(folder, "tiny.ubj"), "wb") as f:
        f.write(save(booster, "ubj"))
    rows = x[:6]
    scores = booster.predict(xgb.DMatrix(rows, feature_names=names, nthread=1))
    with open(os.path.join(folder, "tiny.json"), "w", encoding="utf-8") as f:
        json.dump({"columns": names, "rows": rows.tolist(), "scores": [float(s) for s in scores]}, f, indent=1)
        f.write("\n")


def main():
    folder = sys.argv[1]
    entries = {}
    count = 0
    for case in cases():
        if VERSION < case.since or VERSION[:2] in case.broken:
            continue
        try:
            files = build(case)
        except xgb.core.XGBoostError as e:
            raise SystemExit(f"{case.name}: {str(e).splitlines()[0]}") from e
        count += 1
        for name, data in files.items():
            entries[f"{case.name}/{name}"] = data
    pack(os.path.join(folder, f"xgboost-{xgb.__version__}.tar.gz"), entries)
    if VERSION[:2] == (3, 2):
        tiny(folder)
    print(f"xgboost {xgb.__version__}: {count} models, {len(entries)} files")


if __name__ == "__main__":
    main()
