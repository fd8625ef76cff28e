"""snapd's REST API on a unix socket: its paths, its envelope, its error kinds."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from snapedge_hooks.errors import SnapedgeError

from . import snapconfig, snapdresponses
from .changes import Change
from .snapctl import SnapctlError, UnsuccessfulError
from .snapd import RefusedError, SideloadOptions, Snapd

LONGEST_SOCKET_PATH: Final = 107
"""Bytes of a path that the kernel takes for a unix socket."""

_Endpoint = Callable[[Request], Awaitable[Response]]


class SocketPathError(SnapedgeError):
    """A socket path that the kernel does not take."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is too long for a unix socket ({len(os.fsencode(path))} bytes of at most {LONGEST_SOCKET_PATH})",
            resolution="choose a shorter folder",
        )


class SnapdApi:
    """Serves a `Snapd` on a socket; `about` answers GET /virtual, which is no path of snapd's."""

    def __init__(self, snapd: Snapd, path: Path, *, about: Callable[[], Mapping[str, Any]] = dict) -> None:
        self._tell_about = about
        self._snapd = snapd
        self._machine = snapd.machine
        self._path = path
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens; returns when requests are answered.

        Raises:
            SocketPathError: when the path is too long.
        """
        if len(os.fsencode(self._path)) > LONGEST_SOCKET_PATH:
            raise SocketPathError(self._path)
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self._path))
        self._path.chmod(0o600)
        config = uvicorn.Config(
            self.application(), lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=2
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Stops listening."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
        self._path.unlink(missing_ok=True)

    def application(self) -> Starlette:
        """The API as an ASGI application."""
        routes: list[tuple[str, str, _Endpoint]] = [
            ("GET", "/v2/system-info", self._system_info),
            ("GET", "/v2/snaps", self._snaps),
            ("POST", "/v2/snaps", self._post_snaps),
            ("GET", "/v2/snaps/{name}", self._snap),
            ("POST", "/v2/snaps/{name}", self._post_snap),
            ("GET", "/v2/snaps/{name}/conf", self._config),
            ("PUT", "/v2/snaps/{name}/conf", self._put_config),
            ("GET", "/v2/changes", self._changes),
            ("GET", "/v2/changes/{number}", self._change),
            ("POST", "/v2/changes/{number}", self._post_change),
            ("GET", "/v2/apps", self._apps),
            ("POST", "/v2/apps", self._post_apps),
            ("GET", "/v2/connections", self._connections),
            ("POST", "/v2/interfaces", self._post_interfaces),
            ("GET", "/v2/logs", self._logs),
            ("POST", "/v2/snapctl", self._snapctl),
            ("GET", "/v2/find", self._find),
            ("GET", "/virtual", self._about),
        ]
        return Starlette(
            routes=[Route(path, _enveloped(endpoint), methods=[method]) for method, path, endpoint in routes],
            exception_handlers={HTTPException: _http_error, 500: _internal_error},
        )

    async def _system_info(self, _: Request) -> Response:
        return _sync(snapdresponses.system_info(self._machine))

    async def _about(self, _: Request) -> Response:
        return _sync(dict(self._tell_about()))

    async def _find(self, _: Request) -> Response:
        raise RefusedError("snap store is offline: a virtual device has none", kind="store-offline")

    async def _snaps(self, request: Request) -> Response:
        every = request.query_params.get("select") == "all"
        names = [name for name in request.query_params.get("snaps", "").split(",") if name]
        found = []
        for name, record in sorted(self._machine.state.snaps.items()):
            if names and name not in names:
                continue
            revisions = record.revisions if every else [None]
            found += [snapdresponses.snap(self._machine, record, one) for one in revisions if record.current]
        return _sync(found)

    async def _snap(self, request: Request) -> Response:
        record = self._machine.state.snaps.get(request.path_params["name"])
        if record is None or not record.current:
            raise RefusedError(
                "snap not installed", status=404, kind="snap-not-found", value=request.path_params["name"]
            )
        return _sync(snapdresponses.snap(self._machine, record))

    async def _post_snaps(self, request: Request) -> Response:
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            try:
                return await self._sideload(request)
            except OSError as error:
                message = f"cannot store the snap file: {error.strerror or error}"
                kind = "insufficient-disk-space" if error.errno == errno.ENOSPC else ""
                raise RefusedError(message, status=507 if kind else 500, kind=kind) from error
        body = await _body(request)
        names = body.get("snaps")
        if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
            raise RefusedError("snaps must be a list of names")
        if not names:
            raise RefusedError("a virtual device has no store to refresh all snaps from", kind="store-offline")
        if len(names) > 1:
            raise RefusedError(
                f"cannot {body.get('action')} several snaps in one change on a virtual device: ask for one at a time"
            )
        return _accepted(self._act(names[0], body))

    async def _post_snap(self, request: Request) -> Response:
        return _accepted(self._act(request.path_params["name"], await _body(request)))

    def _act(self, name: str, body: dict[str, Any]) -> Change:
        action = body.get("action")
        revision = str(body.get("revision", ""))
        if action == "revert":
            return self._snapd.revert(name, revision)
        if action == "remove":
            return self._snapd.remove(name, revision)
        if action == "enable":
            return self._snapd.enable(name)
        if action == "disable":
            return self._snapd.disable(name)
        if action == "hold":
            if not body.get("time") or not body.get("hold-level"):
                raise RefusedError("hold requires a non-empty value for both time and hold-level")
            return self._snapd.hold(name, str(body["time"]))
        if action == "unhold":
            return self._snapd.hold(name, "")
        if action in ("refresh", "switch"):
            if name not in self._machine.state.snaps:
                raise RefusedError(f'snap "{name}" is not installed', kind="snap-not-installed", value=name)
            message = f'local snap "{name}" is unknown to the store, use --amend to proceed anyway'
            raise RefusedError(message, kind="snap-local")
        if action == "install":
            if name in self._machine.state.snaps:
                raise RefusedError(f'snap "{name}" is already installed', kind="snap-already-installed", value=name)
            raise RefusedError("snap not found", status=404, kind="snap-not-found", value=name)
        raise RefusedError(f"unknown action {action}")

    async def _sideload(self, request: Request) -> Response:
        async with request.form(max_files=64, max_fields=64) as form:
            uploads = [one for one in form.getlist("snap") if isinstance(one, UploadFile)]
            if not uploads:
                raise RefusedError('cannot find "snap" file field in provided multipart/form-data payload')
            options = SideloadOptions(
                dangerous=_flag(form, "dangerous"),
                devmode=_flag(form, "devmode"),
                classic=_flag(form, "classic"),
                instance=str(form.get("name") or "") if len(uploads) == 1 else "",
                together=form.get("transaction") == "all-snaps",
            )
            folder = self._machine.paths.uploads
            folder.mkdir(parents=True, exist_ok=True)
            with _kept_on_success() as kept:
                files = []
                for upload in uploads:
                    called = str(form.get("snap-path") or "") if len(uploads) == 1 else ""
                    target = await asyncio.to_thread(_stored, upload, folder)
                    kept.append(target)
                    files.append((target, called or upload.filename or target.name))
                change = await self._snapd.sideload(files, options)
        return _accepted(change)

    async def _config(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name != "system" and name not in self._machine.state.snaps:
            raise RefusedError(f'snap "{name}" is not installed', status=404, kind="snap-not-found", value=name)
        config = self._machine.config(name)
        keys = [key for key in request.query_params.get("keys", "").split(",") if key]
        try:
            return _sync({key: snapconfig.lookup(name, config, key) for key in keys} if keys else config)
        except snapconfig.NoOptionError as error:
            value = {"SnapName": name, "Key": keys[0]}
            raise RefusedError(error.brief, kind="option-not-found", value=value) from error
        except snapconfig.ConfigError as error:
            raise RefusedError(error.brief) from error

    async def _put_config(self, request: Request) -> Response:
        name, patch = request.path_params["name"], await _body(request)
        if name != "system":
            return _accepted(self._snapd.set_config(name, patch))
        try:
            self._machine.patch_config(name, patch)
        except snapconfig.ConfigError as error:
            raise RefusedError(error.brief) from error
        return _accepted(self._snapd.note("configure-snap", 'Change configuration of "system" snap'))

    async def _changes(self, request: Request) -> Response:
        select = request.query_params.get("select", "in-progress")
        if select not in ("all", "in-progress", "ready"):
            raise RefusedError("select should be one of: all,in-progress,ready")
        name = request.query_params.get("for", "")
        return _sync(
            [
                change.as_response()
                for change in self._snapd.state_of_changes.values()
                if select == "all" or change.is_ready == (select == "ready")
                if not name or name in change.snaps
            ]
        )

    async def _change(self, request: Request) -> Response:
        number = request.path_params["number"]
        change = self._snapd.state_of_changes.get(number)
        if change is None:
            raise RefusedError(f'cannot find change with id "{number}"', status=404)
        return _sync(change.as_response())

    async def _post_change(self, request: Request) -> Response:
        body = await _body(request)
        if body.get("action") != "abort":
            raise RefusedError(f'change action "{body.get("action")}" is unsupported')
        return _sync(self._snapd.abort(request.path_params["number"]).as_response())

    async def _apps(self, request: Request) -> Response:
        names = [name for name in request.query_params.get("names", "").split(",") if name]
        for name in names:
            if name.partition(".")[0] not in self._machine.state.snaps:
                raise RefusedError(f'snap "{name}" not found', status=404, kind="snap-not-found")
        apps = [one for snap in sorted(self._machine.infos()) for one in snapdresponses.app(self._machine, snap)]
        if names:
            apps = [one for one in apps if one["snap"] in names or f"{one['snap']}.{one['name']}" in names]
        if request.query_params.get("select") == "service":
            apps = [one for one in apps if "daemon" in one]
        return _sync(apps)

    async def _post_apps(self, request: Request) -> Response:
        body = await _body(request)
        action, names = body.get("action"), body.get("names")
        if action not in ("start", "stop", "restart"):
            raise RefusedError(f'unknown action "{action}"')
        if not isinstance(names, list) or not names:
            raise RefusedError("cannot perform operation on services without a list of services to operate on")
        if action == "start" and body.get("enable"):
            action = "start --enable"
        if action == "stop" and body.get("disable"):
            action = "stop --disable"
        return _accepted(self._snapd.control_services(action, [str(name) for name in names]))

    async def _connections(self, request: Request) -> Response:
        query = request.query_params
        every = query.get("select") == "all"
        return _sync(snapdresponses.connections(self._machine, of=query.get("snap", ""), every=every))

    async def _post_interfaces(self, request: Request) -> Response:
        body = await _body(request)
        plug = (body.get("plugs") or [{}])[0]
        slot = (body.get("slots") or [{}])[0]
        wanted = {
            "plug_snap": str(plug.get("snap", "")),
            "plug": str(plug.get("plug", "")),
            "slot_snap": str(slot.get("snap", "")),
            "slot": str(slot.get("slot", "")),
        }
        if body.get("action") == "connect":
            return _accepted(self._snapd.connect(**wanted))
        if body.get("action") == "disconnect":
            return _accepted(self._snapd.disconnect(**wanted))
        raise RefusedError(f'unsupported interface action: "{body.get("action")}"')

    async def _logs(self, request: Request) -> Response:
        names = [name for name in request.query_params.get("names", "").split(",") if name]
        count = int(request.query_params.get("n", "10"))
        lines = []
        for snap in sorted({name.partition(".")[0] for name in names} or self._machine.infos()):
            for line in self._machine.log(snap).last(count):
                moment, _, rest = line.partition(" ")
                writer, _, message = rest.partition(": ")
                sid, _, pid = writer.partition("[")
                entry = {"timestamp": moment, "message": message, "sid": sid, "pid": pid.rstrip("]")}
                lines.append(b"\x1e" + orjson.dumps(entry) + b"\n")
        return Response(b"".join(lines), media_type="application/json-seq")

    async def _snapctl(self, request: Request) -> Response:
        body = await _body(request)
        arguments = [str(one) for one in body.get("args") or []]
        try:
            printed = await self._snapd.snapctl(str(body.get("context-id", "")), arguments)
        except UnsuccessfulError as error:
            value = {"stdout": "", "stderr": "", "exit-code": error.code}
            raise RefusedError(str(error), status=200, kind="unsuccessful", value=value) from error
        except SnapctlError as error:
            raise RefusedError(f"error running snapctl: {error.brief}") from error
        return _sync({"stdout": printed, "stderr": ""})


class _Server(uvicorn.Server):
    """Leaves signals to the device's process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _enveloped(endpoint: _Endpoint) -> _Endpoint:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except RefusedError as error:
            result: dict[str, Any] = {"message": error.brief}
            if error.kind:
                result["kind"] = error.kind
            if error.value is not None:
                result["value"] = error.value
            return _envelope("error", error.status, result)

    return answer


