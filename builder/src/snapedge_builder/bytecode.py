"""Byte code for an image: compiled by the base's own Python, the same bytes on every build host.

Without it a server compiles 700 modules at every start, since its root is read-only: 0.7 s where 0.2 s do. Rules:

1. The compiler is the Python of the base itself, in this host's architecture: another patch release may compile
   otherwise. It is run through its own loader from its unpacked packages, and only to compile.
2. Byte code is checked against no source at run time (PEP 552, unchecked): layers are immutable, and times there are 0.
3. It is written in marshal's version 2, which holds no back references: those of later versions depend on what else the
   compiling process has in memory. Byte code does not depend on the architecture.

    BytecodeError        the base's Python does not run here
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import debs, elf, processes
from .apt import Package
from .cache import Cache
from .errors import BuilderError
from .rootfs import SCRIPTS_ONLY
from .trees import File, Link, Slice, Tree, TreeError, link_destination

_SECONDS = 300.0
# Runs in the base's Python, which has no more than its minimal library.
_SCRIPT = """
import marshal, sys
from _imp import source_hash
from _frozen_importlib_external import MAGIC_NUMBER, _RAW_MAGIC_NUMBER
jobs, spool, index = sys.argv[1:]
sys.setrecursionlimit(10000)
offset = 0
with open(jobs, encoding="utf-8") as lines, open(spool, "wb") as out, open(index, "w", encoding="utf-8") as sizes:
    for line in lines:
        start, size, name, path = line.rstrip("\\n").split("\\t", 3)
        with open(path, "rb") as file:
            file.seek(int(start))
            source = file.read(int(size))
        try:
            code = compile(source, name, "exec", dont_inherit=True)
            data = MAGIC_NUMBER + b"\\1\\0\\0\\0" + source_hash(_RAW_MAGIC_NUMBER, source) + marshal.dumps(code, 2)
        except (SyntaxError, ValueError, RecursionError):
            data = b""
        out.write(data)
        sizes.write(f"{len(data)}\\n")
"""


class BytecodeError(BuilderError):
    """The base's Python failed on this host."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the base's own Python does not run here: {reason}",
            resolution="if the cache is on a disk mounted noexec, name another folder with --cache",
        )


