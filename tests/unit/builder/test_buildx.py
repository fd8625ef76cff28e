"""The door to docker buildx: what it is asked, and what its failures become. Messages are those of buildx 0.29."""

from __future__ import annotations

from pathlib import Path

import pytest

from snapedge_builder.buildx import (
    BaseAwayError,
    BuilderAwayError,
    BuilderUnfitError,
    Buildx,
    BuildxError,
    DockerfileError,
    EmulationMissingError,
    Order,
    PluginMissingError,
    StepFailedError,
)
from snapedge_builder.processes import ToolMissingError
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture
from tests.fakes.docker import FakeDocker

CASES = Path(__file__).parents[2] / "cases" / "buildx"
ARM64 = Architecture.ARM64


@pytest.fixture
def docker(tmp_path: Path) -> FakeDocker:
    return FakeDocker(tmp_path / "docker")


def door(docker: FakeDocker) -> Buildx:
    return Buildx((str(docker.path), "buildx"))


def order(**changes: object) -> Order:
    given = {"architecture": ARM64, "dockerfile": Path("/work/Dockerfile"), "context": Path("/work"), **changes}
    return Order(**given)  # type: ignore[arg-type]  # the changes are each test's own


def failure(docker: FakeDocker, tmp_path: Path, name: str) -> BuildxError:
    docker.says("build", errors=(CASES / f"{name}.txt").read_text(), status=1)
    with pytest.raises(BuildxError) as caught:
        door(docker).build(order(), tmp_path / "out")
    return caught.value


def test_a_build_asks_for_a_bare_layout_without_times_or_attestations(docker: FakeDocker, tmp_path: Path) -> None:
    door(docker).build(order(), tmp_path / "out")
    assert docker.calls == [
        [
            "buildx",
            "build",
            "--progress=plain",
            "--provenance=false",
            "--sbom=false",
            "--platform=linux/arm64",
            "--file=/work/Dockerfile",
            "--build-arg=SOURCE_DATE_EPOCH=0",
            "--output=type=oci,tar=false,rewrite-timestamp=true,compression=uncompressed,force-compression=true,"
            f"dest={tmp_path / 'out'}",
            "/work",
        ]
    ]


def test_everything_a_dockerfile_needs_is_passed_and_no_secret_is(docker: FakeDocker, tmp_path: Path) -> None:
    asked = order(
        target="server",
        arguments={"B": "2", "A": "one two"},
        secrets={"login": "src=/home/me/a,b", "token": "env=TOKEN"},
        contexts={"base": "oci-layout:///layout", "src": "/src"},
    )
    door(docker).build(asked, tmp_path / "out")
    words = docker.calls[0]
    assert words[words.index("--file=/work/Dockerfile") + 1 : -2] == [
        "--target=server",
        "--build-arg=A=one two",
        "--build-arg=B=2",
        "--build-arg=SOURCE_DATE_EPOCH=0",
        '--secret=id=login,"src=/home/me/a,b"',
        "--secret=id=token,env=TOKEN",
        "--build-context=base=oci-layout:///layout",
        "--build-context=src=/src",
    ]


def test_the_command_is_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SNAPEDGE_BUILDX", raising=False)
    assert Buildx.of_environment().command == ("docker", "buildx")
    monkeypatch.setenv("SNAPEDGE_BUILDX", "'/opt/my tools/docker-buildx'")
    assert Buildx.of_environment().command == ("/opt/my tools/docker-buildx",)


@pytest.mark.parametrize(
    ("platforms", "native"),
    [
        ("linux/amd64, linux/amd64/v2, linux/amd64/v3, linux/arm64, linux/386", Architecture.AMD64),
        ("linux/arm64*, linux/amd64*", ARM64),
        ("linux/riscv64, linux/arm64", ARM64),
    ],
)
def test_the_first_platform_a_builder_names_is_its_own(
    docker: FakeDocker, platforms: str, native: Architecture
) -> None:
    docker.says(
        "inspect", output=f"Name:   some\nDriver: remote\n\nNodes:\nName: some0\nPlatforms:        {platforms}\n"
    )
    assert door(docker).native() is native


def test_a_builder_of_another_kind_of_machine_is_told(docker: FakeDocker) -> None:
    docker.says("inspect", output="Platforms:        linux/s390x\n")
    with pytest.raises(BuildxError, match="it offers linux/s390x, neither amd64 nor arm64"):
        door(docker).native()


class Listener:
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []

    def start(self, task: str) -> None:
        """Nothing."""

    def advance(self, task: str, note: str) -> None:
        self.notes.append((task, note))

    def done(self, task: str, outcome: str) -> None:
        """Nothing."""


def test_each_step_is_told_when_it_begins(docker: FakeDocker, tmp_path: Path) -> None:
    docker.says("build", errors=(CASES / "step-fails.txt").read_text())
    listener = Listener()
    door(docker).build(order(), tmp_path / "out", progress=listener, task="buildx arm64")
    assert listener.notes == [("buildx arm64", "step 1/2"), ("buildx arm64", "step 2/2")]


def test_a_missing_docker_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ToolMissingError, match="docker is not installed here; install docker with the buildx plugin"):
        Buildx((str(tmp_path / "docker"), "buildx")).native()


