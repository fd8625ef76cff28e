"""How to run a container's process from an image's tree, apart from the machine but on its network.

Virtual devices run their pods so, and the builder the server of a model that is tried.

Bubblewrap does it for anyone, root or not: own user, process, IPC and host name namespaces, no capabilities, uid
65532, the tree read-only, a /proc, /dev and /tmp of its own. Where bubblewrap is missing, root can use chroot: a pod
then has a tree of its own and less between it and the machine.

Differences from a real pod: the network is the machine's (the address to listen on comes in SNAPEDGE_BIND), the root
file system is always read-only, memory limits are not enforced.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from .errors import ExitCode, SnapedgeError

USER: Final = 65532
TERMINATION_LOG = "/dev/termination-log"
_TMP = "/tmp"  # noqa: S108 - the container's own
_TRUE_TREE: Final = ("--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev")


class SandboxMissingError(SnapedgeError):
    """This machine has nothing to run an image with."""

    exit_code = ExitCode.FAILED

    def __init__(self, details: str) -> None:
        super().__init__(
            "images cannot be run here: bubblewrap is missing or may not make user namespaces",
            details=details,
            resolution="install bubblewrap, or run as root",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder of the machine seen in the container."""

    source: Path
    target: str
    writable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """Everything about one start of a container."""

    rootfs: Path
    arguments: Sequence[str]
    environment: Mapping[str, str]
    working_directory: str
    hostname: str
    termination_log: Path
    scratch: Path
    has_tmp: bool = True
    mounts: Sequence[Mount] = ()


class Sandbox(Protocol):
    """A way to run containers."""

    def prepare(self, spec: ContainerSpec) -> None:
        """Make on disk what `command` needs; blocks."""

    def command(self, spec: ContainerSpec, info_fd: int | None = None) -> list[str]:
        """The argument list that runs `spec`; the process's id is written to `info_fd`, if the sandbox can."""

    @property
    def tells_pid(self) -> bool:
        """Whether the container's process is not the one started, and told through `info_fd`."""


class Bubblewrap:
    """The usual sandbox."""

    tells_pid = True

    def __init__(self, program: str, *, host_folders: Sequence[str] = ()) -> None:
        """`host_folders` of the machine are shown to every container: for images that bring no userland, in tests."""
        self._program = program
        self._host_folders = host_folders

    def prepare(self, spec: ContainerSpec) -> None:
        """Nothing: the tree is bound as it is."""

    def command(self, spec: ContainerSpec, info_fd: int | None = None) -> list[str]:
        """`bwrap ...` around the container's arguments."""
        isolation = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
        identity = ["--uid", str(USER), "--gid", str(USER), "--cap-drop", "ALL", "--hostname", spec.hostname]
        # As pid 1, like in a pod: the server itself gets SIGTERM, and everything ends with it.
        life = ["--die-with-parent", "--new-session", "--as-pid-1"]
        if info_fd is not None:
            life += ["--info-fd", str(info_fd)]
        view = ["--ro-bind", str(spec.rootfs), "/", "--proc", "/proc", "--dev", "/dev"]
        view += ["--bind", str(spec.termination_log), TERMINATION_LOG]
        if spec.has_tmp:
            view += ["--tmpfs", _TMP]
        for folder in self._host_folders:
            view += ["--ro-bind", folder, folder]
        for mount in spec.mounts:
            view += ["--bind" if mount.writable else "--ro-bind", str(mount.source), mount.target]
        view += ["--chdir", spec.working_directory]
        return [self._program, *isolation, *identity, *life, *view, "--", *spec.arguments]


class Chroot:
    """For root on a machine without bubblewrap: a tree of hard links for each pod."""

    tells_pid = False

    def __init__(self, program: str) -> None:
        self._program = program

    def prepare(self, spec: ContainerSpec) -> None:
        """Link the tree, and put device nodes, termination log and volumes in it."""
        tree = self._tree(spec)
        if not tree.is_dir():
            shutil.copytree(spec.rootfs, tree, symlinks=True, copy_function=_link)
            for name, numbers in (("null", (1, 3)), ("zero", (1, 5)), ("random", (1, 8)), ("urandom", (1, 9))):
                os.mknod(tree / "dev" / name, 0o666 | 0o020000, os.makedev(*numbers))
                (tree / "dev" / name).chmod(0o666)
        for mount in spec.mounts:
            target = tree / mount.target.lstrip("/")
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(mount.source, target)
            if mount.writable:
                os.chown(target, USER, USER)
        (tree / "tmp").chmod(0o1777)
        log = tree / TERMINATION_LOG.lstrip("/")
        log.unlink(missing_ok=True)
        os.link(spec.termination_log, log)
        os.chown(log, USER, USER)

    def command(
        self,
        spec: ContainerSpec,
        info_fd: int | None = None,  # noqa: ARG002 - chroot becomes the process
    ) -> list[str]:
        """`chroot --userspec ...` around the container's arguments."""
        return [self._program, f"--userspec={USER}:{USER}", "--groups=", str(self._tree(spec)), *spec.arguments]

    @staticmethod
    def _tree(spec: ContainerSpec) -> Path:
        return spec.scratch / "rootfs"


def find_sandbox(*, search_path: str | None = None) -> Sandbox:
    """The best sandbox this machine has; `SandboxMissingError` if none works."""
    program = shutil.which("bwrap", path=search_path)
    problem = "bwrap is not installed"
    if program is not None:
        probe = [program, "--unshare-user", "--unshare-pid", "--uid", str(USER), *_TRUE_TREE, "--", "true"]
        done = subprocess.run(probe, capture_output=True, text=True, timeout=10, check=False)
        if done.returncode == 0:
            return Bubblewrap(program)
        problem = done.stderr.strip()
    chroot = shutil.which("chroot", path=search_path)
    if os.geteuid() == 0 and chroot is not None:
        return Chroot(chroot)
    raise SandboxMissingError(problem)


def _link(source: str, target: str) -> str:
    os.link(source, target, follow_symlinks=False)
    return target
