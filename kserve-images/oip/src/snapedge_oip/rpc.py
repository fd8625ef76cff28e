"""The protocol over gRPC: an extra of the image, imported only where a port is asked for.

The answers are those of HTTP: the same models, the same checks, the same workers. A client's mistake is
INVALID_ARGUMENT, what is not there NOT_FOUND, what is not ready or too busy UNAVAILABLE, a failure of ours INTERNAL.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from http import HTTPStatus
from time import perf_counter
from typing import Any, NoReturn, TypeVar

import grpc
import grpc.aio
import orjson

from . import control, rpcmessages
from .batching import Asked, Batches, Outcome
from .datatypes import Array
from .errors import BusyError, PredictionError, RequestError
from .models import Model
from .pace import BODY_LIMIT
from .pool import Job, Pool
from .proto import open_inference_pb2 as messages
from .requests import InferRequest
from .responses import Response
from .service import Service

_log = logging.getLogger(__name__)

_NAME = "inference.GRPCInferenceService"
_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    503: grpc.StatusCode.UNAVAILABLE,
}
_METADATA_LIMIT = 16 * 1024

T = TypeVar("T")
Context = Any  # grpc.aio.ServicerContext, whose type parameters exist for type checkers only


class _Refused(Exception):  # noqa: N818  # not an error of ours, but an answer on its way through a worker
    def __init__(self, status: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.status = status


class RpcFront:
    """The gRPC port of a server."""

    def __init__(self, service: Service, pool: Pool, batches: Batches, *, max_body: int, max_in_flight: int) -> None:
        self._service = service
        self._pool = pool
        self._batches = batches
        options = (
            ("grpc.max_receive_message_length", max_body),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", _METADATA_LIMIT),
            ("grpc.so_reuseport", 0),
            # Clients that keep an idle connection alive by pings are let be.
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 5000),
        )
        # Twice what the workers and their queue take, so that what is quick or cheap is answered beside it.
        self._server = grpc.aio.server(options=options, maximum_concurrent_rpcs=2 * max_in_flight)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_NAME, self._handlers()),))

    async def start(self, bind: str, port: int) -> int:
        """Opens the port and says which it is.

        Raises:
            OSError: it cannot be opened.
        """
        host = f"[{bind}]" if ":" in bind else bind
        try:
            opened = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise OSError(str(error)) from error
        await self._server.start()
        return opened

    async def stop(self, patience: float) -> None:
        """Takes no more requests, and lets what is in flight end within `patience` seconds."""
        await self._server.stop(patience)

    def _handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        methods: dict[str, tuple[Any, Any]] = {
            "ServerLive": (messages.ServerLiveRequest, self._server_live),
            "ServerReady": (messages.ServerReadyRequest, self._server_ready),
            "ModelReady": (messages.ModelReadyRequest, self._model_ready),
            "ServerMetadata": (messages.ServerMetadataRequest, self._server_metadata),
            "ModelMetadata": (messages.ModelMetadataRequest, self._model_metadata),
            "ModelInfer": (messages.ModelInferRequest, self._infer),
            "ModelConfig": (messages.ModelConfigRequest, self._config),
            "ModelStatistics": (messages.ModelStatisticsRequest, self._statistics),
            "RepositoryIndex": (messages.RepositoryIndexRequest, self._index),
            "RepositoryModelLoad": (messages.RepositoryModelLoadRequest, self._load),
            "RepositoryModelUnload": (messages.RepositoryModelUnloadRequest, self._unload),
        }
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: grpc.unary_unary_rpc_method_handler(
                _guarded(method),
                request_deserializer=kind.FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
            for name, (kind, method) in methods.items()
        }
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._stream_infer,
            request_deserializer=messages.ModelInferRequest.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        return handlers

    async def _server_live(self, _: messages.ServerLiveRequest) -> messages.ServerLiveResponse:
        return messages.ServerLiveResponse(live=True)

    async def _server_ready(self, _: messages.ServerReadyRequest) -> messages.ServerReadyResponse:
        return messages.ServerReadyResponse(ready=self._service.is_ready)

    async def _model_ready(self, request: messages.ModelReadyRequest) -> messages.ModelReadyResponse:
        try:
            self._model(request.name, request.version)
        except _Refused as refusal:
            if refusal.status is not grpc.StatusCode.UNAVAILABLE:
                raise
            return messages.ModelReadyResponse(ready=False)
        return messages.ModelReadyResponse(ready=True)

    async def _server_metadata(self, _: messages.ServerMetadataRequest) -> messages.ServerMetadataResponse:
        return messages.ServerMetadataResponse(**self._service.metadata)

    async def _model_metadata(self, request: messages.ModelMetadataRequest) -> messages.ModelMetadataResponse:
        model = self._model(request.name, request.version)
        return rpcmessages.metadata(model.metadata(self._service.repository.versions(request.name)))

    async def _config(self, request: messages.ModelConfigRequest) -> messages.ModelConfigResponse:
        found = control.configuration(self._model(request.name, request.version))
        return messages.ModelConfigResponse(config=messages.ModelConfig(**found))

    async def _statistics(self, request: messages.ModelStatisticsRequest) -> messages.ModelStatisticsResponse:
        models = [self._model(request.name, request.version)] if request.name else self._service.repository.every()
        return rpcmessages.statistics(control.statistics(models))

    async def _index(self, request: messages.RepositoryIndexRequest) -> messages.RepositoryIndexResponse:
        entries = control.index(self._service.repository, only_ready=request.ready)
        return messages.RepositoryIndexResponse(
            models=[messages.RepositoryIndexResponse.ModelIndex(**entry) for entry in entries]
        )

    async def _load(self, request: messages.RepositoryModelLoadRequest) -> messages.RepositoryModelLoadResponse:
        try:
            control.check_parameters(list(request.parameters))
        except RequestError as error:
            raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
        name = request.model_name
        _checked(await self._worked(lambda: control.load(self._service.loader, name)))
        return messages.RepositoryModelLoadResponse()

    async def _unload(self, request: messages.RepositoryModelUnloadRequest) -> messages.RepositoryModelUnloadResponse:
        _checked(control.unload(self._service.repository, request.model_name))
        return messages.RepositoryModelUnloadResponse()

    async def _infer(self, request: messages.ModelInferRequest) -> messages.ModelInferResponse:
        model = self._model(request.model_name, request.model_version)
        size = request.ByteSize()
        if model.batching is not None and size <= BODY_LIMIT:
            return _answered(await self._waited(model, request))
        if model.pace.allows(size):
            return _answered(_attempted(model, request))
        return _answered(await self._worked(lambda: _attempted(model, request)))

    async def _waited(
        self, model: Model, request: messages.ModelInferRequest
    ) -> messages.ModelInferResponse | _Refused:
        """The answer of a request that may run together with others."""
        began = perf_counter()
        try:
            parsed = rpcmessages.parse(model.session.signature, request)
        except RequestError as error:
            model.statistics.fail(perf_counter() - began)
            return _Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error))

        def answer(outcome: Outcome) -> messages.ModelInferResponse | _Refused:
            def work() -> messages.ModelInferResponse:
                if isinstance(outcome, Exception):
                    raise outcome
                return _encoded(model, parsed, outcome)

            return _guarded_work(model, work)

        asked = Asked(model, parsed, began, perf_counter() - began, answer)
        return await self._begun(lambda done: self._batches.submit(asked, done))

    async def _stream_infer(self, requests: AsyncIterator[messages.ModelInferRequest], context: Context) -> None:
        """One answer for each request, in their order; a request that fails leaves the stream open."""
        async for request in requests:
            response = messages.ModelStreamInferResponse()
            try:
                response.infer_response.CopyFrom(await self._infer(request))
            except (_Refused, BusyError) as refusal:
                response.error_message = str(refusal)
                response.infer_response.id = request.id
            await context.write(response)

    def _model(self, name: str, version: str) -> Model:
        found = self._service.model(name, version or None)
        return found if isinstance(found, Model) else _refuse(found)

    async def _worked(self, work: Callable[[], T]) -> T:
        """What a worker thread makes of some work."""
        return await self._begun(lambda done: self._pool.submit(work, done))

    async def _begun(self, begin: Callable[[Callable[[T], None]], Job[T]]) -> T:
        """What becomes of something that tells when it is done."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def done(result: T) -> None:
            if not future.done():
                future.set_result(result)

        job = begin(done)
        try:
            return await future
        except asyncio.CancelledError:
            # The client went away; what is not begun for it is not begun.
            job.abandoned = True
            raise


