"""inference.yaml: each case file says in its first line what is to come out."""

from __future__ import annotations

from pathlib import Path

import pytest

from snapedge_builder.declaration import (
    Conversion,
    ImageDelivery,
    ModelDeclaration,
    RuntimeChoice,
    parse_declaration,
    read_declaration,
)
from snapedge_builder.yamldocument import DeclarationError
from snapedge_hooks.payload import Service
from snapedge_hooks.vocabulary import Architecture, GateMode, SnapName, SnapVersion, UpdateStrategy

from ...fakes.edge import public_key, signing_key

CASES = sorted((Path(__file__).parents[2] / "cases" / "declarations").glob("*.yaml"))
FOLDER = Path("folder")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_case_files_come_out_as_their_first_line_says(case: Path) -> None:
    data = case.read_bytes()
    expected = data.splitlines()[0].decode().removeprefix("# ")
    try:
        parse_declaration(data, folder=FOLDER)
        got = "good"
    except DeclarationError as error:
        got = f"error: {error}"
    assert got == expected


def test_there_are_cases() -> None:
    assert len(CASES) >= 20


def test_the_smallest_declaration_has_every_default() -> None:
    text = b"name: wine\nversion: 1.10\nsummary: Wine\nmodel: {file: model.onnx}\nsamples: s.json\n"
    assert parse_declaration(text, folder=FOLDER) == ModelDeclaration(
        folder=FOLDER,
        name=SnapName("wine"),
        version=SnapVersion("1.10"),
        summary="Wine",
        model_file="model.onnx",
        conversion=Conversion.AUTO,
        runtime=RuntimeChoice(name=None, interface=1, minimum=None),
        architectures=(Architecture.AMD64, Architecture.ARM64),
        samples_file="s.json",
        service=Service(),
        image=ImageDelivery.SHARED,
        gate=GateMode.STRICT,
        max_latency_ms=None,
    )


def test_every_key_is_read() -> None:
    key = public_key(signing_key(1))
    text = f"""
name: wine-cultivar
version: "2.0~rc1"
summary: Wine
model: {{file: models/wine.onnx, convert: none}}
runtime: {{name: onnx, interface: 2, minimum: "1.5", keys: ["{key}"]}}
architectures: [arm64]
service: {{namespace: ml, cpu: "1", memory: 1Gi, replicas: 2, node-port: 30080, update: recreate, grpc: true}}
delivery: {{image: full, gate: none, max-latency: 2s, provider: null}}
build: {{backend: compose}}
"""
    found = parse_declaration(text.encode(), folder=FOLDER)
    assert found.model_path == FOLDER / "models" / "wine.onnx"
    assert found.runtime == RuntimeChoice(name="onnx", interface=2, minimum="1.5", keys=(key,))
    assert found.architectures == (Architecture.ARM64,)
    assert found.samples_path is None
    assert found.service == Service(
        namespace="ml", cpu="1", memory="1Gi", replicas=2, node_port=30080, update=UpdateStrategy.RECREATE, grpc=True
    )
    assert (found.image, found.gate, found.max_latency_ms) == (ImageDelivery.FULL, GateMode.NONE, 2000)


def test_the_declarations_of_this_project_are_good() -> None:
    found = read_declaration(Path(__file__).parents[3] / "snaps" / "wine-cultivar")
    assert found.name == "wine-cultivar"


OWN = """\
name: wine
version: 1.10
summary: Wine
model: {file: model.onnx}
samples: s.json
"""


def test_a_model_may_bring_an_image_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").touch()
    text = f"{OWN}delivery: {{image: full}}\nbuild: {{dockerfile: Dockerfile}}\n"
    found = parse_declaration(text.encode(), folder=tmp_path)
    assert found.build.dockerfile is not None
    assert found.build.dockerfile.file == tmp_path / "Dockerfile"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("", "build.dockerfile: the image of one model travels inside its snap; write delivery: {image: full}"),
        (
            "delivery: {image: full}\nruntime: {name: onnx}\n",
            "runtime.name: an image of one's own is called as its model, wine; leave runtime.name out",
        ),
    ],
)
def test_an_image_of_its_own_is_the_models_alone(tmp_path: Path, more: str, problem: str) -> None:
    (tmp_path / "Dockerfile").touch()
    with pytest.raises(DeclarationError) as caught:
        parse_declaration(f"{OWN}{more}build: {{dockerfile: Dockerfile}}\n".encode(), folder=tmp_path)
    assert problem in str(caught.value)