def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = {404: "not found", 405: "method not allowed"}.get(error.status_code, str(error.detail))
    return _envelope("error", error.status_code, {"message": message})


def _internal_error(_: Request, error: Exception) -> Response:
    return _envelope("error", 500, {"message": f"internal error: {error!r}"})


def _sync(result: Any) -> Response:
    return _envelope("sync", 200, result)


def _accepted(change: Change) -> Response:
    return _envelope("async", 202, None, change=change.id)


_WORDS: Final = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    500: "Internal Server Error",
    507: "Insufficient Storage",
}


def _envelope(kind: str, status: int, result: Any, **more: Any) -> Response:
    document = {"type": kind, "status-code": status, "status": _WORDS.get(status, ""), "result": result, **more}
    return Response(orjson.dumps(document), status_code=status, media_type="application/json")


async def _body(request: Request) -> dict[str, Any]:
    try:
        document = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise RefusedError(f"cannot decode request body: {error}") from error
    if not isinstance(document, dict):
        raise RefusedError("cannot decode request body: an object is wanted")
    return document


def _flag(form: FormData, name: str) -> bool:
    return form.get(name) == "true"


def _stored(upload: UploadFile, folder: Path) -> Path:
    handle, name = tempfile.mkstemp(dir=folder, prefix=".local-install-", suffix=".snap")
    try:
        with os.fdopen(handle, "wb") as target:
            shutil.copyfileobj(upload.file, target, 1024 * 1024)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


@contextlib.contextmanager
def _kept_on_success() -> Iterator[list[Path]]:
    """Collects files, and removes them when the block fails."""
    files: list[Path] = []
    try:
        yield files
    except BaseException:
        for file in files:
            file.unlink(missing_ok=True)
        raise
