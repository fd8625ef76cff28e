"""A trial's server: the image's own entrypoint, started from the layers, as a pod would start it.

Rules:

1. Nothing is installed and nothing is left: the runtime's tree stays in the build cache, the model's layer is unpacked
   for one run and mounted read-only.
2. It listens on loopback, on a port that the system chooses unless one is named; its log says which.
3. The gate is `report`: a wrong model comes up, so that every answer can be looked at. The caller judges.
4. However the caller ends, the server ends before it, or with it.

    ServerEndedError     it ended before it was ready, or while it was needed
    ServerSlowError      it was not ready in time
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapedge_hooks import rootfs
from snapedge_hooks.blobs import Blob
from snapedge_hooks.clock import Deadline, SystemClock
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.rootfs import LayerRefusedError, RootfsCache
from snapedge_hooks.sandbox import ContainerSpec, Mount, Sandbox
from snapedge_hooks.wire import Wire, WireError

from .cache import Cache
from .errors import BuilderError
from .layers import MODELS_FOLDER
from .trialimage import TrialImage

ADDRESS = "127.0.0.1"
_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PAUSE = 0.02
_LOG_LINES = 20
_MAX_LOG_READ = 1024 * 1024
_GATE_OR_LOAD_FAILED = 3
_GRACE_SECONDS = 5.0
_MOMENT = 1.0


class ServerEndedError(BuilderError):
    """The server is not there any more."""

    def __init__(self, status: int, reason: str, log: str) -> None:
        how = f"signal {-status}" if status < 0 else f"exit code {status}"
        said = f": {reason}" if reason else ""
        super().__init__(
            f"the server ended with {how}{said}",
            details=log,
            resolution="the last lines of its log stand below" if log else "it said nothing; run it with --verbose",
        )
        if status == _GATE_OR_LOAD_FAILED:
            self.exit_code = ExitCode.REFUSED


class ServerSlowError(BuilderError):
    """The server was not ready in the time it was given."""

    def __init__(self, seconds: float, log: str) -> None:
        super().__init__(
            f"the server was not ready after {seconds:.0f} s",
            details=log,
            resolution="give it longer with --timeout, or see its log below",
        )


class ImageRefusedError(BuilderError):
    """A layer cannot be unpacked, or the image starts nothing."""

    exit_code = ExitCode.REFUSED

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}", resolution="build it again")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialServer:
    """A server that runs and is ready.

    Attributes:
        url: of its HTTP endpoint.
        seconds_to_ready: from its start.
    """

    url: str
    seconds_to_ready: float
    process: subprocess.Popen[bytes]
    folder: Path

    def wait(self) -> None:
        """Wait until it ends, which it does not do by itself.

        Raises:
            ServerEndedError: it did.
        """
        raise _ended(self.process.wait(), self.folder)

    def check(self) -> None:
        """Tell a server that is gone from one that merely answers badly.

        Raises:
            ServerEndedError: it is gone.
        """
        # The sandbox ends a moment after what ran in it.
        with suppress(subprocess.TimeoutExpired):
            raise _ended(self.process.wait(_MOMENT), self.folder)


@contextmanager
def running(
    image: TrialImage, *, cache: Cache, sandbox: Sandbox, port: int = 0, seconds: float = 120.0
) -> Iterator[TrialServer]:
    """The image's server, ready, for as long as the context lasts.

    Args:
        image: what to run.
        cache: keeps the runtime's tree.
        sandbox: runs it.
        port: to listen on; 0 for any free one.
        seconds: that it may take to be ready.

    Raises:
        ImageRefusedError: a layer cannot be unpacked, or there is nothing to start.
        ServerEndedError: it ended.
        ServerSlowError: it was not ready in time.
    """
    with cache.scratch() as folder:
        spec = _spec(image, cache, folder, port)
        with cache.guard():
            sandbox.prepare(spec)
        began = time.monotonic()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                sandbox.command(spec),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(spec.environment),
                start_new_session=True,
            )
        try:
            deadline = Deadline.after(SystemClock(), seconds)
            url = f"http://{ADDRESS}:{_listening_port(process, folder, deadline, seconds)}"
            _wait_ready(url, process, folder, deadline, seconds)
            yield TrialServer(url=url, seconds_to_ready=time.monotonic() - began, process=process, folder=folder)
        finally:
            _end(process)


def _spec(image: TrialImage, cache: Cache, folder: Path, port: int) -> ContainerSpec:
    config = image.runtime.config.get("config", {})
    arguments = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
    if not arguments:
        raise ImageRefusedError(f"runtime {image.runtime.name}", "names nothing to start")
    tree = _runtime_tree(image, cache)
    model = folder / "model"
    _unpack(image.layers[image.payload.model.layer.diff_id], model, cache)
    log = folder / "termination-log"
    log.touch()
    log.chmod(0o666)
    return ContainerSpec(
        rootfs=tree,
        arguments=arguments,
        environment=_environment(config, port),
        working_directory=config.get("WorkingDir") or "/",
        hostname=image.payload.name,
        termination_log=log,
        scratch=folder,
        mounts=[Mount(source=model / MODELS_FOLDER, target=f"/{MODELS_FOLDER}", writable=False)],
    )


def _environment(config: Mapping[str, Any], port: int) -> dict[str, str]:
    said = dict(item.partition("=")[::2] for item in config.get("Env") or [])
    return (
        {"PATH": _SEARCH_PATH, "HOME": "/"}
        | said
        | {
            "PROTOCOL": "v2",
            "SNAPEDGE_BIND": ADDRESS,
            "SNAPEDGE_HTTP_PORT": str(port),
            "SNAPEDGE_GATE": "report",
            "SNAPEDGE_LOG": "json",
        }
    )


def _runtime_tree(image: TrialImage, cache: Cache) -> Path:
    trees = RootfsCache(cache.root / "rootfs")
    with cache.guard():
        for layer in image.runtime.layers:
            try:
                blob = image.layers[layer.digest]
                trees.add_layer(layer.diff_id, blob.size, blob.open)
            except LayerRefusedError as error:
                raise ImageRefusedError(f"layer {layer.name}", str(error)) from error
        tree = trees.tree([layer.diff_id for layer in image.runtime.layers])
        trees.add_mount_point(tree, MODELS_FOLDER)
    return tree


def _unpack(layer: Blob, folder: Path, cache: Cache) -> None:
    with cache.guard():
        folder.mkdir()
        try:
            with layer.open() as archive:
                rootfs.unpack(archive, folder, size=layer.size)
        except LayerRefusedError as error:
            raise ImageRefusedError(layer.name, str(error)) from error
        (folder / MODELS_FOLDER).mkdir(parents=True, exist_ok=True)


def _listening_port(process: subprocess.Popen[bytes], folder: Path, deadline: Deadline, seconds: float) -> int:
    with (folder / "log").open("rb") as log:
        line = b""
        while True:
            piece = log.readline()
            line += piece
            if line.endswith(b"\n"):
                port = _port_of(line)
                if port is not None:
                    return port
                line = b""
            elif not piece:
                _go_on(process, folder, deadline, seconds)


def _port_of(line: bytes) -> int | None:
    """The port of a log line that tells one."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or event.get("message") != "listening":
        return None
    port = event.get("port")
    return port if isinstance(port, int) and 0 < port < 65536 else None


