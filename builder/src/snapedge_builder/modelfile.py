"""What a model file is, by its content: its format, its tensors, and why it cannot be served where it cannot.

Rules:

1. The format follows from the content; the suffix says nothing. A FlatBuffer marked TFL3 is TensorFlow Lite, a pickle
   is scikit-learn's, anything else must be ONNX.
2. What a file of a format must hold is said where it is read: `onnxmodel`, `modelprocess`.
3. A pickle is judged before it is loaded: of no estimator, or of another scikit-learn than is here, nothing is run.
"""

from __future__ import annotations

import importlib.metadata
import logging
from dataclasses import dataclass
from pathlib import Path

from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Digest, ModelFormat

from . import pickles
from .errors import BuilderError
from .signature import Signature

MAX_BYTES = 2**31 - 1
"""A protobuf message, which an ONNX file is, cannot be larger, nor a FlatBuffer, which a TensorFlow Lite file is."""
SKLEARN_PACKAGE = "scikit-learn"

_LOG = logging.getLogger(__name__)
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive (a PyTorch or Keras file, perhaps)"),
    (b"\x89HDF", "an HDF5 file (Keras, perhaps)"),
    (b"\x1f\x8b", "a gzip file"),
    (b"version https://git-lfs", "a Git LFS pointer: run `git lfs pull`"),
)
_TFLITE = b"TFL3"


class ModelRefusedError(BuilderError):
    """The model file cannot be served."""

    exit_code = ExitCode.REFUSED

    def __init__(self, file: str, problem: str, *, details: str = "", resolution: str = "") -> None:
        super().__init__(f"{file}: {problem}", details=details, resolution=resolution)
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What is known of a model file before it is run.

    Attributes:
        format: by its content.
        digest: of the file.
        size: of the file, in bytes.
        opsets: operator set versions by domain; the standard domain is the empty text. Of ONNX models alone.
        signature: its tensors.
        trained_with: the scikit-learn that wrote a pickle; of no other format.
    """

    format: ModelFormat
    digest: Digest
    size: int
    opsets: tuple[tuple[str, int], ...]
    signature: Signature
    trained_with: str | None = None


class SklearnMissingError(BuilderError):
    """A pickle cannot be tried here."""

    def __init__(self, file: str, version: str) -> None:
        super().__init__(
            f"{file}: scikit-learn is not installed here, and the model cannot be tried without it",
            resolution=f"install {SKLEARN_PACKAGE}=={version} and joblib beside the builder",
        )


def format_of(path: Path) -> ModelFormat:
    """What a file must be, if it is a model at all."""
    try:
        with path.open("rb") as file:
            if file.read(8)[4:] == _TFLITE:
                return ModelFormat.TFLITE
        return ModelFormat.SKLEARN if pickles.is_pickle(path) else ModelFormat.ONNX
    except OSError:
        return ModelFormat.ONNX  # whoever reads it next says what is wrong


def read_model(path: Path, *, digest: Digest | None = None) -> ModelFacts:
    """The facts of a model file.

    Args:
        path: the file.
        digest: its digest, where the caller has it already.

    Raises:
        ModelRefusedError: the file is missing, empty, no model, or one that cannot be served.
    """
    size = _size(path)
    form = format_of(path)
    opsets: tuple[tuple[str, int], ...] = ()
    trained_with = None
    # Imported here: what reads models takes up to half a second that a build with nothing to do need not pay.
    if form is ModelFormat.ONNX:
        from . import onnxmodel

        _check_size(path, size)
        _refuse_foreign(path)
        opsets, signature = onnxmodel.read_onnx(path)
    else:
        from . import modelprocess

        if form is ModelFormat.TFLITE:
            _check_size(path, size)
        else:
            trained_with = judge_pickle(path)
        with modelprocess.ModelProcess(path, form) as process:
            signature = process.signature
    return ModelFacts(
        format=form,
        digest=digest or Digest.of_file(path),
        size=size,
        opsets=opsets,
        signature=signature,
        trained_with=trained_with,
    )


def load_reader(path: Path) -> None:
    """Import what `read_model` needs for this file, for callers with time to spare; it does so itself otherwise."""
    if format_of(path) is ModelFormat.ONNX:
        from . import onnxmodel

        onnxmodel.load()


def model_digest(path: Path) -> Digest:
    """The digest of a model file.

    Raises:
        ModelRefusedError: the file is missing or empty.
    """
    _size(path)
    return Digest.of_file(path)


def _size(path: Path) -> int:
    try:
        if not path.is_file():
            problem = "is not a file" if path.exists() else "does not exist"
            raise ModelRefusedError(path.name, problem, resolution=f"put the model at {path}")
        size = path.stat().st_size
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ModelRefusedError(path.name, f"cannot be read: {error.strerror}", resolution=str(path)) from error
    if size == 0:
        raise ModelRefusedError(path.name, "is empty (0 bytes)", resolution="export the model again")
    return size


def _check_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise ModelRefusedError(
            path.name,
            f"has {size} bytes, a file of its format cannot have more than {MAX_BYTES}",
            resolution="quantize it",
        )


def _refuse_foreign(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(32)
    found = next((words for magic, words in _FOREIGN if head.startswith(magic)), None)
    if found:
        raise ModelRefusedError(
            path.name,
            f"is no ONNX model but {found}",
            resolution="export the model to ONNX, TensorFlow Lite, or as a scikit-learn pickle",
        )


def judge_pickle(path: Path) -> str:
    """The scikit-learn version of a pickle that may be loaded; that it is code is said.

    Raises:
        ModelRefusedError: it is no estimator, or of another scikit-learn than is here.
        SklearnMissingError: there is none here.
    """
    try:
        facts = pickles.read_pickle(path)
    except pickles.PickleUnreadableError as error:
        raise ModelRefusedError(path.name, str(error), resolution="write it again with joblib.dump") from error
    if not facts.is_sklearn:
        raise ModelRefusedError(
            path.name,
            f"holds a {facts.kind}, no estimator of scikit-learn",
            resolution="dump the fitted estimator itself",
        )
    if len(facts.versions) > 1:
        raise ModelRefusedError(
            path.name,
            f"has parts of scikit-learn {' and '.join(facts.versions)}",
            resolution="train all of it again with one version",
        )
    (version,) = facts.versions
    try:
        here = importlib.metadata.version(SKLEARN_PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise SklearnMissingError(path.name, version) from error
    if here != version:
        raise ModelRefusedError(
            path.name,
            f"was trained with scikit-learn {version}, here is {here}",
            resolution=f"train it again with {here}, or install {SKLEARN_PACKAGE}=={version} beside the builder",
        )
    codes = ", ".join(("scikit-learn's own", *facts.foreign[:8]))
    _LOG.warning("%s is a pickle: loading it runs the code that it names (%s); here without network", path.name, codes)
    return version
