"""A tree that was only described becomes a folder, assembled by craft-parts and checked, ready to be packed.

The snap of a model without its runtime has no parts: it is laid out without craft-parts (docs/adr/0034).
Files are linked rather than copied, so the work folder must be on the file system of the cache that holds large ones.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from snapedge_hooks.vocabulary import Architecture

from . import containercheck
from .errors import BuilderError
from .snaptree import SnapTree, TreeFile

_END_SECONDS = 10.0
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_.,:=@%+/-]+")
"""craft-parts writes its paths into shell scripts, and not always between quotes."""


class AssemblyError(BuilderError):
    """The tree of a snap could not be put together."""

    def __init__(self, problem: str, *, details: str = "") -> None:
        super().__init__(
            f"cannot assemble the snap: {problem}", details=details, resolution="see that the cache's disk has room"
        )


class Assembler:
    """craft-parts, loading in a process of its own from the moment this is made, so that other work can go on."""

    def __init__(self) -> None:
        # A file, since nobody reads a pipe while the process works.
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "snapedge_builder.craftworker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
        )
        self._lock = threading.Lock()

    def __enter__(self) -> Assembler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process; what it was doing is nobody's any more."""
        with self._complaints, self._process as process:
            assert process.stdin is not None
            # A process that is gone leaves what it was told in the pipe.
            with suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()

    @contextmanager
    def assembled(
        self, tree: SnapTree, *, architecture: Architecture, document: dict[str, Any], work: Path
    ) -> Iterator[Path]:
        """A folder that holds exactly the tree, checked against snapd's container rules; gone afterwards.

        Args:
            tree: what to assemble.
            architecture: that the snap is for.
            document: its meta/snap.yaml.
            work: a folder to make, by its absolute path; on the cache's disk, so that large files are linked.

        Raises:
            AssemblyError: craft-parts or the disk failed, or the result is not the tree.
            ContainerError: snapd would refuse the result.
        """
        work = _plain_folder(work)
        with laid_out(tree, document=document, work=work) as folder:
            answer = self._ask({"tree": str(folder), "work": str(work), "architecture": str(architecture)})
            if "error" in answer:
                raise AssemblyError(answer["error"], details=answer["details"])
            yield _checked(Path(answer["prime"]), tree, document)

    def _ask(self, request: dict[str, str]) -> dict[str, str]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with self._lock:
            try:
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = ""
            if not line:
                process.kill()
                self._complaints.seek(0)
                raise AssemblyError(
                    "craft-parts ended unasked", details=self._complaints.read().decode(errors="replace")
                )
        answer: dict[str, str] = json.loads(line)
        return answer


@contextmanager
def laid_out(tree: SnapTree, *, document: dict[str, Any], work: Path) -> Iterator[Path]:
    """The folder of a tree without craft-parts; the arguments are those of `Assembler.assembled`.

    Raises:
        AssemblyError: the disk failed.
        ContainerError: snapd would refuse the result.
    """
    try:
        for file in tree.files:
            _materialise(file, work / "tree")
        yield _checked(work / "tree", tree, document)
    except OSError as error:
        raise AssemblyError(f"{error.strerror}: {error.filename}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _plain_folder(wanted: Path) -> Path:
    """That folder; one made below the system's temporary folder where a shell would misread the path wanted."""
    if _PLAIN_PATH.fullmatch(str(wanted)):
        return wanted
    try:
        made = Path(tempfile.mkdtemp(prefix="snapedge-"))
    except OSError as error:
        raise AssemblyError(f"{error.strerror}: {error.filename}") from error
    if not _PLAIN_PATH.fullmatch(str(made)):
        made.rmdir()
        raise AssemblyError(f"craft-parts cannot work in {made}: set TMPDIR to a plain path")
    return made


def _materialise(file: TreeFile, top: Path) -> None:
    path = top / file.path
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


def _checked(top: Path, tree: SnapTree, document: dict[str, Any]) -> Path:
    _settle(top, tree)
    containercheck.check_container(containercheck.walk(top), document)
    return top


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
