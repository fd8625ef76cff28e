"""Globs over paths of an image."""

from __future__ import annotations

import posixpath
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_builder.patterns import extended_expression, matcher


@pytest.mark.parametrize(
    ("pattern", "path", "is_matched"),
    [
        ("usr/share/man", "usr/share/man/man1/x.1", True),
        ("usr/share/man", "usr/share/manual", False),
        ("usr/lib/*/gconv", "usr/lib/aarch64-linux-gnu/gconv/a.so", True),
        ("usr/lib/*/gconv", "usr/lib/a/b/gconv", False),
        ("**/tests", "tests/a.py", True),
        ("**/tests", "numpy/x/tests", True),
        ("**/tests", "numpy/my_tests", False),
        ("**/*.pyc", "a/__pycache__/b.cpython-311.pyc", True),
        ("capi/lib.so*", "capi/lib.so.1.2", True),
        ("capi/lib.so*", "capi/libXso", False),
        ("py/{a,b.py}", "py/a/x", True),
        ("py/{a,b.py}", "py/b.py", True),
        ("py/{a,b.py}", "py/c", False),
        ("a,b", "a,b", True),
        ("x?z", "xyz", True),
        ("x?z", "x/z", False),
        ("/etc/", "etc/passwd", True),
    ],
)
def test_globs(pattern: str, path: str, is_matched: bool) -> None:
    assert matcher([pattern])(path) is is_matched


@given(
    st.text(alphabet="ab.*?+{},/$^|()[]\\", min_size=1, max_size=12),
    st.text(alphabet="ab.+,/$^|()[]\\{}", min_size=1, max_size=8).map(posixpath.normpath),
)
def test_an_extended_expression_matches_what_the_glob_does(pattern: str, path: str) -> None:
    try:
        is_matched = matcher([pattern])
    except ValueError:
        with pytest.raises(ValueError, match="not closed"):
            extended_expression(pattern)
        return
    # Our expressions use what Python and POSIX write alike, so Python can read them.
    assert (re.fullmatch(f"(?:{extended_expression(pattern)})(?:/.*)?", path, re.DOTALL) is not None) == (
        is_matched(path)
    )


def test_find_reads_the_expressions(tmp_path: Path) -> None:
    for name in ("a/tests/x", "b/lib.so.1", "b/lib_so", "c/{d}", "c/e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    tests = [f"-regex ./{extended_expression(glob)}".split() for glob in ("**/tests", "b/lib.so*", "c/{x,e}")]
    command = ["find", ".", "-regextype", "posix-extended", "(", *tests[0], "-o", *tests[1], "-o", *tests[2], ")"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert sorted(done.stdout.split()) == ["./a/tests", "./b/lib.so.1", "./c/e"]


def test_no_glob_matches_nothing() -> None:
    assert not matcher([])("anything")


def test_an_open_brace_is_refused() -> None:
    with pytest.raises(ValueError, match="not closed"):
        matcher(["a/{b,c"])


@given(st.text(alphabet=st.characters(exclude_characters="*?{},"), min_size=1).map(lambda text: text.strip("/")))
def test_text_without_wildcards_matches_itself(text: str) -> None:
    assert matcher([text])(text) == bool(text) or not text
