"""The public suite, run as anybody would run it, has no miss on this server."""

from __future__ import annotations

import subprocess
import sys

from .serving import ROOT, Server


def test_every_row_of_the_conformance_suite_is_right(running: Server) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/conformance"]
    command += ["--base-url", f"http://127.0.0.1:{running.port}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    rows = [line for line in ended.stdout.splitlines() if line.startswith(("ok  ", "MISS"))]
    assert len(rows) >= 45
    assert [line for line in rows if line.startswith("MISS")] == []
    assert ended.returncode == 0
