"""When an image of one's own counts as built before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from snapedge_builder import contextfiles, runtimes
from snapedge_hooks.vocabulary import Digest

YAML = """\
name: mine
version: 1.0.0
formats: [onnx]
build:
  dockerfile: Dockerfile
  args: {A: "1"}
  secrets: {token: {env: TOKEN}}
  contexts: {data: ../data, base: docker-image://debian:12}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mine"
    (made / "src").mkdir(parents=True)
    (made / ".git").mkdir()
    (tmp_path / "data").mkdir()
    (made / "runtime.yaml").write_text(YAML)
    (made / "Dockerfile").write_text("FROM base\n")
    (made / "src" / "a.py").write_text("a")
    (made / "src" / "link").symlink_to("a.py")
    (tmp_path / "data" / "d").write_text("d")
    return made


def key(folder: Path) -> Digest:
    found = runtimes.read_any(folder)
    assert isinstance(found, runtimes.DockerfileRuntime)
    return contextfiles.fingerprint(found)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "Dockerfile").write_text("FROM other\n"),
        lambda folder: (folder / "src" / "a.py").write_text("b"),
        lambda folder: (folder / "src" / "a.py").chmod(0o755),
        lambda folder: (folder / "src" / "new").touch(),
        lambda folder: ((folder / "src" / "link").unlink(), (folder / "src" / "link").symlink_to("b.py")),
        lambda folder: (folder.parent / "data" / "d").write_text("e"),
        lambda folder: (folder / "runtime.yaml").write_text(YAML.replace('"1"', '"2"')),
        lambda folder: (folder / "runtime.yaml").write_text(YAML.replace("1.0.0", "1.0.1")),
        lambda folder: (folder / "runtime.yaml").write_text(YAML.replace("debian:12", "debian:13")),
    ],
    ids=["dockerfile", "content", "mode", "new file", "link", "context", "argument", "version", "base"],
)
def test_what_the_image_follows_from_counts(folder: Path, change: Callable[[Path], object]) -> None:
    before = key(folder)
    change(folder)
    assert key(folder) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / ".git" / "HEAD").write_text("x"),
        lambda folder: (folder / "src" / "a.py").touch(),
        lambda folder: (folder / "src" / "a.py").chmod(0o600),
    ],
    ids=["git", "time", "owner's modes"],
)
def test_what_it_does_not_follow_from_does_not(folder: Path, change: Callable[[Path], object]) -> None:
    before = key(folder)
    change(folder)
    assert key(folder) == before


@pytest.mark.parametrize("name", [".dockerignore", "Dockerfile.dockerignore"])
def test_what_docker_ignores_is_ignored(folder: Path, name: str) -> None:
    (folder / name).write_text(
        "# what it does not need\n**/__pycache__\n./notes/\nruntime.yaml\n*.dockerignore\n.dockerignore\n"
    )
    before = key(folder)
    (folder / "src" / "__pycache__").mkdir()
    (folder / "src" / "__pycache__" / "a.pyc").touch()
    (folder / "notes").mkdir()
    (folder / "notes" / "n").touch()
    assert key(folder) == before
    (folder / "src" / "notes").touch()
    assert key(folder) != before


def test_where_docker_makes_exceptions_everything_counts(folder: Path) -> None:
    (folder / ".dockerignore").write_text("*\n!src\n")
    before = key(folder)
    (folder / "unused").touch()
    assert key(folder) != before
