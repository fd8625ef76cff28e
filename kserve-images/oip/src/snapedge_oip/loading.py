"""From a folder to a model that may be asked: load, check, warm up, prove."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from threading import Lock
from time import perf_counter

import numpy as np

from . import gate, requests, samples
from .adapter import Runtime, Session
from .batching import Batching, objection
from .datatypes import BYTES, Array
from .errors import LoadError, PredictionError, RequestError, UnknownModelError
from .gate import Gate, Verdict
from .modelfolder import ModelFolder, ModelVersions, find
from .models import Model, Repository
from .pace import Pace
from .samples import Deviation, Sample
from .settings import Settings

_log = logging.getLogger(__name__)

_ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why the server must not serve.

    Attributes:
        reason: for the log.
        message: for the termination log.
    """

    reason: str
    message: bytes


class Loader:
    """Brings models from the directory into the repository, at the start and when asked to."""

    def __init__(self, runtime: Runtime, settings: Settings, threads: int, repository: Repository) -> None:
        self._runtime = runtime
        self._settings = settings
        self._threads = threads
        self._repository = repository
        self._one_at_a_time = Lock()

    def load_all(self) -> Refusal | None:
        """Loads every model of the directory; says why where one must not be served."""
        settings = self._settings
        try:
            found = find(settings.model_dir)
            self._repository.declare(
                {versions.default.name: [folder.version for folder in versions.every] for versions in found}
            )
            for versions in found:
                refusal = self._load(versions)
                if refusal is not None:
                    return refusal
        except LoadError as error:
            return Refusal(reason=str(error), message=gate.load_failed(str(error)))
        except MemoryError:
            reason = f"{settings.model_dir}: there is not enough memory to load the model"
            return Refusal(reason=reason, message=gate.load_failed(reason))
        return None

    def load(self, name: str) -> str | None:
        """Loads one model as its folder is now; in words, why not. Until it is loaded, what was there answers on.

        Raises:
            UnknownModelError: no folder has a model of that name.
        """
        with self._one_at_a_time:
            try:
                for versions in find(self._settings.model_dir):
                    if versions.default.name == name:
                        refusal = self._load(versions)
                        return None if refusal is None else refusal.reason
            except LoadError as error:
                return str(error)
            except MemoryError:
                return "there is not enough memory to load it"
        raise UnknownModelError(f"there is no model '{name[:120]}'")

    def _load(self, versions: ModelVersions) -> Refusal | None:
        models = []
        for folder in versions.every:
            model, deviation = load(
                self._runtime, folder, self._settings.gate, self._threads, batching=self._settings.batching
            )
            if deviation is not None and self._settings.gate is Gate.STRICT:
                reason = f"model {folder.name}: sample {deviation.sample!r}: {deviation.output} {deviation.problem}"
                return Refusal(reason=reason, message=gate.gate_failed(deviation, folder.digest))
            # What is in flight holds its model; the session is given back when the last of it is answered.
            weakref.finalize(model, model.session.unload).atexit = False
            models.append(model)
        self._repository.admit(*models)
        return None


def load(
    runtime: Runtime, folder: ModelFolder, policy: Gate, threads: int, *, batching: Batching | None = None
) -> tuple[Model, Deviation | None]:
    """A model and the first of its golden samples that it answers wrongly.

    Its requests run together as `batching` says, if they may.

    Raises:
        LoadError: the model cannot be served at all.
    """
    start = perf_counter()
    if folder.model_format not in runtime.formats:
        known = ", ".join(sorted(runtime.formats))
        raise LoadError(f"model {folder.name}: format {folder.model_format!r} is not served here; {known} is")
    folder.verify()
    document = folder.samples()
    known_answers = samples.parse(document, what=str(folder.path / "samples.json")) if document is not None else ()
    session = runtime.load(folder.file, threads=threads)
    difference = folder.signature.disagreement(session.signature)
    if difference is not None:
        raise LoadError(f"model {folder.name}: model.json and the model file disagree: {difference}")
    model = Model(folder=folder, session=session, platform=runtime.platform)
    seconds = _warm_up(model, known_answers)
    verdict = Verdict(checked=0) if policy is Gate.NONE else gate.replay(model, known_answers)
    word = "skipped" if policy is Gate.NONE else verdict.word
    if verdict.deviation is not None:
        _log.error(
            "model %s: sample %r: %s %s",
            folder.name,
            verdict.deviation.sample,
            verdict.deviation.output,
            verdict.deviation.problem,
        )
    properties = {
        "digest": folder.digest,
        "version": folder.version,
        "runtime": f"{runtime.name} {runtime.version}",
        "engine": runtime.engine,
        "gate": policy.value,
        "golden_samples": word,
        "golden_samples_checked": str(verdict.checked),
    }
    if batching is not None:
        reason = objection(session, _tried(session, known_answers))
        properties["batching"] = "on" if reason is None else f"off: {reason}"
        if reason is not None:
            _log.warning("model %s: each request runs alone: %s", folder.name, reason)
            batching = None
    event = {"model": folder.name, "threads": threads, "golden_samples": word}
    took = perf_counter() - start
    event["seconds"] = f"{took:.3f}"
    event["inference_us"] = "unknown" if seconds is None else f"{seconds * 1e6:.0f}"
    _log.info("model loaded", extra={"event": event})
    pace = Pace(seconds) if batching is None else Pace.none()
    model = replace(model, properties=properties, pace=pace, batching=batching, load_seconds=took)
    return model, verdict.deviation


def _warm_up(model: Model, known: Sequence[Sample]) -> float | None:
    """Seconds that an inference takes once the runtime has seen some; None where none could be made up.

    The first runs of a session allocate and choose kernels, and must not happen on somebody's request.
    """
    times = []
    try:
        made_up = None if known else _made_up(model.session)
        for _ in range(_ROUNDS):
            start = perf_counter()
            if made_up is None:
                model.outputs(known[0].body)
            else:
                model.session.predict(made_up, [spec.name for spec in model.session.signature.outputs])
            times.append(perf_counter() - start)
    except (RequestError, PredictionError) as error:
        # With samples, replaying them says the same as a verdict. Without, zeros may simply be no input of this model.
        _log.warning("model %s: warm-up failed: %s", model.folder.name, error)
        return None
    return median(times)


def _tried(session: Session, known: Sequence[Sample]) -> list[dict[str, Array]]:
    """Inputs to try what happens when they run together."""
    if not known:
        return [_made_up(session, 1)]
    try:
        return [requests.parse(session.signature, sample.body, None).inputs for sample in known]
    except RequestError:
        return []  # The gate says it better.


def _made_up(session: Session, value: int = 0) -> dict[str, Array]:
    inputs: dict[str, Array] = {}
    for spec in session.signature.inputs:
        shape = [1 if size == -1 else size for size in spec.shape]
        values: Array = np.full(shape, value, dtype=spec.datatype.dtype)
        if spec.datatype is BYTES:
            values = np.full(shape, "x" * value, dtype=object)
        inputs[spec.name] = values
    return inputs
