"""What a device ends up serving, and what snapd is told, on every path of design's table of outcomes."""

import json
import time

import pytest

from snapedge_hooks.vocabulary import Architecture, GateMode
from tests.fakes.edge import NAME, RUNTIMES, EdgeDevice, runtime_image
from tests.fakes.model import labels

GATE_FAILED = json.dumps({"gate": "failed", "sample": "row-3", "output": "label", "max_error": 1.0, "tolerance": 0.0})


def image_of(device: EdgeDevice) -> str | None:
    image = device.kube.service_image(NAME)
    return None if image is None else image.rpartition("@")[2]


def test_an_install_pushes_applies_waits_replays_and_is_okay(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    payload = device.install("1.0.0", runtime)
    digest = device.serves(payload, runtime)
    assert device.run("install") == 0
    assert device.health() == "okay"
    assert image_of(device) == digest == payload.predicted_image
    assert device.registry.tags[NAME] == {"1.0.0": digest}
    assert device.model.requests == [f"/v2/models/{NAME}/infer"]


def test_the_runtime_is_mounted_and_only_the_model_is_sent(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    payload = device.install("1.0.0", runtime)
    device.serves(payload, runtime)
    device.run("install")
    assert device.registry.received < payload.model.layer.size + 4000


def test_a_second_run_changes_nothing(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    device.serves(device.install("1.0.0", runtime), runtime)
    device.run("install")
    device.registry.requests.clear()
    device.kube.requests.clear()
    device.model.requests.clear()
    assert device.run("converge") == 0
    assert (device.registry.wrote(), device.kube.wrote(), device.model.requests) == ([], [], [])


def test_a_full_snap_brings_its_own_runtime(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    payload = device.install("1.0.0", runtime, files=files)
    digest = device.serves(payload, runtime)
    assert device.run("install") == 0
    assert image_of(device) == digest
    assert RUNTIMES not in device.registry.blobs


def test_a_model_that_fails_its_gate_is_taken_back_and_the_hook_fails(
    device: EdgeDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    good = device.serves(device.install("1.0.0", runtime), runtime)
    device.run("install")
    bad = device.install("1.1.0", runtime, expected=1)
    device.serves(bad, runtime, terminated=(3, "Error", GATE_FAILED))
    assert device.run("post-refresh") == 1
    assert image_of(device) == good
    assert device.health() == "--code=gate-failed error Sample row-3: label is off by 1, 0 allowed"
    assert "Sample row-3: label is off by 1, 0 allowed" in capsys.readouterr().err.splitlines()[-1]


def test_a_bad_first_install_leaves_nothing(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    device.serves(device.install("1.0.0", runtime), runtime, terminated=(3, "Error", GATE_FAILED))
    assert device.run("install") == 1
    assert image_of(device) is None


def test_a_wrong_answer_through_the_service_is_refused_too(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    good = device.serves(device.install("1.0.0", runtime), runtime)
    device.run("install")
    device.serves(device.install("1.1.0", runtime), runtime, labels(7))
    assert device.run("post-refresh") == 1
    assert image_of(device) == good
    assert device.health().startswith("--code=gate-failed error Sample row-3: label is off by 5")


def test_gate_report_tells_and_goes_on(device: EdgeDevice, capsys: pytest.CaptureFixture[str]) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    digest = device.serves(device.install("1.0.0", runtime, gate=GateMode.REPORT), runtime, labels(7))
    assert device.run("install") == 0
    assert image_of(device) == digest
    assert "gate is report, going on: Sample row-3" in capsys.readouterr().err


def test_gate_none_asks_nothing(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    device.serves(device.install("1.0.0", runtime, gate=GateMode.NONE), runtime, labels(7))
    assert device.run("install") == 0
    assert device.model.requests == []


def test_without_the_slot_the_image_is_pushed_and_the_service_waits(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    payload = device.install("1.0.0", runtime, connected=False)
    digest = device.serves(payload, runtime)
    assert device.run("install") == 0
    assert device.health() == "--code=no-slot waiting Plug mk8s is not connected"
    assert digest in device.registry.manifests[NAME]
    device.connect()
    assert device.run("connect-plug-mk8s") == 0
    assert device.calls()[-1] == f"restart --reload {NAME}.converge"
    assert device.run("converge") == 0
    assert device.health() == "okay"


def test_without_a_runtime_a_first_install_waits(device: EdgeDevice) -> None:
    runtime, _ = runtime_image()
    device.install("1.0.0", runtime)
    assert device.run("install") == 0
    assert device.health().startswith("--code=no-runtime waiting Runtime onnx interface 1 is not in the registry")


def test_a_runtime_that_the_payload_does_not_list_is_not_used(device: EdgeDevice) -> None:
    listed, _ = runtime_image("1.0.0")
    other, files = runtime_image("6.6.6")
    device.push_runtime(other, files)
    device.install("1.0.0", listed)
    assert device.run("install") == 0
    told = f"Runtime onnx {other.digest.short} is not one this snap lists"
    assert device.health() == f"--code=no-runtime waiting {told}"


def test_while_something_serves_a_shortage_is_waited_for_and_then_fails_the_hook(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    good = device.serves(device.install("1.0.0", runtime), runtime)
    device.run("install")
    device.serves(device.install("1.1.0", runtime), runtime)
    device.kube.faults.status["PATCH"] = (503, {"message": "etcd is away"})
    assert device.run("post-refresh", "--budget", "60") == 1
    assert device.health().startswith("--code=api-down waiting Kubernetes API: answered 503")
    assert image_of(device) == good
    assert 40 < sum(device.clock.slept) < 61


def test_a_shortage_that_ends_in_the_budget_is_no_failure(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    device.serves(device.install("1.0.0", runtime), runtime)
    device.run("install")
    digest = device.serves(device.install("1.1.0", runtime), runtime, starts_after=5, answer=labels(2))
    assert device.run("post-refresh") == 0
    assert image_of(device) == digest


def test_the_service_remembers_what_it_refused_until_something_changes(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    good = device.serves(device.install("1.0.0", runtime), runtime)
    device.run("install")
    device.serves(device.install("1.1.0", runtime), runtime, labels(7))
    assert device.run("converge") == 0
    assert device.health().startswith("--code=gate-failed error")
    assert image_of(device) == good
    device.kube.requests.clear()
    assert device.run("converge") == 0
    assert device.kube.wrote() == []
    assert device.health().startswith("--code=gate-failed error")
    device.set(gate="none")
    assert device.run("configure") == 0
    assert device.calls()[-1] == f"restart --reload {NAME}.converge"
    assert device.run("converge") == 0
    assert device.health() == "okay"
    assert image_of(device) != good


def test_drift_adopts_a_new_runtime_that_the_model_proves_itself_on(device: EdgeDevice) -> None:
    old, old_files = runtime_image("1.0.0")
    new, new_files = runtime_image("1.1.0")
    device.push_runtime(old, old_files)
    payload = device.install("1.0.0", old, new)
    device.serves(payload, old)
    device.run("install")
    device.push_runtime(new, new_files)
    adopted = device.serves(payload, new)
    assert device.run("drift") == 0
    assert image_of(device) == adopted
    assert device.health() == "okay"


def test_drift_refuses_a_new_runtime_that_the_model_fails_on(device: EdgeDevice) -> None:
    old, old_files = runtime_image("1.0.0")
    new, new_files = runtime_image("1.1.0")
    device.push_runtime(old, old_files)
    payload = device.install("1.0.0", old, new)
    good = device.serves(payload, old)
    device.run("install")
    device.push_runtime(new, new_files)
    device.serves(payload, new, labels(7))
    for _ in range(2):
        assert device.run("drift") == 0
        assert image_of(device) == good
        assert device.health().startswith("--code=gate-failed error")


def test_drift_repairs_what_was_edited_or_deleted_by_hand(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    digest = device.serves(device.install("1.0.0", runtime), runtime)
    device.run("install")
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/{NAME}"
    device.kube.objects[path]["spec"]["predictor"]["containers"][0]["image"] = "evil@sha256:" + "0" * 64
    device.kube.faults.conflict = True
    assert device.run("drift") == 0
    assert image_of(device) == digest
    del device.kube.objects[path]
    assert device.run("drift") == 0
    assert image_of(device) == digest


def test_a_wiped_registry_is_filled_again(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    digest = device.serves(device.install("1.0.0", runtime), runtime)
    device.run("install")
    device.registry.blobs.clear()
    device.registry.manifests.clear()
    device.push_runtime(runtime, files)
    assert device.run("drift") == 0
    assert digest in device.registry.manifests[NAME]


@pytest.mark.parametrize("damage", [b"", b"{", b'{"format":99}', b"\xff\xfe", b"[]"])
def test_a_damaged_state_file_costs_nothing(device: EdgeDevice, damage: bytes) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    device.serves(device.install("1.0.0", runtime), runtime)
    device.run("install")
    (device.common / "state.json").write_bytes(damage)
    device.kube.requests.clear()
    assert device.run("converge") == 0
    assert device.kube.wrote() == []
    assert device.health() == "okay"


def test_a_pull_error_has_every_layer_pushed_again(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    payload = device.install("1.0.0", runtime, files=files)
    digest = device.serves(payload, runtime, waiting=("ImagePullBackOff", "content digest not found"))
    device.kube.faults.status["DELETE .*/pods/"] = (200, {})
    assert device.run("install") == 1
    puts = [request for request in device.registry.requests if request.startswith("PUT") and "/blobs/" in request]
    assert len(puts) == 2 * 4
    assert device.health().startswith("--code=load-failed error Image not pulled: content digest not found")
    assert digest in device.registry.manifests[NAME]


@pytest.mark.parametrize(
    ("terminated", "health"),
    [
        (
            (137, "OOMKilled", ""),
            "--code=load-failed error Server ran out of memory",
        ),
        (
            (3, "Error", '{"gate":"load-failed","reason":"opset 99 is unknown"}'),
            "--code=load-failed error Model does not load: opset 99 is unknown",
        ),
        (
            (1, "Error", "Traceback"),
            "--code=load-failed error Server ended 2 times, exit code 1: Traceback",
        ),
        (
            (255, "Error", "exec /usr/bin/python3: exec format error"),
            "--code=wrong-arch error Image is for another architecture",
        ),
    ],
)
def test_a_pod_that_does_not_come_up_has_one_reason(
    device: EdgeDevice, terminated: tuple[int, str, str], health: str
) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    device.serves(device.install("1.0.0", runtime), runtime, terminated=terminated)
    assert device.run("install") == 1
    assert device.health() == health


def test_a_pod_that_never_gets_ready_is_given_up_in_the_budget(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    device.serves(device.install("1.0.0", runtime), runtime, answer=labels(2), starts_after=10**9)
    assert device.run("install", "--budget", "30") == 1
    assert device.health().startswith("--code=load-failed error Not ready in time")


def test_a_node_without_room_is_left_as_it_is(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    device.kube.put("/api/v1/nodes/edge", {"status": {"allocatable": {"cpu": "4", "memory": "100Mi", "pods": "110"}}})
    device.serves(device.install("1.0.0", runtime), runtime)
    assert device.run("install") == 0
    assert device.health() == ("--code=no-room waiting No room: 1 more pod(s) of 500m CPU, 256Mi; free: 4000m, 100Mi")
    assert (device.registry.wrote(), device.kube.wrote()) == ([], [])


def test_a_damaged_layer_never_becomes_a_blob(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    payload = device.install("1.0.0", runtime)
    path = device.snap / "payload" / "model.tar"
    path.write_bytes(b"x" + path.read_bytes()[1:])
    assert device.run("install") == 1
    assert "payload-bad" in device.health()
    assert payload.model.layer.diff_id not in device.registry.blobs[NAME]
    assert device.registry.uploads == {}


def test_anothers_inference_service_is_not_touched(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/{NAME}"
    device.kube.put(path, {"kind": "InferenceService", "spec": {"predictor": {"containers": [{"image": "theirs"}]}}})
    device.serves(device.install("1.0.0", runtime), runtime)
    assert device.run("install") == 1
    assert device.health() == f"--code=name-taken error InferenceService {NAME} belongs to somebody else"
    assert device.run("remove") == 0
    assert image_of(device) == "theirs"


def test_remove_leaves_nothing_of_ours(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    device.set(node_port=30080)
    device.serves(device.install("1.0.0", runtime), runtime)
    device.run("install")
    assert f"/api/v1/namespaces/default/services/{NAME}-snapedge" in device.kube.objects
    assert device.run("remove") == 0
    assert [path for path in device.kube.objects if NAME in path] == []
    assert device.registry.manifests[NAME] == {}


def test_remove_takes_the_image_away_though_the_service_is_let_go_later(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    device.serves(device.install("1.0.0", runtime), runtime)
    device.run("install")
    device.kube.faults.slow_finalizer = True
    assert device.run("remove") == 0
    assert device.registry.manifests[NAME] == {}


def test_remove_with_everything_away_still_succeeds(device: EdgeDevice) -> None:
    runtime, _ = runtime_image()
    device.install("1.0.0", runtime, connected=False)
    device.set(registry="127.0.0.1:1")
    assert device.run("remove") == 0


def test_a_runtime_snap_pushes_itself_and_is_kept_there(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.install_runtime(runtime, files)
    assert device.run("install") == 0
    assert device.registry.tags[RUNTIMES] == {"1.0.0": runtime.digest, "1": runtime.digest}
    device.registry.requests.clear()
    assert device.run("converge") == 0
    assert device.registry.wrote() == []
    device.registry.faults.lost.add(runtime.layers[0].digest)
    assert device.run("drift") == 0
    assert device.registry.faults.lost == set()


def test_health_is_told_again_by_check_health(device: EdgeDevice) -> None:
    runtime, _ = runtime_image()
    device.install("1.0.0", runtime)
    assert device.run("check-health") == 0
    assert device.health().startswith("waiting Not converged yet")
    device.run("install")
    assert device.run("check-health") == 0
    assert device.health().startswith("--code=no-runtime waiting")


def test_another_architecture_is_refused(device: EdgeDevice) -> None:
    runtime, _ = runtime_image()
    device.install("1.0.0", runtime, architecture=Architecture.ARM64)
    assert device.run("install") == 1


def test_a_slow_model_is_refused_where_a_bound_is_set(device: EdgeDevice) -> None:
    def slow(request: dict[str, object]) -> tuple[int, dict[str, object]]:
        time.sleep(0.02)
        return labels(2)(request)

    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    device.serves(device.install("1.0.0", runtime, max_latency_ms=10), runtime, slow)
    assert device.run("install") == 1
    assert "10 ms allowed" in device.health()
