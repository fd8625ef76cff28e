"""Pickled scikit-learn estimators as the protocol server sees them: load, signature, predict, unload."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import sklearn
import threadpoolctl

from snapedge_oip.datatypes import BYTES, DATATYPES, Array, Datatype
from snapedge_oip.errors import LoadError, PredictionError
from snapedge_oip.modelfolder import NAME, ModelFolder
from snapedge_oip.signature import Signature, TensorSpec

from . import __version__, pickles

INPUT = "X"
METHODS = ("predict", "predict_proba")
_INPUT_DATATYPES = ("FP64", "FP32")
_DATATYPES = {datatype.dtype.newbyteorder("="): name for name, datatype in DATATYPES.items() if name != "BYTES"}

_log = logging.getLogger(__name__)


class SklearnSession:
    """A loaded estimator."""

    def __init__(self, estimator: Any, signature: Signature) -> None:
        self._methods: dict[str, Callable[[Array], Any]] = {
            spec.name: getattr(estimator, spec.name) for spec in signature.outputs
        }
        self._input = signature.inputs[0].name
        self._signature = signature

    @property
    def signature(self) -> Signature:
        """The estimator's features as one input, its methods as outputs."""
        return self._signature

    def predict(self, inputs: dict[str, Array], outputs: Sequence[str]) -> Sequence[Array]:
        """The named outputs.

        Raises:
            PredictionError: the estimator failed.
        """
        values = inputs[self._input]
        named = self._signature.output_named
        return [_cast(_call(self._methods[name], values), named[name].datatype) for name in outputs]

    def unload(self) -> None:
        """Forgets the estimator."""
        self._methods.clear()


class SklearnRuntime:
    """scikit-learn on the CPU."""

    name = "sklearn"
    version = __version__
    engine = f"scikit-learn {sklearn.__version__}"
    platform = "sklearn_pickle"
    formats = frozenset({"sklearn"})

    def load(self, path: Path, *, threads: int) -> SklearnSession:
        """A session of a pickled estimator. Loading it runs the code that the file names.

        Raises:
            LoadError: it is no estimator, another scikit-learn wrote it, or it cannot be asked with numbers.
        """
        facts = _judged(path)
        _log.warning("model file %s: loading a pickle runs the code that it names: %s", path.name, _codes(facts))
        threadpoolctl.threadpool_limits(threads)
        # A feature's name is not asked for over the protocol, and a batch of rows has none.
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        try:
            estimator = joblib.load(path)
        except Exception as error:  # noqa: BLE001  # a pickle may raise whatever the code in it raises
            raise LoadError(f"{path}: cannot be loaded: {_reason(error)}") from None
        return SklearnSession(estimator, _signature(path, estimator))


def _judged(path: Path) -> pickles.PickleFacts:
    try:
        facts = pickles.read_pickle(path)
    except pickles.PickleUnreadableError as error:
        raise LoadError(f"{path}: {error}") from None
    if not facts.is_sklearn:
        raise LoadError(f"{path}: holds a {facts.kind}, no estimator of scikit-learn")
    if facts.versions != (sklearn.__version__,):
        raise LoadError(
            f"{path}: was trained with scikit-learn {' and '.join(facts.versions)}, this is {sklearn.__version__}; "
            "train it again with this version, or serve it as ONNX"
        )
    return facts


def _codes(facts: pickles.PickleFacts) -> str:
    return "scikit-learn's own" + (f", and {', '.join(facts.foreign[:8])}" if facts.foreign else "")


def _signature(path: Path, estimator: Any) -> Signature:
    """What model.json says of the estimator, once the estimator has shown that it is so."""
    features = getattr(estimator, "n_features_in_", None)
    if not isinstance(features, int | np.integer):
        raise LoadError(f"{path}: {type(estimator).__name__} does not say how many features it takes")
    methods = [name for name in METHODS if hasattr(estimator, name)]
    if not methods:
        raise LoadError(f"{path}: {type(estimator).__name__} has no method predict")
    said = _said(path)
    datatype = said.inputs[0].datatype if said is not None else DATATYPES["FP64"]
    name = said.inputs[0].name if said is not None else INPUT
    row = np.zeros((1, int(features)), dtype=datatype.dtype)
    outputs = []
    for method in methods:
        try:
            values = _call(getattr(estimator, method), row)
        except PredictionError as error:
            raise LoadError(f"{path}: {method} fails on a row of zeros: {error}") from None
        if isinstance(values, np.ndarray):  # a classifier of several outputs gives a list of probabilities
            outputs.append(_spec(path, method, values))
    return Signature(
        inputs=(TensorSpec.of(name, datatype.name, (-1, int(features))),),
        outputs=tuple(outputs),
    )


def _said(path: Path) -> Signature | None:
    """The signature in model.json; a pickle itself names no tensors."""
    if not path.with_name(NAME).is_file():
        return None
    said = ModelFolder.read(path.parent).signature
    if len(said.inputs) != 1 or said.inputs[0].datatype.name not in _INPUT_DATATYPES:
        raise LoadError(f"{path}: {NAME} must name one input, FP32 or FP64: an estimator takes rows of numbers")
    return said


def _spec(path: Path, method: str, values: Array) -> TensorSpec:
    name = "BYTES" if values.dtype.kind in "OUS" else _DATATYPES.get(values.dtype)
    if name is None or values.ndim == 0:
        raise LoadError(f"{path}: {method} gives {values.dtype}, which the protocol does not carry")
    return TensorSpec.of(method, name, (-1, *values.shape[1:]))


def _call(method: Callable[[Array], Any], values: Array) -> Any:
    try:
        return method(values)
    except MemoryError:
        raise PredictionError("there is not enough memory for this request", by_input=False) from None
    except Exception as error:  # noqa: BLE001  # an estimator may hold anybody's code
        raise PredictionError(f"the model cannot compute this input: {_reason(error)}", by_input=True) from None


def _cast(values: Array, datatype: Datatype) -> Array:
    return values.astype(object) if datatype is BYTES else values.astype(datatype.dtype, copy=False)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
