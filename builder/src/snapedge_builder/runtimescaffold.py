"""`builder runtime new`: a folder for a runtime, which builds as it is."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import ModelFormat

from . import contents, runtimes
from .errors import BuilderError
from .packed import replace_file
from .scaffold import FolderTakenError
from .yamldocument import DeclarationError

VERSION = "1.0.0"
_PROJECTS = "kserve-images"
_README = "README.md"
_PACKAGES = "[base-files, libpython3-stdlib, libstdc++6, python3-minimal]"
_UNUSED = (
    "usr/lib/python3*/{curses,dbm,distutils,doctest.py,ensurepip,idlelib,lib2to3,msilib,pydoc.py,pydoc_data,sqlite3}",
    "usr/lib/python3*/{test,tkinter,turtle.py,turtledemo,unittest,venv,wsgiref,xmlrpc}",
    "usr/lib/python3*/lib-dynload/{_codecs_*,_crypt,_ctypes_test,_curses*,_dbm,_sqlite3,_test*,_xx*,nis,readline,xx*}.*",
    "usr/lib/*/{engines-3,ossl-modules,libmvec.so*}",
    "usr/share/{base-files,gcc,gdb}",
    "{etc/python3*,usr/lib/python3*/sitecustomize.py}",
)
"""What a server never imports. Libraries that only these need leave with them."""
_USED_BY_SKLEARN = ("pydoc.py,", "unittest,")
"""Modules among them that numpy and scipy do import there."""


class NoServerError(BuilderError):
    """There is no server of that kind to build from."""

    exit_code = ExitCode.USAGE

    def __init__(self, folder: Path, kind: ModelFormat) -> None:
        super().__init__(
            f"there is no {_PROJECTS}/{kind} in a folder above {folder}",
            resolution="name the server's project with --image, or a Dockerfile of your own with --dockerfile",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRuntime:
    """What was written."""

    name: str
    files: tuple[str, ...]


def new_folder(
    folder: Path, *, kind: ModelFormat, dockerfile: Path | None, image: Path | None, name: str | None
) -> NewRuntime:
    """Write a folder for a runtime: runtime.yaml and a README.

    Args:
        folder: to write; it may be there, as long as these files are not.
        kind: of the models that it serves.
        dockerfile: of an image of one's own; None for a server's project.
        image: the folder of that project; None to look for ours in the folders above.
        name: of the runtime; None for the folder's.

    Raises:
        FolderTakenError: one of the files is there already.
        NoServerError: no server's project was named, and ours is not in a folder above.
        DeclarationError: the name is none, or the Dockerfile or the project cannot be built from.
        OutputError: the folder cannot be written.
    """
    for file in (runtimes.FILE_NAME, _README):
        if (folder / file).exists():
            raise FolderTakenError(folder, file)
    chosen = name if name is not None else _slug(folder.absolute().name)
    if dockerfile is not None:
        body = f"formats: [{kind}]\nbuild: {{dockerfile: {_quoted(dockerfile, folder)}}}\n"
    else:
        body = _composed(kind, _quoted(image or _project(folder, kind), folder))
    text = f"name: {chosen}\nversion: {VERSION}\ninterface: 1\n{body}architectures: [amd64, arm64]\n"
    existed = folder.exists()
    try:
        replace_file(folder / runtimes.FILE_NAME, text.encode())
        served = runtimes.read_any(folder.absolute()).formats
        if kind not in served:
            words = ", ".join(str(form) for form in served)
            raise DeclarationError(runtimes.FILE_NAME, None, f"image: its server is for {words}, and not for {kind}")
        replace_file(folder / _README, _readme(chosen, folder).encode())
    except BuilderError:
        (folder / runtimes.FILE_NAME).unlink(missing_ok=True)
        if not existed and folder.exists():
            folder.rmdir()
        raise
    return NewRuntime(name=chosen, files=(runtimes.FILE_NAME, _README))


def _project(folder: Path, kind: ModelFormat) -> Path:
    for above in folder.absolute().parents:
        if (above / _PROJECTS / str(kind)).is_dir():
            return above / _PROJECTS / str(kind)
    raise NoServerError(folder, kind)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-").removeprefix("runtime-")


def _quoted(path: Path, folder: Path) -> str:
    """A path relative to the folder, as YAML takes any of them."""
    relative = Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()
    return "'" + relative.replace("'", "''") + "'"


def _composed(kind: ModelFormat, image: str) -> str:
    unused = "\n".join(f'    - "{glob}"' for glob in _UNUSED)
    for used in _USED_BY_SKLEARN if kind is ModelFormat.SKLEARN else ():
        unused = unused.replace(used, "")
    return f"""\
image: {image}
base:
  suite: bookworm
  packages: {_PACKAGES}
  prune: # what the server never imports
{unused}
"""


def _readme(name: str, folder: Path) -> str:
    return f"""\
# {folder.absolute().name}

What models are put on that name it, with `runtime: {{name: {name}}}` or `builder build --runtime`. It becomes the snap
`{contents.runtime_snap_name(name)}`, one file for each architecture.

    builder runtime build {folder.absolute().name}
    builder runtime check {folder.absolute().name} --against OLD.snap

`interface` is what models rely on, and grows when one built for the old one would break; `version` grows with every
change.
"""
