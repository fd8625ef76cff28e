"""A model's snap made into another version of itself: other wishes, or a server that is no good."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from snapedge_builder import snapyaml
from snapedge_hooks.images import ImageLayer, RuntimeImage, compose
from snapedge_hooks.payload import Payload
from snapedge_hooks.vocabulary import Architecture, Digest, SnapVersion

from .layers import layer_tar

_EXIT_1 = {
    Architecture.AMD64: bytes.fromhex("b83c000000bf010000000f05"),  # mov eax, 60; mov edi, 1; syscall
    Architecture.ARM64: bytes.fromhex("a80b80d2200080d2010000d4"),  # mov x8, 93; mov x0, 1; svc 0
}
_MACHINES = {Architecture.AMD64: 62, Architecture.ARM64: 183}
_PLACE = 0x400000


def wishing(snap: Path, folder: Path, version: str, change: Callable[[Payload], Payload] = lambda found: found) -> Path:
    """The snap under another version, with another payload.json."""
    tree = _unpacked(snap, folder, version)
    file = tree / "payload" / "payload.json"
    payload = replace(Payload.parse(file.read_bytes()), version=SnapVersion(version))
    file.chmod(0o644)
    file.write_bytes(change(payload).to_json())
    return _packed(tree, folder, snap, version)


def grown(snap: Path, folder: Path, version: str, extra: bytes) -> Path:
    """The snap with another file in its model's layer, whose server tells the new version."""
    tree = _unpacked(snap, folder, version)
    file = tree / "payload" / "payload.json"
    payload = Payload.parse(file.read_bytes())
    layer = tree / "payload" / payload.model.layer.file
    layer.chmod(0o644)
    model = f"mnt/models/{payload.model.name}"
    with tarfile.open(layer) as before:
        parts = [(one, one.isfile() and before.extractfile(one)) for one in before]
        contents = {one.name: file.read() for one, file in parts if file}
    described = json.loads(contents[f"{model}/model.json"]) | {"version": version}
    contents |= {f"{model}/model.json": json.dumps(described).encode(), f"{model}/extra": extra}
    layer.write_bytes(layer_tar(contents))
    changed = replace(payload.model.layer, diff_id=Digest.of_file(layer), size=layer.stat().st_size)
    file.chmod(0o644)
    file.write_bytes(
        replace(payload, version=SnapVersion(version), model=replace(payload.model, layer=changed)).to_json()
    )
    return _packed(tree, folder, snap, version)


def whole(snap: Path, runtime: Path, folder: Path) -> Path:
    """The snap with its runtime inside, as `delivery.image: full` makes it."""
    version = snap.stem.split("_")[1]
    tree = _unpacked(snap, folder, version)
    _unpack(runtime, tree, "runtime")
    meta = tree / "meta" / "snap.yaml"
    document = snapyaml.parse(meta.read_bytes())
    document["slots"] = snapyaml.configuration_slot("$SNAP_COMMON/launcher")
    meta.write_bytes(snapyaml.dump(document))
    return _packed(tree, folder, snap, version, "-noD")


def crashing(snap: Path, folder: Path, version: str) -> Path:
    """The snap with a runtime inside whose server leaves with exit code 1 at once."""
    tree = _unpacked(snap, folder, version)
    file = tree / "payload" / "payload.json"
    payload = Payload.parse(file.read_bytes())
    layer = layer_tar({"serve": _program(payload.architecture)}, mode=0o755)
    runtime = RuntimeImage(
        name=payload.runtime.name,
        version="1.9.0",
        interface=payload.runtime.interface,
        architecture=payload.architecture,
        config={
            "architecture": str(payload.architecture),
            "os": "linux",
            "config": {"Entrypoint": ["/serve"], "User": "65532:65532"},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer))]},
        },
        layers=(
            ImageLayer(
                name="10-serve",
                file="layers/10-serve.tar",
                diff_id=Digest.of(layer),
                digest=Digest.of(layer),
                size=len(layer),
            ),
        ),
    )
    (tree / "runtime" / "layers").mkdir(parents=True)
    (tree / "runtime" / "layers" / "10-serve.tar").write_bytes(layer)
    (tree / "runtime" / "runtime.json").write_bytes(runtime.to_json())
    file.chmod(0o644)
    file.write_bytes(
        replace(
            payload,
            version=SnapVersion(version),
            runtime=replace(payload.runtime, digests=(runtime.digest,)),
            predicted_image=compose(runtime, payload.model.layer).digest,
        ).to_json()
    )
    return _packed(tree, folder, snap, version)


def _unpacked(snap: Path, folder: Path, version: str) -> Path:
    tree = folder / version
    _unpack(snap, tree)
    meta = tree / "meta" / "snap.yaml"
    meta.chmod(0o644)
    meta.write_text(re.sub(r"(?m)^version: .*$", f"version: {version}", meta.read_text()))
    return tree


def _unpack(snap: Path, tree: Path, *paths: str) -> None:
    command = ["unsquashfs", "-q", "-n", "-f", "-d", str(tree), str(snap), *paths]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def _packed(tree: Path, folder: Path, snap: Path, version: str, *options: str) -> Path:
    name, _, architecture = snap.stem.split("_")
    file = folder / f"{name}_{version}_{architecture}.snap"
    usual = ["-noappend", "-comp", "xz", "-no-fragments", "-no-xattrs", "-all-root"]
    subprocess.run(["mksquashfs", str(tree), str(file), *usual, *options], check=True, capture_output=True, timeout=60)
    return file


def _program(architecture: Architecture) -> bytes:
    code = _EXIT_1[architecture]
    size = 64 + 56 + len(code)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, _MACHINES[architecture], 1, _PLACE + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, _PLACE, _PLACE, size, size, 4096) + code
