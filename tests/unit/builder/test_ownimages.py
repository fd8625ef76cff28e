"""An image of one's own, from what buildx hands over to a runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snapedge_builder import hosts, ownimages, runtimes
from snapedge_builder.buildx import Buildx
from snapedge_builder.cache import Cache
from snapedge_builder.gates import GateError
from snapedge_builder.ownimages import NothingToRunError, SecretMissingError
from snapedge_builder.parts import BuiltRuntime
from snapedge_builder.runtimes import DockerfileRuntime
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.images import EPOCH, RuntimeImage
from snapedge_hooks.vocabulary import Architecture
from tests.fakes import ocilayout
from tests.fakes.docker import FakeDocker
from tests.fakes.elffile import shared_object
from tests.fakes.ocilayout import FOLDER, SYMBOLIC, entry, tar

ARM64 = Architecture.ARM64
YAML = """\
name: mine
version: 2.0.0
interface: 3
formats: [onnx]
build:
  dockerfile: Dockerfile
  target: server
  args: {VERSION: "1.2"}
  secrets: {token: {env: SNAPEDGE_TEST_TOKEN}}
  contexts: {base: docker-image://debian:12}
"""
SERVER = shared_object("EM_AARCH64", needed=["libc.so.6"], versions=["GLIBC_2.17"])
LIBC = shared_object("EM_AARCH64", soname="libc.so.6") + b"\0GLIBC_2.36\0"
LAYERS = (
    tar(entry("bin", kind=SYMBOLIC, target="usr/bin"), entry("lib/libc.so.6", LIBC), entry("etc/motd", b"hello")),
    tar(entry("usr", kind=FOLDER), entry("usr/bin/server", SERVER, mode=0o700), entry("etc/.wh.motd")),
    tar(),
    tar(entry("app/model.py", b"pass")),
)
SETTINGS = {"Entrypoint": ["/bin/server", "--port=8080"], "User": "65532:65532"}


class Site:
    """A runtime's folder, and a docker that hands out one image."""

    def __init__(self, root: Path) -> None:
        self.docker = FakeDocker(root / "docker")
        self.folder = root / "mine"
        self.folder.mkdir()
        (self.folder / "Dockerfile").write_text("FROM base AS server\n")
        (self.folder / "runtime.yaml").write_text(YAML)
        self.cache = Cache(root / "cache")

    def offer(self, *layers: bytes, settings: dict[str, Any] | None = None) -> None:
        ocilayout.write(self.docker.layout, layers or LAYERS, settings=settings or SETTINGS)

    @property
    def declared(self) -> DockerfileRuntime:
        found = runtimes.read_any(self.folder)
        assert isinstance(found, DockerfileRuntime)
        return found

    def build(self, architecture: Architecture = ARM64, binfmt: Path = Path("nowhere")) -> BuiltRuntime:
        door = Buildx((str(self.docker.path), "buildx"))
        return ownimages.build_runtime(self.declared, architecture, cache=self.cache, buildx=door, binfmt=binfmt)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("SNAPEDGE_TEST_TOKEN", "s3cret")
    return Site(tmp_path)


def test_an_image_becomes_a_runtime(site: Site) -> None:
    site.offer()
    built = site.build()
    image = built.image
    assert (image.name, image.version, image.interface, image.architecture) == ("mine", "2.0.0", 3, ARM64)
    assert RuntimeImage.parse(image.to_json()) == image
    assert [layer.name for layer in image.layers] == ["01-dockerfile", "02-dockerfile", "03-dockerfile"]
    assert image.config["config"] == {"WorkingDir": "/", "Env": ["PATH=/usr/bin"], **SETTINGS}
    assert image.config["created"] == EPOCH
    assert "2026" not in image.to_json().decode()
    assert built.warnings == ()


def test_it_is_built_from_all_that_was_declared_and_no_secret_is_told(site: Site) -> None:
    site.offer()
    site.build()
    (words,) = site.docker.calls
    assert {
        "--target=server",
        "--build-arg=VERSION=1.2",
        "--secret=id=token,env=SNAPEDGE_TEST_TOKEN",
        "--build-context=base=docker-image://debian:12",
        f"--file={site.folder / 'Dockerfile'}",
    } < set(words)
    assert "s3cret" not in " ".join(words)


def test_the_same_files_give_the_same_image_whatever_layers_say_of_times(site: Site, tmp_path: Path) -> None:
    site.offer()
    first = site.build().image
    (tmp_path / "elsewhere").mkdir()
    other = Site(tmp_path / "elsewhere")
    link = entry("bin", kind=SYMBOLIC, target="usr/bin", mtime=3)
    other.offer(
        tar(entry("etc/motd", b"bye"), entry("lib/libc.so.6", LIBC, mtime=1), link),
        tar(entry("usr", kind=FOLDER, mode=0o700), entry("etc/.wh.motd"), entry("usr/bin/server", SERVER, mode=0o755)),
        tar(entry("app/model.py", b"pass", owner=0, mtime=2)),
    )
    assert other.build().image == first


def test_a_secret_that_is_not_there_is_told_before_anything_is_built(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SNAPEDGE_TEST_TOKEN")
    with pytest.raises(SecretMissingError, match=r"build.secrets.token: there is no variable SNAPEDGE_TEST_TOKEN"):
        site.build()
    (site.folder / "runtime.yaml").write_text(YAML.replace("{env: SNAPEDGE_TEST_TOKEN}", "{file: token}"))
    with pytest.raises(SecretMissingError, match=r"build.secrets.token: there is no file .*/mine/token"):
        site.build()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"User": "1"}, "starts nothing; correct its ENTRYPOINT or CMD"),
        ({"Entrypoint": ["/bin/other"]}, "starts /bin/other, which is not a program in it"),
        ({"Entrypoint": ["/app/model.py"]}, "starts /app/model.py, which is not a program in it"),
        ({"Cmd": ["other"]}, "starts other, which is not a program in it"),
        ({"Cmd": ["/app/run"]}, "starts /app/run, a script of /bin/bash, which is not in it"),
    ],
)
def test_an_image_that_starts_nothing_is_refused(site: Site, settings: dict[str, Any], problem: str) -> None:
    site.offer(*LAYERS, tar(entry("app/run", b"#!/bin/bash\n", mode=0o755)), settings=settings)
    with pytest.raises(NothingToRunError, match=problem) as caught:
        site.build()
    assert caught.value.exit_code is ExitCode.REFUSED


