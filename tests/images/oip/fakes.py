"""A runtime without a library: its model answers with its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snapedge_oip.datatypes import DATATYPES, Array
from snapedge_oip.modelfolder import ModelFolder
from snapedge_oip.models import Model, Repository
from snapedge_oip.pace import Pace
from snapedge_oip.service import Service
from snapedge_oip.signature import Signature, TensorSpec


class Echo:
    """A session that gives every input back under its own name."""

    def __init__(self, **datatypes: str) -> None:
        specs = tuple(TensorSpec(name=name, datatype=DATATYPES[kind], shape=(-1,)) for name, kind in datatypes.items())
        self.signature = Signature(inputs=specs, outputs=specs)

    def predict(self, inputs: dict[str, Array], outputs: Sequence[str]) -> Sequence[Array]:
        return [inputs[name] for name in outputs]

    def unload(self) -> None:
        pass


def model(session: Echo, *, inline: bool = True) -> Model:
    folder = ModelFolder(
        path=Path("/m"),
        name="echo",
        version="1",
        model_format="echo",
        file=Path("/m/model"),
        digest="sha256:" + "0" * 64,
        signature=session.signature,
    )
    return Model(folder=folder, session=session, platform="echo_echo", pace=Pace(0.0 if inline else None))


def service(served: Model | None, *, expected: Sequence[str] | None = ("echo",)) -> Service:
    repository = Repository()
    if expected is not None:
        repository.declare(expected)
    if served is not None:
        repository.admit(served)
    return Service(repository, name="test", version="1", max_body=1 << 20)
