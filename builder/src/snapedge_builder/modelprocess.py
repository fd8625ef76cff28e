"""A model in a process of its own: TensorFlow Lite since a broken file can end it, a pickle since it is code.

The only caller of `modelworker`, and the one place where bubblewrap is asked to keep a pickle from the network, from
writing, and from the services of this host.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from snapedge_hooks.document import DocumentError, Fields
from snapedge_hooks.samples import Tensor
from snapedge_hooks.vocabulary import ModelFormat

from . import processes
from .modelfile import ModelRefusedError
from .signature import Signature

LOAD_SECONDS = 120.0
ANSWER_SECONDS = 120.0
_END_SECONDS = 10.0
_CHUNK = 1 << 16
_PACKAGE = "bubblewrap"


class ModelProcess:
    """A running model."""

    def __init__(self, path: Path, form: ModelFormat, *, seconds: float = ANSWER_SECONDS) -> None:
        """Load the model.

        Raises:
            ModelRefusedError: it cannot be loaded, or cannot be served.
            ToolMissingError: bubblewrap, which a pickle needs, is not installed.
        """
        self._file = path.name
        self._form = form
        self._seconds = seconds
        self._pending = b""
        # Kept for as long as the process: what libraries print is shown only where the process ends by itself.
        self._words = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            _command(path.absolute(), form),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            bufsize=0,
        )
        try:
            self.signature = self._signature(self._read(LOAD_SECONDS))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def answer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All outputs for some inputs.

        Raises:
            ModelRefusedError: the model fails on them, ends its process, or takes too long.
        """
        request = {
            name: {"datatype": tensor.datatype, "shape": list(tensor.shape), "data": list(tensor.data)}
            for name, tensor in inputs.items()
        }
        assert self._process.stdin is not None, "the process was started with pipes"
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError as error:
            raise self._ended() from error
        found = self._read(self._seconds)
        if "error" in found:
            raise ModelRefusedError(
                self._file, f"fails when it is run: {_line(found['error'])}", details=found["error"]
            )
        return {
            name: Tensor(name=name, shape=tuple(item["shape"]), datatype=item["datatype"], data=tuple(item["data"]))
            for name, item in found.items()
        }

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(_END_SECONDS if self._process.poll() is None and not self._pending else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._words.close()

    def _signature(self, found: dict[str, Any]) -> Signature:
        if "error" in found:
            raise ModelRefusedError(self._file, f"cannot be served: {_line(found['error'])}", details=found["error"])
        try:
            return Signature.read(Fields(found, what=f"signature of {self._file}"))
        except DocumentError as error:
            raise ModelRefusedError(self._file, f"has tensors that cannot be served: {error}") from error

    def _read(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None, "the process was started with pipes"
        deadline = time.monotonic() + seconds
        parts = []
        while True:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self._process.kill()
                raise ModelRefusedError(
                    self._file, f"did not answer within {seconds:.0f} s", resolution="try it by hand"
                )
            data = self._process.stdout.read(_CHUNK)
            if not data:
                raise self._ended()
            parts.append(data)
            if data.endswith(b"\n"):
                found: dict[str, Any] = json.loads(b"".join(parts))
                return found

    def _ended(self) -> ModelRefusedError:
        status = self._process.wait(_END_SECONDS)
        self._words.seek(0)
        words = self._words.read().decode("utf-8", "replace")
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return ModelRefusedError(
            self._file, f"ended the process that ran it ({how})", details=words[-4000:], resolution="export it again"
        )


def _command(path: Path, form: ModelFormat) -> list[str]:
    worker = [sys.executable, "-P", "-m", "snapedge_builder.modelworker", str(form), str(path)]
    return sandboxed(worker) if form is ModelFormat.SKLEARN else worker


def sandboxed(worker: list[str]) -> list[str]:
    """The command that runs a worker without network, without writing, and without the services of this host.

    Raises:
        ToolMissingError: bubblewrap is not installed.
    """
    return [
        str(processes.find("bwrap", package=_PACKAGE)),
        *("--unshare-user", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/run", "--chdir", "/"),
        *("--clearenv", "--setenv", "TMPDIR", "/dev/shm", "--setenv", "OPENBLAS_NUM_THREADS", "1"),  # noqa: S108  # its own
        # Converters write what they keep in sets in the order of its hashes.
        *("--setenv", "PYTHONHASHSEED", "0"),
        *worker,
    ]


def _line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0][:300] if lines else "no reason given"
