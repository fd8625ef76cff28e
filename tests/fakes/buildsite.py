"""A place to build in: a model folder, a runtime folder, and a runtime of two tiny layers in place of a real one."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from snapedge_builder import runtimes, runtimesource
from snapedge_builder.cache import Cache
from snapedge_builder.contents import BuiltLayers
from snapedge_builder.progress import Progress
from snapedge_builder.runtimes import AnyRuntime
from snapedge_builder.sbom import Component
from snapedge_hooks.images import EPOCH, ImageLayer, RuntimeImage
from snapedge_hooks.vocabulary import Architecture, Digest

SAMPLES = """\
{"format":1,"samples":[{"name":"one","request":{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,-2]}]},
"expect":{"outputs":[{"name":"y","shape":[1,2],"datatype":"FP32","data":[3,-6],"atol":0.001}]}}]}
"""
INFERENCE = """\
name: tripler
version: 1.0.0
summary: Gives three times what it is given
model: {file: model.onnx}
architectures: [amd64, arm64]
samples: samples.json
"""
RUNTIME = """\
name: onnx
version: 1.0.0
interface: 1
image: image
base: {suite: bookworm, packages: [python3-minimal]}
architectures: [amd64, arm64]
"""
PROJECT = """\
[tool.snapedge.image]
module = "server"
sources = ["src"]
formats = ["onnx"]
prune = []
"""


def tripler(factor: float = 3.0, *, opset: int = 18, name: str = "x") -> onnx.ModelProto:
    """A model that multiplies two numbers by a factor."""
    graph = helper.make_graph(
        [helper.make_node("Mul", [name, "factor"], ["y"])],
        "tripler",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def tar_of(name: str, data: bytes) -> bytes:
    """A tar with one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tiny_runtime(
    architecture: Architecture, folder: Path, *, version: str = "1.0.0", payload: bytes = b"server"
) -> BuiltLayers:
    """A runtime whose two layers are small files in a folder."""
    layers = []
    files = {}
    for name, data in (("10-base", tar_of("etc/base", str(architecture).encode())), ("40-app", tar_of("app", payload))):
        path = folder / f"{architecture}-{name}.tar"
        path.write_bytes(data)
        files[name] = path
        layers.append(
            ImageLayer(
                name=name, file=f"layers/{name}.tar", diff_id=Digest.of(data), digest=Digest.of(data), size=len(data)
            )
        )
    image = RuntimeImage(
        name="onnx",
        version=version,
        interface=1,
        architecture=architecture,
        config={
            "architecture": str(architecture),
            "os": "linux",
            "created": EPOCH,
            "config": {"User": "65532:65532"},
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
            "history": [{"created": EPOCH, "created_by": layer.name} for layer in layers],
        },
        layers=tuple(layers),
    )
    component = Component(
        kind="library", name="base", version="1", purl="pkg:deb/debian/base@1", digest=Digest.of(b"d")
    )
    return BuiltLayers(image=image, files=files, components=(component,))


@dataclass
class TinyRuntimes:
    """A runtime source that remembers what it built, and counts."""

    folder: Path
    payload: bytes = b"server"
    ready: dict[Architecture, BuiltLayers] = field(default_factory=dict)
    builds: list[Architecture] = field(default_factory=list)

    def recall(self, declaration: AnyRuntime, architecture: Architecture) -> BuiltLayers | None:
        """What was built before."""
        return self.ready.get(architecture)

    def is_whole(self, runtime: BuiltLayers) -> bool:
        """It is."""
        return True

    def build(self, declaration: AnyRuntime, architecture: Architecture, progress: Progress) -> BuiltLayers:
        """Make it."""
        progress.start(f"base layers {architecture}")
        self.builds.append(architecture)
        self.ready[architecture] = tiny_runtime(architecture, self.folder, payload=self.payload)
        progress.done(f"base layers {architecture}", "tiny")
        return self.ready[architecture]


class BuildSite:
    """The folders of a build, below one folder."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.model = top / "snaps" / "tripler"
        self.runtime = top / "snaps" / "runtime-onnx"
        self.output = top / "dist"
        layers = top / "layers"
        for folder in (self.model, self.runtime / "image" / "src", layers):
            folder.mkdir(parents=True)
        (self.model / "inference.yaml").write_text(INFERENCE)
        (self.model / "samples.json").write_text(SAMPLES)
        (self.model / "model.onnx").write_bytes(tripler().SerializeToString())
        (self.runtime / runtimes.FILE_NAME).write_text(RUNTIME)
        (self.runtime / "image" / "pyproject.toml").write_text(PROJECT)
        (self.runtime / "image" / "requirements.lock").write_text("")
        (self.runtime / "image" / "src" / "server.py").write_text("")
        self.source = TinyRuntimes(folder=layers)

    @property
    def cache(self) -> Cache:
        """The cache, opened as a new build opens it."""
        return Cache(self.top / "cache")

    def remember_runtime(self) -> None:
        """Have the cache hold the tiny runtime as that of the runtime's folder, for commands that open no source."""
        declaration = runtimes.read_runtime(self.runtime)
        for architecture in Architecture:
            runtime = tiny_runtime(architecture, self.source.folder, payload=self.source.payload)
            for path in runtime.files.values():
                with self.cache.write_blob() as writer:
                    writer.write(path.read_bytes())
            self.cache.write_note(
                "built-runtime",
                runtimesource._key(declaration, architecture),
                {
                    "runtime": runtime.image.to_json().decode(),
                    "components": [dataclasses.asdict(component) for component in runtime.components],
                },
            )

    def say(self, old: str, new: str) -> None:
        """Change what the declaration says."""
        path = self.model / "inference.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def files(self) -> list[str]:
        """What lies in the output folder."""
        return sorted(path.name for path in self.output.iterdir()) if self.output.exists() else []
