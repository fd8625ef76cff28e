"""The Kubernetes API of a virtual cluster, asked by plain HTTP and by the official client."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import yaml

from .device import ISVC, Device, Json, inference_service

MAPS = "/api/v1/namespaces/default/configmaps"
# Refers to no image: these tests are about the API, whatever becomes of the pods.
IMAGE = f"127.0.0.1:9/none@sha256:{'0' * 64}"


def config_map(**data: str) -> Json:
    metadata = {"name": "facts", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def refusal(answer: requests.Response, code: int, reason: str) -> str:
    status = answer.json()
    assert (answer.status_code, status["code"], status["reason"], status["kind"]) == (code, code, reason, "Status")
    message: str = status["message"]
    return message


def test_without_a_certificate_nobody_gets_in(device: Device) -> None:
    answer = requests.get(device.url + "/version", verify=device.session.verify, timeout=5)
    assert refusal(answer, 401, "Unauthorized") == "Unauthorized"


def test_foreign_authority_is_not_trusted_by_the_client(device: Device) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(device.url + "/version", timeout=5)


def test_discovery_names_kserve_until_it_is_gone(device: Device) -> None:
    assert device.get("/version")["gitVersion"].startswith("v1.")
    assert device.session.get(device.url + "/readyz", timeout=5).text == "ok"
    groups = [group["name"] for group in device.get("/apis")["groups"]]
    assert groups == ["apiextensions.k8s.io", "apps", "autoscaling", "serving.kserve.io"]
    names = [entry["name"] for entry in device.get("/apis/serving.kserve.io/v1beta1")["resources"]]
    assert names == ["inferenceservices", "inferenceservices/status"]
    device.cluster.faults.no_kserve = True
    for path in ("/apis/serving.kserve.io/v1beta1", ISVC):
        assert device.session.get(device.url + path, timeout=5).status_code == 404
    answer = device.apply(f"{ISVC}/wine", inference_service("wine", IMAGE))
    assert refusal(answer, 404, "NotFound") == "the server could not find the requested resource"


def test_absent_object_is_a_status(device: Device) -> None:
    message = refusal(device.session.get(f"{device.url}{ISVC}/wine", timeout=5), 404, "NotFound")
    assert message == 'inferenceservices.serving.kserve.io "wine" not found'


def test_apply_owns_fields_and_takes_back_what_it_no_longer_says(device: Device) -> None:
    assert device.apply(f"{MAPS}/facts", config_map(a="1", b="2")).status_code == 201
    document = device.apply(f"{MAPS}/facts", config_map(a="1")).json()
    assert document["data"] == {"a": "1"}
    (entry,) = document["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("snapedge", "Apply")
    assert entry["fieldsV1"] == {"f:data": {"f:a": {}}}


def test_conflict_names_manager_and_field_and_force_takes_it_back(device: Device) -> None:
    device.apply(f"{ISVC}/wine", inference_service("wine", IMAGE))
    patch: Json = {"spec": {"predictor": {"minReplicas": 0}}}
    edited = device.session.patch(
        f"{device.url}{ISVC}/wine",
        params={"fieldManager": "kubectl-edit"},
        json=patch,
        headers={"Content-Type": "application/merge-patch+json"},
        timeout=5,
    )
    assert edited.json()["metadata"]["generation"] == 2
    answer = device.apply(f"{ISVC}/wine", inference_service("wine", IMAGE))
    message = refusal(answer, 409, "Conflict")
    assert message == (
        'Apply failed with 1 conflict: conflict with "kubectl-edit" using serving.kserve.io/v1beta1: '
        ".spec.predictor.minReplicas"
    )
    assert answer.json()["details"]["causes"] == [
        {
            "field": ".spec.predictor.minReplicas",
            "message": 'conflict with "kubectl-edit" using serving.kserve.io/v1beta1',
            "reason": "FieldManagerConflict",
        }
    ]
    forced = device.apply(f"{ISVC}/wine", inference_service("wine", IMAGE), force=True)
    assert forced.json()["spec"]["predictor"]["minReplicas"] == 1
    managers = [entry["manager"] for entry in forced.json()["metadata"]["managedFields"]]
    assert managers == ["snapedge"]


def test_fields_of_others_are_left_alone(device: Device) -> None:
    device.apply(f"{ISVC}/wine", inference_service("wine", IMAGE))
    device.session.patch(
        f"{device.url}{ISVC}/wine",
        json={"metadata": {"labels": {"site": "lab"}}},
        headers={"Content-Type": "application/merge-patch+json"},
        timeout=5,
    )
    labels = device.apply(f"{ISVC}/wine", inference_service("wine", IMAGE)).json()["metadata"]["labels"]
    assert labels == {"app.kubernetes.io/managed-by": "snapedge", "site": "lab"}


def test_dry_run_changes_nothing(device: Device) -> None:
    assert device.apply(f"{ISVC}/wine", inference_service("wine", IMAGE), dryRun="All").status_code == 201
    assert device.get(ISVC)["items"] == []


def test_apply_takes_yaml(device: Device) -> None:
    answer = device.session.patch(
        f"{device.url}{MAPS}/facts",
        params={"fieldManager": "snapedge"},
        data=yaml.safe_dump(config_map(a="1")),
        headers={"Content-Type": "application/apply-patch+yaml"},
        timeout=5,
    )
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [("Wine", 422, "Invalid"), ("wine_1", 422, "Invalid"), ("1wine", 403, "Forbidden"), ("wi.ne", 403, "Forbidden")],
)
def test_bad_names_are_refused(device: Device, name: str, code: int, reason: str) -> None:
    refusal(device.apply(f"{ISVC}/{name}", inference_service(name, IMAGE)), code, reason)


def test_unknown_protocol_is_refused_by_the_webhook(device: Device) -> None:
    document = inference_service("wine", IMAGE)
    document["spec"]["predictor"]["containers"][0]["env"] = [{"name": "PROTOCOL", "value": "v3"}]
    message = refusal(device.apply(f"{ISVC}/wine", document), 403, "Forbidden")
    assert message.startswith('admission webhook "inferenceservice.kserve-webhook-server.validator" denied the request')


def test_misspelt_field_is_refused(device: Device) -> None:
    document = inference_service("wine", IMAGE, minReplica=1)
    message = refusal(device.apply(f"{ISVC}/wine", document), 500, "InternalError")
    assert message.endswith(".spec.predictor.minReplica: field not declared in schema")


def test_webhook_away_is_an_internal_error(device: Device) -> None:
    device.cluster.faults.webhook_down = True
    message = refusal(device.apply(f"{ISVC}/wine", inference_service("wine", IMAGE)), 500, "InternalError")
    assert "failed calling webhook" in message


def test_api_goes_away_and_comes_back(device: Device) -> None:
    device.run(device.cluster.stop_api())
    with pytest.raises(requests.ConnectionError):
        device.session.get(device.url + "/version", timeout=5)
    device.run(device.cluster.start_api())
    assert device.get("/version")


@pytest.mark.parametrize(
    ("content_type", "body", "code", "reason"),
    [
        ("application/strategic-merge-patch+json", b"{}", 415, "UnsupportedMediaType"),
        ("application/apply-patch+yaml", b"{", 400, "BadRequest"),
        ("application/apply-patch+yaml", b"[]", 400, "BadRequest"),
        ("application/apply-patch+yaml", b'{"apiVersion":"v1","kind":"Secret"}', 400, "BadRequest"),
    ],
)
def test_bad_bodies_are_refused(device: Device, content_type: str, body: bytes, code: int, reason: str) -> None:
    answer = device.session.patch(
        f"{device.url}{MAPS}/facts",
        params={"fieldManager": "snapedge"},
        data=body,
        headers={"Content-Type": content_type},
        timeout=5,
    )
    refusal(answer, code, reason)


def test_too_big_a_body_is_refused(device: Device) -> None:
    answer = device.session.post(device.url + MAPS, data=b" " * (3 * 1024 * 1024 + 1), timeout=5)
    refusal(answer, 413, "RequestEntityTooLarge")


def test_stale_put_and_second_post_are_conflicts(device: Device) -> None:
    created = device.session.post(device.url + MAPS, json=config_map(a="1"), timeout=5).json()
    refusal(device.session.post(device.url + MAPS, json=config_map(a="1"), timeout=5), 409, "AlreadyExists")
    url = f"{device.url}{MAPS}/facts"
    assert device.session.put(url, json=created | {"data": {"a": "2"}}, timeout=5).status_code == 200
    refusal(device.session.put(url, json=created | {"data": {"a": "3"}}, timeout=5), 409, "Conflict")


def test_selectors_choose(device: Device) -> None:
    for name, site in (("one", "lab"), ("two", "factory")):
        document = config_map()
        document["metadata"] = {"name": name, "namespace": "default", "labels": {"site": site}}
        device.session.post(device.url + MAPS, json=document, timeout=5)

    def names(**query: str) -> list[str]:
        items = device.session.get(device.url + MAPS, params=query, timeout=5).json()["items"]
        return [item["metadata"]["name"] for item in items]

    assert names(labelSelector="site=lab") == ["one"]
    assert names(labelSelector="site in (lab,factory),site!=lab") == ["two"]
    assert names(fieldSelector="metadata.name=two") == ["two"]
    refusal(device.session.get(device.url + MAPS, params={"labelSelector": "=="}, timeout=5), 400, "BadRequest")


def test_nodes_say_what_they_can_hold(device: Device) -> None:
    (node,) = device.get("/api/v1/nodes")["items"]
    assert node["status"]["allocatable"] == {"cpu": "4", "memory": "4Gi", "pods": "110"}
    assert node["status"]["conditions"][0]["type"] == "Ready"


def test_used_node_port_is_refused(device: Device) -> None:
    def service(name: str, port: int) -> requests.Response:
        document = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 8080, "nodePort": port}]},
        }
        return device.apply(f"/api/v1/namespaces/default/services/{name}", document)

    assert service("one", 30080).status_code == 201
    assert "provided port is already allocated" in refusal(service("two", 30080), 422, "Invalid")
    assert "not in the valid range" in refusal(service("two", 80), 422, "Invalid")


@pytest.mark.slow
def test_official_client_reads_writes_and_watches(device: Device) -> None:
    kubernetes: Any = pytest.importorskip("kubernetes")
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config_from_dict(
        yaml.safe_load(device.cluster.kubeconfig()), client_configuration=configuration
    )
    with kubernetes.client.ApiClient(configuration) as api:
        core = kubernetes.client.CoreV1Api(api)
        custom = kubernetes.client.CustomObjectsApi(api)
        assert kubernetes.client.VersionApi(api).get_code().git_version == "v1.34.4"
        assert [node.metadata.name for node in core.list_node().items] == ["edge"]
        body = kubernetes.client.V1ConfigMap(metadata={"name": "facts"}, data={"a": "1"})
        core.create_namespaced_config_map("default", body)
        core.patch_namespaced_config_map(
            "facts", "default", {"data": {"a": "2"}}, _content_type="application/merge-patch+json"
        )
        assert core.read_namespaced_config_map("facts", "default").data == {"a": "2"}
        where = ("serving.kserve.io", "v1beta1", "default", "inferenceservices")
        custom.create_namespaced_custom_object(*where, inference_service("wine", IMAGE))
        apps = kubernetes.client.AppsV1Api(api)
        device.wait_for(lambda: apps.list_namespaced_deployment("default").items, bool)
        device.wait_for(lambda: core.list_namespaced_pod("default").items[0].status.container_statuses, bool)
        assert apps.list_namespaced_replica_set("default").items
        assert core.list_namespaced_service("default").items[0].spec.ports[0].target_port == 8080
        assert core.list_namespaced_event("default").items
        deployment = apps.read_namespaced_deployment("wine-predictor", "default")
        assert deployment.spec.template.spec.containers[0].name == "kserve-container"
        seen = [
            (event["type"], event["object"].metadata.name)
            for event in kubernetes.watch.Watch().stream(core.list_namespaced_config_map, "default", timeout_seconds=1)
        ]
        assert seen == [("ADDED", "facts")]
        core.delete_namespaced_config_map("facts", "default")
        with pytest.raises(kubernetes.client.ApiException) as error:
            core.read_namespaced_config_map("facts", "default")
        assert error.value.status == 404
