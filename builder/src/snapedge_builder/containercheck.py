"""snapd's container rules, checked on an assembled tree before it is packed and on the listing of a packed one.

Rules (snapd snap/container.go, and two of ours):

1. Folders are 0555 or more for everyone, files 0444 or more, hooks and commands 0555 or more.
2. A link may not be absolute and may not lead out of the tree.
3. Nothing but files, folders and links: no devices, sockets or pipes.
4. Ours: no setuid, setgid or world-writable file.
5. Ours: no name that `snap pack` would leave out.
"""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapedge_hooks.errors import ExitCode

from .errors import BuilderError
from .snaptree import is_excluded


class ContainerError(BuilderError):
    """A tree that snapd would refuse to install."""

    exit_code = ExitCode.REFUSED

    def __init__(self, problems: tuple[str, ...]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"snapd would refuse the snap: {problems[0]}{more}", details="\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name in a tree.

    Attributes:
        path: relative to the top, which itself is the empty text.
        mode: type and permission bits, as in `stat`.
        size: of a file, in bytes.
        target: of a link.
    """

    path: str
    mode: int
    size: int = 0
    target: str = ""


def check_container(entries: Iterable[Entry], document: Mapping[str, Any]) -> None:
    """Refuse a tree that snapd would refuse.

    Args:
        entries: every name in the tree, the top included.
        document: its meta/snap.yaml.

    Raises:
        ContainerError: with every problem found.
    """
    found = {entry.path: entry for entry in entries}
    problems = (*_entry_problems(found.values()), *_command_problems(found, document))
    if problems:
        raise ContainerError(problems)


def walk(top: Path) -> Iterator[Entry]:
    """Every name in a folder, the folder itself first; links are not followed."""
    yield Entry(path="", mode=top.lstat().st_mode)
    for path in sorted(top.rglob("*")):
        found = path.lstat()
        target = str(path.readlink()) if stat.S_ISLNK(found.st_mode) else ""
        yield Entry(path=path.relative_to(top).as_posix(), mode=found.st_mode, size=found.st_size, target=target)


def _entry_problems(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        name = entry.path or "the top folder"
        if entry.path and is_excluded(entry.path):
            yield f"{name} has a name that snaps leave out"
        if stat.S_ISLNK(entry.mode):
            if _escapes(entry):
                yield f"{name} links to {entry.target}, outside of the snap"
            continue
        if stat.S_ISDIR(entry.mode):
            needed = 0o555
        elif stat.S_ISREG(entry.mode):
            needed = 0o555 if entry.path.startswith("meta/hooks/") else 0o444
        else:
            yield f"{name} is neither a file nor a folder"
            continue
        if entry.mode & needed != needed:
            yield f"{name} has mode {stat.S_IMODE(entry.mode):04o}, everyone needs {needed:04o}"
        if entry.mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH):
            yield f"{name} has mode {stat.S_IMODE(entry.mode):04o}: no setuid, no setgid, not writable for everyone"


def _command_problems(found: Mapping[str, Entry], document: Mapping[str, Any]) -> Iterator[str]:
    for app, body in document.get("apps", {}).items():
        command = str(body.get("command", "")).split(" ")[0]
        entry = found.get(command)
        if entry is None:
            yield f"command {command!r} of app {app} does not exist"
        elif entry.mode & 0o555 != 0o555:
            yield f"command {command!r} of app {app} is not executable"
    for hook in document.get("hooks", {}):
        if f"meta/hooks/{hook}" not in found:
            yield f"hook {hook} has no meta/hooks/{hook}"


def _escapes(entry: Entry) -> bool:
    if posixpath.isabs(entry.target):
        return True
    landing = posixpath.normpath(posixpath.join(posixpath.dirname(entry.path), entry.target))
    return landing == ".." or landing.startswith("../")
