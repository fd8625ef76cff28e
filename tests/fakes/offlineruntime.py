"""A runtime that is built for real from a repository of packages and a folder of wheels: no network, no root."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from snapedge_builder import compose, runtimes
from snapedge_builder.cache import Cache
from snapedge_builder.hosts import Host
from snapedge_builder.parts import BuiltRuntime
from snapedge_builder.runtimes import RuntimeDeclaration
from snapedge_hooks.vocabulary import Architecture

from .debrepository import DebRepository
from .elffile import shared_object
from .wheelhouse import Wheelhouse

BOTH = (Architecture.AMD64, Architecture.ARM64)
MACHINES = {Architecture.AMD64: "EM_X86_64", Architecture.ARM64: "EM_AARCH64"}


class Teller:
    """Progress that keeps the tasks it was told to be done."""

    def __init__(self) -> None:
        self.tasks: list[str] = []

    def start(self, task: str) -> None:
        """Nothing."""

    def advance(self, task: str, note: str) -> None:
        """Nothing."""

    def done(self, task: str, outcome: str) -> None:
        self.tasks.append(task)


class OfflineRuntime:
    """A runtime's folder, and a host that has everything it needs in folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mirrors: tuple[str, ...] = ()
        self.repository = DebRepository(root / "repository")
        for architecture in BOTH:
            library = shared_object(MACHINES[architecture], soname="libc.so.6")
            program = shared_object(MACHINES[architecture], needed=["libc.so.6"])
            name = str(architecture)
            self.repository.add("libc6", "2.36-9", architecture=name, files={"lib/libc.so.6": library})
            self.repository.add(
                "python3.11-minimal",
                "3.11.2",
                architecture=name,
                files={"usr/bin/python3.11": program},
                depends=["libc6"],
            )
        self.repository.publish()
        self.house = Wheelhouse(root / "wheels")
        for architecture in BOTH:
            self.add_wheel("fast", architecture, shared_object(MACHINES[architecture], needed=["libc.so.6"]))
        self.folder = root / "runtime"
        (root / "server" / "src" / "server").mkdir(parents=True)
        (root / "server" / "src" / "server" / "data.txt").write_text("data")
        (root / "server" / "pyproject.toml").write_text(
            '[tool.snapedge.image]\nmodule = "server"\nsources = ["src"]\n'
            'formats = ["onnx"]\nenvironment = { A = "1" }\n'
        )
        self.lock()
        self.folder.mkdir()
        (self.folder / "runtime.yaml").write_text(
            "name: onnx\nversion: 1.0.0\nimage: ../server\nbase: {suite: bookworm, packages: [python3.11-minimal]}\n"
        )

    def add_wheel(self, name: str, architecture: Architecture, data: bytes) -> None:
        tag = f"cp311-cp311-manylinux_2_28_{architecture.kernel_machine}"
        self.house.add(name, "1", tag=tag, files={f"{name}/core.so": data})

    def lock(self) -> None:
        self.house.lock(self.root / "server" / "requirements.lock")

    @property
    def declaration(self) -> RuntimeDeclaration:
        return runtimes.read_runtime(self.folder)

    @property
    def host(self) -> Host:
        return self.host_of(Architecture.AMD64)

    def host_of(self, architecture: Architecture) -> Host:
        """A host of some machine, whose apt has further mirrors after the repository."""
        apt = self.repository.host()
        more = [replace(apt.entries[0], uris=(uri,)) for uri in self.mirrors]
        return Host(
            apt=replace(apt, entries=(*apt.entries, *more)),
            architecture=architecture,
            environment=self.house.environment(self.root / "uv"),
        )

    def build(
        self, cache: Cache, teller: Teller | None = None, *, refresh: bool = False
    ) -> dict[Architecture, BuiltRuntime]:
        built = compose.build_runtimes(
            self.declaration, BOTH, cache=cache, host=self.host, refresh=refresh, progress=teller or Teller()
        )
        return dict(built)
