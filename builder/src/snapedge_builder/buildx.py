"""The one door to `docker buildx`: one image for one platform, as an OCI layout in a folder.

Which builder does it is the user's own choice, made as buildx itself takes it: `docker buildx use`, or BUILDX_BUILDER.
SNAPEDGE_BUILDX names another command than `docker buildx`, such as `docker-buildx`. Attestations are off: they say when
and where something was built. Every time in the image is 0.

    BuildxError              it failed in a way not told apart here
      PluginMissingError     docker knows no buildx
      BuilderAwayError       there is no builder, or it does not answer
      BuilderUnfitError      the builder cannot write an OCI layout
      StepFailedError        a step of the Dockerfile failed
      DockerfileError        the Dockerfile itself is wrong
      BaseAwayError          an image that it builds on cannot be had
      EmulationMissingError  a step runs programs of another architecture, and the builder cannot
"""

from __future__ import annotations

import csv
import io
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture

from . import processes
from .errors import BuilderError
from .processes import Outcome
from .progress import Progress, Silence

VARIABLE = "SNAPEDGE_BUILDX"
_DEFAULT = "docker buildx"
_PACKAGE = "docker with the buildx plugin, or name the command in SNAPEDGE_BUILDX"
_BUILD_SECONDS = 4 * 3600.0
_ASK_SECONDS = 120.0
_OUTPUT = ("type=oci", "tar=false", "rewrite-timestamp=true", "compression=uncompressed", "force-compression=true")
_NO_PLUGIN = ("unknown command: docker buildx", "'buildx' is not a docker command", "'docker --help'")
"""What docker says by itself; the plugin would name `docker buildx --help`."""
_AWAY = (
    "Cannot connect to the Docker daemon",
    "failed to connect to the docker API",
    "error during connect",
    "connection refused",
    "connect: no such file or directory",
    "no builder ",
    "failed to find driver",
    "failed to dial",
    "context deadline exceeded",
    "connection error: desc",
)
_UNFIT = re.compile(r"OCI exporter is not supported|driver doesn't support these exporters|exporter .* not supported")
_PLACE = re.compile(r"^([^\s:][^:\n]*):(\d+)$", re.MULTILINE)
_STEP = re.compile(r"^ > (\[.*):\n((?:(?!------$).*\n)*)------$", re.MULTILINE)
_BEGUN = re.compile(r"#\d+ \[(?!internal\])([^]]*)\] ")
_PRINTED = re.compile(r"^\d+\.\d+ ?(.*)$", re.MULTILINE)
_STATUS = re.compile(r"did not complete successfully: (exit code: \d+)")
_PLATFORM = re.compile(r"linux/(amd64|arm64)\b")
_METADATA = "[internal] load metadata for "
_NOISE = re.compile(r"failed to (?:build|solve|compute cache key|calculate checksum of ref \S+): ")
_CRASHED = "exit code: 139"
_FOREIGN = "exec format error"


class BuildxError(BuilderError):
    """buildx could not do what it was asked."""

    def __init__(self, what: str, messages: str, *, resolution: str = "") -> None:
        super().__init__(
            f"buildx could not {what}: {_reason(messages)}", details=messages.strip(), resolution=resolution
        )


class PluginMissingError(BuildxError):
    """The docker command is there, its buildx plugin is not."""

    def __init__(self, command: str, messages: str) -> None:
        BuilderError.__init__(
            self,
            f"{command}: docker has no buildx plugin here",
            details=messages.strip(),
            resolution=f"install docker-buildx, or name its command in {VARIABLE}, or build with backend: compose",
        )


class BuilderAwayError(BuildxError):
    """No builder is there to build with."""

    exit_code = ExitCode.REMOTE_AWAY

    def __init__(self, what: str, messages: str) -> None:
        super().__init__(
            what,
            messages,
            resolution="start docker, or choose a builder that answers: docker buildx ls, docker buildx use NAME",
        )


class BuilderUnfitError(BuildxError):
    """The builder is of a kind that cannot give us an OCI layout."""

    def __init__(self, messages: str) -> None:
        BuilderError.__init__(
            self,
            "the builder in use cannot write an OCI layout",
            details=messages.strip(),
            resolution="make one that can: docker buildx create --driver docker-container --use",
        )


class DockerfileError(BuildxError):
    """The Dockerfile cannot be built as it is written."""

    exit_code = ExitCode.REFUSED

    def __init__(self, place: str, messages: str) -> None:
        BuilderError.__init__(
            self, f"{place}: {_reason(messages)}", details=messages.strip(), resolution="correct the Dockerfile"
        )


class StepFailedError(BuildxError):
    """A step of the Dockerfile failed."""

    def __init__(self, place: str, step: str, printed: str, messages: str) -> None:
        status = _STATUS.findall(messages)
        reason = "; ".join([*status[-1:], *printed.splitlines()[-1:]]) or _reason(messages)
        BuilderError.__init__(
            self,
            f"{place}: {step} failed: {reason}",
            details="\n".join([printed, messages.strip()]).strip(),
            resolution="see what the step printed, and correct the Dockerfile or what it needs"
            if _CRASHED not in messages
            else "a program crashed; under QEMU older than 10 that is what importing onnxruntime for arm64 does",
        )


class BaseAwayError(BuildxError):
    """An image that a Dockerfile builds on cannot be had."""

    exit_code = ExitCode.REMOTE_AWAY

    def __init__(self, place: str, image: str, messages: str) -> None:
        BuilderError.__init__(
            self,
            f"{place}: {image} cannot be had: {_reason(messages)}",
            details=messages.strip(),
            resolution="see whether its registry answers and has it, or name another place for it in build.contexts",
        )


