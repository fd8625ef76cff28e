"""An image's root file system, and programs run in it as its config says: with bubblewrap, as the image's user."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

from snapedge_builder.parts import BuiltRuntime


def unpack(runtime: BuiltRuntime, folder: Path) -> None:
    """Write what is in the image's layers into a folder."""
    for layer in runtime.image.layers:
        with tarfile.open(runtime.layers[layer.name]) as archive:
            archive.extractall(folder, filter="fully_trusted")


def inside(root: Path, runtime: BuiltRuntime, *command: str) -> list[str]:
    """The command line that runs a command in the image, as its config says."""
    settings = runtime.image.config["config"]
    environment = [part for pair in settings["Env"] for part in ("--setenv", *pair.split("=", 1))]
    return [
        *(
            "bwrap",
            "--unshare-user",
            "--unshare-pid",
            "--die-with-parent",
            "--clearenv",
            "--uid",
            "65532",
            "--gid",
            "65532",
        ),
        *("--ro-bind", str(root), "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"),
        *environment,
        *(command or settings["Entrypoint"]),
    ]


def can_run() -> bool:
    probe = ["bwrap", "--unshare-user", "--ro-bind", "/", "/", "true"]
    return shutil.which("bwrap") is not None and subprocess.run(probe, capture_output=True, check=False).returncode == 0
