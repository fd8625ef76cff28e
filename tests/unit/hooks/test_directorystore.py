from __future__ import annotations

import fcntl
import hashlib
import json
import struct
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from snapedge_hooks.channels import Channel, Revision
from snapedge_hooks.directorystore import (
    DirectoryStore,
    SnapFileMissingError,
    StoreBusyError,
    StoreUnwritableError,
    TruncatedSnapError,
)
from snapedge_hooks.storeindex import SnapDescription, SnapKind, UnknownSnapError
from snapedge_hooks.vocabulary import Architecture, SnapName, SnapVersion

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
STABLE = Channel.parse("stable")
RATER = SnapName("wine-rater")


def squashfs(content: bytes) -> bytes:
    size = 48 + len(content)
    return b"hsqs" + bytes(36) + struct.pack("<Q", size) + content


def described(version: str = "1.0.0") -> SnapDescription:
    return SnapDescription(
        name=RATER, version=SnapVersion(version), architecture=Architecture.AMD64, kind=SnapKind.MODEL
    )


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store", now=lambda: NOON)


@pytest.fixture
def snap(tmp_path: Path) -> Path:
    path = tmp_path / "wine-rater_1.0.0_amd64.snap"
    path.write_bytes(squashfs(b"one"))
    return path


def test_a_pushed_file_lies_under_its_digest(store: DirectoryStore, snap: Path) -> None:
    revision = store.push(snap, described())
    digest = hashlib.sha3_384(snap.read_bytes()).hexdigest()
    assert (int(revision.revision), str(revision.sha3_384), revision.size) == (1, digest, 51)
    assert (store.root / revision.file).read_bytes() == snap.read_bytes()


def test_the_index_is_what_the_contract_shows(store: DirectoryStore, snap: Path) -> None:
    revision = store.push(snap, described())
    store.release(RATER, STABLE, {Architecture.AMD64: revision.revision})
    assert json.loads((store.root / "index.json").read_bytes()) == {
        "format": 1,
        "serial": 2,
        "snaps": {
            "wine-rater": {
                "revisions": [
                    {
                        "revision": 1,
                        "version": "1.0.0",
                        "architecture": "amd64",
                        "sha3_384": str(revision.sha3_384),
                        "size": 51,
                        "uploaded": "2026-03-01T12:00:00Z",
                        "kind": "model",
                        "runtime": None,
                        "image_digest": None,
                        "image_size": None,
                        "model_digest": None,
                        "gate": None,
                    }
                ],
                "releases": [
                    {"release": 1, "version": "1.0.0", "revisions": {"amd64": 1}, "created": "2026-03-01T12:00:00Z"}
                ],
                "channels": {"latest/stable": 1},
                "history": [{"at": "2026-03-01T12:00:00Z", "channel": "latest/stable", "release": 1, "was": None}],
            }
        },
    }


def test_pushing_again_changes_nothing(store: DirectoryStore, snap: Path) -> None:
    first = store.push(snap, described())
    before = (store.root / "index.json").read_bytes()
    assert store.push(snap, described()) == first
    assert (store.root / "index.json").read_bytes() == before
    assert [path.name for path in (store.root / "snaps").iterdir()] == [f"{first.sha3_384}.snap"]


def test_a_file_lost_from_the_folder_is_brought_back_by_a_push(store: DirectoryStore, snap: Path) -> None:
    revision = store.push(snap, described())
    store.path(revision.sha3_384).unlink()
    store.push(snap, described())
    assert store.path(revision.sha3_384).read_bytes() == snap.read_bytes()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"PK..", "does not start like a squashfs"),
        (b"hsqs", "its superblock ends after 4 bytes"),
        (squashfs(b"0123456789")[:-4], "it has 54 bytes of 58"),
    ],
)
def test_a_truncated_snap_is_refused_and_leaves_nothing(
    store: DirectoryStore, snap: Path, data: bytes, problem: str
) -> None:
    snap.write_bytes(data)
    with pytest.raises(TruncatedSnapError, match=problem):
        store.push(snap, described())
    assert list((store.root / "snaps").iterdir()) == []
    assert not (store.root / "index.json").exists()


def test_a_missing_file_is_named(store: DirectoryStore, tmp_path: Path) -> None:
    with pytest.raises(SnapFileMissingError, match=r"absent\.snap cannot be read"):
        store.push(tmp_path / "absent.snap", described())
    assert list((store.root / "snaps").iterdir()) == []


def test_a_writer_waits_for_the_other_and_then_says_so(store: DirectoryStore, snap: Path) -> None:
    store.push(snap, described())
    with (store.root / ".lock").open("ab") as held:
        fcntl.flock(held.fileno(), fcntl.LOCK_EX)
        impatient = DirectoryStore(store.root, lock_seconds=0.0)
        with pytest.raises(StoreBusyError, match="another writer has held the store"):
            impatient.release(RATER, STABLE, {Architecture.AMD64: Revision(1)})


def test_two_publishers_at_once_lose_nothing(store: DirectoryStore, tmp_path: Path) -> None:
    def publish(number: int) -> None:
        path = tmp_path / f"{number}.snap"
        path.write_bytes(squashfs(bytes([number])))
        store.push(path, described(f"1.{number}"))

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(known.revision) for known in store.index().snaps[RATER].revisions) == [1, 2, 3, 4, 5, 6]


def test_several_snaps_are_released_together_or_not_at_all(store: DirectoryStore, snap: Path) -> None:
    revision = store.push(snap, described())
    before = (store.root / "index.json").read_bytes()
    with pytest.raises(UnknownSnapError, match="the store has no snap 'snapedge-onnx'"):
        store.release_all(
            STABLE,
            {
                RATER: {Architecture.AMD64: revision.revision},
                SnapName("snapedge-onnx"): {Architecture.AMD64: Revision(1)},
            },
        )
    assert (store.root / "index.json").read_bytes() == before


def test_a_store_that_cannot_be_written_is_said_in_one_line(tmp_path: Path, snap: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnwritableError, match="cannot be written: Not a directory"):
        DirectoryStore(tmp_path / "file" / "store").push(snap, described())


def test_an_empty_folder_is_an_empty_store(store: DirectoryStore) -> None:
    assert store.index().serial == 0
    assert not store.root.exists()


def test_files_are_readable_by_the_server_that_serves_them(store: DirectoryStore, snap: Path) -> None:
    revision = store.push(snap, described())
    assert store.path(revision.sha3_384).stat().st_mode & 0o777 == 0o644
    assert (store.root / "index.json").stat().st_mode & 0o777 == 0o644
