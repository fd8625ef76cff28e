"""Running the host's tools: argument lists, a deadline, and errors that name the tool.

ToolMissingError     the tool is not installed here
ToolTimeoutError     it did not end in time
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .errors import BuilderError

_LOG = logging.getLogger(__name__)


class ToolMissingError(BuilderError):
    """A tool of the host that the builder needs is not installed."""

    def __init__(self, tool: str, package: str) -> None:
        super().__init__(f"{tool} is not installed here", resolution=f"install {package}")


class ToolTimeoutError(BuilderError):
    """A tool of the host did not end in its time."""

    def __init__(self, tool: str, seconds: float) -> None:
        super().__init__(
            f"{tool} did not end within {seconds:.0f} s", resolution="see whether its network or disk hangs, then retry"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a tool ended."""

    status: int
    output: str
    errors: str

    @property
    def says_too_large(self) -> bool:
        """Whether the tool was to write a file longer than it may."""
        return os.strerror(errno.EFBIG) in self.errors

    @property
    def says_no_room(self) -> bool:
        """Whether the tool ran out of disk; tools say it in the C library's words."""
        return os.strerror(28) in self.errors or "No space left on device" in self.errors


def find(tool: str, *, package: str, folders: Sequence[Path] = ()) -> Path:
    """Where a tool is: in one of the folders, beside the running interpreter, or on PATH.

    Raises:
        ToolMissingError: nowhere.
    """
    for folder in (*folders, Path(sys.executable).parent):
        candidate = folder / tool
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    found = shutil.which(tool)
    if found is None:
        raise ToolMissingError(tool, package)
    return Path(found)


def run(
    arguments: Sequence[str | Path],
    *,
    package: str,
    seconds: float,
    environment: Mapping[str, str] | None = None,
    output: IO[bytes] | None = None,
    folder: Path | None = None,
    file_bytes: int | None = None,
) -> Outcome:
    """Run a tool to its end; a status other than 0 is the caller's to judge.

    Args:
        arguments: the tool and what it is given.
        package: what to install where the tool is missing.
        seconds: its deadline.
        environment: added to this process's own; the locale is C so that messages can be read.
        output: where standard output goes instead of into the outcome.
        folder: the working directory.
        file_bytes: how long a file it may write, its output included; at that length, writing fails.

    Raises:
        ToolMissingError: it is not installed.
        ToolTimeoutError: it was ended at its deadline.
    """
    tool = Path(arguments[0]).name
    limit = () if file_bytes is None else (find("prlimit", package="util-linux"), f"--fsize={file_bytes}", "--")
    if limit and shutil.which(arguments[0]) is None:
        raise ToolMissingError(tool, package)
    _LOG.debug("running %s", " ".join(map(str, arguments)))
    try:
        done = subprocess.run(
            [str(argument) for argument in (*limit, *arguments)],
            # Python ignores SIGXFSZ; where the tool does too, it is told by an error and can clean up.
            restore_signals=not limit,
            stdin=subprocess.DEVNULL,
            stdout=output if output is not None else subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=seconds,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            cwd=folder,
            check=False,
        )
    except FileNotFoundError as error:
        raise ToolMissingError(tool, package) from error
    except subprocess.TimeoutExpired as error:
        raise ToolTimeoutError(tool, seconds) from error
    return Outcome(
        status=done.returncode,
        output=(done.stdout or b"").decode("utf-8", "replace"),
        errors=done.stderr.decode("utf-8", "replace"),
    )


def follow(arguments: Sequence[str | Path], *, package: str, seconds: float, hear: Callable[[str], None]) -> Outcome:
    """Run a tool to its end, and hear each line of its messages when it is written; what it outputs is left out.

    Raises:
        ToolMissingError: it is not installed.
        ToolTimeoutError: it was ended at its deadline.
    """
    tool = Path(arguments[0]).name
    _LOG.debug("running %s", " ".join(map(str, arguments)))
    try:
        process = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except FileNotFoundError as error:
        raise ToolMissingError(tool, package) from error
    is_late = threading.Event()

    def end() -> None:
        is_late.set()
        process.kill()

    clock = threading.Timer(seconds, end)
    lines: list[str] = []
    try:
        clock.start()
        assert process.stderr is not None, "it was asked for"
        for line in process.stderr:
            lines.append(line.decode("utf-8", "replace"))
            hear(lines[-1].rstrip("\n"))
        process.wait()
    finally:
        clock.cancel()
        if process.poll() is None:  # whoever hears, or a signal, ended this early
            process.terminate()
            process.wait()
        if process.stderr is not None:
            process.stderr.close()
    if is_late.is_set():
        raise ToolTimeoutError(tool, seconds)
    return Outcome(status=process.returncode, output="", errors="".join(lines))
