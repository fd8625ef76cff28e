"""KServe's own configuration, changed to what a device without Knative and without an ingress needs.

Rules (KServe's ConfigMap `inferenceservice-config`; the words of the mode follow those that the file itself uses,
since `Standard` is known from 0.16 on and `RawDeployment` to every version):

1. `deploy.defaultDeploymentMode` becomes RawDeployment, or Standard where the file speaks of Knative.
2. `ingress.disableIngressCreation` becomes true: nothing on the device would serve an Ingress, and KServe would report
   one as ready all the same.
3. `ingress.enableGatewayApi` becomes false where it stands: it needs definitions that are not on the device.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .clustermanifests import Document, ManifestError

NAME = "inferenceservice-config"
_RAW = {
    "Serverless": "RawDeployment",
    "RawDeployment": "RawDeployment",
    "Knative": "Standard",
    "Standard": "Standard",
}


def in_raw_mode(documents: Sequence[Document]) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    """The objects with KServe in raw mode, and what was changed, in words.

    Raises:
        ManifestError: there is no configuration of KServe among them, or it is not what KServe publishes.
    """
    changes: list[str] = []
    found = []
    seen = False
    for document in documents:
        body = document.body
        if body["kind"] == "ConfigMap" and body["metadata"]["name"] == NAME:
            seen = True
            document = replace(document, body=_changed(document, changes))
        found.append(document)
    if not seen:
        raise ManifestError(
            "the KServe files", f"hold no ConfigMap {NAME}", resolution="give KServe's own installation file"
        )
    return tuple(found), tuple(changes)


def _changed(document: Document, changes: list[str]) -> dict[str, Any]:
    body = document.body
    data = dict(body.get("data") or {})
    deploy, ingress = _section(document, data, "deploy"), _section(document, data, "ingress")
    mode = deploy.get("defaultDeploymentMode", "Serverless")
    if mode not in _RAW:
        raise ManifestError(document.where, f"defaultDeploymentMode {mode!r} is none that is known")
    _set(deploy, "deploy", "defaultDeploymentMode", _RAW[mode], changes)
    _set(ingress, "ingress", "disableIngressCreation", True, changes)
    if "enableGatewayApi" in ingress:
        _set(ingress, "ingress", "enableGatewayApi", False, changes)
    for name, section in (("deploy", deploy), ("ingress", ingress)):
        data[name] = json.dumps(section, indent=2)
    return body | {"data": data}


def _section(document: Document, data: dict[str, Any], name: str) -> dict[str, Any]:
    try:
        section = json.loads(data.get(name, "{}"))
    except (TypeError, ValueError) as error:
        raise ManifestError(document.where, f"{NAME}: {name} is not JSON") from error
    if not isinstance(section, dict):
        raise ManifestError(document.where, f"{NAME}: {name} is no JSON object")
    return section


def _set(section: dict[str, Any], name: str, key: str, value: Any, changes: list[str]) -> None:
    before = section.get(key)
    if before != value:
        changes.append(f"{name}.{key}: {json.dumps(before)} becomes {json.dumps(value)}")
        section[key] = value
