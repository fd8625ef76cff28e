"""Images of one's own, built by real BuildKit: the servers' Dockerfiles, and everything a Dockerfile may ask for."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from snapedge_builder import (
    building,
    compose,
    declaration,
    modelfile,
    observation,
    ownimages,
    presentation,
    resolution,
    runtimes,
    runtimesource,
    samplesfile,
    verification,
)
from snapedge_builder.buildx import (
    BaseAwayError,
    BuilderAwayError,
    Buildx,
    DockerfileError,
    EmulationMissingError,
    PluginMissingError,
    StepFailedError,
)
from snapedge_builder.cache import Cache
from snapedge_builder.hosts import read_host
from snapedge_builder.parts import BuiltRuntime, Workshop
from snapedge_builder.runtimes import DockerfileRuntime
from snapedge_hooks.images import RuntimeImage
from snapedge_hooks.vocabulary import Architecture

from . import imageroot
from .buildkit import BuildKit

ROOT = Path(__file__).parents[2]
MODELS = {"onnx": "wine-cultivar", "tflite": "digit-reader", "sklearn": "diabetes-progress"}
AMD64, ARM64 = Architecture.AMD64, Architecture.ARM64
BASE = """\
base:
  suite: bookworm
  packages: [base-files, dash, libpython3-stdlib, libstdc++6, python3-minimal]
  tools: [python3-pip]
