"""What a trial showed, for people and for machines."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from snapedge_hooks.errors import ExitCode
from snapedge_hooks.samples import Deviation, Sample

from . import replay
from .errors import BuilderError
from .proof import Proof, deviation_table
from .replay import OutputError, Replay
from .trialimage import TrialImage

_LONGEST_REQUEST = 2000
"""Bytes of a request that stands in a curl line itself; a longer one is in a file beside."""


class WrongAnswersError(BuilderError):
    """The served model answers golden samples wrongly."""

    exit_code = ExitCode.REFUSED

    def __init__(self, name: str, found: Replay) -> None:
        super().__init__(
            f"{name} answers {found.wrong_samples} of {found.samples} golden samples wrongly when it is served",
            details=deviation_table(Proof(samples=found.samples, deviations=found.deviations)),
            resolution="correct the model or its samples; devices with gate strict would refuse it",
        )


def text(image: TrialImage, found: Replay | None, *, seconds_to_ready: float) -> str:
    """The lines for people."""
    lines = [f"{_title(image)}: ready after {seconds_to_ready:.2f} s"]
    lines.extend(f"note: {note}" for note in notes(image, found))
    if found is not None:
        lines.append(f"golden samples: {found.samples - found.wrong_samples} of {found.samples} right")
        lines.extend(_table(found.outputs))
    if found is not None and found.milliseconds:
        lines.append(f"answers: {median(found.milliseconds):.1f} ms median, {max(found.milliseconds):.1f} ms slowest")
    return "\n".join(lines)


def document(image: TrialImage, found: Replay | None, *, seconds_to_ready: float) -> dict[str, Any]:
    """The same for machines; an error that no number says is null."""
    return {
        "name": image.payload.name,
        "version": image.payload.version,
        "architecture": str(image.payload.architecture),
        "runtime": {
            "name": image.runtime.name,
            "version": image.runtime.version,
            "manifest": image.runtime.digest,
        },
        "image": image.composed.digest,
        "notes": list(notes(image, found)),
        "ready_seconds": round(seconds_to_ready, 3),
        "samples": 0 if found is None else found.samples,
        "passed": None if found is None else found.passed,
        "outputs": [] if found is None else [_output(item) for item in found.outputs],
        "deviations": [] if found is None else [_deviation(item) for item in found.deviations],
        "milliseconds": [] if found is None else [round(item, 3) for item in found.milliseconds],
    }


def notes(image: TrialImage, found: Replay | None) -> tuple[str, ...]:
    """What a person should know beyond the numbers."""
    said = list(image.notes)
    allowed = image.payload.max_latency_ms
    if found is None:
        said.append("there are no golden samples: that it starts is all that was shown")
    elif allowed is not None and found.milliseconds and max(found.milliseconds) > allowed:
        said.append(f"the slowest answer took longer here than the {allowed} ms that devices allow")
    return tuple(said)


def curl_line(url: str, model: str, sample: Sample | None, folder: Path) -> str:
    """A command that asks the server what the first golden sample asks, ready to be pasted.

    Args:
        url: of the server.
        model: the name it serves under.
        sample: what to ask, or None to ask for the model's metadata.
        folder: takes the request where it is too long for a line.
    """
    if sample is None:
        return shlex.join(["curl", "-sS", f"{url}/v2/models/{model}"])
    body = replay.request_body(sample)
    if len(body) <= _LONGEST_REQUEST:
        data = body.decode()
    else:
        path = folder / "request.json"
        path.write_bytes(body)
        data = f"@{path}"
    words = ["curl", "-sS", "-H", "Content-Type: application/json", "--data-binary", data]
    return shlex.join([*words, f"{url}{replay.infer_path(model)}"])


def kubectl_line(context: str, namespace: str, service: str, port: int) -> str:
    """A command that leads a port of this host to a Service of a cluster: `service` is `name:port`."""
    name, _, target = service.partition(":")
    words = ["kubectl", "--context", context, "-n", namespace, "port-forward", f"service/{name}", f"{port}:{target}"]
    return shlex.join(words)


def _title(image: TrialImage) -> str:
    payload, runtime = image.payload, image.runtime
    return f"{payload.name} {payload.version} {payload.architecture} on runtime {runtime.name} {runtime.version}"


def _table(outputs: Sequence[OutputError]) -> list[str]:
    head = ("output", "largest error", "allowed", "sample")
    rows = [head, *((item.output, _number(item.largest), _allowed(item), item.sample or "-") for item in outputs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _number(error: float | None) -> str:
    if error is None:
        return "no answer"
    return "differs" if math.isinf(error) else f"{error:.3g}"


def _allowed(item: OutputError) -> str:
    absolute, relative = item.tolerance
    return f"{absolute:.3g} + {relative:.3g} * |want|" if relative else f"{absolute:.3g}"


def _output(item: OutputError) -> dict[str, Any]:
    return {
        "name": item.output,
        "answers": item.answers,
        "largest_error": None if item.largest is None or math.isinf(item.largest) else item.largest,
        "sample": item.sample or None,
        "atol": item.tolerance[0],
        "rtol": item.tolerance[1],
    }


def _deviation(item: Deviation) -> dict[str, Any]:
    return {
        "sample": item.sample,
        "output": item.output,
        "max_error": item.max_error,
        "tolerance": item.tolerance,
        "problem": item.problem,
    }
