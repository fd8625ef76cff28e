"""The only caller of craft-parts: a tree that was only described becomes a folder, ready to be packed.

Two parts, dumped: what every snap of ours carries (`device`), and what this one brings (`content`). Files are linked
rather than copied, so the work folder must be on the file system of the cache that holds the large ones.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snapedge_hooks.vocabulary import Architecture

from . import containercheck
from .errors import BuilderError
from .snaptree import SnapTree, TreeFile

_DEVICE_TOPS = frozenset({"bin", "lib"})
_LIFECYCLE = threading.Lock()
"""craft-parts changes the process's working directory while it builds a part."""


class AssemblyError(BuilderError):
    """The tree of a snap could not be put together."""

    def __init__(self, problem: str, *, details: str = "") -> None:
        super().__init__(
            f"cannot assemble the snap: {problem}", details=details, resolution="see that the disk has room"
        )


@contextmanager
def assembled(tree: SnapTree, *, architecture: Architecture, document: dict[str, Any], work: Path) -> Iterator[Path]:
    """A folder that holds exactly the tree, checked against snapd's container rules; gone afterwards.

    Args:
        tree: what to assemble.
        architecture: that the snap is for.
        document: its meta/snap.yaml.
        work: a folder to make, by its absolute path.

    Raises:
        AssemblyError: craft-parts or the disk failed, or the result is not the tree.
        ContainerError: snapd would refuse the result.
    """
    try:
        work.mkdir(parents=True)
        for file in tree.files:
            _materialise(file, work / "sources" / _part(file))
        prime = _run_lifecycle(work, architecture)
        _settle(prime, tree)
        containercheck.check_container(containercheck.walk(prime), document)
        yield prime
    except OSError as error:
        raise AssemblyError(f"{error.strerror}: {error.filename}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _part(file: TreeFile) -> str:
    return "device" if file.path.split("/", 1)[0] in _DEVICE_TOPS or file.path.startswith("meta/hooks/") else "content"


def _materialise(file: TreeFile, source: Path) -> None:
    path = source / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(file.source, bytes):
        path.write_bytes(file.source)
    else:
        try:
            path.hardlink_to(file.source)
        except OSError:
            # Another file system, or one without links.
            shutil.copyfile(file.source, path)
    if path.stat().st_mode & 0o7777 != file.mode:
        path.chmod(file.mode)


def _run_lifecycle(folder: Path, architecture: Architecture) -> Path:
    # Imported here: it takes half a second that a build with nothing to do need not pay.
    import craft_parts
    from craft_parts import packages
    from craft_parts.packages import base

    # On Debian and Ubuntu craft-parts wants python-apt even where no package is ever asked for.
    packages.Repository = base.DummyRepository  # type: ignore[assignment]
    sources = folder / "sources"
    parts = {part.name: {"plugin": "dump", "source": str(part)} for part in sorted(sources.iterdir())}
    log = folder / "lifecycle.log"
    with _LIFECYCLE, log.open("w") as output:
        try:
            lifecycle = craft_parts.LifecycleManager(
                {"parts": parts},
                application_name="snapedge",
                cache_dir=folder / "cache",
                work_dir=str(folder / "work"),
                arch=str(architecture),
                parallel_build_count=1,
            )
            actions = lifecycle.plan(craft_parts.Step.PRIME)
            with lifecycle.action_executor() as executor:
                executor.execute(actions, stdout=output, stderr=output)
        except craft_parts.PartsError as error:
            output.flush()
            raise AssemblyError(error.brief, details=log.read_text(errors="replace")) from error
        return lifecycle.project_info.dirs.prime_dir


def _settle(prime: Path, tree: SnapTree) -> None:
    """Give folders one mode whatever the umask is, and see that nothing is missing, foreign or cut short."""
    expected = {file.path: (file.size, file.mode) for file in tree.files}
    prime.chmod(0o755)
    for path in prime.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
            continue
        name = path.relative_to(prime).as_posix()
        found = path.lstat()
        if expected.pop(name, None) != (found.st_size, found.st_mode & 0o7777):
            raise AssemblyError(f"{name} came out other than planned")
    if expected:
        raise AssemblyError(f"{min(expected)} is missing from the assembled tree")
