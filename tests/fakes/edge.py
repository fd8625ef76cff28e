"""A device for the hooks: registry, cluster, model endpoint and snapd, in memory but over the real protocols."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from snapedge_hooks import __main__ as hooks
from snapedge_hooks import clusterobjects, dsse, images, referrers, runtimetrust
from snapedge_hooks.clusterobjects import ClusterObjects
from snapedge_hooks.images import ImageLayer, ModelLayer, RuntimeImage
from snapedge_hooks.payload import Model, Payload, RuntimeRequirement, Service
from snapedge_hooks.runtimetrust import RuntimeStatement
from snapedge_hooks.snapctl import SnapCtl
from snapedge_hooks.vocabulary import (
    Architecture,
    Digest,
    GateMode,
    ModelFormat,
    PublicKey,
    RepositoryName,
    SnapName,
    SnapVersion,
)

from .kube import FakeKube, Program
from .model import Answer, FakeModel, labels
from .registry import FakeRegistry

NAME = "wine"
RUNTIMES = "snapedge/runtime-onnx"
_SNAPCTL = """#!/bin/sh
echo "$@" >> {folder}/calls
case "$1" in
get) cat {folder}/options ;;
is-connected) test -e {folder}/connected ;;
esac
"""


class FakeClock:
    """Time that passes when somebody sleeps, a thousand times as fast as real time otherwise stands.

    `jumped` is what somebody set the time of day ahead or back by; `on_sleep` is told before each sleep.
    """

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.jumped = 0.0
        self.slept: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + self.jumped

    def sleep(self, seconds: float) -> None:
        self.on_sleep()
        self.slept.append(seconds)
        self.now += max(seconds, 0.001)


def layer_tar(files: dict[str, bytes]) -> bytes:
    """A deterministic layer."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def samples_json(expected: int = 2, count: int = 1) -> bytes:
    """Golden samples row-3, row-4 and so on: whatever is asked, the label is `expected`."""
    request = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.5, 1.5]}]}
    output = {"name": "label", "shape": [1], "datatype": "INT64", "data": [expected], "atol": 0, "rtol": 0}
    rows = range(3, 3 + count)
    samples = [{"name": f"row-{row}", "request": request, "expect": {"outputs": [output]}} for row in rows]
    return json.dumps({"format": 1, "samples": samples}).encode()


def signing_key(number: int = 1) -> Ed25519PrivateKey:
    """A key; the same number gives the same."""
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def public_key(key: Ed25519PrivateKey) -> PublicKey:
    """Its public half."""
    return PublicKey(f"ed25519:{key.public_key().public_bytes_raw().hex()}")


def signed(
    key: Ed25519PrivateKey, statement: RuntimeStatement | RuntimeImage, *, kind: str = runtimetrust.KIND
) -> bytes:
    """The envelope of a key over what is said of a runtime."""
    said = statement if isinstance(statement, RuntimeStatement) else RuntimeStatement.of(statement)
    body = said.to_json()
    signature = {"keyid": public_key(key).key_id, "sig": _text(key.sign(dsse.encoded(kind, body)))}
    return json.dumps({"payloadType": kind, "payload": _text(body), "signatures": [signature]}).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def runtime_image(version: str = "1.0.0", *, interface: int = 1) -> tuple[RuntimeImage, dict[str, bytes]]:
    """A runtime of two layers, and their files."""
    files = {
        "layers/10-base.tar": layer_tar({"etc/os-release": b"debian " + version.encode()}),
        "layers/40-app.tar": layer_tar({"usr/lib/app.py": b"print('hello')\n" * 1000}),
    }
    layers = tuple(
        ImageLayer(name=name[7:-4], file=name, diff_id=Digest.of(data), digest=Digest.of(data), size=len(data))
        for name, data in files.items()
    )
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    runtime = RuntimeImage(
        name="onnx", version=version, interface=interface, architecture=Architecture.AMD64, config=config, layers=layers
    )
    return runtime, files


