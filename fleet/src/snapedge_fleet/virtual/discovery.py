"""What the API says about itself: versions, groups and resource types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .kinds import Kind

VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.4",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/virtual",
}
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


def core_versions(address: str) -> dict[str, Any]:
    """GET /api."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def groups(known: Iterable[Kind]) -> dict[str, Any]:
    """GET /apis."""
    versions = {kind.group: kind.version for kind in known if kind.group}
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [group(name, version) for name, version in sorted(versions.items())],
    }


def group(name: str, version: str) -> dict[str, Any]:
    """GET /apis/GROUP, without the header that marks it as a document of its own."""
    entry = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [entry], "preferredVersion": entry}


def resources(group_version: str, known: Iterable[Kind]) -> dict[str, Any]:
    """GET /api/v1 or /apis/GROUP/VERSION."""
    found: list[dict[str, Any]] = []
    for kind in known:
        if kind.api_version != group_version:
            continue
        entry: dict[str, Any] = {
            "name": kind.plural,
            "singularName": kind.kind.lower(),
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": _VERBS,
        }
        if kind.short_names:
            entry["shortNames"] = list(kind.short_names)
        found.append(entry)
        if kind.has_status:
            found.append(entry | {"name": f"{kind.plural}/status", "verbs": ["get", "patch", "update"]})
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": found}
