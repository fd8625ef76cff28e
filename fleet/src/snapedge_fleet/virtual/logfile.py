"""A log like a journal's: a line with its time and its writer, in a file that does not grow for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_LIMIT: Final = 1024 * 1024


def now_utc() -> datetime:
    """The present moment."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class LogFile:
    """Appends to `path`; at `limit` bytes the file becomes `<path>.1` and a new one begins."""

    def __init__(self, path: Path, *, limit: int = _LIMIT, clock: Callable[[], datetime] = now_utc) -> None:
        self.path = path
        self._limit = limit
        self._clock = clock
        self._lost = 0

    def write(self, writer: str, lines: Iterable[bytes | str]) -> None:
        """Appends `lines`, each with the time and `writer` before it.

        On a full disk lines are lost, and how many is said once there is room: a log never stops who writes it.
        """
        texts = [line.decode("utf-8", errors="replace") if isinstance(line, bytes) else line for line in lines]
        if not texts:
            return
        lost = [f"{self._lost} lines were lost: the log could not be written"] if self._lost else []
        moment = stamp(self._clock())
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(f"{moment} {writer}: {text.rstrip()}\n" for text in [*lost, *texts])
                file.flush()
                size = file.tell()
            if size > self._limit:
                self.path.replace(self.path.with_name(self.path.name + ".1"))
        except OSError:
            self._lost += len(texts)
        else:
            self._lost = 0

    def last(self, count: int) -> list[str]:
        """The newest `count` lines, oldest first."""
        lines: list[str] = []
        for path in (self.path.with_name(self.path.name + ".1"), self.path):
            if path.is_file():
                lines += path.read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-count:] if count > 0 else []