@pytest.mark.parametrize(
    "settings",
    [{"Cmd": ["server"]}, {"Entrypoint": ["./server"], "WorkingDir": "/usr/bin"}, {"Entrypoint": ["bin/server"]}],
)
def test_a_program_is_found_as_it_will_be_when_it_is_started(site: Site, settings: dict[str, Any]) -> None:
    site.offer(settings=settings)
    assert site.build().image.config["config"]["Env"] == ["PATH=/usr/bin"]


def test_programs_of_the_builders_architecture_are_refused(site: Site) -> None:
    site.offer(tar(entry("bin/server", shared_object("EM_X86_64"), mode=0o755)), settings=SETTINGS)
    with pytest.raises(GateError, match="layer 01-dockerfile for arm64: bin/server is for EM_X86_64, not EM_AARCH64"):
        site.build()


def test_oddities_are_told_and_not_too_many(site: Site) -> None:
    many = [entry(f"sbin/s{number}", b"x", mode=0o4755) for number in range(9)]
    site.offer(*LAYERS, tar(*many), settings=SETTINGS)
    told = site.build().warnings
    assert told[0] == "sbin/s0 is setuid or setgid, and will not be"
    assert (len(told), told[-1]) == (6, "and 4 more like these")


@pytest.mark.parametrize(("version", "is_told"), [("7.2.13", True), ("10.0.2", False)])
def test_an_emulator_that_crashes_on_what_is_in_the_image_is_told(site: Site, version: str, is_told: bool) -> None:
    foreign = ARM64 if hosts.architecture() is Architecture.AMD64 else Architecture.AMD64
    program = site.folder.parent / "qemu"
    program.write_text(f"#!/bin/sh\necho 'qemu version {version}'\n")
    program.chmod(0o755)
    binfmt = site.folder.parent / "binfmt"
    binfmt.mkdir()
    machine = "b700" if foreign is ARM64 else "3e00"
    (binfmt / "qemu").write_text(f"enabled\ninterpreter {program}\nmagic {'0' * 36}{machine}\n")
    script = entry("usr/bin/server", b"#!/lib/libc.so.6\n", mode=0o755)
    libc = entry("lib/libc.so.6", shared_object(foreign.elf_machine, soname="libc.so.6"))
    runtime = entry("app/site-packages/onnxruntime/__init__.py", b"")
    site.offer(tar(script, libc, runtime), settings={"Entrypoint": ["/usr/bin/server"]})
    told = site.build(foreign, binfmt).warnings
    assert ["QEMU 7.2 is registered here" in line for line in told] == ([True] if is_told else [])
