"""The API server's way into the cluster: a request to a Service's `proxy` is sent on to one of its pods.

    /api/v1/namespaces/NAMESPACE/services/[SCHEME:]NAME[:PORT]/proxy/PATH

PORT is a number or a name; without one the Service's only port is meant. Words and codes are the real API's.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final
from urllib.parse import quote, urlencode

import h11

from . import apistatus, kinds
from .apistatus import ApiError
from .apply import Document
from .objects import ObjectStore
from .proxy import Endpoint, ServiceProxy
from .webserver import Request, Response

PATH: Final = re.compile(
    r"/api/v1/namespaces/(?P<namespace>[^/]+)/services/"
    r"(?:(?P<scheme>https?):)?(?P<name>[^/:]+)(?::(?P<port>[^/:]*))?/proxy(?P<rest>/.*)?"
)
_BODY_LIMIT: Final = 64 * 1024 * 1024
_SECONDS: Final = 60.0
_READ_SIZE: Final = 64 * 1024
_PASSED: Final = ("accept", "accept-encoding", "content-type", "user-agent")
"""Headers that go on: credentials are for the API alone."""
_HOP_BY_HOP: Final = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})


class ApiProxy:
    """Sends requests on to Services of one cluster."""

    def __init__(self, store: ObjectStore, proxy: ServiceProxy) -> None:
        self._store = store
        self._proxy = proxy

    async def answer(self, request: Request, match: re.Match[str]) -> Response:
        """What a pod behind the Service answers.

        Raises:
            ApiError: there is no such Service or port, no pod is ready, or it cannot be reached.
        """
        service = self._store.get(kinds.SERVICE, match["namespace"], match["name"])
        if service is None:
            raise apistatus.not_found(kinds.SERVICE, match["name"])
        endpoint = _endpoint(service, match["port"] or "")
        if endpoint is None:
            raise _unavailable(f'no service port "{match["port"] or ""}" found for service "{match["name"]}"')
        if not self._proxy.has_endpoints(*endpoint):
            raise _unavailable(f'no endpoints available for service "{match["name"]}"')
        body = await request.read(_BODY_LIMIT)
        query = f"?{urlencode(request.query)}" if request.query else ""
        try:
            async with asyncio.timeout(_SECONDS):
                return await _asked(endpoint, request, quote(match["rest"] or "/") + query, body)
        except (OSError, h11.RemoteProtocolError) as error:
            raise _unavailable(f"error trying to reach service: {error}") from error


def _endpoint(service: Document, named: str) -> Endpoint | None:
    spec = service["spec"]
    ports = spec.get("ports", [])
    if spec.get("clusterIP") in ("None", "", None):
        return None
    chosen = [port for port in ports if named in (str(port["port"]), port.get("name"))] if named else ports
    return (spec["clusterIP"], chosen[0]["port"]) if len(chosen) == 1 else None


async def _asked(endpoint: Endpoint, request: Request, target: str, body: bytes) -> Response:
    http = h11.Connection(h11.CLIENT)
    headers = [(name, request.header(name)) for name in _PASSED if request.header(name)]
    headers += [("host", f"{endpoint[0]}:{endpoint[1]}"), ("connection", "close")]
    if body or request.method in ("POST", "PUT", "PATCH"):
        headers.append(("content-length", str(len(body))))
    reader, writer = await asyncio.open_connection(*endpoint)
    try:
        writer.write(http.send(h11.Request(method=request.method, target=target, headers=headers)) or b"")
        if body:
            writer.write(http.send(h11.Data(data=body)) or b"")
        writer.write(http.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        return await _read(http, reader)
    finally:
        writer.close()


async def _read(http: h11.Connection, reader: asyncio.StreamReader) -> Response:
    status, headers, body = 502, [], bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(_READ_SIZE))
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            kept = [(name, value) for name, value in headers if name not in _HOP_BY_HOP]
            return Response(status=status, headers=kept, body=bytes(body))


def _unavailable(message: str) -> ApiError:
    return ApiError(503, "ServiceUnavailable", message)
