"""`builder new`: a folder for any model that can be served, which builds as it is.

The samples it writes pin what the model answers today, for inputs drawn from its signature; they are no proof that the
answers are right, and the README in the folder says so. Drawing is deterministic: the same model gives the same files.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from snapedge_hooks.document import MAX_DOCUMENT_BYTES
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.samples import FLOATS, ExpectedTensor, Sample, SampleSet, Tensor
from snapedge_hooks.vocabulary import ModelFormat, SnapName

from . import conversion, declaration, modelfile, proof
from .conversion import Source
from .errors import BuilderError
from .modelfile import ModelFacts, ModelRefusedError
from .packed import replace_file
from .proof import Answering
from .signature import FREE, TensorSpec

if TYPE_CHECKING:
    import numpy

VERSION = "0.1.0"
_COUNT = 3
_FREE_SIZES = (1, 2, 8, 32, 224)
"""Tried in this order for dimensions that the model leaves free, until it runs."""
_MAX_ELEMENTS = 4_000_000
_SMALL_DOCUMENT = 4_000_000
_FILE_NAMES = {
    ModelFormat.ONNX: "model.onnx",
    ModelFormat.TFLITE: "model.tflite",
    ModelFormat.SKLEARN: "model.joblib",
}
_PICKLE_WARNING = """
**The model is a pickle: loading it runs the code in it**, on the build host (without network) and on every device.
Build it only if you trust whoever made the file. It is served by the scikit-learn version that wrote it and no other.
"""
_TOLERANCES = {"FP16": (1e-2, 1e-2), "FP32": (1e-5, 1e-3), "FP64": (1e-9, 1e-6)}
"""Absolute and relative: what another processor's arithmetic may differ by."""


class FolderTakenError(BuilderError):
    """The folder has a model in it already."""

    exit_code = ExitCode.USAGE

    def __init__(self, folder: Path, file: str) -> None:
        super().__init__(f"{folder} holds {file} already", resolution="name a new folder; nothing was changed")


class NameNotUsableError(BuilderError):
    """No snap name can be made of a folder's name."""

    exit_code = ExitCode.USAGE

    def __init__(self, problem: str) -> None:
        super().__init__(problem, resolution="name one with --name")


class NoSamplesError(BuilderError):
    """The model runs with no input that was drawn for it."""

    exit_code = ExitCode.REFUSED

    def __init__(self, file: str, error: ModelRefusedError | None) -> None:
        super().__init__(
            f"{file} runs with none of the inputs drawn from its signature",
            details="" if error is None else str(error),
            resolution="write samples.json yourself; see docs/reference for its format",
        )


