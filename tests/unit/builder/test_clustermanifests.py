"""What is published becomes what can be applied: places, order, and nothing that a cluster writes by itself."""

from pathlib import Path

import pytest

from snapedge_builder import clustermanifests
from snapedge_builder.clustermanifests import ManifestError
from snapedge_hooks.clusterobjects import ClusterObjects

CASES = Path(__file__).parents[2] / "cases" / "cluster"
PUBLISHED = (CASES / "cert-manager.yaml", CASES / "kserve.yaml")


def objects(*paths: Path) -> ClusterObjects:
    return clustermanifests.objects(clustermanifests.read(paths))


def written(folder: Path, text: str) -> Path:
    path = folder / "given.yaml"
    path.write_text(text)
    return path


def test_every_object_has_its_place_in_the_order_in_which_the_api_can_take_it() -> None:
    assert [one.path for one in objects(*PUBLISHED).objects] == [
        "/api/v1/namespaces/cert-manager",
        "/api/v1/namespaces/kserve",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/certificates.cert-manager.io",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/servingruntimes.example.kserve.io",
        "/apis/apps/v1/namespaces/cert-manager/deployments/cert-manager",
        "/apis/apps/v1/namespaces/kserve/deployments/kserve-controller-manager",
        "/api/v1/namespaces/kserve/configmaps/inferenceservice-config",
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/example.kserve.io",
        "/apis/cert-manager.io/v1/namespaces/kserve/certificates/serving-cert",
        "/apis/example.kserve.io/v1alpha1/servingruntimes/example",
    ]


def test_what_a_cluster_writes_by_itself_is_not_applied() -> None:
    found = {one.path.rpartition("/")[2]: one.manifest for one in objects(*PUBLISHED).objects}
    definition = found["certificates.cert-manager.io"]
    assert "status" not in definition
    assert "creationTimestamp" not in definition["metadata"]
    assert found["example.kserve.io"]["webhooks"][0]["clientConfig"] == {
        "service": {"name": "webhook", "namespace": "kserve", "path": "/validate"}
    }


def test_a_bundle_that_nobody_injects_is_applied(tmp_path: Path) -> None:
    text = PUBLISHED[1].read_text().replace("cert-manager.io/inject-ca-from", "example.org/other")
    found = {one.path.rpartition("/")[2]: one.manifest for one in objects(written(tmp_path, text)).objects}
    assert found["example.kserve.io"]["webhooks"][0]["clientConfig"]["caBundle"] == "Cg=="


def test_an_object_without_a_namespace_is_in_the_default_one(tmp_path: Path) -> None:
    text = "{apiVersion: v1, kind: Secret, metadata: {name: key}}"
    assert [one.path for one in objects(written(tmp_path, text)).objects] == ["/api/v1/namespaces/default/secrets/key"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "given.yaml: is not YAML"),
        ("just words", "given.yaml, document 1: is no Kubernetes object"),
        (
            "{apiVersion: v1, kind: Secret}",
            "document 1: is no Kubernetes object: apiVersion, kind or metadata is missing",
        ),
        ("---\n---\n{apiVersion: v1, kind: Pod, metadata: {generateName: a-}}", "document 2: has no name"),
        (
            "{apiVersion: example.org/v1, kind: Thing, metadata: {name: a}}",
            "Thing (example.org/v1) is defined in none of the files; give the file that defines it, too",
        ),
        (
            "{apiVersion: v1, kind: Secret, metadata: {name: a}}\n---\n"
            "{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {b: Cg==}}",
            "document 2: Secret a stands twice, with different content",
        ),
        ("{apiVersion: v1, kind: Secret, metadata: {name: ../../x}}", "secrets/../../x' is none of the API's"),
        (
            "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: a}, spec: {}}",
            "is a definition of a kind without 'names'",
        ),
    ],
)
def test_what_cannot_be_applied_is_told_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        objects(written(tmp_path, text))
    assert words in str(caught.value)


def test_the_same_object_twice_is_one(tmp_path: Path) -> None:
    text = "{apiVersion: v1, kind: Secret, metadata: {name: a}}\n---\n" * 2
    assert len(objects(written(tmp_path, text)).objects) == 1


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"absent\.yaml: No such file"):
        objects(tmp_path / "absent.yaml")
