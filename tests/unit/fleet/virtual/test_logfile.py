from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from snapedge_fleet.virtual.logfile import LogFile

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def test_lines_have_their_time_and_writer(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log" / "toy.log", clock=lambda: NOW)
    log.write("toy.agent[7]", [b"hello \xff", "world\n"])
    assert log.last(5) == [
        "2026-01-02T03:04:05.000678Z toy.agent[7]: hello \N{REPLACEMENT CHARACTER}",
        "2026-01-02T03:04:05.000678Z toy.agent[7]: world",
    ]


def test_a_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "toy.log", limit=200, clock=lambda: NOW)
    for number in range(100):
        log.write("a", [str(number)])
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 600
    assert log.last(1) == ["2026-01-02T03:04:05.000678Z a: 99"]


def test_what_could_not_be_written_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.write_text("a file where the folder should be", encoding="utf-8")
    log = LogFile(folder / "toy.log", clock=lambda: NOW)
    log.write("a", ["one", "two"])
    folder.unlink()
    log.write("a", ["three"])
    assert [line.split(" a: ")[1] for line in log.last(5)] == [
        "2 lines were lost: the log could not be written",
        "three",
    ]
