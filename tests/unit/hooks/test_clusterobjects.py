"""Objects for a whole cluster as a snap holds them; a hostile document leads nowhere."""

import json
from typing import Any

import pytest

from snapedge_hooks.clusterobjects import ClusterObject, ClusterObjects
from snapedge_hooks.document import DocumentError

NAMESPACE = ClusterObject(
    path="/api/v1/namespaces/kserve",
    manifest={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kserve", "annotations": {"a": "b"}}},
)


def document(**changes: Any) -> bytes:
    entry = {"path": NAMESPACE.path, "manifest": NAMESPACE.manifest} | changes
    return json.dumps({"format": 1, "objects": [entry]}).encode()


def test_what_is_written_reads_back() -> None:
    objects = ClusterObjects(objects=(NAMESPACE,))
    assert ClusterObjects.parse(objects.to_json()) == objects


def test_the_mark_tells_the_content_and_changes_nothing_else() -> None:
    marked = NAMESPACE.marked()
    assert marked["metadata"]["annotations"] == {"a": "b", "snapedge.dev/applied": str(NAMESPACE.digest)}
    assert NAMESPACE.manifest["metadata"]["annotations"] == {"a": "b"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"path": "/api/v1/namespaces/../../etc"}, "is none of the API's"),
        ({"path": "https://example.org/api/v1/namespaces/kserve"}, "is none of the API's"),
        ({"path": "/api/v1/namespaces/kserve?force=true"}, "is none of the API's"),
        ({"path": "/metrics"}, "is none of the API's"),
        ({"path": "/api/v1/namespaces/other"}, "the path does not end with the object's name"),
        ({"manifest": {"metadata": {"name": "kserve", "annotations": []}}}, "its annotations are no object"),
        ({"manifest": []}, "is not an object"),
        ({"more": 1}, "is not a key of this format"),
    ],
)
def test_a_document_that_breaks_a_rule_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DocumentError, match=words):
        ClusterObjects.parse(document(**changes))


def test_an_object_twice_is_refused() -> None:
    with pytest.raises(DocumentError, match="/api/v1/namespaces/kserve stands twice"):
        ClusterObjects.parse(ClusterObjects(objects=(NAMESPACE, NAMESPACE)).to_json())


def test_a_newer_format_is_refused() -> None:
    with pytest.raises(DocumentError, match="2 is newer than the 1"):
        ClusterObjects.parse(b'{"format":2,"objects":[]}')
