"""A server's life: open the port, load, prove, serve, drain.

starting   live 200, ready 503         port open, models loading in a thread
serving    live 200, ready 200
draining   live 200, ready 503         after SIGTERM: still accepting, each answer closes its connection
finishing  port closed                 what is in flight is answered
exit       0 drained or self-test passed, 2 usage, 3 gate, load or self-test failed
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import uvloop

from . import gate, loading, log, selftest, threads
from .adapter import Runtime
from .connection import Connection
from .front import Front
from .limits import Limits
from .models import Repository
from .pool import Pool
from .service import Service
from .settings import Settings

if TYPE_CHECKING:
    from .rpc import RpcFront

_log = logging.getLogger(__name__)

EXIT_DRAINED = 0
EXIT_USAGE = 2
EXIT_REFUSED = 3

_PATIENCE = 20.0
"""Seconds for what is in flight; with the drain before it within Kubernetes' 30 s."""

_WORKERS = 2
"""One computes while the other decodes; the runtime has threads of its own."""

_OTHER_FILES = 64
_BACKLOG = 2048


def run(runtime: Runtime, settings: Settings) -> int:
    """Serves until told to stop; with `--self-test`, tests the models and serves nothing.

    Returns:
        The exit code.
    """
    log.configure(settings.log)
    if settings.self_test:
        right, problem = selftest.outcome(runtime, settings, settings.threads or threads.available())
        if problem is not None:
            _log.error("not tested: %s", problem)
        return EXIT_DRAINED if right else EXIT_REFUSED
    code, stuck = uvloop.run(_Server(runtime, settings).live())
    sys.stderr.flush()
    if stuck:
        # A thread is still inside the runtime; unwinding the interpreter under it can crash.
        os._exit(code)
    return code


class _Server:
    """One run of a server."""

    def __init__(self, runtime: Runtime, settings: Settings) -> None:
        self._runtime = runtime
        self._settings = settings
        self._repository = Repository()
        count = settings.threads or threads.available()
        self._loader = loading.Loader(runtime, settings, count, self._repository)

    async def live(self) -> tuple[int, bool]:
        """From opening the port to the exit code, and whether a thread still computes."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        _raise_file_limit(settings.max_connections + _OTHER_FILES)
        service = Service(
            self._repository,
            name=f"snapedge-{self._runtime.name}",
            version=self._runtime.version,
            max_body=settings.max_body,
            loader=self._loader,
        )
        pool = Pool(loop, workers=_WORKERS, limit=settings.max_in_flight)
        front = Front(loop, service, pool, Limits.of(settings))
        service.load = lambda: (pool.in_flight, front.connections)
        try:
            # A socket of our own: to look up even a plain address the loop would start four threads that stay.
            family = socket.AF_INET6 if ":" in settings.bind else socket.AF_INET
            opened = socket.create_server((settings.bind, settings.http_port), family=family, backlog=_BACKLOG)
        except OSError as error:
            _log.error("cannot listen on %s port %d: %s", settings.bind, settings.http_port, error.strerror)
            return EXIT_USAGE, False
        listener = await loop.create_server(partial(Connection, front), sock=opened, backlog=_BACKLOG)
        try:
            rpc = await self._open_rpc(service, front)
        except (ImportError, OSError) as error:
            _log.error("cannot serve gRPC on %s port %s: %s", settings.bind, settings.grpc_port, error)
            listener.close()
            await front.finish(0)
            return EXIT_USAGE, False
        try:
            return await self._serve(loop, front, listener, port=opened.getsockname()[1], stopping=stopping)
        finally:
            if rpc is not None:
                await rpc.stop(_PATIENCE)

    async def _serve(
        self,
        loop: asyncio.AbstractEventLoop,
        front: Front,
        listener: asyncio.Server,
        *,
        port: int,
        stopping: asyncio.Event,
    ) -> tuple[int, bool]:
        """From the open port to the exit code."""
        settings = self._settings
        _log.info("listening", extra={"event": {"bind": settings.bind, "port": port}})
        loaded = self._load(loop)
        stop = loop.create_task(stopping.wait())
        first: set[asyncio.Future[Any]] = {loaded, stop}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not loaded.done():
            _log.info("stopped while loading")
            listener.close()
            await front.finish(0)
            return EXIT_DRAINED, True
        refusal = loaded.result()
        if refusal is not None:
            self._tell(refusal)
            stop.cancel()
            listener.close()
            await front.finish(0)
            return EXIT_REFUSED, False
        # What is loaded stays: the collector need not look at it again, which would take milliseconds of some request.
        gc.collect()
        gc.freeze()
        _log.info("ready", extra={"event": {"models": self._repository.names()}})
        await stop
        _log.info("draining", extra={"event": {"seconds": settings.drain}})
        front.drain()
        await asyncio.sleep(settings.drain)
        listener.close()
        cut = await front.finish(_PATIENCE)
        _log.info("stopped", extra={"event": {"connections_cut": cut}})
        return EXIT_DRAINED, front.pool.in_flight > 0

    async def _open_rpc(self, service: Service, front: Front) -> RpcFront | None:
        """The gRPC port, where one is asked for: an extra of the image, so that its import may fail."""
        settings = self._settings
        if settings.grpc_port is None:
            return None
        from .rpc import RpcFront

        rpc = RpcFront(
            service, front.pool, front.batches, max_body=settings.max_body, max_in_flight=settings.max_in_flight
        )
        port = await rpc.start(settings.bind, settings.grpc_port)
        _log.info("serving gRPC", extra={"event": {"bind": settings.bind, "grpc_port": port}})
        return rpc

    def _load(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[loading.Refusal | None]:
        """Loads in a thread, so that the port answers meanwhile."""
        executor = ThreadPoolExecutor(1, thread_name_prefix="loading")
        loaded = loop.run_in_executor(executor, self._loader.load_all)
        # Lets the thread end with its only work.
        executor.shutdown(wait=False)
        return loaded

    def _tell(self, refusal: loading.Refusal) -> None:
        _log.error("not served: %s", refusal.reason)
        problem = gate.write(self._settings.termination_log, refusal.message)
        if problem is not None:
            _log.warning("the termination message is not written: %s", problem)


def _raise_file_limit(wanted: int) -> None:
    """Lets the process have a file for each connection, as far as its hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        _log.warning("only %d files may be open: connections beyond that are not accepted", most)
