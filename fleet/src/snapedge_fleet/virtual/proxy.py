"""ClusterIPs and NodePorts: TCP listeners that hand each new connection to a pod that is ready at that moment.

Rules:

- Only pods that are ready and not ending get new connections, in turn.
- A connection that is under way is never touched: it ends when one of its two ends closes it.
- If a pod cannot be reached, the next one is tried; if none can, the connection is reset, as kube-proxy rejects it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, cast

from . import kinds, probes, selectors, workloads
from .apply import Document
from .controllers import watched
from .objects import Change, ObjectStore

_log = logging.getLogger(__name__)

Endpoint = tuple[str, int]
_CONNECT_TIMEOUT: Final = 2.0
_BACKLOG: Final = 512


class ServiceProxy:
    """Keeps one listener for each port of each Service."""

    def __init__(self, store: ObjectStore, host: str) -> None:
        self._store = store
        self._host = host
        self._listeners: dict[Endpoint, _Listener] = {}
        self._deafen: Callable[[], None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Listen on what Services there are, and on what comes."""
        self._deafen = self._store.listen(self._hear)
        await self._match_services()
        self._task = watched(self._work(), "the proxy")

    async def stop(self) -> None:
        """Close every listener and every connection."""
        if self._deafen is not None:
            self._deafen()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for listener in self._listeners.values():
            await listener.stop()
        self._listeners.clear()

    def has_endpoints(self, address: str, port: int) -> bool:
        """Whether a connection to this address would reach a pod now."""
        listener = self._listeners.get((address, port))
        return listener is not None and bool(listener.endpoints)

    def _hear(self, change: Change) -> None:
        if change.kind is kinds.POD:
            # At once: a pod that is ending must not get one more connection.
            self._match_pods()
        elif change.kind is kinds.SERVICE:
            self._wake.set()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._match_services()

    async def _match_services(self) -> None:
        wanted = self._wanted()
        for endpoint in [known for known in self._listeners if known not in wanted]:
            await self._listeners.pop(endpoint).stop()
        for endpoint in wanted:
            if endpoint not in self._listeners:
                listener = _Listener(*endpoint)
                try:
                    await listener.start()
                except OSError as error:
                    _log.warning("cannot listen on %s:%s: %s", *endpoint, error)
                    continue
                self._listeners[endpoint] = listener
        self._match_pods()

    def _match_pods(self) -> None:
        pods = [pod for pod in self._store.all_of(kinds.POD) if workloads.is_ready(pod)]
        for listen_on, (service, port) in self._wanted().items():
            listener = self._listeners.get(listen_on)
            if listener is not None:
                listener.endpoints = _endpoints(service, port, pods)

    def _wanted(self) -> dict[Endpoint, tuple[Document, Document]]:
        wanted: dict[Endpoint, tuple[Document, Document]] = {}
        for service in self._store.all_of(kinds.SERVICE):
            spec = service["spec"]
            for port in spec.get("ports", []):
                if spec.get("clusterIP") not in ("None", "", None):
                    wanted[spec["clusterIP"], port["port"]] = (service, port)
                if "nodePort" in port:
                    wanted[self._host, port["nodePort"]] = (service, port)
        return wanted


def _endpoints(service: Document, port: Document, pods: list[Document]) -> list[Endpoint]:
    found: list[Endpoint] = []
    selector = service["spec"].get("selector")
    if not selector:
        return found
    for pod in pods:
        metadata = pod["metadata"]
        if metadata["namespace"] != service["metadata"]["namespace"]:
            continue
        if selectors.matches_map(metadata.get("labels", {}), selector):
            target: int | str = port.get("targetPort") or port["port"]
            number = probes.named_port(pod["spec"]["containers"][0], target)
            if number:
                found.append((pod["status"]["podIP"], number))
    return found


class _Listener:
    """One address and port, and the pods behind it."""

    def __init__(self, address: str, port: int) -> None:
        self.endpoints: list[Endpoint] = []
        self._address = address
        self._port = port
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._clients: set[_Client] = set()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Client(self), self._address, self._port, backlog=_BACKLOG, reuse_address=True
        )

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for client in list(self._clients):
            client.abort()

    def add(self, client: _Client) -> None:
        self._clients.add(client)

    def discard(self, client: _Client) -> None:
        self._clients.discard(client)

    async def connect(self, client: _Client) -> _Server | None:
        """A connection to a ready pod; every one of them is tried once."""
        loop = asyncio.get_running_loop()
        self._turn += 1
        tried: set[Endpoint] = set()
        while True:
            left = [endpoint for endpoint in self.endpoints if endpoint not in tried]
            if not left:
                return None
            endpoint = left[self._turn % len(left)]
            tried.add(endpoint)
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT):
                    _, server = await loop.create_connection(lambda: _Server(client), *endpoint)
            except (OSError, TimeoutError) as error:
                _log.debug("%s:%s cannot be reached: %s", *endpoint, error)
                continue
            return server


class _Side(asyncio.Protocol):
    """One half of a proxied connection: what it receives goes to its peer, no faster than the peer takes it."""

    transport: asyncio.Transport | None = None
    peer: _Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.write(data)

    def eof_received(self) -> bool:
        peer = self.peer.transport if self.peer is not None else None
        if peer is not None and not peer.is_closing() and peer.can_write_eof():
            peer.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        peer = self.peer.transport if self.peer is not None else None
        if peer is not None:
            if exc is None:
                peer.close()
            else:
                peer.abort()


class _Server(_Side):
    """The pod's half."""

    def __init__(self, client: _Client) -> None:
        self.peer = client


class _Client(_Side):
    """The caller's half; it is not read before a pod was found, so that nothing of it is lost."""

    def __init__(self, listener: _Listener) -> None:
        self._listener = listener
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self._listener.add(self)
        self._connecting = asyncio.create_task(self._connect())

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.discard(self)
        if self._connecting is not None:
            self._connecting.cancel()
        super().connection_lost(exc)

    def abort(self) -> None:
        """Cut both halves."""
        if self.transport is not None:
            self.transport.abort()

    async def _connect(self) -> None:
        assert self.transport is not None
        server = await self._listener.connect(self)
        if server is None:
            self.transport.abort()
            return
        if self.transport.is_closing():
            if server.transport is not None:
                server.transport.abort()
            return
        self.peer = server
        self.transport.resume_reading()
