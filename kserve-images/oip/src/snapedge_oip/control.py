"""The repository API, and what Triton's clients ask about a model besides its metadata."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import orjson

from .datatypes import BYTES
from .errors import RequestError, UnknownModelError
from .loading import Loader
from .models import Model, Repository
from .responses import Response, document, failure

JsonObject = dict[str, Any]


def index(repository: Repository, *, only_ready: bool = False) -> list[dict[str, str]]:
    """Every declared model version with its state, in the words of the protocol's extension."""
    entries = []
    for name, version, ready, reason in repository.index():
        if only_ready and not ready:
            continue
        state = "READY" if ready else "LOADING" if reason == "loading" else "UNAVAILABLE"
        entries.append({"name": name, "version": version, "state": state, "reason": reason})
    return entries


def body(content: bytes | memoryview) -> dict[str, Any]:
    """The body of a repository request; what is in it besides `ready` changes nothing here.

    Raises:
        RequestError: it is neither empty nor a JSON object.
    """
    content = bytes(content)
    if not content.strip():
        return {}
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the body is not JSON: {error}") from None
    if type(found) is not dict:
        raise RequestError("the body must be a JSON object")
    parameters = found.get("parameters", {})
    if type(parameters) is not dict:
        raise RequestError("parameters must be an object")
    check_parameters(parameters)
    return found


def check_parameters(names: Iterable[str]) -> None:
    """Refuses what a load cannot do here; other parameters change nothing.

    Raises:
        RequestError: the request brings a configuration or files.
    """
    if any(name == "config" or name.startswith("file:") for name in names):
        raise RequestError("a model's configuration and files come from its folder, not from a request")


def load(loader: Loader | None, name: str) -> Response:
    """Loads a model as its folder is now."""
    if loader is None:
        return failure("this server loads nothing after its start", HTTPStatus.BAD_REQUEST)
    try:
        reason = loader.load(name)
    except UnknownModelError as error:
        return failure(f"failed to load '{name[:120]}': {error}", HTTPStatus.NOT_FOUND)
    if reason is not None:
        return failure(f"failed to load '{name[:120]}': {reason}", HTTPStatus.BAD_REQUEST)
    return document({"name": name, "load": True})


def unload(repository: Repository, name: str) -> Response:
    """Lets a model go."""
    if not repository.withdraw(name):
        return failure(f"failed to unload '{name[:120]}': there is no such model", HTTPStatus.NOT_FOUND)
    return document({"name": name, "unload": True})


def configuration(model: Model) -> dict[str, Any]:
    """What the model is, in the words of Triton's configuration.

    Shapes are whole where each request runs alone, so that `max_batch_size` is 0; where requests run together, Triton
    leaves out the first dimension.
    """
    signature = model.session.signature
    batching = model.batching
    first = 0 if batching is None else 1

    def tensors(specs: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": spec.name,
                "data_type": "TYPE_STRING" if spec.datatype is BYTES else f"TYPE_{spec.datatype.name}",
                "dims": list(spec.shape[first:]),
            }
            for spec in specs
        ]

    found: JsonObject = {
        "name": model.folder.name,
        "platform": model.platform,
        "backend": model.platform.partition("_")[0],
        "max_batch_size": 0 if batching is None else batching.rows,
        "input": tensors(signature.inputs),
        "output": tensors(signature.outputs),
        "default_model_filename": model.folder.file.name,
    }
    if batching is not None:
        found["dynamic_batching"] = {"max_queue_delay_microseconds": round(batching.delay * 1e6)}
    return found


def statistics(models: list[Model]) -> dict[str, Any]:
    """What the models were asked, in the words of Triton's statistics; times in nanoseconds."""
    return {"model_stats": [_statistics(model) for model in models]}


def _statistics(model: Model) -> dict[str, Any]:
    counts = model.statistics

    def duration(count: int, seconds: float) -> dict[str, int]:
        return {"count": count, "ns": round(seconds * 1e9)}

    done = counts.succeeded
    output = max(0.0, counts.seconds - counts.queue_seconds - counts.input_seconds - counts.infer_seconds)
    return {
        "name": model.folder.name,
        "version": model.folder.version,
        "last_inference": round(counts.last * 1000),
        "inference_count": counts.rows,
        "execution_count": counts.executions,
        "inference_stats": {
            "success": duration(done, counts.seconds),
            "fail": duration(counts.failed, counts.failed_seconds),
            "queue": duration(done, counts.queue_seconds),
            "compute_input": duration(done, counts.input_seconds),
            "compute_infer": duration(done, counts.infer_seconds),
            "compute_output": duration(done, output),
            "cache_hit": duration(0, 0.0),
            "cache_miss": duration(0, 0.0),
        },
        "batch_stats": [
            {"batch_size": rows, "compute_infer": duration(count, seconds)}
            for rows, (count, seconds) in sorted(counts.batches.items())
        ],
    }