class SamplesTooLargeError(BuilderError):
    """One sample alone is more than a device reads."""

    exit_code = ExitCode.REFUSED

    def __init__(self, file: str, size: int) -> None:
        super().__init__(
            f"{file}: one golden sample has {size} bytes of JSON, more than the {MAX_DOCUMENT_BYTES} allowed",
            resolution="export the model with smaller or free dimensions",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFolder:
    """What was written."""

    folder: Path
    name: SnapName
    model: ModelFacts
    files: tuple[str, ...]


def new_folder(folder: Path, *, model: Path, name: str | None) -> NewFolder:
    """Write a folder for a model: the model, inference.yaml, samples.json and a README.

    Raises:
        FolderTakenError: one of these is there already.
        NameNotUsableError: neither the name given nor the folder's is a snap name.
        ModelRefusedError: the model cannot be served.
        NoSamplesError: it ran with no drawn input.
        SamplesTooLargeError: its tensors are too large for samples.
        OutputError: the folder cannot be written.
    """
    snap_name = _name(name if name is not None else _slug(folder.absolute().name))
    source = conversion.source_of(model)
    boosted = source in (Source.XGBOOST, Source.LIGHTGBM)
    model_name = _boosted_name(model, source) if boosted else _FILE_NAMES[modelfile.format_of(model)]
    inside = model.absolute() == (folder / model_name).absolute()
    for file in (declaration.FILE_NAME, "samples.json", "README.md", *(() if inside else (model_name,))):
        if (folder / file).exists():
            raise FolderTakenError(folder, file)
    with _as_onnx(model, source) if boosted and source is not None else nullcontext(model) as served:
        facts = modelfile.read_model(served)
        samples = _samples(served, facts)
    existed = folder.exists()
    try:
        if not inside:
            replace_file(folder / model_name, model)
        replace_file(folder / "samples.json", samples)
        replace_file(folder / "README.md", _readme(snap_name, facts).encode())
        # Last: with it the folder can be built.
        replace_file(folder / declaration.FILE_NAME, _inference(snap_name, facts.format, model_name).encode())
    except BuilderError:
        if not existed:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return NewFolder(
        folder=folder,
        name=snap_name,
        model=facts,
        files=(declaration.FILE_NAME, model_name, "samples.json", "README.md"),
    )


@contextmanager
def _as_onnx(model: Path, source: Source) -> Iterator[Path]:
    """The model as it will be served."""
    with tempfile.TemporaryDirectory(prefix="snapedge-new-") as scratch:
        path = Path(scratch) / f"{model.stem}.onnx"
        path.write_bytes(conversion.convert(model, source, None).data)
        yield path


def _boosted_name(model: Path, source: Source | None) -> str:
    if source is Source.LIGHTGBM:
        return "model.txt"
    return "model.ubj" if model.read_bytes()[:2] == b"{L" else "model.json"


def _name(text: str) -> SnapName:
    try:
        return SnapName(text)
    except ValueError as error:
        raise NameNotUsableError(str(error)) from error


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-")


def _samples(path: Path, facts: ModelFacts) -> bytes:
    refused: ModelRefusedError | None = None
    with proof.answering(path, facts) as session:
        for size in _FREE_SIZES:
            try:
                samples = tuple(_drawn(session, facts, size))
            except ModelRefusedError as error:
                refused = error
                continue
            if not samples:
                break
            return _written(path.name, samples)
    raise NoSamplesError(path.name, refused)


def _written(file: str, samples: tuple[Sample, ...]) -> bytes:
    document = SampleSet(samples=samples).to_json()
    if len(document) <= _SMALL_DOCUMENT:
        return json.dumps(json.loads(document), indent=1, ensure_ascii=False).encode() + b"\n"
    # A number on each line would double what every device loads.
    document = SampleSet(samples=samples[:1]).to_json()
    if len(document) > MAX_DOCUMENT_BYTES:
        raise SamplesTooLargeError(file, len(document))
    return document


def _drawn(session: Answering, facts: ModelFacts, free: int) -> Iterator[Sample]:
    import numpy

    for index in range(_COUNT):
        random = numpy.random.default_rng(index)
        shapes = {spec.name: _shape(spec, free) for spec in facts.signature.inputs}
        if sum(math.prod(shape) for shape in shapes.values()) > _MAX_ELEMENTS:
            return
        inputs = {spec.name: _draw(spec, shapes[spec.name], random) for spec in facts.signature.inputs}
        answer = session.answer(inputs)
        yield Sample(
            name=f"drawn-{index}",
            inputs=tuple(inputs.values()),
            outputs=tuple(_expected(answer[spec.name]) for spec in facts.signature.outputs),
        )


def _shape(spec: TensorSpec, free: int) -> tuple[int, ...]:
    # The first free dimension is nearly always the batch.
    batch = next((index for index, size in enumerate(spec.shape) if size == FREE), None)
    return tuple((1 if index == batch else free) if size == FREE else size for index, size in enumerate(spec.shape))


def _draw(spec: TensorSpec, shape: tuple[int, ...], random: numpy.random.Generator) -> Tensor:
    count = math.prod(shape)
    data: tuple[float | int | bool | str, ...]
    if spec.datatype in FLOATS:
        data = tuple(round(float(value), 3) for value in random.standard_normal(count))
    elif spec.datatype == "BOOL":
        data = tuple(bool(value) for value in random.integers(0, 2, count))
    elif spec.datatype == "BYTES":
        data = tuple(f"text {value}" for value in random.integers(0, 10, count))
    else:
        # Small, since whole numbers are often positions in a table.
        data = tuple(int(value) for value in random.integers(0, 2, count))
    return Tensor(name=spec.name, shape=shape, datatype=spec.datatype, data=data)


def _expected(tensor: Tensor) -> ExpectedTensor:
    atol, rtol = _TOLERANCES.get(tensor.datatype, (0.0, 0.0))
    return ExpectedTensor(tensor=tensor, atol=atol, rtol=rtol)


def _inference(name: SnapName, form: ModelFormat, file: str) -> str:
    # A pickle is served as it is; whoever wants ONNX converts it first.
    convert = ", convert: none" if form is ModelFormat.SKLEARN else ""
    return f"""\
name: {name}
version: {VERSION}
summary: The model {name}, served by KServe
model: {{file: {file}{convert}}}
runtime: {{name: {form}, interface: 1}}
architectures: [amd64, arm64]
samples: samples.json
service: {{cpu: 500m, memory: 256Mi}}
delivery: {{image: shared, gate: strict}}
"""


def _readme(name: SnapName, facts: ModelFacts) -> str:
    def table(specs: tuple[TensorSpec, ...]) -> str:
        rows = "\n".join(f"| `{spec.name}` | {spec.datatype} | {list(spec.shape)} |" for spec in specs)
        return f"| Name | Datatype | Shape |\n|---|---|---|\n{rows}"

    return f"""\
# {name}

Build it with `builder build` and the path of this folder; the runtime is looked for in `../runtime-{facts.format}`,
or where `--runtime` says.
{_PICKLE_WARNING if facts.format is ModelFormat.SKLEARN else ""}
**Replace `samples.json`.** The samples in it were drawn at random from the model's signature, and what is expected is
what this model answered when the folder was made. They pin its present behaviour: a build or a device that answers
otherwise is stopped. They do not say that the answers are right. Put requests there whose right answers you know.

## Inputs

{table(facts.signature.inputs)}

## Outputs

{table(facts.signature.outputs)}

A size of -1 is free.
"""