class EmulationMissingError(BuildxError):
    """A step runs a program that the builder's machine cannot run."""

    exit_code = ExitCode.REFUSED

    def __init__(self, place: str, step: str, architecture: Architecture, messages: str) -> None:
        BuilderError.__init__(
            self,
            f"{place}: {step} runs {architecture} programs, and the builder's machine cannot",
            details=messages.strip(),
            resolution="do that step in a stage FROM --platform=$BUILDPLATFORM, or have QEMU 10 or newer registered "
            f"where BuildKit runs (docker run --privileged --rm tonistiigi/binfmt --install {architecture})",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be built.

    Attributes:
        architecture: of the image.
        dockerfile: its file.
        context: the folder that COPY takes from.
        target: the stage to end with; empty for the last.
        arguments: build arguments, which are no secrets: they stay in the image's history.
        secrets: what steps mount, by id; each `src=<file>` or `env=<variable>`, never a value.
        contexts: further contexts by name, as `--build-context` takes them.
        pull: whether registries are asked anew for the images it builds on.
    """

    architecture: Architecture
    dockerfile: Path
    context: Path
    target: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    pull: bool = False


class Buildx:
    """`docker buildx`, by whatever command it is called here."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self.command = command

    @classmethod
    def of_environment(cls) -> Buildx:
        """As SNAPEDGE_BUILDX says."""
        return cls(tuple(shlex.split(os.environ.get(VARIABLE, "") or _DEFAULT)))

    def native(self) -> Architecture:
        """The architecture that the builder's machine runs without emulation; the builder is started if need be.

        Raises:
            BuildxError: there is no builder, or it builds on another kind of machine.
        """
        done = self._run(["inspect", "--bootstrap"], seconds=_ASK_SECONDS)
        platforms = next((line for line in done.output.splitlines() if line.strip().startswith("Platforms:")), "")
        if done.status or not platforms:
            raise self._failure("find a builder", done)
        found = _PLATFORM.search(platforms)
        if found is None:
            raise BuildxError(
                "find a builder", f"it offers {platforms.partition(':')[2].strip()}, neither amd64 nor arm64"
            )
        return Architecture.parse(found[1])

    def build(self, order: Order, destination: Path, *, progress: Progress | None = None, task: str = "") -> None:
        """Build the image; `destination` becomes a folder with its OCI layout, layers uncompressed.

        Args:
            order: what is built.
            destination: must not be there yet.
            progress: is told each step when it begins.
            task: that the steps are of.

        Raises:
            BuildxError: as drawn at the top of this module.
            ToolMissingError: the command is not installed.
            ToolTimeoutError: it took more than four hours.
        """
        tell = progress or Silence()

        def hear(line: str) -> None:
            step = _BEGUN.match(line)
            if step:
                tell.advance(task, f"step {step[1]}")

        done = processes.follow(
            [
                *self.command,
                *("build", "--progress=plain", "--provenance=false", "--sbom=false"),
                f"--platform={order.architecture.oci_platform}",
                f"--file={order.dockerfile}",
                *(["--pull"] if order.pull else []),
                *([f"--target={order.target}"] if order.target else []),
                *(f"--build-arg={name}={value}" for name, value in sorted(order.arguments.items())),
                "--build-arg=SOURCE_DATE_EPOCH=0",
                *(f"--secret={_fields(f'id={name}', where)}" for name, where in sorted(order.secrets.items())),
                *(f"--build-context={name}={where}" for name, where in sorted(order.contexts.items())),
                f"--output={_fields(*_OUTPUT, f'dest={destination}')}",
                str(order.context),
            ],
            package=_PACKAGE,
            seconds=_BUILD_SECONDS,
            hear=hear,
        )
        if done.status:
            raise self._build_failure(order, done)

    def _run(self, arguments: list[str], *, seconds: float) -> Outcome:
        return processes.run([*self.command, *arguments], package=_PACKAGE, seconds=seconds)

    def _failure(self, what: str, done: Outcome) -> BuildxError:
        messages = f"{done.output}\n{done.errors}"
        if any(sign in messages for sign in _NO_PLUGIN):
            return PluginMissingError(" ".join(self.command), done.errors)
        if any(sign in messages for sign in _AWAY):
            return BuilderAwayError(what, messages)
        return BuildxError(what, messages)

    def _build_failure(self, order: Order, done: Outcome) -> BuildxError:
        messages = done.errors
        if _UNFIT.search(messages):
            return BuilderUnfitError(messages)
        places = _PLACE.findall(messages)
        if not places:
            return self._failure(f"build {order.dockerfile.name}", done)
        place = f"{places[-1][0]}:{places[-1][1]}"
        steps = _STEP.findall(messages)
        if not steps:
            return DockerfileError(place, messages)
        step, output = steps[-1]
        if step.startswith(_METADATA):
            return BaseAwayError(place, step.removeprefix(_METADATA), messages)
        if _FOREIGN in messages:
            return EmulationMissingError(place, step, order.architecture, messages)
        return StepFailedError(place, step, "\n".join(_PRINTED.findall(output)), messages)


def _fields(*fields: str) -> str:
    """Fields as buildx reads them: comma-separated, quoted where that is needed."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


def _reason(messages: str) -> str:
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    errors = [line.partition("ERROR:")[2].strip() for line in lines if line.startswith("ERROR:")]
    return _NOISE.sub("", (errors or lines or ["no reason given"])[-1])
