"""What the gate decides and what is left of a revision that it refused, where other tests do not look already."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from snapedge_hooks.vocabulary import GateMode
from tests.fakes.edge import NAME, EdgeDevice, runtime_image
from tests.fakes.kube import Object
from tests.fakes.model import Answer, labels

SERVICE = f"/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/{NAME}"


def served(device: EdgeDevice) -> str:
    return str(device.kube.service_image(device.name)).rpartition("@")[2]


@pytest.fixture
def good(device: EdgeDevice) -> str:
    """The image of revision 1, which serves."""
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    image = device.serves(device.install("1.0.0", runtime), runtime)
    assert device.run("install") == 0
    return image


def test_a_refresh_whose_pod_never_gets_ready_is_undone_in_the_budget_and_the_old_one_proved(
    device: EdgeDevice, good: str
) -> None:
    runtime, _ = runtime_image()
    device.serves(device.install("1.1.0", runtime), runtime, answer=labels(2), starts_after=10**9)
    device.model.requests.clear()
    assert device.run("post-refresh", "--budget", "60") == 1
    assert served(device) == good
    assert device.health().startswith("--code=load-failed error Not ready in time")
    assert device.model.requests == [f"/v2/models/{NAME}/infer"]
    assert sum(device.clock.slept) < 61


def test_a_push_that_fails_never_touches_the_cluster(device: EdgeDevice, good: str) -> None:
    runtime, _ = runtime_image()
    device.serves(device.install("1.1.0", runtime), runtime)
    device.kube.requests.clear()
    device.registry.faults.status["PUT .*/blobs/"] = (500, b"disk is upset")
    assert device.run("post-refresh", "--budget", "20") == 1
    assert device.health() == "--code=registry-down waiting Registry: answered 500: disk is upset"
    assert (device.kube.wrote(), device.registry.uploads, served(device)) == ([], {}, good)


def test_a_registry_that_fills_up_in_the_middle_leaves_the_old_one(device: EdgeDevice, good: str) -> None:
    runtime, _ = runtime_image()
    device.serves(device.install("1.1.0", runtime), runtime)
    device.registry.faults.status["PUT .*/manifests/"] = (500, b"no space left on device")
    assert device.run("post-refresh", "--budget", "20") == 1
    assert device.health().startswith("--code=no-room waiting")
    assert served(device) == good


def test_what_a_refused_revision_left_is_pruned_after_a_day(device: EdgeDevice, good: str) -> None:
    runtime, _ = runtime_image()
    bad = device.serves(device.install("1.1.0", runtime), runtime, labels(7))
    assert device.run("post-refresh") == 1
    device.revision -= 1
    assert device.run("converge") == 0
    assert set(device.registry.manifests[NAME]) == {good, bad}
    device.clock.now += 25 * 3600
    assert device.run("drift") == 0
    assert set(device.registry.manifests[NAME]) == {good}
    assert (served(device), device.health()) == (good, "okay")


def test_what_was_pushed_before_the_state_was_lost_is_pruned_too(device: EdgeDevice, good: str) -> None:
    (device.common / "state.json").unlink()
    assert device.run("converge") == 0
    runtime, _ = runtime_image()
    better = device.serves(device.install("1.1.0", runtime), runtime)
    assert device.run("post-refresh") == 0
    assert set(device.registry.manifests[NAME]) == {good, better}
    device.clock.now += 25 * 3600
    assert device.run("drift") == 0
    assert set(device.registry.manifests[NAME]) == {better}


def test_an_old_image_that_another_service_uses_is_not_pruned(device: EdgeDevice, good: str) -> None:
    runtime, _ = runtime_image()
    device.serves(device.install("1.1.0", runtime), runtime)
    assert device.run("post-refresh") == 0
    other: Object = {"spec": {"predictor": {"containers": [{"image": f"{device.registry.address}/{NAME}@{good}"}]}}}
    device.kube.put(SERVICE.replace("namespaces/default", "namespaces/lab").replace(NAME, "their-copy"), other)
    device.clock.now += 25 * 3600
    assert device.run("drift") == 0
    assert good in device.registry.manifests[NAME]


@pytest.mark.parametrize(
    ("labels_of", "whose"),
    [({"annotations": {"snapedge.dev/snap": "grapes"}}, "snap grapes"), ({}, "somebody else")],
)
def test_a_name_that_is_taken_is_said_so_and_left_alone(
    device: EdgeDevice, capsys: pytest.CaptureFixture[str], labels_of: Object, whose: str
) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    theirs: Object = {"kind": "InferenceService", "spec": {"predictor": {"containers": [{"image": "theirs"}]}}}
    device.kube.put(SERVICE, theirs | {"metadata": {"name": NAME, **labels_of}})
    device.serves(device.install("1.0.0", runtime), runtime)
    assert device.run("install") == 1
    assert device.health() == f"--code=name-taken error InferenceService {NAME} belongs to {whose}"
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith("delete it, or install this snap under another instance name")
    for name in ("converge", "drift"):
        assert device.run(name) == 0
        assert device.health().startswith("--code=name-taken error")
    assert device.kube.wrote() == []
    assert device.kube.service_image(NAME) == "theirs"


@pytest.mark.parametrize("gate", [GateMode.STRICT, GateMode.REPORT, GateMode.NONE])
def test_a_pod_that_cannot_run_is_refused_whatever_the_gate(device: EdgeDevice, good: str, gate: GateMode) -> None:
    runtime, _ = runtime_image()
    payload = device.install("1.1.0", runtime, gate=gate)
    device.serves(payload, runtime, terminated=(1, "Error", "broken"))
    assert device.run("post-refresh") == 1
    assert served(device) == good


def test_an_unschedulable_refresh_leaves_the_old_one(device: EdgeDevice, good: str) -> None:
    runtime, _ = runtime_image()
    device.serves(device.install("1.1.0", runtime), runtime, unschedulable="0/1 nodes: Insufficient memory")
    assert device.run("post-refresh", "--budget", "30") == 1
    assert device.health().startswith("--code=no-room waiting")
    assert served(device) == good


@pytest.fixture
def models(tmp_path: Path) -> Iterator[list[EdgeDevice]]:
    """Three model snaps that share one registry, and so one runtime."""
    for name in ("wine", "digits", "prices"):
        (tmp_path / name).mkdir()
    with (
        EdgeDevice(tmp_path / "wine") as wine,
        EdgeDevice(tmp_path / "digits", name="digits", registry=wine.registry) as digits,
        EdgeDevice(tmp_path / "prices", name="prices", registry=wine.registry) as prices,
    ):
        yield [wine, digits, prices]


def test_each_model_adopts_or_refuses_a_new_runtime_on_its_own(models: list[EdgeDevice]) -> None:
    old, old_files = runtime_image("1.0.0")
    new, new_files = runtime_image("1.1.0")
    models[0].push_runtime(old, old_files)
    # The second model answers wrongly on the new runtime, the third was built before it and does not list it.
    answers: list[Answer | None] = [labels(2), labels(7), None]
    before, after = [], []
    for model, answer in zip(models, answers, strict=True):
        payload = model.install("1.0.0", *([old, new] if answer is not None else [old]))
        before.append(model.serves(payload, old))
        after.append(before[-1] if answer is None else model.serves(payload, new, answer))
        assert model.run("install") == 0
    models[0].push_runtime(new, new_files)
    for _ in range(2):
        assert [model.run("drift") for model in models] == [0, 0, 0]
        assert [served(model) for model in models] == [after[0], before[1], before[2]]
        healths = [model.health().split(": ")[0] for model in models]
        assert healths == ["okay", "--code=gate-failed error Sample row-3", "okay"]
