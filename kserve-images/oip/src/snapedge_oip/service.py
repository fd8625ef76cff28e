"""The server without its transport: a request comes in, an answer or the work for one goes out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import Any, NamedTuple

from . import compression, control, metrics, requests, routes, v1
from .batching import Asked, Outcome
from .errors import PredictionError, RequestError
from .loading import Loader
from .models import Model, Repository
from .pace import BODY_LIMIT
from .responses import Response, document, failure
from .routes import POSTED, Kind, Route

_log = logging.getLogger(__name__)

HEADER_LENGTH = b"inference-header-content-length"
CONTENT_ENCODING = b"content-encoding"
ACCEPT_ENCODING = b"accept-encoding"
REQUEST_ID = b"x-request-id"
HEADERS = frozenset({HEADER_LENGTH, CONTENT_ENCODING, ACCEPT_ENCODING, REQUEST_ID})
"""The request headers that make a difference here; a transport need not bring others."""

EXTENSIONS = ["binary_tensor_data", "model_repository", "model_configuration", "statistics"]
RETRY = ((b"Retry-After", b"1"),)
_REQUEST_ID_LIMIT = 128

Work = Callable[[], Response]


class Request(NamedTuple):
    """One request, as far as it matters here. A NamedTuple, because it is made for every request.

    Attributes:
        method: in capitals.
        target: path and query, as on the wire.
        headers: of `HEADERS`, by their name in small letters.
        body: whole, still encoded.
    """

    method: bytes
    target: bytes
    headers: Mapping[bytes, bytes]
    body: bytes | memoryview


class Service:
    """Answers requests.

    Attributes:
        repository: the models.
        loader: of further models; None where there will be none.
        metadata: of the server.
        draining: whether the server is about to stop, which makes it not ready and changes nothing else.
        load: what is going on, for the metrics: requests in workers and open connections.
    """

    def __init__(
        self, repository: Repository, *, name: str, version: str, max_body: int, loader: Loader | None = None
    ) -> None:
        self.repository = repository
        self.metadata: dict[str, Any] = {"name": name, "version": version, "extensions": EXTENSIONS}
        self._max_body = max_body
        self.loader = loader
        self.draining = False
        self.load: Callable[[], tuple[int, int]] = lambda: (0, 0)

    def answer(self, request: Request) -> Response | Work | Asked:
        """The answer, or what must be done for it elsewhere.

        That is work for another thread, where it could keep the others waiting, or a request that may run together with
        others.
        """
        model = self.repository.targets.get(request.target) if request.method == b"POST" else None
        if model is not None and model.pace.inline and not request.headers and len(request.body) <= BODY_LIMIT:
            # What a quick model is asked most of the time: straight to the answer.
            return self._computed(model, request.body, None)
        route = routes.resolve(request.target)
        if route is None:
            return self._finished(request, failure("there is nothing at this path", HTTPStatus.NOT_FOUND))
        is_post = route.kind in POSTED
        if request.method != b"POST" if is_post else request.method not in (b"GET", b"HEAD"):
            allowed = b"POST" if is_post else b"GET, HEAD"
            message = f"this path answers {allowed.decode()} only"
            return self._finished(request, failure(message, HTTPStatus.METHOD_NOT_ALLOWED, ((b"Allow", allowed),)))
        if not is_post:
            return self._finished(request, self._described(route))
        if route.kind in (Kind.INDEX, Kind.LOAD, Kind.UNLOAD):
            # A load takes its time, and an index may come compressed: neither is the event loop's work.
            return partial(self._controlled, route, request)
        found = self.model(route.model, route.version)
        if isinstance(found, Response):
            return self._finished(request, found)
        predict = route.kind is Kind.V1_PREDICT
        if found.batching is not None and len(request.body) <= BODY_LIMIT and CONTENT_ENCODING not in request.headers:
            return self._asked(found, request, predict=predict)
        if predict:
            work = partial(self._infer, found, request, predict=True)
            return work() if found.pace.allows(len(request.body)) else work
        if not found.pace.allows(len(request.body)) or CONTENT_ENCODING in request.headers:
            return partial(self._infer, found, request)
        return self._infer(found, request)

    def _described(self, route: Route) -> Response:
        if not route.model:
            return self._server_described(route)
        model = self.model(route.model, route.version)
        if isinstance(model, Response):
            return model
        if route.kind in (Kind.MODEL_READY, Kind.V1_MODEL):
            return document({"name": model.folder.name, "ready": True})
        if route.kind is Kind.CONFIG:
            return document(control.configuration(model))
        if route.kind is Kind.STATS:
            return document(control.statistics([model]))
        return document(model.metadata(self.repository.versions(route.model)))

    def _server_described(self, route: Route) -> Response:
        repository = self.repository
        if route.kind is Kind.SERVER:
            return document(self.metadata)
        if route.kind is Kind.LIVE:
            return document({"live": True})
        if route.kind is Kind.READY:
            if self.draining:
                return document({"ready": False, "error": "the server is stopping"}, HTTPStatus.SERVICE_UNAVAILABLE)
            if not repository.is_ready:
                return document({"ready": False, "error": "models are loading"}, HTTPStatus.SERVICE_UNAVAILABLE)
            return document({"ready": True})
        if route.kind in (Kind.MODELS, Kind.V1_MODELS):
            return document({"models": repository.names()})
        if route.kind is Kind.EVERY_STATS:
            return document(control.statistics(repository.every()))
        in_flight, connections = self.load()
        text = metrics.exposition(repository, in_flight=in_flight, connections=connections)
        return Response(200, text, metrics.CONTENT_TYPE)

    @property
    def is_ready(self) -> bool:
        """Whether every model may be asked and the server goes on accepting."""
        return self.repository.is_ready and not self.draining

    def model(self, name: str, version: str | None) -> Model | Response:
        """A model that may be asked, or the answer that says why not."""
        model = self.repository.find(name, version)
        if model is None:
            shown = name[:120]
            versions = self.repository.versions(name)
            if versions:
                known = ", ".join(f"'{version}'" for version in versions[:16])
                message = f"model '{shown}' has version {known}, not '{(version or '')[:120]}'"
                return failure(message, HTTPStatus.NOT_FOUND)
            if self.repository.is_expected(name):
                return failure(f"model '{shown}' is not ready", HTTPStatus.SERVICE_UNAVAILABLE, RETRY)
            return failure(f"there is no model '{shown}'", HTTPStatus.NOT_FOUND)
        return model

    def _controlled(self, route: Route, request: Request) -> Response:
        headers = request.headers
        try:
            content = control.body(compression.decode(headers.get(CONTENT_ENCODING, b""), request.body, self._max_body))
        except RequestError as error:
            return self._finished(request, failure(str(error), error.status, error.headers))
        if route.kind is Kind.INDEX:
            response = document(control.index(self.repository, only_ready=content.get("ready") is True))
        elif route.kind is Kind.LOAD:
            response = control.load(self.loader, route.model)
        else:
            response = control.unload(self.repository, route.model)
        return self._finished(request, response)

    def _infer(self, model: Model, request: Request, *, predict: bool = False) -> Response:
        headers = request.headers
        try:
            length = _header_length(headers.get(HEADER_LENGTH))
            body = compression.decode(headers.get(CONTENT_ENCODING, b""), request.body, self._max_body)
        except RequestError as error:
            return self._finished(request, failure(str(error), error.status, error.headers))
        return self._inferred(request, self._computed(model, body, length, predict=predict))

    def _asked(self, model: Model, request: Request, *, predict: bool) -> Response | Asked:
        """A request that may run together with others; parsed here, so that its shapes are known."""
        began = perf_counter()
        signature = model.session.signature
        try:
            if predict:
                parsed = v1.parse(signature, request.body)
            else:
                length = _header_length(request.headers.get(HEADER_LENGTH))
                parsed = requests.parse(signature, request.body, length)
        except RequestError as error:
            model.statistics.fail(perf_counter() - began)
            return self._finished(request, failure(str(error), error.status, error.headers))

        def answer(outcome: Outcome) -> Response:
            def encoded() -> Response:
                if isinstance(outcome, Exception):
                    raise outcome
                return Response(200, v1.encode(parsed, outcome)) if predict else model.encoder.encode(parsed, outcome)

            return self._inferred(request, self._attempted(model, encoded))

        return Asked(model, parsed, began, perf_counter() - began, answer)

    def _computed(
        self, model: Model, body: bytes | memoryview, header_length: int | None, *, predict: bool = False
    ) -> Response:
        return self._attempted(model, lambda: _predicted(model, body) if predict else model.infer(body, header_length))

    def _attempted(self, model: Model, work: Work) -> Response:
        """What some work on a request answers, also where it fails."""
        try:
            return work()
        except RequestError as error:
            return failure(str(error), error.status, error.headers)
        except PredictionError as error:
            if error.by_input:
                return failure(str(error), HTTPStatus.BAD_REQUEST)
            _log.error("model %s failed: %s", model.folder.name, error)
            return failure(str(error), HTTPStatus.INTERNAL_SERVER_ERROR)
        except MemoryError:
            _log.error("model %s ran out of memory", model.folder.name)
            return failure("there is not enough memory for this request", HTTPStatus.SERVICE_UNAVAILABLE, RETRY)
        except Exception:  # noqa: BLE001  # a defect must cost this request only: the other clients' server stays up
            _log.exception("model %s: defect", model.folder.name)
            return failure("the server failed; its log says how", HTTPStatus.INTERNAL_SERVER_ERROR)

    def _finished(self, request: Request, response: Response) -> Response:
        """The response with what the request's headers ask of every response."""
        headers = request.headers
        if not headers:
            return response
        added = response.headers
        request_id = headers.get(REQUEST_ID)
        if request_id is not None and len(request_id) <= _REQUEST_ID_LIMIT and request_id.isascii():
            added += ((b"X-Request-Id", request_id),)
        return response._replace(headers=added)

    def _inferred(self, request: Request, response: Response) -> Response:
        """An inference's response, compressed where the request asks for it.

        Other responses are not: they are small, and clients exist that ask for compression in all they send and
        undo it in inferences alone.
        """
        accepted = request.headers.get(ACCEPT_ENCODING)
        if accepted is not None and (response.tail or len(response.body) >= compression.SMALLEST):
            encoding = compression.choose(accepted)
            if encoding is not None:
                body = compression.encode(encoding, response.body, *response.tail)
                added = ((b"Content-Encoding", encoding), (b"Vary", b"Accept-Encoding"))
                response = response._replace(body=body, headers=response.headers + added, tail=())
        return self._finished(request, response)


def _predicted(model: Model, body: bytes | memoryview) -> Response:
    request = v1.parse(model.session.signature, body)
    return Response(200, v1.encode(request, model.compute(request, len(body))))


def _header_length(value: bytes | None) -> int | None:
    if value is None:
        return None
    if not value.isdigit() or len(value) > 18:
        shown = value[:40].decode("latin-1")
        raise RequestError(f"Inference-Header-Content-Length is {shown!r}, not a number of bytes")
    return int(value)
