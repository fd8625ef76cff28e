"""The server's counters in Prometheus' text format.

Written here rather than by a library: the counters are the server's own (`statistics`), nothing of them is kept twice,
and an image of this size does not carry a second HTTP server for fifty lines of text.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from itertools import accumulate

from .models import Model, Repository
from .statistics import ROWS, SECONDS

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_PAGE = resource.getpagesize()


def exposition(repository: Repository, *, in_flight: int, connections: int) -> bytes:
    """Every metric, one family after the other.

    Args:
        repository: whose models are told.
        in_flight: requests in worker threads and their queue.
        connections: open at the moment.
    """
    models = repository.every()
    lines: list[str] = []
    lines += _family("snapedge_requests_total", "counter", "Infer requests answered, by result.")
    for model in models:
        counts = model.statistics
        for result, count in (("success", counts.succeeded), ("error", counts.failed)):
            lines.append(f'snapedge_requests_total{{{_labels(model)},result="{result}"}} {count}')
    lines += _family("snapedge_request_seconds", "histogram", "Time for a successful infer request in the server.")
    for model in models:
        lines += _histogram(
            "snapedge_request_seconds", model, SECONDS, model.statistics.latencies, model.statistics.seconds
        )
    lines += _family("snapedge_batch_size", "histogram", "Rows in one run of the model.")
    for model in models:
        lines += _histogram("snapedge_batch_size", model, ROWS, model.statistics.sizes, model.statistics.rows)
    lines += _family("snapedge_inference_seconds_total", "counter", "Time inside the runtime.")
    lines += [f"snapedge_inference_seconds_total{{{_labels(m)}}} {m.statistics.infer_seconds:.9g}" for m in models]
    lines += _family("snapedge_queue_seconds_total", "counter", "Time requests waited for others to run with.")
    lines += [f"snapedge_queue_seconds_total{{{_labels(m)}}} {m.statistics.queue_seconds:.9g}" for m in models]
    lines += _family("snapedge_model_load_seconds", "gauge", "Time the model took to load, warm up and prove.")
    lines += [f"snapedge_model_load_seconds{{{_labels(model)}}} {model.load_seconds:.6g}" for model in models]
    lines += _family("snapedge_model_ready", "gauge", "1 for a model that may be asked.")
    for name, version, ready, _ in repository.index():
        lines.append(f'snapedge_model_ready{{model="{_escaped(name)}",version="{_escaped(version)}"}} {int(ready)}')
    lines += _gauge("snapedge_in_flight", "Requests in worker threads and their queue.", in_flight)
    lines += _gauge("snapedge_connections", "Open connections.", connections)
    used = resource.getrusage(resource.RUSAGE_SELF)
    lines += _family("process_cpu_seconds_total", "counter", "Processor time, user and system.")
    lines.append(f"process_cpu_seconds_total {used.ru_utime + used.ru_stime:.6f}")
    lines += _gauge("process_resident_memory_bytes", "Resident memory.", _resident())
    return ("\n".join(lines) + "\n").encode()


def _family(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _gauge(name: str, text: str, value: int) -> Iterator[str]:
    yield from _family(name, "gauge", text)
    yield f"{name} {value}"


def _histogram(name: str, model: Model, bounds: Sequence[float], counts: Sequence[int], total: float) -> Iterator[str]:
    labels = _labels(model)
    sums = list(accumulate(counts))
    for bound, count in zip([*(f"{bound:g}" for bound in bounds), "+Inf"], sums, strict=True):
        yield f'{name}_bucket{{{labels},le="{bound}"}} {count}'
    yield f"{name}_sum{{{labels}}} {total:.9g}"
    yield f"{name}_count{{{labels}}} {sums[-1]}"


def _labels(model: Model) -> str:
    return f'model="{_escaped(model.folder.name)}",version="{_escaped(model.folder.version)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _resident() -> int:
    with open("/proc/self/statm") as stream:  # noqa: PTH123  # a Path costs more than the read
        return int(stream.read().split()[1]) * _PAGE
