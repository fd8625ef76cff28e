"""runtime.yaml and the image project beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from snapedge_builder import runtimes
from snapedge_builder.yamldocument import DeclarationError
from snapedge_hooks.vocabulary import Architecture, ModelFormat

YAML = """\
name: onnx
version: 1.10
interface: 2
image: ../server
base:
  suite: bookworm
  packages: [python3-minimal, libstdc++6]
"""

PROJECT = """\
[tool.snapedge.image]
module = "snapedge_onnx"
sources = ["src"]
formats = ["onnx"]
prune = ["x/{a,b}"]
environment = { B = "2", A = "1" }
"""


def write(tmp_path: Path, *, yaml: str = YAML, project: str = PROJECT) -> Path:
    folder, server = tmp_path / "runtime", tmp_path / "server"
    folder.mkdir()
    (server / "src").mkdir(parents=True)
    (folder / "runtime.yaml").write_text(yaml)
    (server / "pyproject.toml").write_text(project)
    (server / "requirements.lock").write_text("")
    return folder


def test_a_declaration_is_read_with_its_project(tmp_path: Path) -> None:
    found = runtimes.read_runtime(write(tmp_path))
    assert (found.name, found.version, found.interface, found.suite) == ("onnx", "1.10", 2, "bookworm")
    assert found.packages == ("python3-minimal", "libstdc++6")
    assert found.architectures == (Architecture.AMD64, Architecture.ARM64)
    assert found.project.formats == (ModelFormat.ONNX,)
    assert found.project.environment == (("A", "1"), ("B", "2"))
    assert found.project.prune == ("x/{a,b}",)
    assert found.differences == {}


def test_reasons_for_different_versions_are_read_by_package(tmp_path: Path) -> None:
    yaml = YAML + "  differences: {libc6: rebuilt, libstdc++6: because}\n"
    found = runtimes.read_runtime(write(tmp_path, yaml=yaml))
    assert found.differences == {"libc6": "rebuilt", "libstdc++6": "because"}


EXTRAS = """
[tool.snapedge.image.extras.grpc]
lock = "requirements-grpc.lock"
keep = ["google"]
[tool.snapedge.image.extras.other]
lock = "other.lock"
"""


def test_an_extra_has_its_own_lock_and_keeps_what_is_pruned_without_it(tmp_path: Path) -> None:
    project = PROJECT.replace('"x/{a,b}"', '"x/{a,b}", "google"') + EXTRAS
    folder = write(tmp_path, yaml=YAML + "extras: [grpc]\n", project=project)
    (tmp_path / "server" / "requirements-grpc.lock").write_text("")
    found = runtimes.read_runtime(folder)
    assert (found.extras, found.project.lock.name, found.project.prune) == (
        ("grpc",),
        "requirements-grpc.lock",
        ("x/{a,b}",),
    )


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        ("[rpc]", "there is no 'rpc'; known: grpc, other"),
        ("[grpc, other]", "one extra can be built in; name one in runtime.yaml"),
        ("[grpc, grpc]", "extras: names one twice"),
        ("[other]", "server/other.lock: is missing"),
    ],
)
def test_an_extra_that_cannot_be_built_in_is_refused(extras: str, message: str, tmp_path: Path) -> None:
    folder = write(tmp_path, yaml=YAML + f"extras: {extras}\n", project=PROJECT + EXTRAS)
    with pytest.raises(DeclarationError, match=re.escape(message)):
        runtimes.read_runtime(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("suite: bookworm", "suit: bookworm", "unknown key 'base.suit'; did you mean 'suite'?"),
        ("interface: 2", "interface: 0", "runtime.yaml, line 3: interface: 0 is not between 1 and 10000"),
        ("libstdc++6", "libstdc++6=12.2", "write the name alone, without a version"),
        ("libstdc++6", "python3-minimal", "names a package twice"),
        ("[python3-minimal, libstdc++6]", "[]", "base.packages: is empty"),
        ("../server", "../nowhere", "image: there is no folder ../nowhere"),
        ("name: onnx", "name: Onnx", "'Onnx' is not a runtime name"),
        ("name: onnx", "name: onnx\narchitectures: [riscv64]", "'riscv64' is not an architecture we build for"),
        ("name: onnx", "name: onnx\narchitectures: [arm64, arm64]", "names none, or one twice"),
        ("base:\n", "base:\n  prune: ['a/{b']\n", "base.prune: 'a/{b' has a brace that is not closed"),
        ("name: onnx", "name: onnx\nflavour: mild", "unknown key 'flavour'"),
        ("base:\n", "base:\n  differences: [libc6]\n", "base.differences: is not a mapping"),
        ("base:\n", "base:\n  differences: {libc6: ''}\n", "base.differences: libc6 has no reason"),
    ],
)
def test_what_cannot_be_built_is_refused_with_its_place(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in YAML
    with pytest.raises(DeclarationError) as caught:
        runtimes.read_runtime(write(tmp_path, yaml=YAML.replace(old, new)))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[tool.snapedge.image]", "[tool.other]", "server/pyproject.toml: has no table [tool.snapedge.image]"),
        ("module =", "modul =", "unknown key 'modul'"),
        ('"snapedge_onnx"', '"snapedge onnx"', "tool.snapedge.image.module is missing or not a module name"),
        ('sources = ["src"]', "sources = []", "tool.snapedge.image.sources is not a list of texts"),
        ('sources = ["src"]', 'sources = ["lib"]', "tool.snapedge.image.sources: there is no folder 'lib'"),
        (
            '["onnx"]',
            '["onyx"]',
            "tool.snapedge.image.formats: 'onyx' is not a model format; known: onnx, tflite, sklearn",
        ),
        ('B = "2"', '"B-1" = "2"', "tool.snapedge.image.environment.B-1 is not a variable with a text"),
        ("{a,b}", "{a,b", "tool.snapedge.image.prune: 'x/{a,b' has a brace that is not closed"),
        ("[tool", "[[tool", "is not TOML"),
    ],
)
def test_an_image_project_that_says_nonsense_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in PROJECT
    with pytest.raises(DeclarationError) as caught:
        runtimes.read_runtime(write(tmp_path, project=PROJECT.replace(old, new)))
    assert message in str(caught.value)


def test_a_missing_lock_says_how_to_make_one(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (tmp_path / "server" / "requirements.lock").unlink()
    with pytest.raises(DeclarationError) as caught:
        runtimes.read_runtime(folder)
    assert str(caught.value) == (
        "server/requirements.lock: is missing; "
        "make it with `uv pip compile --universal --generate-hashes --no-emit-index-url`"
    )


def test_the_runtimes_of_this_repository_are_read() -> None:
    snaps = Path(__file__).parents[3] / "snaps"
    for declaration in sorted(snaps.glob("*/runtime.yaml")):
        assert runtimes.read_runtime(declaration.parent).packages


OWN = """\
name: mine
version: 2.0
formats: [onnx, tflite]
base: {suite: bookworm, packages: [python3-minimal], tools: [python3-pip, git]}
architectures: [arm64]
build: {dockerfile: ../server/Dockerfile}
"""


def write_own(tmp_path: Path, yaml: str = OWN) -> Path:
    folder = write(tmp_path, yaml=yaml)
    (tmp_path / "server" / "Dockerfile").touch()
    return folder


def test_a_runtime_may_be_a_dockerfile(tmp_path: Path) -> None:
    found = runtimes.read_any(write_own(tmp_path))
    assert isinstance(found, runtimes.DockerfileRuntime)
    assert (found.name, found.version, found.interface) == ("mine", "2.0", 1)
    assert found.formats == (ModelFormat.ONNX, ModelFormat.TFLITE)
    assert found.architectures == (Architecture.ARM64,)
    assert found.dockerfile.context.resolve() == tmp_path / "server"
    assert found.base == runtimes.BaseDeclaration(suite="bookworm", packages=("python3-minimal",), prune=())
    assert found.tools == ("python3-pip", "git")


def test_a_dockerfile_needs_no_base(tmp_path: Path) -> None:
    lines = [line for line in OWN.splitlines() if not line.startswith("base")]
    found = runtimes.read_any(write_own(tmp_path, "\n".join(lines)))
    assert isinstance(found, runtimes.DockerfileRuntime)
    assert (found.base, found.tools) == (None, ())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("formats: [onnx, tflite]\n", "", "runtime.yaml, line 1: formats: is missing"),
        ("tflite]", "pmml]", "formats: 'pmml' is not a model format"),
        ("architectures", "image: ../server\narchitectures", "image: is for images without a Dockerfile"),
        ("python3-pip, git", "python3-pip=1", "base.tools: 'python3-pip=1' is not a package name"),
        ("architectures", "extras: [grpc]\narchitectures", "unknown key 'extras'"),
    ],
)
def test_a_dockerfile_runtime_that_says_nonsense_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError) as caught:
        runtimes.read_any(write_own(tmp_path, OWN.replace(old, new)))
    assert message in str(caught.value)


def test_tools_are_for_a_dockerfile(tmp_path: Path) -> None:
    text = YAML.replace("  suite", "  tools: [git]\n  suite")
    with pytest.raises(DeclarationError, match=r"unknown key 'base.tools'"):
        runtimes.read_any(write(tmp_path, yaml=text))