"""
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

needs_bwrap = pytest.mark.skipif(not imageroot.can_run(), reason="bubblewrap does not run here")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


def declare(folder: Path, build: str, *, formats: str = "onnx") -> DockerfileRuntime:
    folder.mkdir(exist_ok=True)
    (folder / "runtime.yaml").write_text(f"name: mine\nversion: 1.0.0\nformats: [{formats}]\n{BASE}build:\n{build}")
    found = runtimes.read_any(folder)
    assert isinstance(found, DockerfileRuntime)
    return found


@pytest.fixture
def write(tmp_path: Path, buildkit: BuildKit) -> Callable[..., DockerfileRuntime]:
    """A runtime with this Dockerfile."""

    def made(dockerfile: str, settings: str = "") -> DockerfileRuntime:
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(dockerfile)
        return declare(folder, f"  dockerfile: Dockerfile\n{settings}")

    return made


def build(declared: DockerfileRuntime, architecture: Architecture, cache: Cache) -> BuiltRuntime:
    return ownimages.build_runtime(declared, architecture, cache=cache, buildx=Buildx.of_environment())


def native() -> Architecture:
    return read_host().architecture


def model_folder(folder: Path, name: str, cache: Cache) -> Path:
    """A shipped model as its layer has it."""
    declared = declaration.read_declaration(ROOT / "snaps" / MODELS[name])
    model = modelfile.read_model(declared.model_path)
    for file, content in observation.layer_files(declared, model, samplesfile.read_samples(declared)).items():
        place = folder / declared.name / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    return folder


@needs_bwrap
@pytest.mark.parametrize("architecture", list(Architecture), ids=str)
@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_servers_own_dockerfile_gives_an_image_that_proves_its_model(
    buildkit: BuildKit, cache: Cache, tmp_path: Path, name: str, architecture: Architecture
) -> None:
    images = ROOT / "kserve-images"
    declared = declare(
        tmp_path / "runtime",
        f"  dockerfile: {images / name / 'Dockerfile'}\n  context: {images}\n"
        f"  secrets: {{certificates: {{file: {CERTIFICATES}}}}}\n",
        formats=name,
    )
    buildkit.emulate(on=False)
    try:
        built = build(declared, architecture, cache)
    finally:
        buildkit.emulate(on=True)
    assert RuntimeImage.parse(built.image.to_json()) == built.image
    assert built.warnings == ()
    assert declared.base is not None
    with cache.scratch() as scratch:
        host = read_host()
        plan = resolution.resolve_base(declared.base, architecture, host, cache=cache)
        compiler = compose.compiler_for(plan, host, scratch=scratch, cache=cache)
        base = compose.build_base(plan, Workshop(host=host, compiler=compiler, cache=cache))
    assert built.image.layers[0].diff_id == base.layers[0].diff_id
    found = {item.name for item in built.record.ingredients}
    assert {"libc6", "python3.11-minimal", "numpy"} < found
    root = tmp_path / "root"
    imageroot.unpack(built, root)
    models = model_folder(tmp_path / "models", name, cache)
    start = imageroot.inside(root, built, *built.image.config["config"]["Entrypoint"], "--self-test")
    at = start.index("--proc")
    command = [*start[:at], "--ro-bind", str(models), "/mnt/models", *start[at:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    shutil.rmtree(root)
    assert done.returncode == 0, done.stderr
    assert MODELS[name] in done.stdout


def test_arguments_secrets_contexts_and_a_stage_reach_the_dockerfile(
    write: Callable[..., DockerfileRuntime], cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAPEDGE_TEST_TOKEN", "s3cret-value")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "greeting").write_text("hello")
    (tmp_path / "key").write_text("s3cret-file")
    declared = write(
        "FROM --platform=$BUILDPLATFORM snapedge-tools AS made\n"
        "ARG GREETED TARGETARCH\n"
        "RUN --mount=type=secret,id=token,env=TOKEN --mount=type=secret,id=key,target=/key \\\n"
        "    test ${#TOKEN} = 12 && test -s /key && echo $GREETED on $TARGETARCH >/greeted\n"
        "FROM snapedge-base AS server\n"
        "COPY --from=data greeting /\n"
        "COPY --from=made greeted /\n"
        'ENTRYPOINT ["python3"]\n'
        "FROM server\n"
        "COPY Dockerfile /not-in-the-target\n",
        "  target: server\n  args: {GREETED: the edge}\n  contexts: {data: ../data}\n"
        "  secrets: {token: {env: SNAPEDGE_TEST_TOKEN}, key: {file: ../key}}\n",
    )
    for architecture in Architecture:
        built = build(declared, architecture, cache)
        blobs = {name: path.read_bytes() for name, path in built.layers.items()}
        assert b"hello" in blobs["02-dockerfile"]
        assert f"the edge on {architecture}".encode() in blobs["03-dockerfile"]
        assert list(blobs) == ["01-dockerfile", "02-dockerfile", "03-dockerfile"]
        everything = b"".join(blobs.values()) + built.image.to_json()
        assert b"s3cret" not in everything


def test_an_image_built_anew_is_the_same(write: Callable[..., DockerfileRuntime], cache: Cache) -> None:
    declared = write(
        "FROM --platform=$BUILDPLATFORM snapedge-tools AS made\n"
        "RUN mkdir -p /out/a /out/b && date >/tmp/now && echo b >/out/b/b && echo a >/out/a/a && chmod 700 /out/a/a\n"
        "FROM snapedge-base\n"
        "COPY --from=made --chown=65532 /out /out\n"
        'CMD ["python3"]\n'
    )
    first = build(declared, ARM64, cache)
    subprocess.run(["docker", "buildx", "prune", "--all", "--force"], check=True, capture_output=True, timeout=120)
    assert build(declared, ARM64, cache).image == first.image


def test_a_step_of_the_other_architecture_runs_where_it_is_emulated(
    write: Callable[..., DockerfileRuntime], cache: Cache, buildkit: BuildKit
) -> None:
    foreign = ARM64 if native() is AMD64 else AMD64
    declared = write(
        'FROM snapedge-base\nRUN python3 -c "import platform; print(platform.machine())" >/machine\nCMD ["python3"]\n'
    )
    if foreign is ARM64:
        buildkit.emulate(on=False)
        try:
            with pytest.raises(EmulationMissingError, match=r"Dockerfile:2: .* RUN python3 .* runs arm64"):
                build(declared, foreign, cache)
        finally:
            buildkit.emulate(on=True)
    built = build(declared, foreign, cache)
    assert foreign.kernel_machine.encode() in built.layers["02-dockerfile"].read_bytes()


def test_a_failing_step_is_told_with_its_line_and_last_words(
    write: Callable[..., DockerfileRuntime], cache: Cache
) -> None:
    declared = write('FROM snapedge-base\n\nRUN echo not today >&2; \\\n    exit 7\nCMD ["python3"]\n')
    with pytest.raises(StepFailedError, match=r"Dockerfile:3: .* failed: exit code: 7; not today"):
        build(declared, native(), cache)


def test_a_dockerfile_that_is_none_is_told_with_its_line(write: Callable[..., DockerfileRuntime], cache: Cache) -> None:
    with pytest.raises(DockerfileError, match=r"Dockerfile:2: .*unknown instruction: RUM"):
        build(write("FROM snapedge-base\nRUM true\n"), native(), cache)


def test_a_base_that_cannot_be_had_is_told_with_its_name(write: Callable[..., DockerfileRuntime], cache: Cache) -> None:
    with pytest.raises(BaseAwayError, match=r"Dockerfile:1: localhost:1/nothing:latest cannot be had"):
        build(write("FROM localhost:1/nothing\n"), native(), cache)


def test_a_builder_that_is_not_there_is_told(
    write: Callable[..., DockerfileRuntime], cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILDX_BUILDER", "nobody")
    with pytest.raises(BuilderAwayError, match='no builder "nobody" found'):
        build(write('FROM snapedge-base\nCMD ["python3"]\n'), native(), cache)


def test_a_docker_without_the_plugin_is_told(
    buildkit: BuildKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if buildkit.made_docker:
        pytest.skip("this machine's docker is the rig's, which knows nothing but the plugin")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.raises(PluginMissingError, match="docker buildx: docker has no buildx plugin here"):
        Buildx.of_environment().native()


def test_another_command_than_docker_does_as_well(
    write: Callable[..., DockerfileRuntime], cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAPEDGE_BUILDX", "docker-buildx")
    assert build(write('FROM snapedge-base\nCMD ["python3"]\n'), native(), cache).layers


def test_a_model_with_an_image_of_its_own_becomes_a_snap_that_verifies(
    buildkit: BuildKit, cache: Cache, tmp_path: Path
) -> None:
    folder = tmp_path / "wine"
    shutil.copytree(ROOT / "snaps" / MODELS["onnx"], folder, ignore=shutil.ignore_patterns("train.py", "README.md"))
    composed = compose.build_runtime(runtimes.read_runtime(ROOT / "snaps" / "runtime-onnx"), native(), cache=cache)
    (folder / "rootfs").mkdir()
    for name, path in composed.layers.items():
        shutil.copyfile(path, folder / "rootfs" / f"{name}.tar")
    settings = composed.image.config["config"]
    environment = "".join(f"ENV {pair}\n" for pair in settings["Env"])
    (folder / "Dockerfile").write_text(
        f"FROM scratch\nADD rootfs/*.tar /\n{environment}ENTRYPOINT {json.dumps(settings['Entrypoint'])}\n"
    )
    text = (folder / "inference.yaml").read_text().replace("image: shared", "image: full").replace("name: onnx", "")
    (folder / "inference.yaml").write_text(f"{text}build: {{dockerfile: Dockerfile}}\n")
    request = building.BuildRequest(folder=folder, architectures=(native(),), output=tmp_path / "dist")
    source = runtimesource.ComposedRuntimes(cache)
    with presentation.stderr_progress() as progress:
        first = building.build(request, cache=cache, source=source, progress=progress)
        again = building.build(request, cache=cache, source=source, progress=progress)
    assert again.plan.is_idle
    (found,) = verification.verify(first.snaps)
    assert found.kind == "full"
    record = json.loads(first.record_path.read_text())
    assert record["runtimes"][str(native())]["name"] == MODELS["onnx"]
