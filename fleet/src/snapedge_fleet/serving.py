"""Runs the server: a socket, uvicorn, and the thread that moves rollouts. Ends in order on SIGTERM and SIGINT."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from sqlalchemy.exc import DBAPIError
from starlette.applications import Starlette

from snapedge_hooks.errors import ExitCode, SnapedgeError

from . import leader, server
from .control import Control
from .errors import DataFolderError

_log = logging.getLogger(__name__)
ADMIN_TOKEN_NAME = "admin.token"  # noqa: S105  # a file's name
_DRAIN_SECONDS = 5


class ListenError(SnapedgeError):
    """The address cannot be listened on."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"cannot listen on {address}: {reason}", resolution="name another --listen HOST:PORT")


class AddressError(SnapedgeError):
    """Text that is no address."""

    exit_code = ExitCode.USAGE

    def __init__(self, text: str) -> None:
        super().__init__(f"'{text}' is no address", resolution="write HOST:PORT, like 127.0.0.1:8443")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Certificate chain and key, PEM files."""

    certificate: Path
    key: Path


def serve(
    control: Control,
    data: Path,
    listen: str,
    *,
    tls: Tls | None = None,
    tick: float = 1.0,
    announce: Callable[[str], None],
) -> None:
    """Serve a control plane until SIGTERM or SIGINT; `announce` gets the URL once it can be called.

    Raises:
        LeaderElsewhereError: another server uses the folder.
        ListenError: the address is taken.
    """
    with leader.leadership(data), _listening(listen) as listener, _leading(control, tick):
        token = admin_token(data)
        _run(server.application(control, token), listener, tls, announce)


def serve_store(application: Starlette, listen: str, *, announce: Callable[[str], None]) -> None:
    """Serve a store alone until SIGTERM or SIGINT.

    Raises:
        ListenError: the address is taken.
    """
    with _listening(listen) as listener:
        _run(application, listener, None, announce)


def admin_token(data: Path) -> str:
    """The operators' token of a data folder, made where it is not there; only its owner may read it.

    Raises:
        DataFolderError: the file cannot be read or written.
    """
    path = data / ADMIN_TOKEN_NAME
    try:
        data.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            temporary = data / f".{ADMIN_TOKEN_NAME}.{os.getpid()}"
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
            temporary.replace(path)
        return path.read_text().strip()
    except OSError as error:
        raise DataFolderError(path, error.strerror or str(error)) from error


@contextmanager
def _listening(listen: str) -> Iterator[socket.socket]:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise AddressError(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host.strip("[]"), int(port)), family=family, backlog=1024)
    except OSError as error:
        raise ListenError(listen, error.strerror or str(error)) from error
    with listener:
        yield listener


@contextmanager
def _leading(control: Control, seconds: float) -> Iterator[None]:
    """Rollouts move in a thread of their own while the block runs."""
    stop = threading.Event()

    def lead() -> None:
        while not stop.is_set():
            try:
                leader.tick(control)
            except SnapedgeError as error:
                # The store may be half-copied or its disk away: the next tick looks again.
                _log.warning("rollouts stand still: %s", error)
            except DBAPIError as error:
                _log.warning("rollouts stand still, the database says: %s", error)
            stop.wait(seconds)

    thread = threading.Thread(target=lead, name="leader")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _run(application: Starlette, listener: socket.socket, tls: Tls | None, announce: Callable[[str], None]) -> None:
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        ssl_certfile=None if tls is None else tls.certificate,
        ssl_keyfile=None if tls is None else tls.key,
        server_header=False,
    )
    try:
        config.load()
    except OSError as error:
        raise ListenError("TLS", f"certificate or key: {error.strerror or error}") from error
    running = uvicorn.Server(config)
    host, port = listener.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    with _quiet_ending():
        announce(f"{'http' if tls is None else 'https'}://{host}:{port}")
        running.run(sockets=[listener])


@contextmanager
def _quiet_ending() -> Iterator[None]:
    """Uvicorn raises the signal that ended it once more after it has drained: that one is to do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
