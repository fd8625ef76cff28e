"""A runtime refreshed under the models of one device: who takes it, who does not, and what each of them says."""

from dataclasses import replace

import pytest

from snapedge_hooks.payload import Payload
from snapedge_hooks.runtimetrust import RuntimeStatement
from tests.fakes.edge import RUNTIMES, EdgeDevice, public_key, runtime_image, signed, signing_key

OURS, THEIRS = signing_key(1), signing_key(2)
KEYS = (public_key(OURS),)
OLD, NEW, OTHER = runtime_image("1.0.0"), runtime_image("1.1.0"), runtime_image("2.0.0", interface=2)


def served(device: EdgeDevice) -> str:
    return str(device.kube.service_image(device.name)).rpartition("@")[2]


@pytest.fixture
def good(device: EdgeDevice) -> str:
    """The image that serves: revision 1 on the old runtime, which it lists; it trusts our key."""
    device.push_runtime(*OLD)
    image = device.serves(device.install("1.0.0", OLD[0], keys=KEYS), OLD[0])
    assert device.run("install") == 0
    return image


def payload_image(device: EdgeDevice) -> str:
    """What revision 1 is on the new runtime, which answers right."""
    payload = Payload.parse((device.snap / "payload" / "payload.json").read_bytes())
    return device.serves(payload, NEW[0])


def test_a_signed_runtime_is_adopted_once_its_samples_are_right(device: EdgeDevice, good: str) -> None:
    image = payload_image(device)
    device.push_runtime(*NEW)
    device.sign_runtime(NEW[0], signed(OURS, NEW[0]))
    device.model.requests.clear()
    assert device.run("drift") == 0
    assert (served(device), device.health()) == (image, "okay")
    assert image != good
    assert device.model.requests == [f"/v2/models/{device.name}/infer"]
    device.registry.requests.clear()
    device.kube.requests.clear()
    assert device.run("converge") == 0
    assert (device.registry.wrote(), device.kube.wrote()) == ([], [])


@pytest.mark.parametrize(
    ("envelope", "said"),
    [
        (None, "is neither listed here nor signed"),
        (signed(THEIRS, NEW[0]), "is signed by no key this snap lists"),
        (signed(OURS, NEW[0]).replace(b'"sig": "', b'"sig": "AAAA'), "has a bad signature"),
        (signed(OURS, replace(RuntimeStatement.of(NEW[0]), version="0.9")), "is version 0.9, this model needs 1.0"),
        (signed(OURS, replace(RuntimeStatement.of(NEW[0]), interface=3)), "has interface 3, this model needs 1"),
        (signed(OURS, OLD[0]), "has the signature of another image"),
    ],
    ids=["unsigned", "foreign key", "bad signature", "below minimum", "wrong interface", "another image"],
)
def test_a_runtime_that_is_not_trusted_is_passed_over_and_named(
    device: EdgeDevice, good: str, capsys: pytest.CaptureFixture[str], envelope: bytes | None, said: str
) -> None:
    payload_image(device)
    device.push_runtime(*NEW)
    if envelope is not None:
        device.sign_runtime(NEW[0], envelope)
    assert device.run("drift") == 0
    assert (served(device), device.health()) == (good, "okay")
    assert f"Runtime onnx {NEW[0].digest.short} {said}; passed over: " in capsys.readouterr().err
    # A device that has nothing else says the same in its health, and serves what it served.
    del device.registry.manifests[RUNTIMES][OLD[0].digest]
    assert device.run("drift") == 0
    assert served(device) == good
    assert device.health() == f"--code=no-runtime waiting Runtime onnx {NEW[0].digest.short} {said}"


def test_another_interface_is_told_from_none(device: EdgeDevice) -> None:
    device.install("1.0.0", OLD[0], keys=KEYS)
    assert device.run("install") == 0
    assert device.health() == "--code=no-runtime waiting Runtime onnx interface 1 is not in the registry"
    device.push_runtime(*OTHER)
    assert device.run("drift") == 0
    assert device.health() == "--code=no-runtime waiting Runtime onnx has interface 2, this model needs 1"
