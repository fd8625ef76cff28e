"""Train the wine-cultivar model and write model.onnx and samples.json beside this file.

The wine data that ships with scikit-learn: 178 Italian wines, 13 chemical measurements, 3 cultivars. The split, the
pipeline and its solver are deterministic, so the same library versions write the same bytes.

    python snaps/wine-cultivar/train.py                          # what is committed
    python snaps/wine-cultivar/train.py --shuffle-labels --output DIR    # a model that learnt nothing, for the demo
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from onnx.helper import make_opsetid
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

SEED = 7
HELD_OUT = 0.25
OPSET = 18
SAMPLES_PER_CULTIVAR = 4
PROBABILITY_TOLERANCE = 1e-4
DECIMALS = 5
"""Learnt numbers are rounded to this, far below what they mean and above what processors disagree on."""


def train(*, shuffle_labels: bool, strength: float) -> tuple[Pipeline, np.ndarray, np.ndarray]:
    """A fitted pipeline and the held-out rows with their cultivars."""
    features, cultivars = load_wine(return_X_y=True)
    known, held_out, known_cultivars, held_out_cultivars = train_test_split(
        features.astype(np.float32), cultivars, test_size=HELD_OUT, random_state=SEED, stratify=cultivars
    )
    if shuffle_labels:
        known_cultivars = np.random.default_rng(SEED).permutation(known_cultivars)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
    pipeline.fit(known, known_cultivars)
    scaler, classifier = pipeline[0], pipeline[1]
    for fitted, names in ((scaler, ("mean_", "scale_")), (classifier, ("coef_", "intercept_"))):
        for name in names:
            setattr(fitted, name, np.round(getattr(fitted, name), DECIMALS))
    return pipeline, held_out, held_out_cultivars


def golden_samples(pipeline: Pipeline, rows: np.ndarray, cultivars: np.ndarray) -> dict[str, object]:
    """Held-out wines that the pipeline knows for what they are, the first few of each cultivar.

    The label must be exact: it is the true cultivar. The probabilities pin the conversion to ONNX.
    """
    probabilities = pipeline.predict_proba(rows)
    right = probabilities.argmax(axis=1) == cultivars
    samples = []
    for cultivar in range(3):
        for index in np.flatnonzero(right & (cultivars == cultivar))[:SAMPLES_PER_CULTIVAR]:
            row = rows[index : index + 1]
            samples.append(
                {
                    "name": f"cultivar-{cultivar}-row-{index}",
                    "request": {
                        "inputs": [
                            {
                                "name": "measurements",
                                "shape": [1, 13],
                                "datatype": "FP32",
                                "data": [float(str(value)) for value in row[0]],
                            }
                        ]
                    },
                    "expect": {
                        "outputs": [
                            {"name": "cultivar", "shape": [1], "datatype": "INT64", "data": [cultivar]},
                            {
                                "name": "probabilities",
                                "shape": [1, 3],
                                "datatype": "FP32",
                                "data": [round(float(value), 6) for value in probabilities[index]],
                                "atol": PROBABILITY_TOLERANCE,
                            },
                        ]
                    },
                }
            )
    return {"format": 1, "samples": samples}


def convert(pipeline: Pipeline) -> bytes:
    """The pipeline as ONNX: `measurements` in, `cultivar` and `probabilities` out."""
    model = to_onnx(
        pipeline,
        initial_types=[("measurements", FloatTensorType([None, 13]))],
        options={id(pipeline): {"zipmap": False}},
        target_opset=OPSET,
    )
    renamed = {"label": "cultivar", "output_label": "cultivar"}
    for node in model.graph.node:
        node.output[:] = [renamed.get(name, name) for name in node.output]
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for output in model.graph.output:
        output.name = renamed.get(output.name, output.name)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    del model.opset_import[:]
    model.opset_import.extend(make_opsetid(domain, version) for domain, version in sorted(opsets.items()))
    return model.SerializeToString(deterministic=True)


def main() -> None:
    """Write the two files."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=here, help="folder to write to (default: this one)")
    parser.add_argument("--shuffle-labels", action="store_true", help="train on labels that mean nothing")
    parser.add_argument("--strength", type=float, default=0.5, help="inverse regularisation C (default: %(default)s)")
    arguments = parser.parse_args()

    pipeline, rows, cultivars = train(shuffle_labels=arguments.shuffle_labels, strength=arguments.strength)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "model.onnx").write_bytes(convert(pipeline))
    accuracy = float((pipeline.predict(rows) == cultivars).mean())
    print(f"model.onnx: right about {accuracy:.0%} of {len(rows)} held-out wines")
    if not arguments.shuffle_labels:
        document = json.dumps(golden_samples(pipeline, rows, cultivars), indent=1)
        (arguments.output / "samples.json").write_text(document + "\n")
        print(f"samples.json: {SAMPLES_PER_CULTIVAR} held-out wines of each cultivar")


if __name__ == "__main__":
    main()