@pytest.mark.parametrize(
    "errors",
    ["docker: unknown command: docker buildx\n\nRun 'docker --help' for more information\n",
     "unknown flag: --bootstrap\n\nUsage:  docker [OPTIONS] COMMAND\n\nRun 'docker --help' for more information\n",
     "docker: 'buildx' is not a docker command.\nSee 'docker --help'\n"],
    ids=["28", "28 with a flag", "20"],
)  # fmt: skip
def test_a_missing_plugin_is_told_from_a_missing_docker(docker: FakeDocker, errors: str) -> None:
    docker.says("inspect", errors=errors, status=1)
    with pytest.raises(PluginMissingError, match="docker has no buildx plugin here; install docker-buildx"):
        door(docker).native()


@pytest.mark.parametrize(
    "message",
    [
        'ERROR: no builder "unknown" found',
        "ERROR: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        "#1 [internal] waiting for connection\n#1 ERROR: context deadline exceeded\n------\n"
        " > [internal] waiting for connection:\n------\nERROR: context deadline exceeded",
    ],
    ids=["unknown", "no daemon", "no answer"],
)
def test_a_builder_that_is_not_there_is_a_remote_part_that_is_away(
    docker: FakeDocker, tmp_path: Path, message: str
) -> None:
    docker.says("inspect", errors=message, status=1)
    docker.says("build", errors=message, status=1)
    for act in (door(docker).native, lambda: door(docker).build(order(), tmp_path / "out")):
        with pytest.raises(BuilderAwayError, match="docker buildx use NAME") as caught:
            act()
        assert caught.value.exit_code is ExitCode.REMOTE_AWAY


def test_a_builder_without_a_node_is_away_too(docker: FakeDocker) -> None:
    docker.says(
        "inspect", output="Name:   default\nDriver: \nError:  Cannot connect to the Docker daemon at x\n\nNodes:\n"
    )
    with pytest.raises(BuilderAwayError, match="could not find a builder: "):
        door(docker).native()


def test_a_builder_that_writes_no_layouts_says_which_does(docker: FakeDocker, tmp_path: Path) -> None:
    docker.says(
        "build", errors="ERROR: failed to build: OCI exporter is not supported for the docker driver.", status=1
    )
    with pytest.raises(BuilderUnfitError, match="docker buildx create --driver docker-container --use"):
        door(docker).build(order(), tmp_path / "out")


def test_a_step_that_fails_is_told_with_its_line_and_what_it_printed_last(docker: FakeDocker, tmp_path: Path) -> None:
    error = failure(docker, tmp_path, "step-fails")
    assert isinstance(error, StepFailedError)
    assert str(error).startswith(
        "Dockerfile:4: [2/2] RUN ls / &&     echo to-stdout && echo to-stderr >&2 &&     false failed: "
        "exit code: 1; to-stderr"
    )
    assert "to-stdout\nto-stderr" in error.details


def test_a_program_that_crashed_is_told_with_what_does_that(docker: FakeDocker, tmp_path: Path) -> None:
    text = (CASES / "step-fails.txt").read_text().replace("exit code: 1", "exit code: 139")
    docker.says("build", errors=text, status=1)
    with pytest.raises(StepFailedError, match="under QEMU older than 10 that is what importing onnxruntime"):
        door(docker).build(order(), tmp_path / "out")


def test_a_file_that_is_not_in_the_context_is_told_with_the_line_that_wants_it(
    docker: FakeDocker, tmp_path: Path
) -> None:
    error = failure(docker, tmp_path, "copy-fails")
    assert isinstance(error, StepFailedError)
    assert str(error).startswith('Dockerfile:2: [1/1] COPY nothing /x failed: "/nothing": not found')


def test_an_instruction_that_is_none_is_told_with_its_line(docker: FakeDocker, tmp_path: Path) -> None:
    error = failure(docker, tmp_path, "unknown-instruction")
    assert isinstance(error, DockerfileError)
    assert error.exit_code is ExitCode.REFUSED
    assert "Dockerfile:2: dockerfile parse error on line 2: unknown instruction: FROB" in str(error)


def test_a_base_that_cannot_be_had_is_told_with_its_name(docker: FakeDocker, tmp_path: Path) -> None:
    error = failure(docker, tmp_path, "base-away")
    assert isinstance(error, BaseAwayError)
    assert error.exit_code is ExitCode.REMOTE_AWAY
    assert str(error).startswith("Dockerfile:1: nowhere.invalid/x:latest cannot be had: ")


def test_a_step_that_would_need_emulation_says_so(docker: FakeDocker, tmp_path: Path) -> None:
    error = failure(docker, tmp_path, "exec-format")
    assert isinstance(error, EmulationMissingError)
    assert error.exit_code is ExitCode.REFUSED
    assert str(error).startswith('Dockerfile:4: [2/2] RUN ["python3.11","-c",')
    assert "runs arm64 programs, and the builder's machine cannot" in str(error)
    assert "FROM --platform=$BUILDPLATFORM" in str(error)


def test_a_stage_that_is_not_there_is_told(docker: FakeDocker, tmp_path: Path) -> None:
    docker.says(
        "build",
        errors='ERROR: failed to build: failed to solve: target stage "nothing" could not be found',
        status=1,
    )
    with pytest.raises(BuildxError, match='build Dockerfile: target stage "nothing" could not be found'):
        door(docker).build(order(), tmp_path / "out")
