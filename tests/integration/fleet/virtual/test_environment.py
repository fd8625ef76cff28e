"""What a snap's programs see of their device: snapd's variables, the folders of their instance, their own files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from .rundevice import RunDevice
from .toysnaps import ToySnap

pytestmark = pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="mksquashfs is not installed")


def test_a_hook_runs_with_snapds_variables_and_nothing_of_this_process(
    device: RunDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    device.install(ToySnap(hooks={"install": "env > $SNAP_COMMON/env"}).pack(tmp_path))
    environment = dict(line.split("=", 1) for line in device.common("env").splitlines())
    root = device.paths.root
    snapds = [key for key in environment if key == "SNAP" or key.startswith("SNAP_")]
    assert {key: environment[key] for key in snapds if "COO" not in key} | {"SNAP_CONTEXT": ""} == {
        "SNAP": f"{root}/snap/toy/x1",
        "SNAP_ARCH": "amd64",
        "SNAP_COMMON": f"{root}/var/snap/toy/common",
        "SNAP_CONTEXT": "",
        "SNAP_DATA": f"{root}/var/snap/toy/x1",
        "SNAP_EUID": str(os.geteuid()),
        "SNAP_INSTANCE_KEY": "",
        "SNAP_INSTANCE_NAME": "toy",
        "SNAP_LIBRARY_PATH": "/var/lib/snapd/lib/gl:/var/lib/snapd/lib/gl32:/var/lib/snapd/void",
        "SNAP_NAME": "toy",
        "SNAP_REAL_HOME": f"{root}/root",
        "SNAP_REEXEC": "",
        "SNAP_REVISION": "x1",
        "SNAP_UID": str(os.getuid()),
        "SNAP_USER_COMMON": f"{root}/root/snap/toy/common",
        "SNAP_USER_DATA": f"{root}/root/snap/toy/x1",
        "SNAP_VERSION": "1.0",
    }
    assert environment["HOME"] == f"{root}/root/snap/toy/x1"
    assert "PYTHONPATH" not in environment


def test_parallel_instances_have_their_own_folders(device: RunDevice, tmp_path: Path) -> None:
    hooks = {"install": 'echo "$SNAP_NAME $SNAP_INSTANCE_NAME $SNAP_INSTANCE_KEY" > $SNAP_COMMON/names'}
    toy = ToySnap(hooks=hooks).pack(tmp_path)
    device.change(device.upload(toy, name="toy_second"))
    assert device.common("names", "toy_second") == "toy toy_second second\n"
    refused = device.upload(toy, name="other_key")
    assert refused["result"] == {"message": 'instance name "other_key" does not match snap name "toy"'}


def test_trees_are_shared_and_read_only(device: RunDevice, tmp_path: Path) -> None:
    device.install(ToySnap(hooks={"install": "true"}).pack(tmp_path))
    tree = device.paths.snap("toy", "x1").resolve()
    assert tree.parent == device.paths.trees
    assert len(tree.name) == 96
    assert (tree / "meta" / "snap.yaml").stat().st_mode & 0o222 == 0
