"""Makes the demo data and the three demo models of examples/creditcard.

    train.py prepare TRANSACTIONS.csv   split the source file: train, holdout, traffic
    train.py train                      fit, save, measure; rewrite the figures in README.md

Runs in the virtualenv of tools/peers/demo-models.txt; scripts/train-demo-models
does that. Everything is seeded and single-threaded: the same inputs and the same
lock file give the same bytes.
"""

import argparse
import gzip
import hashlib
import io
import json
import pathlib
import re
import shutil
import uuid

import mlflow
import mlflow.xgboost
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost
from mlflow.models import infer_signature
from sklearn.metrics import roc_auc_score

HERE = pathlib.Path(__file__).resolve().parent
FEATURES = [f"V{i}" for i in range(1, 29)] + ["Amount"]
LABEL = "is_fraud"
THRESHOLD = 0.5
SEED = 7
EXAMPLE_LEGIT, EXAMPLE_FRAUD = 3, 2

TRAIN_SHARE = 0.6
TRAFFIC_ROWS = 2000
TRAFFIC_FRAUDS = 20
CUSTOMERS = 2000
ZIPF_EXPONENT = 1.1

COMMON = {"tree_method": "hist", "n_jobs": 1, "random_state": SEED, "objective": "binary:logistic"}

# `share` is the part of the training rows that a model sees, oldest first.
MODELS = {
    "champion": {
        "share": 0.15,
        "params": {"n_estimators": 40, "max_depth": 3, "learning_rate": 0.1},
    },
    "better": {
        "share": 1.0,
        "params": {
            "n_estimators": 150,
            "max_depth": 4,
            "learning_rate": 0.1,
            "scale_pos_weight": 8,
            "subsample": 0.8,
            "colsample_bytree": 0.6,
        },
    },
    "poor": {
        "share": 1.0,
        "params": {"n_estimators": 10, "max_depth": 2, "learning_rate": 0.1, "min_child_weight": 20},
    },
}


# --- prepare ----------------------------------------------------------------


def write_parquet(frame, path):
    """Features as float32 (what XGBoost computes with), the label as int32."""
    table = pa.table(
        {c: pa.array(frame[c].to_numpy(np.float32)) for c in FEATURES}
        | {LABEL: pa.array(frame[LABEL].to_numpy(np.int32))}
    )
    pq.write_table(table, path, compression="zstd", compression_level=19, use_dictionary=["Amount", LABEL])


def write_traffic(frame, path):
    """Gzipped CSV with the shortest decimal form of each float32; no file time inside."""
    text = io.StringIO()
    columns = ["customer_id"] + FEATURES
    text.write(",".join(columns) + "\n")
    values = [[str(np.float32(v)) for v in frame[c]] for c in FEATURES]
    for row in zip(frame["customer_id"], *values):
        text.write(",".join(row) + "\n")
    path.write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))


def make_traffic(holdout):
    """Draws payments of the holdout and gives them made-up customers.

    Fraud is thinned to 1 %. Customers are not in the source data: c0001 is the
    busiest of CUSTOMERS, and a customer's share falls with the power
    ZIPF_EXPONENT of its rank.
    """
    rng = np.random.Generator(np.random.PCG64(SEED))
    fraud = holdout.index[holdout[LABEL] == 1].to_numpy()
    legit = holdout.index[holdout[LABEL] == 0].to_numpy()
    rows = np.concatenate(
        [rng.choice(fraud, TRAFFIC_FRAUDS, replace=False), rng.choice(legit, TRAFFIC_ROWS - TRAFFIC_FRAUDS, replace=False)]
    )
    rng.shuffle(rows)
    weight = 1.0 / np.arange(1, CUSTOMERS + 1) ** ZIPF_EXPONENT
    customer = rng.choice(np.arange(1, CUSTOMERS + 1), TRAFFIC_ROWS, p=weight / weight.sum())
    traffic = holdout.loc[rows, FEATURES].reset_index(drop=True)
    traffic["customer_id"] = [f"c{c:04d}" for c in customer]
    return traffic


def prepare(source):
    frame = pd.read_csv(source).rename(columns={"Class": LABEL})
    if not frame["Time"].is_monotonic_increasing:
        raise SystemExit(f"{source}: rows are not sorted by Time; a split by time needs that")
    cut = int(len(frame) * TRAIN_SHARE)
    train, holdout = frame.iloc[:cut], frame.iloc[cut:].reset_index(drop=True)
    write_parquet(train, HERE / "train.parquet")
    write_parquet(holdout, HERE / "holdout.parquet")
    write_traffic(make_traffic(holdout), HERE / "traffic.csv.gz")


# --- train ------------------------------------------------------------------


def read_rows(name):
    frame = pd.read_parquet(HERE / name)
    return frame[FEATURES].astype(np.float64), frame[LABEL].to_numpy()


