"""MLServer around onnxruntime: `.cache/mlserver/bin/python mlserver_server.py <port> <name>=<file>...`."""

from __future__ import annotations

import asyncio
import sys

import onnxruntime
from mlserver import MLModel, MLServer
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelSettings, Settings
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    """A model that is run as it is, names and outputs passed through."""

    async def load(self) -> bool:
        parameters = self.settings.parameters
        assert parameters is not None
        self._session = onnxruntime.InferenceSession(parameters.uri, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        inputs = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        names = [output.name for output in self._session.get_outputs()]
        arrays = self._session.run(names, inputs)
        outputs = [NumpyCodec.encode_output(name, values) for name, values in zip(names, arrays, strict=True)]
        return InferenceResponse(model_name=self.name, outputs=outputs)


async def main(port: str, models: list[str]) -> None:
    settings = Settings(
        http_port=int(port), grpc_port=int(port) + 1, metrics_port=int(port) + 2, host="127.0.0.1", parallel_workers=0
    )
    pairs = [model.split("=", 1) for model in models]
    await MLServer(settings).start(
        [ModelSettings(name=name, implementation=OnnxModel, parameters={"uri": file}) for name, file in pairs]
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
