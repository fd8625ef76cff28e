"""What an image of one's own follows from, as far as it lies on this machine: to know whether it was built before.

Every file of the contexts counts, but `.git` and what .dockerignore leaves out; where that makes exceptions with `!`,
nothing is left out, and some change may have the image built again for nothing. Of a secret its name counts: another
password makes no other image. What a registry has under a tag is asked again with `--refresh`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from snapedge_hooks.document import canonical_json
from snapedge_hooks.vocabulary import Digest

from .patterns import matcher
from .runtimes import DockerfileRuntime

_IGNORE = ".dockerignore"
_GIT = ".git"


def fingerprint(declared: DockerfileRuntime) -> Digest:
    """The hash of it all.

    Raises:
        OSError: a file cannot be read.
    """
    settings, base = declared.dockerfile, declared.base
    own = settings.file.with_name(f"{settings.file.name}{_IGNORE}")
    folders = [(settings.context, own if own.is_file() else settings.context / _IGNORE)]
    folders += [
        (Path(where), Path(where) / _IGNORE) for _, where in sorted(settings.contexts.items()) if Path(where).is_dir()
    ]
    return Digest.of(
        canonical_json(
            [
                [declared.name, declared.version, declared.interface],
                Digest.of_file(settings.file),
                settings.target,
                dict(settings.arguments),
                sorted(settings.secrets),
                dict(settings.contexts),
                None if base is None else [base.suite, list(base.packages), list(base.prune), list(declared.tools)],
                [list(_files(folder, _ignored(ignore))) for folder, ignore in folders],
            ]
        )
    )


def _ignored(file: Path) -> Callable[[str], bool]:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    except (FileNotFoundError, NotADirectoryError):
        return matcher([_GIT])
    patterns = [line.strip("/").removeprefix("./") for line in lines if line and not line.startswith("#")]
    if any(pattern.startswith("!") for pattern in patterns):
        return matcher([_GIT])
    return matcher([_GIT, *patterns])


def _files(folder: Path, is_ignored: Callable[[str], bool]) -> Iterator[list[Any]]:
    """Each file: its path, whether it is executable, and its digest; of a link, where it points."""
    for place, folders, names in os.walk(folder):
        inside = Path(place).relative_to(folder)
        folders[:] = sorted(name for name in folders if not is_ignored((inside / name).as_posix()))
        for name in sorted([*names, *(name for name in folders if (Path(place) / name).is_symlink())]):
            path, said = Path(place) / name, (inside / name).as_posix()
            if is_ignored(said):
                continue
            if path.is_symlink():
                yield [said, str(path.readlink())]
            elif path.is_file():
                yield [said, bool(path.stat().st_mode & 0o111), Digest.of_file(path)]