def fit(spec, x, y):
    rows = int(len(x) * spec["share"])
    model = xgboost.XGBClassifier(**COMMON, **spec["params"])
    model.fit(x.iloc[:rows], y[:rows])
    return model


def save(name, model, example):
    """Writes the folder that mlflow.xgboost.save_model writes, minus what changes from run to run."""
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    mlflow.xgboost.save_model(
        model,
        str(folder),
        signature=infer_signature(example, model.predict(example)),
        input_example=example,
        model_format="ubj",
        pip_requirements=[f"xgboost=={xgboost.__version__}", f"mlflow=={mlflow.__version__}"],
    )
    mlmodel = folder / "MLmodel"
    text = mlmodel.read_text()
    fixed = uuid.uuid5(uuid.NAMESPACE_URL, f"serin/examples/creditcard/{name}")
    text = re.sub(r"(?m)^model_uuid: .*$", f"model_uuid: {fixed.hex}", text)
    text = re.sub(r"(?m)^utc_time_created: .*$", "utc_time_created: '2026-11-24 00:00:00.000000'", text)
    mlmodel.write_text(text)


def example_rows(y):
    """The first legitimate payments and the first frauds, so that the scores differ."""
    return np.concatenate([np.flatnonzero(y == 0)[:EXAMPLE_LEGIT], np.flatnonzero(y == 1)[:EXAMPLE_FRAUD]])


def scores_of(model, x):
    return model.predict_proba(x)[:, 1].astype(np.float32)


def measure(scores, y):
    says = scores >= np.float32(THRESHOLD)
    tp, fp = int((says & (y == 1)).sum()), int((says & (y == 0)).sum())
    fn, tn = int((~says & (y == 1)).sum()), int((~says & (y == 0)).sum())
    return {
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "recall": tp / (tp + fn),
        "fpr": fp / (fp + tn),
        "precision": tp / (tp + fp),
        "f1": 2 * tp / (2 * tp + fp + fn),
        "auc": float(roc_auc_score(y, scores)),
    }


def golden_of(name, example, x, y):
    """Scores by the model as saved, read back: what anybody else loads."""
    model = xgboost.XGBClassifier()
    model.load_model(HERE / name / "model.ubj")
    scores = scores_of(model, x)
    return {
        # float() of a float32 prints enough digits to give back the same float32.
        "example_scores": [float(s) for s in scores_of(model, example)],
        "holdout_scores_sha256": hashlib.sha256(scores.astype("<f4").tobytes()).hexdigest(),
        "holdout": measure(scores, y),
    }


def figures(golden):
    lines = [
        "| model | trees x depth | tp | fp | fn | recall | FPR | precision | F1 | F1 / champion's | AUC |",
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    champion = golden["models"]["champion"]["holdout"]["f1"]
    for name, entry in golden["models"].items():
        h, p = entry["holdout"], MODELS[name]["params"]
        lines.append(
            f"| `{name}` | {p['n_estimators']} x {p['max_depth']} | {h['tp']} | {h['fp']} | {h['fn']} "
            f"| {h['recall']:.4f} | {h['fpr']:.4f} | {h['precision']:.4f} | {h['f1']:.4f} "
            f"| {h['f1'] / champion:.4f} | {h['auc']:.4f} |"
        )
    return "\n".join(lines)


def rewrite_readme(table):
    readme = HERE / "README.md"
    pattern = r"(<!-- figures: written by train.py -->\n).*?(\n<!-- end of figures -->)"
    text, n = re.subn(pattern, lambda m: m.group(1) + table + m.group(2), readme.read_text(), flags=re.S)
    if n != 1:
        raise SystemExit(f"{readme}: found {n} places for the figures, want 1; put the two markers back")
    readme.write_text(text)


def train():
    x, y = read_rows("train.parquet")
    hx, hy = read_rows("holdout.parquet")
    example = hx.iloc[example_rows(hy)].reset_index(drop=True)
    golden = {
        "threshold": THRESHOLD,
        "rows": len(hx),
        "positives": int(hy.sum()),
        "example_rows": example_rows(hy).tolist(),
        "made_by": {"xgboost": xgboost.__version__, "mlflow": mlflow.__version__},
        "models": {},
    }
    for name, spec in MODELS.items():
        save(name, fit(spec, x, y), example)
        golden["models"][name] = golden_of(name, example, hx, hy)
    (HERE / "golden.json").write_text(json.dumps(golden, indent=2) + "\n")
    table = figures(golden)
    rewrite_readme(table)
    print(table)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="split the source CSV").add_argument("source", type=pathlib.Path)
    commands.add_parser("train", help="fit, save and measure the models")
    args = parser.parse_args()
    if args.command == "prepare":
        prepare(args.source)
    else:
        train()


if __name__ == "__main__":
    main()
