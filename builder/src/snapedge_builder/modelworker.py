"""Runs a model in a process of its own: `python -m snapedge_builder.modelworker tflite|sklearn FILE`.

A broken TensorFlow Lite file can end the process that loads it, and a pickle runs code; here they do it to nobody. What
the model takes and gives is written first, one JSON object on a line; then each line read is a request, and each line
written its answer. The end of input ends the process.

    -> {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}], "outputs": […]}      or {"error": TEXT}
    {"x": {"datatype": "FP32", "shape": [1, 2], "data": [1, 2]}} -> {"y": {…}}                or {"error": TEXT}
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy

Arrays = Mapping[str, Any]
Loaded = tuple[dict[str, Any], Callable[[Arrays], Arrays]]

LARGE_BYTES = 64 * 1024 * 1024
"""A TensorFlow Lite file of this size is not worth a copy of its weights. Smaller ones are run as devices run them."""
_DATATYPES = {
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "bool": "BOOL",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_NUMPY_NAMES = {word: name for name, word in _DATATYPES.items()} | {"BYTES": "object"}
_DEFAULT_SIGNATURE = "serving_default"
_METHODS = ("predict", "predict_proba")


class _UnfitError(Exception):
    """The model cannot be served, in words."""


def _load_tflite(path: str) -> Loaded:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # XNNPACK, which runs what it can by default, copies every matrix into an order that is quicker to multiply by: for
    # a few samples it is not. Without it the weights are used where the file is mapped.
    is_large = Path(path).stat().st_size >= LARGE_BYTES
    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if is_large else OpResolverType.AUTO
    interpreter = Interpreter(model_path=path, num_threads=1, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    keys = list(interpreter.get_signature_list())
    if len(keys) > 1 and _DEFAULT_SIGNATURE not in keys:
        raise _UnfitError(f"has the signatures {', '.join(keys)}; one must be named {_DEFAULT_SIGNATURE}")
    if keys:
        runner = interpreter.get_signature_runner(keys[0] if len(keys) == 1 else _DEFAULT_SIGNATURE)
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
    else:
        runner = None
        inputs = {item["name"]: item for item in interpreter.get_input_details()}
        outputs = {item["name"]: item for item in interpreter.get_output_details()}

    def answer(arrays: Arrays) -> Arrays:
        if runner is not None:
            found: Arrays = runner(**arrays)
            return found
        for name, values in arrays.items():
            interpreter.resize_tensor_input(inputs[name]["index"], values.shape)
        interpreter.allocate_tensors()
        for name, values in arrays.items():
            interpreter.set_tensor(inputs[name]["index"], values)
        interpreter.invoke()
        return {name: interpreter.get_tensor(item["index"]) for name, item in outputs.items()}

    def specs(details: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            _spec(name, numpy.dtype(item["dtype"]), [int(size) for size in item["shape_signature"]])
            for name, item in details.items()
        ]

    if not inputs:
        raise _UnfitError("has no inputs: it would answer the same to everyone")
    return {"inputs": specs(inputs), "outputs": specs(outputs)}, answer


def _load_sklearn(path: str) -> Loaded:
    import joblib

    warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
    estimator = joblib.load(path)
    kind = type(estimator).__name__
    features = getattr(estimator, "n_features_in_", None)
    if features is None:
        raise _UnfitError(f"{kind} does not say how many features it takes: is it fitted, and on rows of numbers?")
    if not hasattr(estimator, "predict"):
        raise _UnfitError(f"{kind} has no method predict")
    row = numpy.zeros((1, int(features)))
    tried = {name: getattr(estimator, name)(row) for name in _METHODS if hasattr(estimator, name)}
    # A classifier of several outputs gives its probabilities as a list.
    arrays = {name: values for name, values in tried.items() if isinstance(values, numpy.ndarray)}
    signature = {
        "inputs": [{"name": "X", "datatype": "FP64", "shape": [-1, int(features)]}],
        "outputs": [_spec(name, values.dtype, [-1, *values.shape[1:]]) for name, values in arrays.items()],
    }
    return signature, lambda given: {name: getattr(estimator, name)(given["X"]) for name in arrays}


def _spec(name: str, dtype: Any, shape: list[int]) -> dict[str, Any]:
    word = "BYTES" if dtype.kind in "OU" else _DATATYPES.get(dtype.name)
    if word is None:
        raise _UnfitError(f"tensor {name!r} is {dtype.name}, which is not served")
    return {"name": name, "datatype": word, "shape": shape}


def _array(tensor: Mapping[str, Any]) -> Any:
    return numpy.array(tensor["data"], dtype=_NUMPY_NAMES[tensor["datatype"]]).reshape(tensor["shape"])


def _tensor(values: Any) -> dict[str, Any]:
    spec = _spec("", values.dtype, list(values.shape))
    return {"datatype": spec["datatype"], "shape": spec["shape"], "data": values.reshape(-1).tolist()}


def main() -> int:
    """Load the model and answer until the input ends."""
    form, path = sys.argv[1:]
    # Whatever a model's code prints goes to standard error, so that the answers stay alone.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(document: Mapping[str, Any]) -> None:
        answers.write(json.dumps(document) + "\n")
        answers.flush()

    try:
        signature, answer = {"tflite": _load_tflite, "sklearn": _load_sklearn}[form](path)
    except Exception as error:  # noqa: BLE001  # a model may raise whatever its code raises; the parent tells it
        say({"error": str(error) or type(error).__name__})
        return 1
    say(signature)
    for line in sys.stdin:
        try:
            found = answer({name: _array(tensor) for name, tensor in json.loads(line).items()})
            say({name: _tensor(values) for name, values in found.items()})
        except Exception as error:  # noqa: BLE001  # as above
            say({"error": str(error) or type(error).__name__})
    return 0


if __name__ == "__main__":
    sys.exit(main())
