"""The Kubernetes API of a virtual cluster: HTTP in front of the object store.

Verbs are the real ones over all kinds alike: GET, LIST, watch, POST, PUT, server-side apply, merge patch, DELETE.
Other patches are 415. A client must show a certificate of the cluster's authority, else 401; there is no RBAC, as on
MicroK8s without its rbac addon.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import orjson
import yaml

from . import admission, apiproxy, apistatus, apply, discovery, kinds, objects, selectors
from .apiproxy import ApiProxy
from .apistatus import ApiError
from .apply import Document, Writer
from .faults import ClusterFaults
from .kinds import Kind
from .objects import Change, ObjectStore
from .webserver import BodyTooLargeError, HangUpError, Request, Response

_BODY_LIMIT = 3 * 1024 * 1024
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>v[a-z0-9]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+)(?:/(?P<subresource>[a-z]+))?)?/?"
)
_RESOURCES = re.compile(r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))/?")

LogReader = Callable[[str, str], bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """What a URL names."""

    kind: Kind
    namespace: str
    name: str
    subresource: str


class KubeApi:
    """Answers requests; `identity` in managedFields is `fieldManager`, or the first word of User-Agent."""

    def __init__(
        self,
        store: ObjectStore,
        gate: admission.Admission,
        faults: ClusterFaults,
        *,
        address: str,
        read_log: LogReader,
        services: ApiProxy,
    ) -> None:
        self._store = store
        self._gate = gate
        self._faults = faults
        self._address = address
        self._read_log = read_log
        self._services = services

    async def answer(self, request: Request) -> Response:
        """The answer to one request."""
        if self._faults.api_hang_up:
            raise HangUpError
        try:
            if not request.identified:
                raise apistatus.unauthorized()
            if self._faults.api_status is not None:
                raise ApiError(self._faults.api_status, "InternalError", "injected fault")
            return await self._route(request)
        except ApiError as error:
            return error.response()
        except BodyTooLargeError:
            message = f"request body too large: limit is {_BODY_LIMIT}"
            return ApiError(413, "RequestEntityTooLarge", message).response()
        except selectors.SelectorInvalidError as error:
            return apistatus.bad_request(f"unable to parse requirement: {error}").response()

    # Routing

    async def _route(self, request: Request) -> Response:
        known = self._known()
        match request.path.rstrip("/"):
            case "/version":
                return _json(discovery.VERSION)
            case "/readyz" | "/livez" | "/healthz":
                return Response(status=200, headers=[("content-type", "text/plain; charset=utf-8")], body=b"ok")
            case "/api":
                return _json(discovery.core_versions(self._address))
            case "/apis":
                return _json(discovery.groups(known))
        if match := _RESOURCES.fullmatch(request.path):
            group_version = match["core"] or f"{match['group']}/{match['version']}"
            if any(kind.api_version == group_version for kind in known):
                return _json(discovery.resources(group_version, known))
        if match := apiproxy.PATH.fullmatch(request.path):
            return await self._services.answer(request, match)
        return await self._resource(request, self._target(request.path))

    def _known(self) -> tuple[Kind, ...]:
        if self._faults.no_kserve:
            return tuple(kind for kind in kinds.ALL if kind is not kinds.INFERENCE_SERVICE)
        return kinds.ALL

    def _target(self, path: str) -> _Target:
        match = _PATH.fullmatch(path)
        if match is None:
            raise apistatus.unknown_path()
        kind = kinds.find_plural(match["group"] or "", match["version"], match["plural"])
        if kind is None or kind not in self._known() or (match["namespace"] and not kind.namespaced):
            raise apistatus.unknown_path()
        return _Target(
            kind=kind,
            namespace=match["namespace"] or "",
            name=match["name"] or "",
            subresource=match["subresource"] or "",
        )

    async def _resource(self, request: Request, target: _Target) -> Response:
        if target.name and target.kind.namespaced and not target.namespace:
            raise apistatus.unknown_path()
        if target.subresource == "log" and target.kind is kinds.POD and request.method == "GET":
            return self._log(target)
        if target.subresource not in ("", "status") or (target.subresource and not target.kind.has_status):
            raise apistatus.unknown_path()
        match (request.method, bool(target.name)):
            case ("GET" | "HEAD", True):
                return _json(self._existing(target))
            case ("GET" | "HEAD", False):
                if request.query.get("watch") in ("true", "1"):
                    return self._watch(request, target)
                return _json(self._list(request, target))
            case ("POST", False):
                return await self._post(request, target)
            case ("PUT", True):
                return await self._put(request, target)
            case ("PATCH", True):
                return await self._patch(request, target)
            case ("DELETE", True):
                return await self._delete(request, target)
            case _:
                raise ApiError(
                    405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
                )

    # Reading

    def _existing(self, target: _Target) -> Document:
        document = self._store.get(target.kind, target.namespace, target.name)
        if document is None:
            raise apistatus.not_found(target.kind, target.name)
        return document

    def _selected(self, request: Request, target: _Target, document: Document) -> bool:
        return (
            (not target.namespace or document["metadata"].get("namespace") == target.namespace)
            and selectors.matches_labels(document, request.query.get("labelSelector", ""))
            and selectors.matches_fields(document, request.query.get("fieldSelector", ""))
        )

    def _list(self, request: Request, target: _Target) -> Document:
        found = self._store.all_of(target.kind, target.namespace or None)
        return {
            "kind": f"{target.kind.kind}List",
            "apiVersion": target.kind.api_version,
            "metadata": {"resourceVersion": str(self._store.version)},
            "items": [document for document in found if self._selected(request, target, document)],
        }

    def _watch(self, request: Request, target: _Target) -> Response:
        since = request.query.get("resourceVersion", "")
        start = int(since) if since.isdigit() and since != "0" else None
        history = self._store.history
        if start is not None and start < self._store.version and (not history or history[0].version > start + 1):
            raise ApiError(410, "Expired", f"too old resource version: {since} ({self._store.version})")
        return Response(
            status=200,
            headers=[("content-type", "application/json")],
            body=self._watched(request, target, start),
        )

    async def _watched(self, request: Request, target: _Target, start: int | None) -> AsyncIterator[bytes]:
        changes: asyncio.Queue[Change] = asyncio.Queue()
        stop = self._store.listen(changes.put_nowait)
        seconds = request.query.get("timeoutSeconds", "")
        deadline = asyncio.get_running_loop().time() + (int(seconds) if seconds.isdigit() else 1800)
        try:
            if start is None:
                for document in self._store.all_of(target.kind, target.namespace or None):
                    if self._selected(request, target, document):
                        yield _event("ADDED", document)
            else:
                for change in list(self._store.history):
                    if change.version <= start or change.kind is not target.kind:
                        continue
                    if self._selected(request, target, change.document):
                        yield _event(change.type, change.document)
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        change = await changes.get()
                except TimeoutError:
                    return
                if change.kind is target.kind and self._selected(request, target, change.document):
                    yield _event(change.type, change.document)
        finally:
            stop()

    def _log(self, target: _Target) -> Response:
        self._existing(target)
        text = self._read_log(target.namespace, target.name)
        return Response(status=200, headers=[("content-type", "text/plain")], body=text or b"")

    # Writing

    async def _post(self, request: Request, target: _Target) -> Response:
        document = self._prepare(await _parse(request), target)
        name = document["metadata"].get("name", "")
        if name and self._store.get(target.kind, target.namespace, name) is not None:
            raise apistatus.exists(target.kind, name)
        document.pop("status", None)
        document = self._gate.admit(target.kind, document, None)
        document = apply.record_update(None, document, self._writer(request, target, "Update"))
        if request.query.get("dryRun") == "All":
            return _json(document, 201)
        return _json(self._store.create(target.kind, document), 201)

    async def _put(self, request: Request, target: _Target) -> Response:
        document = self._prepare(await _parse(request), target)
        old = self._existing(target)
        stated = document["metadata"].get("resourceVersion")
        if stated and stated != old["metadata"]["resourceVersion"]:
            raise apistatus.stale(target.kind, target.name)
        return self._replace(request, target, old, document)

    async def _patch(self, request: Request, target: _Target) -> Response:
        content_type = request.header("content-type").split(";")[0].strip()
        if content_type == "application/apply-patch+yaml":
            return await self._apply(request, target)
        if content_type != "application/merge-patch+json":
            message = (
                "the body of the request was in an unknown format - accepted media types include: "
                "application/merge-patch+json, application/apply-patch+yaml"
            )
            raise ApiError(415, "UnsupportedMediaType", message)
        old = self._existing(target)
        patched = self._prepare(_merge_patch(old, await _parse(request)), target)
        return self._replace(request, target, old, patched)

    async def _apply(self, request: Request, target: _Target) -> Response:
        manager = request.query.get("fieldManager", "")
        if not manager:
            raise apistatus.bad_request(
                "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch"
            )
        raw = await _parse(request)
        if raw.get("apiVersion") != target.kind.api_version or raw.get("kind") != target.kind.kind:
            raise apistatus.bad_request(
                f"the apply patch is {raw.get('apiVersion')}, Kind={raw.get('kind')}, "
                f"the URL asks for {target.kind.api_version}, Kind={target.kind.kind}"
            )
        if raw.get("metadata", {}).get("managedFields"):
            raise apistatus.bad_request("metadata.managedFields must be nil")
        wanted = self._prepare(raw, target)
        admission.check_schema(target.kind, wanted)
        if target.subresource != "status":
            wanted.pop("status", None)
        live = self._store.get(target.kind, target.namespace, target.name)
        if live is None and target.subresource:
            raise apistatus.not_found(target.kind, target.name)
        try:
            result = apply.apply(
                live,
                wanted,
                self._writer(request, target, "Apply"),
                force=request.query.get("force") in ("true", "1"),
            )
        except apply.ApplyConflictError as error:
            raise apistatus.apply_conflict(error.conflicts) from error
        if live is None:
            result = self._gate.admit(target.kind, result, None)
            if request.query.get("dryRun") == "All":
                return _json(result, 201)
            return _json(self._store.create(target.kind, result), 201)
        return self._write(request, target, live, result)

    def _replace(self, request: Request, target: _Target, old: Document, new: Document) -> Response:
        if target.subresource == "status":
            new = old | {"status": new.get("status", {})}
        elif target.kind.has_status:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
        new["metadata"].pop("managedFields", None)
        kept = {"managedFields": old["metadata"].get("managedFields", [])}
        recorded = apply.record_update(
            old, new | {"metadata": new["metadata"] | kept}, self._writer(request, target, "Update")
        )
        return self._write(request, target, old, recorded)

    def _write(self, request: Request, target: _Target, old: Document, new: Document) -> Response:
        if target.subresource != "status":
            new = self._gate.admit(target.kind, new, old)
        dry_run = request.query.get("dryRun") == "All"
        if apply.is_same(old, _with_server_fields(new, old)):
            return _json(old)
        try:
            return _json(self._store.update(target.kind, new, dry_run=dry_run))
        except objects.StaleObjectError as error:
            raise apistatus.stale(target.kind, target.name) from error

    async def _delete(self, request: Request, target: _Target) -> Response:
        document = self._existing(target)
        body = await request.read(_BODY_LIMIT)
        options = _load(body) if body.strip() else {}
        preconditions = options.get("preconditions") or {}
        if preconditions.get("uid") not in (None, document["metadata"]["uid"]):
            raise apistatus.stale(target.kind, target.name)
        grace = options.get("gracePeriodSeconds", request.query.get("gracePeriodSeconds"))
        seconds = int(grace) if grace is not None else objects.grace_period(target.kind, document)
        if target.kind is not kinds.POD:
            seconds = 0
        policy = options.get("propagationPolicy") or request.query.get("propagationPolicy")
        if request.query.get("dryRun") == "All" or "All" in (options.get("dryRun") or []):
            return _json(document)
        deleted = self._store.delete(
            target.kind, target.namespace, target.name, grace=seconds, orphan=policy == "Orphan"
        )
        if target.kind is kinds.POD or deleted["metadata"].get("deletionTimestamp"):
            return _json(deleted)
        details = {"name": target.name, "group": target.kind.group, "kind": target.kind.plural}
        details["uid"] = deleted["metadata"]["uid"]
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return _json(status)

    def _prepare(self, document: Document, target: _Target) -> Document:
        """Make name and namespace of body and URL agree, or refuse."""
        metadata = document.setdefault("metadata", {})
        if not isinstance(metadata, dict):
            raise apistatus.bad_request("metadata is not an object")
        stated = (document.get("apiVersion"), document.get("kind"))
        if stated not in ((None, None), (target.kind.api_version, target.kind.kind)):
            raise apistatus.bad_request(
                f"{stated[0]}, Kind={stated[1]} does not match the resource {target.kind.qualified}"
            )
        document["apiVersion"], document["kind"] = target.kind.api_version, target.kind.kind
        if target.name and metadata.setdefault("name", target.name) != target.name:
            raise apistatus.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
            )
        if target.kind.namespaced:
            namespace = metadata.setdefault("namespace", target.namespace or "default")
            if target.namespace and namespace != target.namespace:
                raise apistatus.bad_request(
                    f"the namespace of the provided object does not match the namespace sent on the request "
                    f"({namespace} and {target.namespace})"
                )
        return document

    def _writer(self, request: Request, target: _Target, operation: str) -> Writer:
        agent = request.header("user-agent", "unknown").split("/")[0]
        return Writer(
            manager=request.query.get("fieldManager") or agent,
            operation=operation,
            api_version=target.kind.api_version,
            time=self._store.now(),
            subresource=target.subresource,
        )


async def _parse(request: Request) -> Document:
    return _load(await request.read(_BODY_LIMIT))


def _load(body: bytes) -> Document:
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            document = yaml.safe_load(body)
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise apistatus.bad_request(f"error decoding the body: {error}") from error
    if not isinstance(document, dict):
        raise apistatus.bad_request("the body is not an object")
    return document


def _merge_patch(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge_patch(result.get(key), value)
    return result


def _with_server_fields(new: Document, old: Document) -> Document:
    metadata = dict(new["metadata"])
    for field in ("creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "uid"):
        if field in old["metadata"]:
            metadata[field] = old["metadata"][field]
    metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
    return new | {"metadata": metadata}


def _json(document: Document, status: int = 200) -> Response:
    return Response(status=status, headers=[("content-type", "application/json")], body=orjson.dumps(document))


def _event(change: str, document: Document) -> bytes:
    return orjson.dumps({"type": change, "object": document}) + b"\n"
