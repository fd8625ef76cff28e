"""Circumstances that a build must not depend on: place, time, user, language, and how many processors there are."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOBODY = 65534


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a process finds itself in.

    Attributes:
        environment: over this process's own.
        umask: of the process.
        processors: that it may use, as taskset lists them.
        as_nobody: another user, where this one may become it; it can read what this one can.
        mtime: that its files are given first, in seconds.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    umask: int = 0o022
    processors: str = "0"
    as_nobody: bool = False
    mtime: int = 0

    def run(self, arguments: Sequence[str | Path], *, home: Path, seconds: float = 300) -> str:
        """What a command prints that is run in them, `home` being its home and its temporary folder.

        Raises:
            AssertionError: it ended with an error.
        """
        home.mkdir(parents=True, exist_ok=True)
        command = list(arguments)
        if shutil.which("taskset"):
            command = ["taskset", "--cpu-list", self.processors, *command]
        if self.as_nobody and os.geteuid() == 0:
            os.chown(home, NOBODY, NOBODY)
            # Nobody with root's right to read: temporary folders of tests, and the interpreter in root's home.
            command = [
                *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
                *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
                *command,
            ]
        own = {"HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": str(home / "cache")}
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **own, **self.environment},
            umask=self.umask,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def age(self, folder: Path) -> None:
        """Give every file below a folder the time of these circumstances."""
        for path in folder.rglob("*"):
            os.utime(path, (self.mtime, self.mtime), follow_symlinks=False)


HERE = Circumstances(
    environment={"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1", "SOURCE_DATE_EPOCH": "1"}, mtime=1_000_000_000
)
ELSEWHERE = Circumstances(
    environment={
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "C.UTF-8",
        "LANG": "de_DE.UTF-8",
        "PYTHONHASHSEED": "2",
        "SOURCE_DATE_EPOCH": "1700000000",
        "USER": "somebody",
    },
    umask=0o077,
    processors="0,1" if len(os.sched_getaffinity(0)) > 1 else "0",
    as_nobody=True,
    mtime=1_700_000_001,
)
