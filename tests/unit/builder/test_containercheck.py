"""snapd's container rules."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from snapedge_builder.containercheck import ContainerError, Entry, check_container, walk

DOCUMENT = {"apps": {"converge": {"command": "bin/converge"}}, "hooks": {"install": {}}}


def good() -> dict[str, Entry]:
    folders = ["", "bin", "meta", "meta/hooks"]
    files = {"meta/snap.yaml": 0o644, "bin/converge": 0o755, "meta/hooks/install": 0o755}
    return {path: Entry(path=path, mode=stat.S_IFDIR | 0o755) for path in folders} | {
        path: Entry(path=path, mode=stat.S_IFREG | mode) for path, mode in files.items()
    }


def link(path: str, target: str) -> Entry:
    return Entry(path=path, mode=stat.S_IFLNK | 0o777, target=target)


def test_a_good_tree_passes() -> None:
    check_container([*good().values(), link("bin/again", "converge"), link("bin/up", "../meta")], DOCUMENT)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (Entry(path="", mode=stat.S_IFDIR | 0o700), "the top folder has mode 0700, everyone needs 0555"),
        (Entry(path="meta", mode=stat.S_IFDIR | 0o750), "meta has mode 0750, everyone needs 0555"),
        (Entry(path="meta/snap.yaml", mode=stat.S_IFREG | 0o600), "meta/snap.yaml has mode 0600"),
        (Entry(path="meta/hooks/install", mode=stat.S_IFREG | 0o644), "meta/hooks/install has mode 0644"),
        (Entry(path="bin/converge", mode=stat.S_IFREG | 0o644), "command 'bin/converge' of app converge is not exec"),
        (Entry(path="a", mode=stat.S_IFREG | 0o4755), "a has mode 4755: no setuid"),
        (Entry(path="a", mode=stat.S_IFREG | 0o666), "a has mode 0666: no setuid, no setgid, not writable"),
        (Entry(path="a", mode=stat.S_IFCHR | 0o666), "a is neither a file nor a folder"),
        (link("meta/a", "/etc/passwd"), "meta/a links to /etc/passwd, outside of the snap"),
        (link("bin/a", "../../x"), "bin/a links to ../../x, outside of the snap"),
        (Entry(path="payload/x.snap", mode=stat.S_IFREG | 0o644), "payload/x.snap has a name that snaps leave out"),
    ],
)
def test_what_snapd_refuses_is_refused(entry: Entry, problem: str) -> None:
    with pytest.raises(ContainerError) as caught:
        check_container((good() | {entry.path: entry}).values(), DOCUMENT)
    assert any(found.startswith(problem) for found in caught.value.problems), caught.value.problems


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("bin/converge", "command 'bin/converge' of app converge does not exist"),
        ("meta/hooks/install", "hook install has no meta/hooks/install"),
    ],
)
def test_what_snap_yaml_names_must_be_there(path: str, problem: str) -> None:
    tree = good()
    del tree[path]
    with pytest.raises(ContainerError, match=problem):
        check_container(tree.values(), DOCUMENT)


def test_a_folder_is_walked_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o755)
    (tmp_path / "a" / "b").write_bytes(b"123")
    (tmp_path / "a" / "b").chmod(0o644)
    (tmp_path / "c").symlink_to("/")
    assert [(entry.path, entry.size, entry.target) for entry in walk(tmp_path) if entry.path in ("a/b", "c")] == [
        ("a/b", 3, ""),
        ("c", 1, "/"),
    ]
