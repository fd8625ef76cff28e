"""Updates of an InferenceService on a virtual cluster, with servers that really run."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter

import requests

from .device import ISVC, Device, Json, inference_service
from .image import push, server_image

PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/wine-predictor"


class Client:
    """Asks through the ClusterIP every 10 ms, each time on a new connection, and keeps every answer."""

    def __init__(self, url: str) -> None:
        self.answers: Counter[str] = Counter()
        self._url = url
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(2)]

    def __enter__(self) -> Client:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        while not self._done.wait(0.01):
            try:
                answer = requests.get(self._url, timeout=5, headers={"Connection": "close"})
                self.answers[answer.json()["answer"] if answer.status_code == 200 else str(answer.status_code)] += 1
            except requests.RequestException as error:
                self.answers[f"failed: {error}"] += 1


def serve(device: Device, answer: str) -> str:
    reference = push(device.registry.host, "wine", server_image(answer), tag=answer)
    response = device.apply(f"{ISVC}/wine", inference_service("wine", reference))
    assert response.status_code in (200, 201), response.text
    return reference


def pods(device: Device) -> list[Json]:
    items: list[Json] = device.get(PODS)["items"]
    return sorted(items, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))


def wait_until_complete(device: Device, generation: int) -> Json:
    return device.wait_for(
        lambda: device.get(DEPLOYMENT),
        lambda it: (
            it["status"].get("observedGeneration") == generation
            and it["status"].get("updatedReplicas") == 1
            and it["status"].get("replicas") == 1
            and it["status"].get("availableReplicas") == 1
        ),
    )


def test_first_apply_ends_with_an_answer_through_the_cluster_address(device: Device) -> None:
    serve(device, "one")
    url = device.wait_for(lambda: device.call(device.cluster.endpoints), bool)["default/wine"]
    service = device.get("/api/v1/namespaces/default/services/wine-predictor")["spec"]
    assert url == f"http://{service['clusterIP']}:{service['ports'][0]['port']}"
    answer = requests.get(url, timeout=5).json()
    (pod,) = pods(device)
    assert answer == {"answer": "one", "uid": 65532, "pid": 1, "bind": pod["status"]["podIP"]}


def test_no_request_fails_over_a_good_update(device: Device) -> None:
    serve(device, "one")
    url = device.wait_for(lambda: device.call(device.cluster.endpoints), bool)["default/wine"]
    with Client(url) as client:
        time.sleep(0.3)
        serve(device, "two")
        wait_until_complete(device, 2)
        time.sleep(0.3)
    assert set(client.answers) == {"one", "two"}
    assert requests.get(url, timeout=5).json()["answer"] == "two"


def test_bad_update_never_answers_and_restoring_keeps_the_old_pod(device: Device) -> None:
    serve(device, "one")
    url = device.wait_for(lambda: device.call(device.cluster.endpoints), bool)["default/wine"]
    old_pod = pods(device)[0]["metadata"]["name"]
    with Client(url) as client:
        serve(device, "bad")
        bad = device.wait_for(
            lambda: next((pod for pod in pods(device) if pod["metadata"]["name"] != old_pod), None),
            lambda pod: (
                pod is not None
                and pod["status"].get("containerStatuses", [{}])[0].get("state", {}).get("waiting", {}).get("reason")
                == "CrashLoopBackOff"
            ),
        )
        assert bad is not None
        status = bad["status"]["containerStatuses"][0]
        assert status["lastState"]["terminated"]["exitCode"] == 3
        assert json.loads(status["lastState"]["terminated"]["message"])["gate"] == "failed"
        assert status["restartCount"] == 1
        metadata = bad["metadata"]
        pod = f"{metadata['name']}_default({metadata['uid']})"
        assert status["state"]["waiting"]["message"] == (
            f"back-off 10s restarting failed container=kserve-container pod={pod}"
        )

        deployment = device.get(DEPLOYMENT)["status"]
        assert {key: value for key, value in deployment.items() if key != "conditions"} == {
            "availableReplicas": 1,
            "observedGeneration": 2,
            "readyReplicas": 1,
            "replicas": 2,
            "unavailableReplicas": 1,
            "updatedReplicas": 1,
        }
        conditions = {item["type"]: item for item in device.get(f"{ISVC}/wine")["status"]["conditions"]}
        assert conditions["Ready"]["status"] == "True"
        assert conditions["PredictorReady"]["message"] == "Deployment has minimum availability."

        serve(device, "one")
        wait_until_complete(device, 3)
        device.wait_for(lambda: len(pods(device)), lambda count: count == 1)
    assert set(client.answers) == {"one"}
    assert pods(device)[0]["metadata"]["name"] == old_pod
    revisions = {
        item["metadata"]["annotations"]["deployment.kubernetes.io/revision"]: item["spec"]["replicas"]
        for item in device.get("/apis/apps/v1/namespaces/default/replicasets")["items"]
    }
    assert revisions == {"2": 0, "3": 1}


def test_recreate_ends_the_old_pod_before_the_new_one_starts(device: Device) -> None:
    reference = push(device.registry.host, "wine", server_image("one"))
    strategy = {"deploymentStrategy": {"type": "Recreate"}}
    device.apply(f"{ISVC}/wine", inference_service("wine", reference, **strategy))
    device.wait_for(lambda: device.call(device.cluster.endpoints), bool)
    reference = push(device.registry.host, "wine", server_image("two"))
    device.apply(f"{ISVC}/wine", inference_service("wine", reference, **strategy))
    seen: set[str] = set()
    while device.get(DEPLOYMENT)["status"].get("availableReplicas") != 1 or len(pods(device)) != 1 or len(seen) < 2:
        found = pods(device)
        assert len(found) <= 1
        seen.update(pod["metadata"]["name"] for pod in found)
        time.sleep(0.02)
    url = device.call(device.cluster.endpoints)["default/wine"]
    assert requests.get(url, timeout=5).json()["answer"] == "two"


def test_image_that_is_not_there_is_told_in_the_pod(device: Device) -> None:
    reference = f"{device.registry.host}/wine@sha256:{'0' * 64}"
    device.apply(f"{ISVC}/wine", inference_service("wine", reference))
    state = device.wait_for(
        lambda: pods(device)[0]["status"]["containerStatuses"][0]["state"] if pods(device) else {},
        lambda state: state.get("waiting", {}).get("reason") == "ImagePullBackOff",
    )
    assert state["waiting"]["message"].startswith(f'Back-off pulling image "{reference}": ErrImagePull: ')
    assert state["waiting"]["message"].endswith(f"{reference}: not found")


def test_an_image_that_is_never_to_be_pulled_must_be_there(device: Device) -> None:
    reference = push(device.registry.host, "wine", server_image("one"), tag="one")
    service = inference_service("wine", reference)
    container = service["spec"]["predictor"]["containers"][0]
    container["imagePullPolicy"] = "Never"
    device.apply(f"{ISVC}/wine", service)
    state = device.wait_for(
        lambda: pods(device)[0]["status"]["containerStatuses"][0]["state"] if pods(device) else {},
        lambda state: "waiting" in state and state["waiting"]["reason"] == "ErrImageNeverPull",
    )
    assert state["waiting"]["message"] == f'Container image "{reference}" is not present with pull policy of Never'
    container["imagePullPolicy"] = "IfNotPresent"
    device.apply(f"{ISVC}/wine", service)
    device.wait_for(lambda: device.call(device.cluster.endpoints), bool)
    container["imagePullPolicy"] = "Never"
    device.apply(f"{ISVC}/wine", service)
    wait_until_complete(device, 3)


def test_pull_goes_on_once_the_lost_layer_was_pushed_again(device: Device) -> None:
    image = server_image("one")
    lost = next(iter(image.blobs))
    push(device.registry.host, "wine", image)
    device.registry.faults.lost.add(lost)
    reference = serve(device, "one")
    state = device.wait_for(
        lambda: pods(device)[0]["status"]["containerStatuses"][0]["state"] if pods(device) else {},
        lambda state: "ErrImagePull" in state.get("waiting", {}).get("message", ""),
    )
    assert f"blobs/{lost} not found" in state["waiting"]["message"]
    base = f"http://{device.registry.host}/v2/wine/blobs"
    location = requests.post(f"{base}/uploads/", timeout=5).headers["Location"]
    requests.put(f"{location}&digest={lost}", data=image.blobs[lost], timeout=5)
    device.wait_for(lambda: device.call(device.cluster.endpoints), bool)
    assert reference.endswith(image.digest)


def test_pod_that_asks_for_more_than_the_node_has_is_not_scheduled(device: Device) -> None:
    reference = push(device.registry.host, "wine", server_image("one"))
    document = inference_service("wine", reference)
    resources = {"limits": {"cpu": "1", "memory": "64Gi"}, "requests": {"cpu": "1", "memory": "64Gi"}}
    document["spec"]["predictor"]["containers"][0]["resources"] = resources
    device.apply(f"{ISVC}/wine", document)
    found = device.wait_for(lambda: pods(device), lambda found: found and found[0]["status"].get("conditions"))
    (condition,) = found[0]["status"]["conditions"]
    assert condition["reason"] == "Unschedulable"
    assert condition["message"] == "0/1 nodes are available: 1 Insufficient memory."


def test_killed_for_memory_is_told_in_the_pod(device: Device) -> None:
    device.cluster.faults.kill_out_of_memory.add("wine")
    serve(device, "one")
    state = device.wait_for(
        lambda: pods(device)[0]["status"].get("containerStatuses", [{}])[0] if pods(device) else {},
        lambda status: "terminated" in status.get("state", {}) or "terminated" in status.get("lastState", {}),
    )
    ended = state["state"].get("terminated") or state["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


def test_deleting_takes_everything_with_it(device: Device) -> None:
    serve(device, "one")
    device.wait_for(lambda: device.call(device.cluster.endpoints), bool)
    assert device.session.delete(device.url + f"{ISVC}/wine", timeout=5).status_code == 200
    device.wait_for(lambda: pods(device), lambda found: not found)
    for path in (ISVC, "/apis/apps/v1/namespaces/default/deployments", "/api/v1/namespaces/default/services"):
        assert device.get(path)["items"] == []


def test_same_manifest_again_changes_nothing(device: Device) -> None:
    serve(device, "one")
    wait_until_complete(device, 1)
    before = device.get(f"{ISVC}/wine")
    time.sleep(1.1)
    serve(device, "one")
    assert device.get(f"{ISVC}/wine") == before


def test_reboot_keeps_objects_and_starts_pods_again_without_the_registry(device: Device) -> None:
    serve(device, "one")
    wait_until_complete(device, 1)
    device.registry.faults.refuse = True
    device.reboot()
    url = device.wait_for(lambda: device.call(device.cluster.endpoints), bool)["default/wine"]
    assert requests.get(url, timeout=5).json()["answer"] == "one"
    (pod,) = pods(device)
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 1


def test_node_port_leads_to_the_same_pods(device: Device) -> None:
    serve(device, "one")
    wait_until_complete(device, 1)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "wine-snapedge", "namespace": "default"},
        "spec": {
            "type": "NodePort",
            "selector": {"app": "isvc.wine-predictor"},
            "ports": [{"name": "http1", "port": 8080, "targetPort": 8080, "nodePort": 30080}],
        },
    }
    path = "/api/v1/namespaces/default/services/wine-snapedge"
    assert device.apply(path, service).status_code == 201
    before = device.get(path)
    assert device.apply(path, service).status_code == 200
    assert device.get(path) == before
    url = f"http://{device.addresses.host}:30080"
    device.wait_for(lambda: _is_open(url), bool)
    assert requests.get(url, timeout=5).json()["answer"] == "one"


def test_broken_server_is_started_again_and_not_routed_to_meanwhile(device: Device) -> None:
    serve(device, "one")
    url = device.wait_for(lambda: device.call(device.cluster.endpoints), bool)["default/wine"]
    device.cluster.faults.never_ready.add("wine")
    device.wait_for(lambda: device.call(device.cluster.endpoints), lambda found: not found)
    assert not _is_open(url)
    device.cluster.faults.never_ready.clear()
    device.wait_for(lambda: device.call(device.cluster.endpoints), bool)
    assert _is_open(url)


def test_output_of_a_pod_can_be_read(device: Device) -> None:
    serve(device, "one")
    wait_until_complete(device, 1)
    name = pods(device)[0]["metadata"]["name"]
    answer = device.session.get(f"{device.url}{PODS}/{name}/log", timeout=5)
    assert answer.text == "serving one\n"


def _is_open(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.ConnectionError:
        return False
