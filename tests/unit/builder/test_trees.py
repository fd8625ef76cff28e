"""Paths of an image, with its links."""

from __future__ import annotations

import pytest

from snapedge_builder.trees import Directory, File, Link, Node, Tree

PROGRAM = File(content=b"x", executable=True)
TREE = Tree(
    {
        "bin": Link(target="usr/bin"),
        "usr/bin": Directory(),
        "usr/bin/python3": Link(target="python3.11"),
        "usr/bin/python3.11": PROGRAM,
        "opt/run": Link(target="/bin/python3"),
        "opt/up": Link(target="../usr/bin/python3.11"),
        "loop": Link(target="loop"),
        "out": Link(target="../../x"),
    }
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/usr/bin/python3.11", PROGRAM),
        ("/bin/python3", PROGRAM),
        ("opt//./run", PROGRAM),
        ("/opt/up", PROGRAM),
        ("/usr/bin", Directory()),
        ("/usr/bin/python2", None),
        ("/loop", None),
        ("/out", None),
        ("/", None),
    ],
)
def test_a_path_is_followed_through_links_within_the_image(path: str, found: Node | None) -> None:
    assert TREE.find(path) == found
