"""The control plane over HTTP: agents under /v1/d, store files under /v1/store, operators under /v1/admin.

    POST /v1/enrol                     {"device", "claim", "architecture"} -> {"token"}
    GET  /v1/d/{id}/state              desired state; If-None-Match -> 304; X-Poll-Interval says when to ask again
    POST /v1/d/{id}/report             what the device has
    GET  /v1/d/{id}/why                why it is to have what it is to have
    GET  /v1/store/snaps/{digest}.snap ranges, ETag is the digest
    GET  /v1/store/index.json
    POST /v1/admin/{operation}         operations.OPERATIONS; reading ones answer GET too
    GET  /v1/health

Every error is `{"error", "details", "resolution", "exit_code"}` with the status that fits.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy.exc import DBAPIError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from snapedge_hooks.directorystore import INDEX_NAME, DirectoryStore
from snapedge_hooks.document import DocumentError
from snapedge_hooks.errors import ExitCode, SnapedgeError
from snapedge_hooks.storeindex import Sha3
from snapedge_hooks.vocabulary import Architecture

from . import conversation, operations
from .control import Control
from .errors import IdentityError, TwoAgentsError, UnknownNameError
from .operations import OPERATIONS, ArgumentError
from .wire import ACTOR_HEADER, AGENT_HEADER, INTERVAL_HEADER

_log = logging.getLogger(__name__)
MAX_BODY = 1024 * 1024
_RETRY_SECONDS = 10


def application(control: Control, admin_token: str) -> Starlette:
    """The ASGI application of a control plane; `admin_token` opens /v1/admin."""
    calls = _Calls(control, admin_token)
    return Starlette(
        routes=[
            Route("/v1/health", calls.health),
            Route("/v1/enrol", calls.enrol, methods=["POST"]),
            Route("/v1/d/{device}/state", calls.state),
            Route("/v1/d/{device}/report", calls.report, methods=["POST"]),
            Route("/v1/d/{device}/why", calls.why),
            Route("/v1/store/{path:path}", calls.store_file),
            Route("/v1/admin/{operation}", calls.admin, methods=["GET", "POST"]),
        ],
        exception_handlers=_EXCEPTION_HANDLERS,
    )


def store_application(store: DirectoryStore) -> Starlette:
    """The store alone over HTTP, open to every reader: for mirrors and for trying things out."""

    async def store_file(request: Request) -> Response:
        return await run_in_threadpool(serve_store_file, store, request.path_params["path"])

    return Starlette(routes=[Route("/{path:path}", store_file)], exception_handlers=_EXCEPTION_HANDLERS)


def serve_store_file(store: DirectoryStore, path: str) -> Response:
    """A file of the store: the index, or a snap by its digest.

    Raises:
        HTTPException: there is no such file.
    """
    if path == INDEX_NAME:
        file, headers = store.root / INDEX_NAME, {"Cache-Control": "no-cache"}
    else:
        folder, _, name = path.partition("/")
        try:
            digest = Sha3(name.removesuffix(".snap"))
        except ValueError:
            raise HTTPException(404, f"the store has no {path}") from None
        if folder != "snaps" or not name.endswith(".snap"):
            raise HTTPException(404, f"the store has no {path}")
        file = store.path(digest)
        headers = {"ETag": f'"{digest}"', "Cache-Control": "public, max-age=31536000, immutable"}
    try:
        found = file.stat()
    except FileNotFoundError:
        raise HTTPException(404, f"the store has no {path}") from None
    return FileResponse(Path(file), headers=headers, stat_result=found, media_type="application/octet-stream")


class _Calls:
    """What each route does. The work is done in threads: the database is waited for."""

    def __init__(self, control: Control, admin_token: str) -> None:
        self._control = control
        self._admin_token = admin_token

    async def enrol(self, request: Request) -> Response:
        body = await _body(request)
        try:
            device, word = str(body["device"]), str(body["claim"])
            architecture = Architecture.parse(str(body["architecture"]))
        except KeyError as error:
            raise ArgumentError("enrol", f"{error.args[0]} is missing") from error
        except ValueError as error:
            raise ArgumentError("enrol", str(error)) from error
        token = await run_in_threadpool(conversation.enrol, self._control, device, word, architecture)
        return _json({"token": token})

    async def state(self, request: Request) -> Response:
        device, token, agent = _caller(request)
        wish = await run_in_threadpool(conversation.poll, self._control, device, token, agent)
        headers = {"ETag": wish.etag, INTERVAL_HEADER: f"{wish.interval:g}", "Cache-Control": "private, no-cache"}
        if request.headers.get("if-none-match") == wish.etag:
            return Response(status_code=304, headers=headers)
        return Response(wish.data, media_type="application/json", headers=headers)

    async def report(self, request: Request) -> Response:
        device, token, agent = _caller(request)
        body = await _body(request)
        return _json(await run_in_threadpool(conversation.report, self._control, device, token, agent, body))

    async def why(self, request: Request) -> Response:
        device, token, agent = _caller(request)
        await run_in_threadpool(conversation.check, self._control, device, token, agent)
        return _json(await run_in_threadpool(conversation.explain, self._control, device))

    async def store_file(self, request: Request) -> Response:
        await run_in_threadpool(_check_reader, self._control, self._admin_token, request)
        return await run_in_threadpool(serve_store_file, self._control.store, request.path_params["path"])

    async def admin(self, request: Request) -> Response:
        if not hmac.compare_digest(_bearer(request).encode(), self._admin_token.encode()):
            raise IdentityError(
                "the token is not the fleet's", resolution="name the file the server wrote: --token-file"
            )
        name = request.path_params["operation"]
        if request.method == "GET":
            if name in OPERATIONS and not OPERATIONS[name].is_reading:
                raise HTTPException(405, f"{name} changes the fleet: POST it")
            arguments: dict[str, Any] = dict(request.query_params)
        else:
            arguments = await _body(request)
        actor = request.headers.get(ACTOR_HEADER, "operator")[:64]
        return _json(await run_in_threadpool(operations.perform, self._control, name, arguments, actor=actor))

    async def health(self, _request: Request) -> Response:
        return _json({"ok": True})


def _check_reader(control: Control, admin_token: str, request: Request) -> None:
    token = _bearer(request)
    if not hmac.compare_digest(token.encode(), admin_token.encode()):
        conversation.check_reader(control, token)


def _caller(request: Request) -> tuple[str, str, str]:
    agent = request.headers.get(AGENT_HEADER, "")
    if not agent or len(agent) > 64:
        raise ArgumentError("device", f"the header {AGENT_HEADER} names no agent")
    return request.path_params["device"], _bearer(request), agent


def _bearer(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise IdentityError("the call carries no token", resolution="send Authorization: Bearer TOKEN")
    return token


async def _body(request: Request) -> dict[str, Any]:
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BODY:
            raise HTTPException(413, f"the body is larger than {MAX_BODY} bytes")
    try:
        body = orjson.loads(bytes(data))
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise HTTPException(400, "the body is not a JSON object")
    return body


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status_code=status, media_type="application/json", headers=headers)


def _error(status: int, brief: str, details: str = "", resolution: str = "", exit_code: int = 1) -> Response:
    headers = {"Retry-After": str(_RETRY_SECONDS)} if status == 503 else None
    document = {"error": brief, "details": details, "resolution": resolution, "exit_code": exit_code}
    return _json(document, status, headers)


def _status(error: SnapedgeError) -> int:
    match error:
        case TwoAgentsError():
            return 409
        case IdentityError():
            return 401
        case UnknownNameError():
            return 404
        case DocumentError():
            return 500
        case _:
            by_code = {ExitCode.USAGE: 400, ExitCode.REFUSED: 409, ExitCode.REMOTE_AWAY: 503}
            return by_code.get(error.exit_code, 500)


async def _on_snapedge_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, SnapedgeError), "registered for it"
    return _error(_status(error), error.brief, error.details, error.resolution, int(error.exit_code))


async def _on_http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for it"
    return _error(error.status_code, error.detail)


async def _on_database_error(_request: Request, error: Exception) -> Response:
    _log.error("database: %s", error)
    return _error(503, "the database does not answer", "", "try again later", int(ExitCode.REMOTE_AWAY))


_EXCEPTION_HANDLERS: dict[Any, Callable[..., Any]] = {
    SnapedgeError: _on_snapedge_error,
    HTTPException: _on_http_error,
    DBAPIError: _on_database_error,
}
