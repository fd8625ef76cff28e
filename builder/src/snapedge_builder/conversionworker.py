"""Turns a model into ONNX in a process of its own.

    python -m snapedge_builder.conversionworker sklearn|xgboost|lightgbm FILE

Standard input holds the inputs to compare on, a list of rows for each, or is empty for rows drawn here. What is written
is one line of JSON and then the ONNX file:

    {"tool": "skl2onnx 1.20.0", "rows": 16, "errors": {"predict": 0.0, …}, "size": BYTES}      or {"error": TEXT}

The converted model takes `X`, FP32 [-1, features], and gives `predict` and, where it tells them, `predict_proba`: the
names that the pickle itself is served under. `errors` holds, by output, by how much the converted model's answers
differ from the original's; a label that is another one is infinitely far.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy

Original = Callable[[Any], dict[str, Any]]

_DRAWN = 16
_NAMES = {"label": "predict", "output_label": "predict", "variable": "predict", "probabilities": "predict_proba"}
_NAMES["output_probability"] = "predict_proba"


class _UnfitError(Exception):
    """The model cannot be converted, in words."""


def _sklearn(path: str) -> tuple[Any, int, Original, str]:
    import joblib
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    estimator = joblib.load(path)
    features = getattr(estimator, "n_features_in_", None)
    if features is None:
        raise _UnfitError(f"{type(estimator).__name__} does not say how many features it takes: is it fitted?")
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    model = to_onnx(estimator, initial_types=[("X", FloatTensorType([None, int(features)]))], options=options)

    def original(rows: Any) -> dict[str, Any]:
        names = [name for name in ("predict", "predict_proba") if hasattr(estimator, name)]
        return {name: getattr(estimator, name)(rows) for name in names}

    return model, int(features), original, "skl2onnx"


def _xgboost(path: str) -> tuple[Any, int, Original, str]:
    import xgboost
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    booster = xgboost.Booster(model_file=path)
    # The converter reads splits by position; names given at training would not be understood.
    booster.feature_names = None
    features = int(booster.num_features())
    model = convert_xgboost(booster, initial_types=[("X", FloatTensorType([None, features]))])
    objective = json.loads(booster.save_config())["learner"]["objective"]["name"]

    def original(rows: Any) -> dict[str, Any]:
        matrix = xgboost.DMatrix(rows)
        if objective != "multi:softmax":
            return _boosted(booster.predict(matrix), is_classifier=objective.startswith(("binary:", "multi:")))
        # This objective predicts labels, which the margins tell as well.
        scores = numpy.exp(booster.predict(matrix, output_margin=True))
        return _boosted(scores / scores.sum(axis=1, keepdims=True), is_classifier=True)

    return model, features, original, "onnxmltools"


def _lightgbm(path: str) -> tuple[Any, int, Original, str]:
    import lightgbm
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    booster = lightgbm.Booster(model_file=path)
    features = int(booster.num_feature())
    model = convert_lightgbm(booster, initial_types=[("X", FloatTensorType([None, features]))], zipmap=False)
    objective = str(booster.dump_model()["objective"]).split()[0]
    return (
        model,
        features,
        lambda rows: _boosted(booster.predict(rows), is_classifier=objective in ("binary", "multiclass")),
        "onnxmltools",
    )


def _boosted(scores: Any, *, is_classifier: bool) -> dict[str, Any]:
    """What a boosted model says, in the words of scikit-learn."""
    scores = numpy.asarray(scores)
    if not is_classifier:
        return {"predict": scores}
    if scores.ndim == 1:
        scores = numpy.stack([1 - scores, scores], axis=1)
    return {"predict": scores.argmax(axis=1), "predict_proba": scores}


def _canonical(model: Any) -> bytes:
    """The model's bytes: the same each time, with our names, every first dimension free."""
    graph = model.graph
    # A name of the graph is drawn at random by one converter, and nothing reads these.
    graph.name, graph.doc_string, model.doc_string = "model", "", ""
    renamed = {output.name: _NAMES.get(output.name, output.name) for output in graph.output}
    taken = {name for node in graph.node for name in (*node.input, *node.output)} - renamed.keys()
    if len(set(renamed.values())) < len(renamed) or taken & set(renamed.values()):
        raise _UnfitError(f"has outputs named {', '.join(sorted(renamed))}, which cannot be told apart")
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    for output in graph.output:
        output.name = renamed[output.name]
    for value in (*graph.input, *graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if dimensions:
            dimensions[0].Clear()
    # Converters gather these in a set, whose order is another in each process.
    model.opset_import.sort(key=lambda entry: entry.domain)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _errors(model: bytes, original: Original, rows: Any) -> dict[str, float]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    converted = dict(zip(names, session.run(names, {"X": rows.astype(numpy.float32)}), strict=True))
    answers = original(rows)
    return {name: _distance(values, answers[name]) for name, values in converted.items() if name in answers}


def _distance(converted: Any, original: Any) -> float:
    original = numpy.asarray(original)
    if converted.size != original.size:
        return float("inf")
    original = original.reshape(converted.shape)
    if converted.dtype.kind == "f":
        difference = numpy.abs(converted.astype(float) - original.astype(float))
        return float(numpy.max(difference / numpy.maximum(1.0, numpy.abs(original.astype(float))), initial=0.0))
    # A label is a text there and a number here at times, and either way it is the same or another one.
    return (
        0.0 if [str(item) for item in converted.ravel()] == [str(item) for item in original.ravel()] else float("inf")
    )


def _rows(given: Sequence[Any] | None, features: int) -> Any:
    if given:
        return numpy.concatenate([numpy.array(rows, dtype=float).reshape(-1, features) for rows in given])
    return numpy.random.default_rng(0).standard_normal((_DRAWN, features)).round(3)


def main() -> int:
    """Convert, compare, write."""
    kind, path = sys.argv[1:]
    # Whatever a model's code prints goes to standard error, so that the answer stays alone.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    try:
        given = json.loads(sys.stdin.read() or "null")
        model, features, original, package = {"sklearn": _sklearn, "xgboost": _xgboost, "lightgbm": _lightgbm}[kind](
            path
        )
        data = _canonical(model)
        rows = _rows(given, features)
        told = {
            "tool": f"{package} {importlib.metadata.version(package)}",
            "rows": len(rows),
            "errors": _errors(data, original, rows),
            "size": len(data),
        }
    except Exception as error:  # noqa: BLE001  # a model may raise whatever its code raises; the parent tells it
        lines = (str(error) or type(error).__name__).strip().splitlines()
        answer.write(json.dumps({"error": lines[0][:300], "details": str(error)[:4000]}).encode() + b"\n")
        return 1
    answer.write(json.dumps(told).encode() + b"\n" + data)
    answer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
