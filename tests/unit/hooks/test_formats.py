"""The literal examples of every format read, write back, and hold against the published schemas."""

import json
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from snapedge_hooks.document import DocumentError
from snapedge_hooks.images import ModelLayer, RuntimeImage, compose
from snapedge_hooks.payload import Payload
from snapedge_hooks.samples import SampleSet
from snapedge_hooks.vocabulary import Digest

CASES = Path(__file__).parents[2] / "cases" / "formats"


@pytest.mark.parametrize("name", ["payload", "runtime", "samples", "model"])
def test_the_example_holds_against_its_schema(name: str) -> None:
    schema = json.loads((resources.files("snapedge_hooks") / "schemas" / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads((CASES / f"{name}.json").read_text()))


def test_payload_and_runtime_are_written_as_they_were_read() -> None:
    payload, runtime = (CASES / "payload.json").read_bytes(), (CASES / "runtime.json").read_bytes()
    assert Payload.parse(payload).to_json() == payload
    assert RuntimeImage.parse(runtime).to_json() == runtime


def test_samples_survive_a_round_trip_nan_included() -> None:
    samples = SampleSet.parse((CASES / "samples.json").read_bytes())
    assert SampleSet.parse(samples.to_json()).to_json() == samples.to_json()
    assert '"data":[0.25,null]' in samples.to_json().decode()


def test_composing_gives_the_bytes_that_the_payload_predicts() -> None:
    runtime = RuntimeImage.parse((CASES / "runtime.json").read_bytes())
    payload = Payload.parse((CASES / "payload.json").read_bytes())
    image = compose(runtime, payload.model.layer)
    assert image.manifest == (CASES / "composed-manifest.json").read_bytes()
    assert image.config == (CASES / "composed-config.json").read_bytes()
    assert image.digest == payload.predicted_image
    assert image.layer_digests == (*(layer.digest for layer in runtime.layers), payload.model.layer.diff_id)


def test_another_model_changes_the_last_layer_only() -> None:
    runtime = RuntimeImage.parse((CASES / "runtime.json").read_bytes())
    one = compose(runtime, ModelLayer(file="model.tar", diff_id=Digest.of(b"1"), size=1))
    other = compose(runtime, ModelLayer(file="model.tar", diff_id=Digest.of(b"2"), size=1))
    assert one.layer_digests[:-1] == other.layer_digests[:-1]
    assert one.digest != other.digest


def changed(name: str, *path: str | int, to: object) -> bytes:
    """The example with one value replaced."""
    document = json.loads((CASES / f"{name}.json").read_text())
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "to", "said"),
    [
        (("format",), 2, "payload.json: format: 2 is newer"),
        (("name",), "Wine", "payload.json: name: 'Wine' is not a snap name"),
        (("architecture",), "riscv64", "payload.json: architecture: 'riscv64' is not an architecture"),
        (("model", "layer", "file"), "../model.tar", "payload.json: model.layer.file: '../model.tar' is not a file"),
        (("model", "digest"), "sha256:0", "payload.json: model.digest: 'sha256:0' is not a sha256 digest"),
        (("runtime", "digests"), ["x"], "payload.json: runtime.digests[0]: 'x' is not a sha256 digest"),
        (("service", "cpu"), "lots", "payload.json: service.cpu: 'lots' is not a Kubernetes quantity"),
        (("service", "memory"), "0Mi", "payload.json: service.memory: '0Mi' is not a Kubernetes quantity"),
        (("service", "node_port"), 80, "payload.json: service.node_port: 80 is not between 30000 and 32767"),
        (("service", "replicas"), 0, "payload.json: service.replicas: 0 is not between 1 and 100"),
        (("gate",), "lax", "payload.json: gate: 'lax' is not a valid GateMode"),
        (("surprise",), 1, "payload.json: surprise: is not a key of this format"),
    ],
)
def test_a_payload_that_lies_is_refused_at_its_place(path: tuple[str, ...], to: object, said: str) -> None:
    with pytest.raises(DocumentError) as caught:
        Payload.parse(changed("payload", *path, to=to))
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("path", "to", "said"),
    [
        (("layers", 0, "file"), "layers/../x", "runtime.json: layers[0].file: 'layers/../x' is not a file in layers/"),
        (("layers", 0, "file"), "/etc/passwd", "runtime.json: layers[0].file: '/etc/passwd' is not a file in layers/"),
        (("layers", 0, "size"), 7, "runtime.json: manifest: is "),
        (("layers",), [], "runtime.json: layers: is empty"),
        (("config", "architecture"), "amd64", "runtime.json: config: is not for arm64"),
        (("config", "rootfs"), {}, "runtime.json: config: lists other diff_ids"),
    ],
)
def test_a_runtime_that_lies_is_refused_at_its_place(path: tuple[str | int, ...], to: object, said: str) -> None:
    with pytest.raises(DocumentError) as caught:
        RuntimeImage.parse(changed("runtime", *path, to=to))
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("path", "to", "said"),
    [
        (("samples",), [], "samples.json: samples: is empty; give at least one request with a known answer"),
        (
            ("samples", 0, "request", "inputs", 0, "data"),
            [1.0],
            "samples.json: samples[0].request.inputs[0].data: has 1 elements where shape [1, 3] has 3",
        ),
        (
            ("samples", 0, "request", "inputs", 0, "shape"),
            [1, -3],
            "samples.json: samples[0].request.inputs[0].shape: is not a list of whole numbers from 0",
        ),
        (
            ("samples", 0, "expect", "outputs", 0, "data"),
            ["two"],
            "samples.json: samples[0].expect.outputs[0].data: 'two' is not a INT64",
        ),
        (("samples", 0, "expect", "outputs", 1, "atol"), -1, "samples.json: samples[0].expect.outputs[1].atol: is neg"),
        (
            ("samples", 0, "request", "inputs", 0, "datatype"),
            "FP8",
            "samples.json: samples[0].request.inputs[0].datatype: 'FP8' is not one of",
        ),
    ],
)
def test_samples_that_cannot_be_are_refused_at_their_place(path: tuple[str | int, ...], to: object, said: str) -> None:
    with pytest.raises(DocumentError) as caught:
        SampleSet.parse(changed("samples", *path, to=to))
    assert str(caught.value).startswith(said)
