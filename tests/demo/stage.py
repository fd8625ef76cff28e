"""Where the demo plays: one folder, the commands it types, the processes it started and ends again."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

BOLD, DIM, GREEN, RED, PLAIN = ("\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[0m")
TERMINATION_SECONDS = 15.0


class SceneError(Exception):
    """The story did not go as told; the message says what was expected and where the log is."""


class Stage:
    """Types commands, shows them with what they print, and keeps every byte in the log folder.

    Attributes:
        root: everything the demo writes.
        logs: a file for each background process, and `commands.log` with all commands and their whole output.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.logs = root / "logs"
        self.logs.mkdir(parents=True)
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._started = time.monotonic()
        self._background: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "NO_COLOR": "1",
            "COLUMNS": "110",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, process in reversed(self._background):
            self._end(name, process)

    # -- what the audience sees

    def chapter(self, title: str) -> None:
        """A heading, with the seconds since the curtain rose."""
        print(f"\n{self._paint(BOLD, f'── {title}')} {self._paint(DIM, f'({time.monotonic() - self._started:.0f} s)')}")

    def say(self, text: str) -> None:
        """A sentence of the story."""
        print(text, flush=True)

    def good(self, text: str) -> None:
        """A sentence about something that was checked and holds."""
        print(f"{self._paint(GREEN, '✓')} {text}", flush=True)

    def bad(self, text: str) -> None:
        """A sentence about something that was meant to go wrong, and did."""
        print(f"{self._paint(RED, '✗')} {text}", flush=True)

    # -- commands

    def run(
        self,
        *command: str | Path,
        expect: int = 0,
        quiet: bool = False,
        show: Callable[[str], bool] = lambda _line: True,
    ) -> str:
        """Type a command as a user would, print what it prints, and give it back.

        Args:
            command: the argument list.
            expect: the exit code it should leave with.
            quiet: neither type it nor print its output.
            show: which of its lines to print.

        Raises:
            SceneError: another exit code, or ten minutes went by.
        """
        words = [str(word) for word in command]
        typed = f"$ {shlex.join(self._short(word) for word in words)}"
        if not quiet:
            print(self._paint(BOLD, typed), flush=True)
        lines: list[str] = []
        with (
            subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=self.environment,
            ) as process,
            (self.logs / "commands.log").open("a") as log,
        ):
            log.write(f"{typed}\n")
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                lines.append(line)
                if not quiet and show(line):
                    print(f"  {self._short(line.rstrip())}", flush=True)
            code = process.wait(timeout=600)
        if code != expect:
            tail = "" if not quiet else "".join(lines[-15:])
            raise SceneError(f"{typed} left with {code}, not {expect}; see {self.logs / 'commands.log'}\n{tail}")
        return "".join(lines)

    def ask(self, *command: str | Path) -> Any:
        """What a command answers with `--format json`, without showing it."""
        words = [*map(str, command), "--format", "json"]
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=self.environment, timeout=120
        )
        if done.returncode:
            raise SceneError(f"{shlex.join(words)} left with {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def background(self, name: str, *command: str | Path) -> None:
        """Start a process that lives until the curtain falls; its output goes to a log of its name."""
        print(self._paint(BOLD, f"$ {shlex.join(self._short(str(word)) for word in command)} &"), flush=True)
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )
        self._background.append((name, process))

    def process_of(self, name: str) -> int:
        """The process id of a background process."""
        return next(process.pid for known, process in self._background if known == name)

    def until(self, what: str, ready: Callable[[], bool], *, seconds: float) -> float:
        """Wait until something holds, looking five times a second.

        Returns:
            The seconds it took.

        Raises:
            SceneError: it did not hold in time, or a background process died.
        """
        begun = time.monotonic()
        while not ready():
            for name, process in self._background:
                if process.poll() is not None:
                    raise SceneError(f"{name} died with {process.returncode}; see {self.logs / name}.log")
            if time.monotonic() - begun > seconds:
                raise SceneError(f"waited {seconds:.0f} s in vain until {what}; logs are in {self.logs}")
            time.sleep(0.2)
        return time.monotonic() - begun

    def forget(self) -> None:
        """Leave the background processes running when the curtain falls."""
        self._background.clear()

    def _end(self, name: str, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=TERMINATION_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            print(f"{name} did not end by itself and was killed", file=sys.stderr)

    def _short(self, text: str) -> str:
        """Paths as seen from where the audience sits."""
        here = f"{Path.cwd()}{os.sep}"
        return text.replace(here, "")

    def _paint(self, style: str, text: str) -> str:
        return f"{style}{text}{PLAIN}" if self._colour else text


def fresh(folder: Path) -> Path:
    """An empty folder in place of whatever was there."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