def _wait_ready(url: str, process: subprocess.Popen[bytes], folder: Path, deadline: Deadline, seconds: float) -> None:
    wire = Wire(url, read_timeout=5.0, total_timeout=5.0)
    try:
        while True:
            try:
                if wire.ask("GET", "/v2/health/ready", limit=65536).status == 200:
                    return
            except WireError:
                pass  # it may be on its way out, and that is told next
            _go_on(process, folder, deadline, seconds)
    finally:
        wire.close()


def _go_on(process: subprocess.Popen[bytes], folder: Path, deadline: Deadline, seconds: float) -> None:
    """Pause, unless there is nothing left to wait for."""
    status = process.poll()
    if status is not None:
        raise _ended(status, folder)
    if deadline.has_passed:
        raise ServerSlowError(seconds, _last_lines(folder))
    deadline.pause(_PAUSE)


def _ended(status: int, folder: Path) -> ServerEndedError:
    return ServerEndedError(status, _reason(folder), _last_lines(folder))


def _reason(folder: Path) -> str:
    """What the termination log says, in words."""
    try:
        said = json.loads((folder / "termination-log").read_bytes())
    except (OSError, ValueError, RecursionError):
        return ""
    if not isinstance(said, dict):
        return ""
    if said.get("gate") == "failed":
        return f"sample {said.get('sample')}, output {said.get('output')} is wrong"
    return " ".join(str(said.get("reason", "")).split())


def _last_lines(folder: Path) -> str:
    with (folder / "log").open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _MAX_LOG_READ))
        text = file.read().decode("utf-8", "replace")
    return "\n".join(text.splitlines()[-_LOG_LINES:])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
