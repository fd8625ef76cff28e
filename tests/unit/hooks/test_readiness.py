"""Verdicts on Deployments and pods as a real KServe made them, and on failures that it did not show."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from snapedge_hooks import readiness
from snapedge_hooks.readiness import Phase
from snapedge_hooks.situations import PullFailedError, RefusedError, ShortageError
from snapedge_hooks.vocabulary import HealthCode

OBSERVED = Path(__file__).parents[2] / "cases" / "kserve-observed"


def observed(stage: str) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """The container asked for, the Deployment, ReplicaSets and pods of a stage."""
    documents = list(yaml.safe_load_all((OBSERVED / f"{stage}.yaml").read_text()))

    def kind(name: str) -> list[dict[str, Any]]:
        return [document for document in documents if document["kind"] == name]

    container = kind("InferenceService")[0]["spec"]["predictor"]["containers"][0]
    return container, kind("Deployment")[0], kind("ReplicaSet"), kind("Pod")


@pytest.mark.parametrize(
    ("stage", "phase"),
    [
        ("1-just-applied", Phase.PROGRESSING),
        ("2-ready", Phase.READY),
        ("5-restored", Phase.READY),
        ("6-updated", Phase.READY),
    ],
)
def test_a_real_rollout_is_read_right(stage: str, phase: Phase) -> None:
    assert readiness.read(*observed(stage)).phase is phase


@pytest.mark.parametrize("stage", ["3-bad-6s", "4-bad-20s"])
def test_a_real_bad_rollout_fails_while_the_inference_service_says_ready(stage: str) -> None:
    verdict = readiness.read(*observed(stage))
    assert verdict.phase is Phase.FAILED
    assert verdict.available == 1
    assert isinstance(verdict.failure, RefusedError)


def test_a_deployment_with_another_container_is_on_its_way() -> None:
    container, deployment, sets, pods = observed("2-ready")
    verdict = readiness.read(container | {"image": "other"}, deployment, sets, pods)
    assert (verdict.phase, verdict.reason) == (Phase.PROGRESSING, "KServe has not updated the Deployment yet")


def test_an_unseen_generation_is_on_its_way() -> None:
    container, deployment, sets, pods = observed("2-ready")
    deployment["metadata"]["generation"] = 2
    verdict = readiness.read(container, deployment, sets, pods)
    assert verdict.reason == "the Deployment's controller has not seen it yet"


def test_an_old_pod_behind_the_service_is_not_ready() -> None:
    container, deployment, sets, pods = observed("2-ready")
    deployment["status"] |= {"replicas": 2}
    assert readiness.read(container, deployment, sets, pods).phase is Phase.PROGRESSING


def with_pod(**status: Any) -> readiness.Readiness:
    container, deployment, sets, pods = observed("1-just-applied")
    pods[0]["status"] = status
    return readiness.read(container, deployment, sets, pods)


def container(**state: Any) -> dict[str, Any]:
    return {"name": "kserve-container", "restartCount": 0, **state}


IMAGE = "localhost:32000/wine@sha256:" + "0" * 64
NOT_PULLED = f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": '


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (f"rpc error: code = NotFound desc = {NOT_PULLED}{IMAGE}: not found", "not found"),
        (
            f'{NOT_PULLED}failed to do request: Head "https://vm:32000/v2/wine/manifests/sha256:{"0" * 64}": '
            "http: server gave HTTP response to HTTPS client",
            "http: server gave HTTP response to HTTPS client",
        ),
        (f'Back-off pulling image "{IMAGE}"', f'Back-off pulling image "{IMAGE}"'),
        (f'Back-off pulling image "{IMAGE}": ErrImagePull: {NOT_PULLED}{IMAGE}: not found', "not found"),
        (None, "ErrImagePull"),
    ],
)
def test_a_failed_pull_is_told_by_its_cause(message: str | None, cause: str) -> None:
    """As kubelet 1.34 with containerd 1.6 says it."""
    waiting = {"waiting": {"reason": "ErrImagePull", "message": message}}
    failure = with_pod(containerStatuses=[container(state=waiting)]).failure
    assert failure is not None
    assert failure.brief == f"Image not pulled: {cause}"


def test_a_failed_pull_is_told_with_its_pod() -> None:
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
    failure = with_pod(containerStatuses=[container(state=waiting)]).failure
    assert isinstance(failure, PullFailedError)
    assert failure.brief == "Image not pulled: not found"
    assert len(failure.pods) == 1


@pytest.mark.parametrize(
    ("status", "code", "brief"),
    [
        (
            container(state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
            HealthCode.LOAD_FAILED,
            "Server ran out of memory",
        ),
        (
            container(state={"terminated": {"exitCode": 3, "message": '{"gate":"load-failed","reason":"opset"}'}}),
            HealthCode.LOAD_FAILED,
            "Model does not load: opset",
        ),
        (
            container(state={"terminated": {"exitCode": 3, "message": "[" * 4000}}),
            HealthCode.LOAD_FAILED,
            "Model does not load: " + "[" * 200,
        ),
        (
            container(state={"running": {}}, lastState={"terminated": {"exitCode": 1}}, restartCount=2),
            HealthCode.LOAD_FAILED,
            "Server ended 2 times, exit code 1",
        ),
        (
            container(state={"waiting": {"reason": "RunContainerError", "message": "exec: exec format error"}}),
            HealthCode.WRONG_ARCH,
            "Image is for another architecture",
        ),
        (
            container(state={"waiting": {"reason": "CreateContainerConfigError", "message": "no such secret"}}),
            HealthCode.LOAD_FAILED,
            "Pod cannot start: no such secret",
        ),
    ],
)
def test_a_container_that_failed_has_one_reason(status: dict[str, Any], code: HealthCode, brief: str) -> None:
    failure = with_pod(containerStatuses=[status]).failure
    assert isinstance(failure, RefusedError)
    assert (failure.code, failure.brief) == (code, brief)


def test_one_crash_is_no_verdict() -> None:
    running = container(state={"running": {}}, lastState={"terminated": {"exitCode": 1}}, restartCount=1)
    assert with_pod(containerStatuses=[running]).phase is Phase.PROGRESSING


def test_a_pod_that_no_node_has_room_for_is_a_shortage() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    failure = with_pod(conditions=[condition | {"message": "0/1 nodes are available: 1 Insufficient memory."}]).failure
    assert isinstance(failure, ShortageError)
    assert failure.code is HealthCode.NO_ROOM
    starting = condition | {"message": "1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }."}
    assert with_pod(conditions=[starting]).phase is Phase.PROGRESSING
