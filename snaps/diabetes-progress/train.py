"""Train the diabetes-progress model and write model.joblib and samples.json beside this file.

The diabetes data that ships with scikit-learn, in its own units: 442 patients, ten measurements, and how far the
disease went within a year. Split, scaler and elastic net are deterministic, so the same library
versions write the same bytes.

    python snaps/diabetes-progress/train.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ElasticNet
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

SEED = 7
HELD_OUT = 0.25
SAMPLES = 12
TOLERANCE = 0.01
"""Of a progress between 25 and 346."""
DECIMALS = 5
"""Learnt numbers are rounded to this, far below what they mean and above what processors disagree on."""
PROTOCOL = 4


def train() -> tuple[Pipeline, np.ndarray, np.ndarray]:
    """A fitted pipeline, and the held-out patients with their progress."""
    patients, progress = load_diabetes(return_X_y=True, scaled=False)
    known, held_out, known_progress, held_out_progress = train_test_split(
        patients, progress, test_size=HELD_OUT, random_state=SEED
    )
    pipeline = make_pipeline(StandardScaler(), ElasticNet(alpha=0.1, l1_ratio=0.5, random_state=SEED))
    pipeline.fit(known, known_progress)
    scaler, net = pipeline[0], pipeline[1]
    for fitted, names in ((scaler, ("mean_", "var_", "scale_")), (net, ("coef_",))):
        for name in names:
            setattr(fitted, name, np.round(getattr(fitted, name), DECIMALS))
    net.intercept_ = float(np.round(net.intercept_, DECIMALS))
    net.dual_gap_ = 0.0  # how the fit ended, which differs by processor and which nothing asks
    return pipeline, held_out, held_out_progress


def golden_samples(pipeline: Pipeline, patients: np.ndarray) -> dict[str, object]:
    """Held-out patients with what the pipeline says of them."""
    samples = []
    for index, row in enumerate(patients[:SAMPLES]):
        data = [float(value) for value in row]
        answer = round(float(pipeline.predict(row[None])[0]), 5)
        request = {"inputs": [{"name": "X", "shape": [1, 10], "datatype": "FP64", "data": data}]}
        output = {"name": "predict", "shape": [1], "datatype": "FP64", "data": [answer], "atol": TOLERANCE}
        samples.append({"name": f"patient-{index}", "request": request, "expect": {"outputs": [output]}})
    return {"format": 1, "samples": samples}


def main() -> None:
    """Write the two files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder to write to")
    output: Path = parser.parse_args().output

    pipeline, patients, progress = train()
    output.mkdir(parents=True, exist_ok=True)
    joblib.dump(pipeline, output / "model.joblib", protocol=PROTOCOL)
    print(f"model.joblib: R2 {pipeline.score(patients, progress):.2f} on {len(patients)} held-out patients")
    document = json.dumps(golden_samples(pipeline, patients), separators=(",", ":"))
    (output / "samples.json").write_text(document.replace('{"name":"patient-', '\n{"name":"patient-') + "\n")
    print(f"samples.json: {SAMPLES} held-out patients")


if __name__ == "__main__":
    main()
