"""KServe's configuration for a device that has no Knative."""

import json
from typing import Any

import pytest

from snapedge_builder.clustermanifests import Document, ManifestError
from snapedge_builder.rawdeployment import in_raw_mode


def configuration(**sections: Any) -> Document:
    data = {name: value if isinstance(value, str) else json.dumps(value) for name, value in sections.items()}
    metadata = {"name": "inferenceservice-config", "namespace": "kserve"}
    return Document(where="kserve.yaml, document 1", body={"kind": "ConfigMap", "metadata": metadata, "data": data})


def sections(document: Document) -> dict[str, Any]:
    return {name: json.loads(text) for name, text in document.body["data"].items()}


@pytest.mark.parametrize(
    ("before", "after"),
    [("Serverless", "RawDeployment"), ("Knative", "Standard"), ("Standard", "Standard")],
)
def test_the_mode_is_raw_in_the_words_of_the_file(before: str, after: str) -> None:
    changed, _ = in_raw_mode([configuration(deploy={"defaultDeploymentMode": before}, ingress={})])
    assert sections(changed[0])["deploy"] == {"defaultDeploymentMode": after}


def test_nothing_is_promised_that_no_ingress_serves() -> None:
    given = configuration(deploy={}, ingress={"ingressClassName": "istio", "enableGatewayApi": True}, logger={"a": 1})
    changed, changes = in_raw_mode([given])
    assert sections(changed[0]) == {
        "deploy": {"defaultDeploymentMode": "RawDeployment"},
        "ingress": {"ingressClassName": "istio", "enableGatewayApi": False, "disableIngressCreation": True},
        "logger": {"a": 1},
    }
    assert changes == (
        'deploy.defaultDeploymentMode: null becomes "RawDeployment"',
        "ingress.disableIngressCreation: null becomes true",
        "ingress.enableGatewayApi: true becomes false",
    )


def test_what_is_so_already_is_no_change() -> None:
    given = configuration(deploy={"defaultDeploymentMode": "RawDeployment"}, ingress={"disableIngressCreation": True})
    assert in_raw_mode([given])[1] == ()


def test_other_objects_are_let_be() -> None:
    other = Document(where="a", body={"kind": "ConfigMap", "metadata": {"name": "other"}})
    assert in_raw_mode([other, configuration()])[0][0] is other


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ([], "hold no ConfigMap inferenceservice-config"),
        ([configuration(deploy="{")], "deploy is not JSON"),
        ([configuration(ingress="[]")], "ingress is no JSON object"),
        ([configuration(deploy={"defaultDeploymentMode": "Fast"})], "'Fast' is none that is known"),
    ],
)
def test_what_is_not_kserves_is_refused(documents: list[Document], words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        in_raw_mode(documents)
