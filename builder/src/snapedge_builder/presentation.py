"""How the command line shows what happens: bars on a terminal, plain lines elsewhere, nothing on request."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_SIZES = frozenset({"size", "content", "lib", "bin", "meta", "payload", "runtime", "sbom.cdx.json"})


class PlainProgress:
    """One line for each task that ended, with the seconds it took."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._started: dict[str, float] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def start(self, task: str) -> None:
        """Remember when it began."""
        with self._lock:
            self._started[task] = time.monotonic()

    def advance(self, task: str, note: str) -> None:
        """Steps in between are not worth a line."""

    def done(self, task: str, outcome: str) -> None:
        """Print the task's line."""
        with self._lock:
            seconds = time.monotonic() - self._started.pop(task, time.monotonic())
            print(f"{task}: {outcome} ({seconds:.1f} s)", file=self._stream, flush=True)


class TerminalProgress:
    """A moving line for each task under way, and a plain one for each that ended."""

    def __init__(self) -> None:
        # Imported here: machines and log files never see it.
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._bars: Bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TextColumn("[dim]{task.fields[note]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> TerminalProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def start(self, task: str) -> None:
        """Show a moving line."""
        with self._lock:
            self._tasks[task] = self._bars.add_task(task, total=None, note="")

    def advance(self, task: str, note: str) -> None:
        """Say with what it goes on."""
        with self._lock:
            if task in self._tasks:
                self._bars.update(self._tasks[task], note=note)

    def done(self, task: str, outcome: str) -> None:
        """Leave a plain line."""
        with self._lock:
            if task in self._tasks:
                self._bars.remove_task(self._tasks.pop(task))
            self._bars.console.print(f"[green]✓[/] {task}: {outcome}", highlight=False)


def shown_on(stream: TextIO) -> PlainProgress | TerminalProgress:
    """Progress for a stream of the process: bars where a person watches."""
    return TerminalProgress() if stream.isatty() else PlainProgress(stream)


def stderr_progress() -> PlainProgress | TerminalProgress:
    """Progress for people, kept away from the results on standard output."""
    return shown_on(sys.stderr)


def as_size(size: int) -> str:
    """A size for people, in powers of ten as downloads are counted."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.2f} {unit}"
    return f"{size} B"


def as_text(document: dict[str, Any], indent: str = "") -> str:
    """An inspection for people: one line for each value, sizes readable, tables for lists of objects."""
    width = max((len(key) for key in document), default=0)
    lines = []
    for key, value in document.items():
        if isinstance(value, dict):
            lines.append(f"{indent}{key}")
            lines.append(as_text(value, indent + "  "))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append(f"{indent}{key}")
            lines.extend(f"{indent}  {_row(item)}" for item in value)
        else:
            lines.append(f"{indent}{key:<{width}}  {_cell(key, value)}")
    return "\n".join(lines)


def _row(item: dict[str, Any]) -> str:
    return "  ".join(_cell(key, value) for key, value in item.items())


def _cell(key: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) if key != "shape" else str(value)
    if isinstance(value, int) and not isinstance(value, bool) and key in _SIZES:
        return as_size(value)
    return str(value)