def interpreter_packages(packages: Iterable[Package], python: tuple[int, int]) -> tuple[Package, ...]:
    """Those of a base that its Python needs to start, dependencies included."""
    known = {package.name: package for package in packages}
    wanted = [f"python{python[0]}.{python[1]}-minimal", f"libpython{python[0]}.{python[1]}-minimal"]
    found: dict[str, Package] = {}
    while wanted:
        name = wanted.pop()
        if name in known and name not in found and name not in SCRIPTS_ONLY:
            found[name] = known[name]
            wanted += known[name].depends
    return tuple(found[name] for name in sorted(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Interpreter:
    """The base's Python, unpacked: how it is started."""

    arguments: tuple[str, ...]
    home: str


class Compiler:
    """The base's Python of this host's architecture; unpacked when it is first needed. Safe to share by threads."""

    def __init__(
        self,
        packages: Sequence[Package],
        python: tuple[int, int],
        *,
        fetch: Callable[[Sequence[Package]], None],
        scratch: Path,
        cache: Cache,
    ) -> None:
        """Note where the interpreter comes from.

        Args:
            packages: what it needs to start, for this host's architecture.
            python: its version.
            fetch: has packages in the cache.
            scratch: where it is unpacked; must outlive the trees that were compiled.
            cache: that the packages are in.
        """
        self._packages = packages
        self._python = python
        self._fetch = fetch
        self._scratch = scratch
        self._cache = cache
        self._lock = threading.Lock()
        self._interpreter: _Interpreter | None = None

    def compile(self, trees: Sequence[Tree], *, scratch: Path) -> None:
        """Add to each tree the byte code of its modules. A module that does not compile gets none.

        Args:
            trees: whose paths are those of the image.
            scratch: where the byte code is; must outlive the trees, and is used once.

        Raises:
            BytecodeError: the base's Python does not run here.
        """
        modules = [
            (tree, path, file)
            for tree in trees
            for path, file in tree.files()
            if path.endswith(".py") and "\n" not in path
        ]
        if not modules:
            return
        with self._lock:
            self._interpreter = self._interpreter or self._unpack()
        jobs, spool, index, script = (scratch / f"bytecode.{name}" for name in ("jobs", "spool", "index", "py"))
        with self._cache.guard():
            jobs.write_text("".join(_job(path, file) for _, path, file in modules), encoding="utf-8")
            script.write_text(_SCRIPT, encoding="utf-8")
        done = processes.run(
            [*self._interpreter.arguments, "-S", "-s", "-P", "-B", script, jobs, spool, index],
            package="python3",
            seconds=_SECONDS,
            environment={"PYTHONHOME": self._interpreter.home, "PYTHONHASHSEED": "0", "PYTHONPATH": ""},
        )
        if done.status:
            raise BytecodeError((done.errors.strip().splitlines() or [f"it ended with {done.status}"])[-1])
        tag = f"cpython-{self._python[0]}{self._python[1]}"
        offset = 0
        sizes = [int(line) for line in index.read_text(encoding="utf-8").split()]
        for (tree, path, file), size in zip(modules, sizes, strict=True):
            if size:
                folder, _, name = path.rpartition("/")
                place = f"{folder}/__pycache__/{name.removesuffix('.py')}.{tag}.pyc"
                tree.add(place, File(content=Slice(path=spool, offset=offset, size=size), origin=file.origin))
            offset += size

    def _unpack(self) -> _Interpreter:
        """Lay out what the interpreter needs: its program, its minimal library, its shared libraries."""
        self._fetch(self._packages)
        home = self._scratch / "python"
        libraries = home / "libraries"
        name = f"python{self._python[0]}.{self._python[1]}"
        program, loader = home / "program", home / "loader"
        with self._cache.guard():
            libraries.mkdir(parents=True, exist_ok=True)
        wanted_loader = ""
        files: dict[str, File] = {}
        for package in self._packages:
            path = self._cache.blob_path(package.digest)
            tree = debs.unpack(package, path, scratch=self._scratch, cache=self._cache).tree
            files |= _files_by_name(tree)
            for place, file in tree.files():
                if place == f"usr/bin/{name}":
                    self._write(file, program)
                    wanted_loader = elf.read(file).loader.rpartition("/")[2]
                elif place.startswith(f"usr/lib/{name}/") and place.endswith(".py"):
                    self._write(file, home / place.removeprefix("usr/"))
        if wanted_loader not in files or not program.is_file():
            raise BytecodeError("its packages do not hold it")
        for soname, file in files.items():
            self._write(file, libraries / soname)
        self._write(files[wanted_loader], loader)
        return _Interpreter(
            arguments=(str(loader), "--library-path", str(libraries), str(program)),
            home=str(home),
        )

    def _write(self, file: File, place: Path) -> None:
        with self._cache.guard():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read())
            place.chmod(0o755)


def _job(path: str, file: File) -> str:
    if not isinstance(file.content, Slice):
        raise TreeError(file.origin, path, "is a generated module")
    return f"{file.content.offset}\t{file.content.size}\t/{path}\t{file.content.path}\n"


def _files_by_name(tree: Tree) -> dict[str, File]:
    """Shared libraries of the loader's folders by every name they go by."""
    found: dict[str, File] = {}
    for path, node in tree.entries.items():
        parts = path.split("/")
        if ".so" not in parts[-1] or parts[:2] not in (["usr", "lib"], ["usr", "lib64"]) or len(parts) > 4:
            continue
        destination = link_destination(path, node.target) if isinstance(node, Link) else path
        if destination is not None and destination.startswith("lib/"):
            destination = f"usr/{destination}"
        file = tree.entries.get(destination or "")
        if isinstance(file, File):
            found[parts[-1]] = file
    return found
