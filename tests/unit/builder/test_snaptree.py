"""What goes into a snap, before anything is written."""

from __future__ import annotations

import pytest

from snapedge_builder.snaptree import VanishingFileError, is_excluded, snap_tree, text_file


@pytest.mark.parametrize(
    "path",
    [
        "payload/x.snap",
        "a.click",
        "lib/a~",
        "lib/.a.swp",
        ".git/config",
        ".gitignore",
        "CVS/Root",
        "lib/.#lock",
        ",,x/y",
    ],
)
def test_names_that_snap_pack_drops_are_errors(path: str) -> None:
    with pytest.raises(VanishingFileError, match="would be left out of the snap"):
        snap_tree([text_file(path, "x")])


@pytest.mark.parametrize("path", ["payload/.gitignore", "lib/snap.py", "DEBIANS", "lib/CVS/Root", "a.snapx"])
def test_names_it_keeps_are_kept(path: str) -> None:
    assert not is_excluded(path)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", ""])
def test_paths_outside_of_the_tree_are_errors(path: str) -> None:
    with pytest.raises(ValueError, match="is not a path inside a snap"):
        snap_tree([text_file(path, "x")])


def test_a_path_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match="a stands twice in the tree"):
        snap_tree([text_file("a", "1"), text_file("a", "2")])


def test_the_key_follows_from_paths_modes_bytes_and_packer_alone() -> None:
    one = snap_tree([text_file("a", "1"), text_file("b", "2")])
    same = snap_tree([text_file("b", b"2"), text_file("a", b"1")])
    assert one.key("p") == same.key("p")
    others = [
        snap_tree([text_file("a", "1"), text_file("b", "3")]),
        snap_tree([text_file("a", "1"), text_file("c", "2")]),
        snap_tree([text_file("a", "1", executable=True), text_file("b", "2")]),
    ]
    assert len({one.key("p"), one.key("q"), *(other.key("p") for other in others)}) == 5
