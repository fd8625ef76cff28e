"""Flags and environment of a server; a flag wins over its variable."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from .batching import Batching
from .gate import Gate
from .log import LogFormat

_SIZES = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_DURATIONS = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Times are seconds, sizes are bytes.

    Attributes:
        model_dir: one folder for each model, or such a folder itself.
        bind: the address to listen on.
        http_port: 0 for one the system chooses; the log names it.
        grpc_port: None for no gRPC, 0 for a port that the system chooses.
        gate: what a wrong golden sample does.
        threads: for one inference; None for what the container's quota leaves.
        drain: how long connections are still accepted after SIGTERM.
        max_body: of a request, also without its content encoding.
        max_header: of a request's line and headers together.
        max_connections: more push out the longest idle one.
        max_in_flight: requests queued or computed in worker threads; more are answered 503.
        max_batch_size: rows that requests may have together in one run; 1 runs each alone.
        max_batch_delay: how long a request waits for others to run with.
        idle_timeout: after which a connection without a request is closed.
        request_timeout: for a request to arrive whole; big bodies get more, by their size.
        log: how log lines look.
        termination_log: where Kubernetes reads why a container ended.
        self_test: only replays the golden samples and prints the errors.
    """

    model_dir: Path
    bind: str = "0.0.0.0"  # noqa: S104  # a pod's only way to be reached
    http_port: int = 8080
    grpc_port: int | None = None
    gate: Gate = Gate.STRICT
    threads: int | None = None
    drain: float = 5.0
    max_body: int = 64 * 2**20
    max_header: int = 16 * 2**10
    max_connections: int = 1024
    max_in_flight: int = 64
    max_batch_size: int = 1
    max_batch_delay: float = 0.001
    idle_timeout: float = 75.0
    request_timeout: float = 30.0
    log: LogFormat = LogFormat.JSON
    self_test: bool = False
    termination_log: Path = Path("/dev/termination-log")

    @property
    def batching(self) -> Batching | None:
        """How requests run together; None where each runs alone."""
        if self.max_batch_size == 1:
            return None
        return Batching(rows=self.max_batch_size, delay=self.max_batch_delay)


def parse(program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """The settings of a command line.

    Raises:
        SystemExit: 2 with a usage message, where a flag or a variable is wrong; 0 after `--help`.
    """
    parser = argparse.ArgumentParser(prog=program, allow_abbrev=False)
    for flag, convert, text in _OPTIONS:
        variable = "SNAPEDGE_" + flag.replace("-", "_").upper()
        parser.add_argument(
            f"--{flag}",
            type=convert,
            default=environment.get(variable) or argparse.SUPPRESS,
            metavar="VALUE",
            help=f"{text} (or {variable})",
        )
    parser.add_argument(
        "--self-test",
        action="store_true",
        default=argparse.SUPPRESS,
        help="replay the golden samples, print the largest error of each output, and end",
    )
    given = vars(parser.parse_args(arguments))
    if "model_dir" not in given:
        parser.error("the model directory is not given: --model-dir or SNAPEDGE_MODEL_DIR")
    return Settings(**given)


def size(text: str) -> int:
    """Bytes of a text such as `64MiB`."""
    return int(_quantity(text, _SIZES))


def duration(text: str) -> float:
    """Seconds of a text such as `5s`."""
    return _quantity(text, _DURATIONS)


def _quantity(text: str, units: Mapping[str, float]) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", text.strip(), re.ASCII)
    if match is None or match[2] not in units:
        raise argparse.ArgumentTypeError(f"{text!r} is no number with one of {', '.join(filter(None, units))}")
    return float(match[1]) * units[match[2]]


def _whole(least: int, most: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text, re.ASCII) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return convert


def _word(words: type[Enum]) -> Callable[[str], Enum]:
    def convert(text: str) -> Enum:
        for word in words:
            if word.value == text:
                return word
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(word.value for word in words)}")

    return convert


_OPTIONS: tuple[tuple[str, Callable[[str], Any], str], ...] = (
    ("model-dir", Path, "one folder for each model, or a model's folder"),
    ("bind", str, "address to listen on"),
    ("http-port", _whole(0, 65535), "port, 0 for any free one"),
    ("grpc-port", _whole(0, 65535), "port for gRPC, 0 for any free one; without it there is no gRPC"),
    ("gate", _word(Gate), "what a wrong golden sample does: strict, report or none"),
    ("threads", _whole(1, 1024), "threads for one inference; the default follows the cgroup's quota"),
    ("drain", duration, "how long to go on accepting after SIGTERM"),
    ("max-body", size, "largest body"),
    ("max-header", size, "largest request line and headers"),
    ("max-connections", _whole(1, 100_000), "most connections at a time"),
    ("max-in-flight", _whole(1, 100_000), "most requests in worker threads and their queue"),
    ("max-batch-size", _whole(1, 4096), "most rows that requests may have together in one run; 1 runs each alone"),
    ("max-batch-delay", duration, "how long a request waits for others to run with"),
    ("idle-timeout", duration, "how long a connection may stay without a request"),
    ("request-timeout", duration, "how long a request may take to arrive"),
    ("log", _word(LogFormat), "json or text"),
    ("termination-log", Path, "file for the reason of a failed start"),
)
