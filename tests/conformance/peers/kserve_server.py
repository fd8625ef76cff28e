"""KServe's Python server around onnxruntime: `.cache/kserve/bin/python kserve_server.py <port> <name>=<file>...`.

gRPC is on the next port.
"""

from __future__ import annotations

import sys
from typing import Any

import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class OnnxModel(Model):
    """A model that is run as it is, names and outputs passed through."""

    def __init__(self, name: str, file: str) -> None:
        super().__init__(name)
        self._session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        self.ready = True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> InferResponse:
        assert isinstance(payload, InferRequest)
        wanted = [output.name for output in payload.request_outputs or []]
        wanted = wanted or [output.name for output in self._session.get_outputs()]
        arrays = self._session.run(wanted, {tensor.name: tensor.as_numpy() for tensor in payload.inputs})
        outputs = []
        for name, values in zip(wanted, arrays, strict=True):
            datatype = {"int32": "INT32", "float32": "FP32"}[values.dtype.name]
            output = InferOutput(name=name, shape=list(values.shape), datatype=datatype)
            output.set_data_from_numpy(values, binary_data=bool(payload.use_binary_outputs))
            outputs.append(output)
        return InferResponse(
            payload.id or "",
            self.name,
            outputs,
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )


if __name__ == "__main__":
    port, *models = sys.argv[1:]
    server = ModelServer(http_port=int(port), grpc_port=int(port) + 1, workers=1)
    server.start([OnnxModel(*model.split("=", 1)) for model in models])
