"""What becomes of a device's runtimes: old ones go when nobody needs them, lost ones come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from snapedge_hooks import referrers
from snapedge_hooks.images import RuntimeImage
from tests.fakes.edge import NAME, RUNTIMES, EdgeDevice, runtime_image, signed, signing_key
from tests.fakes.model import labels

DAY = 24 * 3600
OLD, NEW, OTHER = runtime_image("1.0.0"), runtime_image("1.1.0"), runtime_image("2.0.0", interface=2)


class Runtimes:
    """A model's snap and its runtime's snap on one device."""

    def __init__(self, model: EdgeDevice, runtime: EdgeDevice) -> None:
        self.model, self.runtime = model, runtime

    def bring(
        self, runtime: tuple[RuntimeImage, dict[str, bytes]], hook: str, *, signature: bytes | None = None
    ) -> None:
        """Make a runtime the current revision of its snap."""
        self.runtime.install_runtime(*runtime, signature=signature)
        self.runtime.connect()
        assert self.runtime.run(hook) == 0

    def serve(self, *answers: int) -> None:
        """Install the model, which answers so on the old runtime, and so on the new one."""
        payload = self.model.install("1.0.0", OLD[0], NEW[0])
        for runtime, answer in zip((OLD[0], NEW[0]), answers, strict=True):
            self.model.serves(payload, runtime, labels(answer))
        assert self.model.run("install") == 0

    def wait(self, seconds: float) -> None:
        """Let time pass, and both snaps look around: the model first, then what it may have left."""
        for device in (self.model, self.runtime):
            device.clock.now += seconds
        for device in (self.model, self.runtime):
            if device.revision:
                assert device.run("drift") == 0

    def held(self) -> set[str]:
        """Versions of the runtimes whose manifests the registry has."""
        return {
            runtime.version
            for runtime, _ in (OLD, NEW, OTHER)
            if runtime.digest in self.model.registry.manifests[RUNTIMES]
        }


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Runtimes]:
    for name in ("model", "runtime"):
        (tmp_path / name).mkdir()
    with (
        EdgeDevice(tmp_path / "model") as model,
        EdgeDevice(tmp_path / "runtime", name="snapedge-onnx", registry=model.registry) as runtime,
    ):
        own, runtime.kube = runtime.kube, model.kube
        yield Runtimes(model, runtime)
        runtime.kube = own


def test_an_old_runtime_that_no_model_uses_goes_after_its_grace_period(device: Runtimes) -> None:
    device.bring(OLD, "install")
    device.bring(NEW, "post-refresh")
    device.wait(DAY - 3600)
    assert device.held() == {"1.0.0", "1.1.0"}
    device.wait(2 * 3600)
    assert device.held() == {"1.1.0"}
    assert device.model.registry.tags[RUNTIMES]["1"] == NEW[0].digest
    # Once and for all: nothing is asked or written for it any more.
    device.runtime.registry.requests.clear()
    device.wait(DAY)
    assert device.runtime.registry.wrote() == []


def test_a_runtime_pushed_before_the_state_was_lost_goes_too(device: Runtimes) -> None:
    device.bring(OLD, "install")
    (device.runtime.common / "state.json").unlink()
    device.wait(1)
    device.bring(NEW, "post-refresh")
    device.wait(DAY + 1)
    assert device.held() == {"1.1.0"}


def test_its_signatures_go_with_it(device: Runtimes) -> None:
    device.bring(OLD, "install", signature=signed(signing_key(), OLD[0]))
    assert referrers.tag_of(OLD[0].digest) in device.model.registry.tags[RUNTIMES]
    device.bring(NEW, "post-refresh", signature=signed(signing_key(), NEW[0]))
    before = set(device.model.registry.manifests[RUNTIMES])
    device.wait(DAY + 1)
    gone = before - set(device.model.registry.manifests[RUNTIMES])
    assert OLD[0].digest in gone
    assert len(gone) == 3, "the runtime, the index of its signatures, and the one in it"


def test_a_runtime_stays_while_a_model_is_served_on_it_and_a_day_after(device: Runtimes) -> None:
    device.bring(OLD, "install")
    device.serve(2, 2)
    # The model's own snap is held back: it does not look for the new runtime yet.
    device.bring(NEW, "post-refresh")
    device.runtime.clock.now += 3 * DAY
    assert device.runtime.run("drift") == 0
    assert device.held() == {"1.0.0", "1.1.0"}
    device.wait(1)  # now it does, and is served on the new one
    device.wait(DAY - 3600)
    assert device.held() == {"1.0.0", "1.1.0"}
    device.wait(2 * 3600)
    assert device.held() == {"1.1.0"}
    assert device.model.health() == "okay"


def test_a_runtime_that_a_model_proved_bad_does_not_cost_it_the_old_one(device: Runtimes) -> None:
    device.bring(OLD, "install")
    device.serve(2, 7)
    served = device.model.kube.service_image(NAME)
    device.bring(NEW, "post-refresh")
    for _ in range(4):
        device.wait(DAY)
    assert device.held() == {"1.0.0", "1.1.0"}
    assert device.model.kube.service_image(NAME) == served
    assert device.model.health().startswith("--code=gate-failed error Sample row-3")


def test_while_the_cluster_cannot_be_asked_nothing_goes(device: Runtimes) -> None:
    device.bring(OLD, "install")
    device.serve(2, 2)
    device.runtime.install_runtime(*NEW)  # mk8s is not connected any more
    assert device.runtime.run("post-refresh") == 0
    device.runtime.clock.now += 3 * DAY
    assert device.runtime.run("drift") == 0
    assert device.held() == {"1.0.0", "1.1.0"}
    device.runtime.connect()
    assert device.runtime.run("drift") == 0
    assert device.held() == {"1.0.0", "1.1.0"}, "the model is served on it"


def test_a_clock_that_was_far_ahead_keeps_no_runtime_for_years(device: Runtimes) -> None:
    device.runtime.clock.jumped = 10 * 365 * DAY
    device.bring(OLD, "install")
    device.bring(NEW, "post-refresh")
    device.runtime.clock.jumped = 0
    device.wait(1)
    assert device.held() == {"1.1.0"}


def test_a_wiped_registry_is_filled_again_by_both_snaps(device: Runtimes) -> None:
    device.bring(OLD, "install")
    device.serve(2, 2)
    registry = device.model.registry
    for held in (registry.blobs, registry.manifests, registry.tags):
        held.clear()
    assert device.model.run("drift") == 0
    assert device.model.health() == "--code=no-runtime waiting Runtime onnx interface 1 is not in the registry"
    assert device.runtime.run("drift") == 0
    assert device.held() == {"1.0.0"}
    assert device.model.run("drift") == 0
    assert device.model.health() == "okay"


def test_a_runtime_of_another_interface_leaves_the_models_what_they_need(device: Runtimes) -> None:
    device.bring(OLD, "install")
    device.serve(2, 2)
    served = device.model.kube.service_image(NAME)
    device.bring(OTHER, "post-refresh")
    for _ in range(3):
        device.wait(DAY)
    assert device.held() == {"1.0.0", "2.0.0"}
    assert (device.model.kube.service_image(NAME), device.model.health()) == (served, "okay")
    tags = device.model.registry.tags[RUNTIMES]
    assert (tags["1"], tags["2"]) == (OLD[0].digest, OTHER[0].digest)