def _guarded(method: Callable[[Any], Awaitable[Any]]) -> Callable[[Any, Context], Awaitable[Any]]:
    async def call(request: Any, context: Context) -> Any:
        try:
            return await method(request)
        except _Refused as refusal:
            await context.abort(refusal.status, str(refusal))
        except BusyError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    return call


def _answered(answer: messages.ModelInferResponse | _Refused) -> messages.ModelInferResponse:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _attempted(model: Model, request: messages.ModelInferRequest) -> messages.ModelInferResponse | _Refused:
    def work() -> messages.ModelInferResponse:
        parsed = rpcmessages.parse(model.session.signature, request)
        return _encoded(model, parsed, model.compute(parsed, request.ByteSize()))

    return _guarded_work(model, work)


def _encoded(model: Model, request: InferRequest, arrays: Sequence[Array]) -> messages.ModelInferResponse:
    return rpcmessages.answer(model.folder.name, model.folder.version, request, arrays)


def _guarded_work(
    model: Model, work: Callable[[], messages.ModelInferResponse]
) -> messages.ModelInferResponse | _Refused:
    """The answer or why there is none; a worker's thread must not die of it."""
    try:
        return work()
    except RequestError as error:
        return _Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    except PredictionError as error:
        if error.by_input:
            return _Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        _log.error("model %s failed: %s", model.folder.name, error)
        return _Refused(grpc.StatusCode.INTERNAL, str(error))
    except MemoryError:
        return _Refused(grpc.StatusCode.UNAVAILABLE, "there is not enough memory for this request")
    except Exception:  # noqa: BLE001  # a defect must cost this request only: the other clients' server stays up
        _log.exception("model %s: defect", model.folder.name)
        return _Refused(grpc.StatusCode.INTERNAL, "the server failed; its log says how")


def _checked(response: Response) -> None:
    if response.status != HTTPStatus.OK:
        _refuse(response)


def _refuse(response: Response) -> NoReturn:
    """What HTTP would answer, in gRPC's words."""
    status = _STATUS.get(response.status, grpc.StatusCode.INTERNAL)
    raise _Refused(status, orjson.loads(response.body)["error"])
