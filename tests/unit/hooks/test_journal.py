"""What a hook tells the journal, heard on a real socket."""

import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapedge_hooks import __main__ as hooks
from snapedge_hooks import journal
from snapedge_hooks.journal import JournalHandler


class Journal:
    """A socket that takes lines as a device's journal does."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)

    def close(self) -> None:
        """As when the journal starts anew."""
        self._socket.close()
        Path(self.path).unlink()

    def lines(self) -> list[str]:
        """What came since last time."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(1 << 16).decode())
            except BlockingIOError:
                return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough a path for a socket, whatever the test's name."""
    with tempfile.TemporaryDirectory(prefix="sn-") as found:
        yield Path(found)


@pytest.fixture
def heard(folder: Path) -> Iterator[Journal]:
    found = Journal(folder / "log")
    yield found
    found.close()


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    found = logging.Logger("test")
    yield found
    for handler in found.handlers:
        handler.close()


def test_each_line_is_found_by_snap_and_hook_and_has_its_severity(heard: Journal, logger: logging.Logger) -> None:
    logger.addHandler(JournalHandler(heard.path, journal.tag("wine_two", "post-refresh")))
    logger.debug("a")
    logger.info("b")
    logger.warning("c\n\nd")
    logger.error("e")
    sender = f"snap.wine_two.hook.post-refresh[{os.getpid()}]: "
    assert heard.lines() == [
        f"<{number}>{sender}{text}" for number, text in zip((15, 14, 12, 12, 11), "abcde", strict=True)
    ]


def test_a_long_line_is_cut_and_a_strange_one_sent(heard: Journal, logger: logging.Logger) -> None:
    logger.addHandler(JournalHandler(heard.path, "t"))
    logger.error("x" * 100_000)
    logger.error("nul \0 and \ud800")
    long, strange = heard.lines()
    assert len(long) == journal.MAX_BYTES
    assert strange.endswith(": nul   and ?")


def test_without_a_journal_nothing_fails_and_a_later_one_is_found(folder: Path, logger: logging.Logger) -> None:
    logger.addHandler(JournalHandler(str(folder / "log"), "t"))
    logger.error("lost")
    first = Journal(folder / "log")
    logger.error("one")
    assert len(first.lines()) == 1
    first.close()
    logger.error("lost")
    second = Journal(folder / "log")
    logger.error("two")
    assert second.lines()[0].endswith(": two")
    second.close()


def test_a_journal_that_takes_nothing_is_not_waited_for(heard: Journal, logger: logging.Logger) -> None:
    logger.addHandler(JournalHandler(heard.path, "t"))
    for _ in range(1000):
        logger.error("x")
    assert 0 < len(heard.lines()) < 1000


def environment(folder: Path, journal_path: str) -> dict[str, str]:
    return {
        "SNAP": str(folder),
        "SNAP_COMMON": str(folder),
        "SNAP_DATA": str(folder),
        "SNAP_INSTANCE_NAME": "wine",
        "SNAP_REVISION": "1",
        "SNAP_ARCH": "amd64",
        "SNAPEDGE_JOURNAL": journal_path,
    }


def test_a_hook_that_fails_tells_cause_and_remedy_last_on_stderr_and_in_the_journal(
    folder: Path, heard: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    """The snap is empty: nothing of ours is in it."""
    assert hooks.main(["install"], environment(folder, heard.path)) == 1
    told = capsys.readouterr().err.splitlines()[-1].removeprefix("snapedge install: ")
    cause, _, remedy = told.partition("; ")
    assert cause
    assert remedy
    assert heard.lines()[-1] == f"<11>snap.wine.hook.install[{os.getpid()}]: {told}"


def test_a_service_leaves_the_journal_to_snapd(folder: Path, heard: Journal) -> None:
    hooks.main(["drift"], environment(folder, heard.path))
    assert heard.lines() == []


def test_a_second_run_lets_go_of_the_socket_of_the_first(folder: Path, heard: Journal) -> None:
    for _ in range(2):
        hooks.main(["install"], environment(folder, heard.path))
    handlers = logging.getLogger("snapedge_hooks").handlers
    assert [type(handler) for handler in handlers] == [logging.StreamHandler, JournalHandler]
    before = len(list(Path("/proc/self/fd").iterdir()))
    hooks.main(["install"], environment(folder, heard.path))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_an_empty_name_means_no_journal(folder: Path) -> None:
    hooks.main(["install"], environment(folder, ""))
    assert len(logging.getLogger("snapedge_hooks").handlers) == 1
