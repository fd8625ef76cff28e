"""The file that is served for a model: the model's own, or what conversion and quantization make of it.

Rules:

1. `convert: auto` makes ONNX of what can become ONNX; `convert: none` serves the file as it is.
2. `quantize` is for ONNX models, converted ones included, and needs golden samples to compare on.
3. What was made is kept in the cache under everything it follows from: the file, the samples' inputs, what its author
   asks for, and the versions of the libraries. So a build with nothing to do makes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from snapedge_hooks.document import Fields, canonical_json
from snapedge_hooks.samples import SampleSet
from snapedge_hooks.vocabulary import Digest, ModelFormat

from . import conversion, modelfile, quantization
from .cache import Cache
from .conversion import Source
from .declaration import Conversion, ModelDeclaration, PreparedModel
from .modelfile import ModelRefusedError
from .progress import Progress
from .quantization import Quantization
from .samplesfile import read_samples, read_samples_file

NOTE = "prepared"


def prepare(declaration: ModelDeclaration, *, cache: Cache, progress: Progress) -> ModelDeclaration:
    """The declaration with what is served in it, made where it is not there yet.

    Raises:
        ModelRefusedError: the model cannot be converted or quantized.
        ConversionDiffersError, QuantizationRefusedError: it answers otherwise than before.
        SamplesUnreadableError, DocumentError: the samples that it is compared on are missing or wrong.
    """
    path, asked = declaration.model_path, declaration.quantization
    source = conversion.source_of(path) if declaration.conversion is Conversion.AUTO else None
    if declaration.conversion is Conversion.NONE:
        _refuse_unserved(path)
    if source is None and asked is None:
        return declaration
    samples = read_samples(declaration)
    calibration = None
    if asked is not None:
        samples, calibration = _quantizable(declaration, path, source, samples)
    original = modelfile.model_digest(path)
    key = _key(original, source, asked, samples, calibration)
    found = _found(cache, key)
    if found is None:
        with cache.alone(NOTE, key):
            found = _found(cache, key) or _made(
                path, original, source, asked, samples, calibration, cache=cache, key=key, progress=progress
            )
    return replace(declaration, prepared=found)


def _refuse_unserved(path: Path) -> None:
    source = conversion.source_of(path)
    if source in (Source.XGBOOST, Source.LIGHTGBM):
        raise ModelRefusedError(
            path.name,
            f"is a model of {source}, which no runtime serves as it is",
            resolution="take `convert: none` out of `model`: as ONNX it is served",
        )


def _quantizable(
    declaration: ModelDeclaration, path: Path, source: Source | None, samples: SampleSet | None
) -> tuple[SampleSet, SampleSet]:
    """The samples to compare on, and those to calibrate with."""
    if source is None and modelfile.format_of(path) is not ModelFormat.ONNX:
        raise ModelRefusedError(
            path.name,
            "is no ONNX model, and only these are quantized here",
            resolution="take `quantize` out of `model`",
        )
    if samples is None:
        raise ModelRefusedError(
            path.name,
            "cannot be quantized without golden samples: nothing would say what it costs",
            resolution="name a samples.json (builder new writes one)",
        )
    assert declaration.quantization is not None, "only what is to be quantized comes here"
    named = declaration.quantization.calibration
    return samples, samples if named is None else read_samples_file(declaration.folder / named)


def _key(
    model: Digest,
    source: Source | None,
    asked: Quantization | None,
    samples: SampleSet | None,
    calibration: SampleSet | None,
) -> Digest:
    return Digest.of(
        canonical_json(
            {
                "model": model,
                "source": None if source is None else str(source),
                "libraries": conversion.versions() if source is not None else {},
                "samples": None if samples is None else Digest.of(samples.to_json()),
                "quantize": None
                if asked is None
                else {
                    "mode": str(asked.mode),
                    "tolerance": asked.tolerance,
                    "calibration": None if calibration is None else Digest.of(calibration.to_json()),
                    "onnxruntime": quantization.version(),
                },
            }
        )
    )


def _found(cache: Cache, key: Digest) -> PreparedModel | None:
    note = cache.find_note(NOTE, key)
    if note is None:
        return None
    fields = Fields(note, what="note of a prepared model")
    digest = fields.parsed("digest", Digest)
    path = cache.find_blob(digest)
    if path is None:
        return None
    return PreparedModel(
        path=path,
        digest=digest,
        source=fields.parsed("source", Digest),
        tools=tuple(str(item) for item in fields.list("tools")),
        report=tuple(str(item) for item in fields.list("report")),
    )


def _made(
    path: Path,
    original: Digest,
    source: Source | None,
    asked: Quantization | None,
    samples: SampleSet | None,
    calibration: SampleSet | None,
    *,
    cache: Cache,
    key: Digest,
    progress: Progress,
) -> PreparedModel:
    tools, report = [], []
    with cache.scratch() as folder:
        served = path
        if source is not None:
            task = f"convert {path.name} to ONNX"
            progress.start(task)
            converted = conversion.convert(path, source, samples)
            served = folder / f"{path.stem}.onnx"
            served.write_bytes(converted.data)
            tools.append(converted.tool)
            worst = max(converted.errors.values(), default=0.0)
            report.append(
                f"converted by {converted.tool}; at most {worst:.3g} off the original on {converted.rows} rows"
            )
            progress.done(task, report[-1])
        if asked is not None:
            assert samples is not None, "checked before"
            assert calibration is not None, "checked before"
            task = f"quantize {path.name}"
            progress.start(task)
            target = folder / "quantized" / f"{path.stem}.onnx"
            target.parent.mkdir()
            told = quantization.quantize(served, target, asked, samples, calibration)
            served = target
            tools.append(f"onnxruntime.quantization {quantization.version()} {asked.mode}")
            report += told.lines()
            progress.done(task, "; ".join(told.lines()))
        digest = Digest.of_file(served)
        adopted = cache.adopt(served, digest)
        assert adopted is not None, "it has the digest that was just taken"
    cache.write_note(NOTE, key, {"digest": digest, "source": original, "tools": tools, "report": report})
    return PreparedModel(path=adopted, digest=digest, source=original, tools=tuple(tools), report=tuple(report))