class EdgeDevice:
    """One device. `install` makes a revision current; `run` runs a hook or app of it.

    Args:
        folder: where it keeps itself.
        name: of its snap.
        registry: another device's, where two snaps share one.
    """

    def __init__(self, folder: Path, *, name: str = NAME, registry: FakeRegistry | None = None) -> None:
        self.folder = folder
        self.name = name
        self.model = FakeModel()
        self.registry = registry or FakeRegistry()
        self._owns_registry = registry is None
        self.kube = FakeKube(folder / "pki", self.model)
        self.clock = FakeClock()
        self.revision = 0
        self._generation = 0
        self.common = folder / "common"
        self.common.mkdir()
        self._ctl = folder / "ctl"
        self._ctl.mkdir()
        script = self._ctl / "snapctl"
        script.write_text(_SNAPCTL.format(folder=self._ctl))
        script.chmod(0o755)
        self.snapctl = SnapCtl(str(script))
        self.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        if self._owns_registry:
            self.registry.close()
        self.kube.close()
        self.model.close()

    def set(self, **options: Any) -> None:
        """`snap set wine serve.<key>=<value>`; underscores are dashes."""
        serve = {"registry": self.registry.address} | {key.replace("_", "-"): value for key, value in options.items()}
        (self._ctl / "options").write_text(json.dumps({"serve": serve}))

    def calls(self) -> list[str]:
        """What was told to snapd."""
        path = self._ctl / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def health(self) -> str:
        """The last health report."""
        return [call for call in self.calls() if call.startswith("set-health")][-1].removeprefix("set-health ")

    def sign_runtime(self, runtime: RuntimeImage, envelope: bytes) -> None:
        """Have the registry hold a signature beside a runtime, as its snap leaves it."""
        blobs = self.registry.blobs.setdefault(RUNTIMES, {})
        for blob in referrers.signature_blobs(envelope):
            with blob.open() as file:
                blobs[blob.digest] = file.read(blob.size)
        manifest = referrers.signature_manifest(runtime.manifest(), envelope)
        index = referrers.index_with(None, manifest)
        manifests = self.registry.manifests.setdefault(RUNTIMES, {})
        manifests[Digest.of(manifest)], manifests[Digest.of(index)] = manifest, index
        self.registry.tags.setdefault(RUNTIMES, {})[referrers.tag_of(runtime.digest)] = Digest.of(index)

    def push_runtime(self, runtime: RuntimeImage, files: dict[str, bytes], *tags: str) -> None:
        """Have the registry hold a runtime, as its snap leaves it."""
        blobs = self.registry.blobs.setdefault(RUNTIMES, {})
        for data in [*files.values(), runtime.config_bytes()]:
            blobs["sha256:" + hashlib.sha256(data).hexdigest()] = data
        self.registry.manifests.setdefault(RUNTIMES, {})[runtime.digest] = runtime.manifest()
        for tag in tags or (runtime.version, str(runtime.interface)):
            self.registry.tags.setdefault(RUNTIMES, {})[tag] = runtime.digest

    def install(
        self,
        version: str,
        *runtimes: RuntimeImage,
        expected: int = 2,
        files: dict[str, bytes] | None = None,
        gate: GateMode = GateMode.STRICT,
        connected: bool = True,
        architecture: Architecture = Architecture.AMD64,
        max_latency_ms: int | None = None,
        service: Service | None = None,
        extra: dict[str, bytes] | None = None,
        keys: tuple[PublicKey, ...] = (),
        minimum: str = "1.0",
    ) -> Payload:
        """Make a new revision current.

        `files`: the runtime is in it; `extra`: more files in the model layer; `keys`: whose runtimes it trusts.
        """
        self.revision += 1
        snap, data = self.snap, self.folder / f"data-{self.revision}"
        layer = layer_tar(
            {
                f"mnt/models/{self.name}/model.onnx": f"model {version}".encode() * 100,
                f"mnt/models/{self.name}/samples.json": samples_json(expected),
                **(extra or {}),
            }
        )
        model = ModelLayer(file="model.tar", diff_id=Digest.of(layer), size=len(layer))
        payload = Payload(
            name=SnapName(self.name),
            version=SnapVersion(version),
            architecture=architecture,
            model=Model(
                name=SnapName(self.name), format=ModelFormat.ONNX, digest=Digest.of(version.encode()), layer=model
            ),
            runtime=RuntimeRequirement(
                name="onnx",
                interface=1,
                minimum=minimum,
                digests=tuple(runtime.digest for runtime in runtimes),
                keys=keys,
            ),
            repository=RepositoryName(self.name),
            predicted_image=images.compose(runtimes[0], model).digest,
            image_size=runtimes[0].size + len(layer),
            service=service or Service(),
            gate=gate,
            max_latency_ms=max_latency_ms,
        )
        (snap / "payload").mkdir(parents=True)
        (snap / "payload" / "payload.json").write_bytes(payload.to_json())
        (snap / "payload" / "model.tar").write_bytes(layer)
        if files is not None:
            self._write_runtime(snap, runtimes[0], files)
        data.mkdir()
        if connected:
            self.connect()
        return payload

    def install_runtime(
        self, runtime: RuntimeImage, files: dict[str, bytes], *, signature: bytes | None = None
    ) -> None:
        """Make a revision of a runtime snap current."""
        self.revision += 1
        self._write_runtime(self.snap, runtime, files)
        if signature is not None:
            (self.snap / "runtime" / "runtime.dsse").write_bytes(signature)
        (self.folder / f"data-{self.revision}").mkdir()

    def install_objects(self, objects: ClusterObjects) -> None:
        """Make a revision of a snap that readies the cluster current."""
        self.revision += 1
        path = self.snap / clusterobjects.FILE
        path.parent.mkdir(parents=True)
        path.write_bytes(objects.to_json())
        (self.folder / f"data-{self.revision}").mkdir()

    @property
    def snap(self) -> Path:
        return self.folder / f"snap-{self.revision}"

    @staticmethod
    def _write_runtime(snap: Path, runtime: RuntimeImage, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            path = snap / "runtime" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (snap / "runtime" / "runtime.json").write_bytes(runtime.to_json())

    def renew_credentials(self) -> None:
        """MicroK8s comes back with another CA: the credentials that were handed out are worth nothing."""
        old = self.kube
        self._generation += 1
        self.kube = FakeKube(self.folder / f"pki-{self._generation}", self.model)
        self.kube.objects, self.kube.programs = old.objects, old.programs
        old.close()

    def connect(self) -> None:
        """`snap connect wine:mk8s microk8s:microk8s`."""
        folder = self.folder / f"data-{self.revision}" / "microk8s" / "credentials"
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "client.config"
        config.touch(mode=0o640)
        config.write_text(self.kube.kubeconfig())
        (self._ctl / "connected").touch()

    def serves(self, payload: Payload, runtime: RuntimeImage, answer: Answer | None = None, **program: Any) -> str:
        """Say what the pods of a payload on a runtime do; the image's digest."""
        digest = images.compose(runtime, payload.model.layer).digest
        if not program or answer is not None:
            program["answer"] = answer or labels(2)
        self.kube.programs[digest] = Program(**program)
        return digest

    def environment(self) -> dict[str, str]:
        """What snapd sets."""
        return {
            "SNAP": str(self.snap),
            "SNAP_COMMON": str(self.common),
            "SNAP_DATA": str(self.folder / f"data-{self.revision}"),
            "SNAP_INSTANCE_NAME": self.name,
            "SNAP_REVISION": str(self.revision),
            "SNAP_ARCH": "amd64",
            "SNAPEDGE_JOURNAL": "",
        }

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Start a hook or app of the current revision as a process of its own."""
        return self.start_program(sys.executable, "-m", "snapedge_hooks", name)

    def start_program(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start what a shim starts; `python3` and `snapctl` are ours."""
        path = f"{self._ctl}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.Popen(
            arguments, env=self.environment() | {"PATH": path}, cwd=self.folder, stderr=subprocess.DEVNULL
        )

    def run(self, name: str, *arguments: str) -> int:
        """Run a hook or app of the current revision; its exit code."""
        return hooks.main([name, *arguments], self.environment(), snapctl=self.snapctl, clock=self.clock)
