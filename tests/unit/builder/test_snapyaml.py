"""meta/snap.yaml against snapd's rules."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from snapedge_builder.snapyaml import SnapYamlError, check, dump, parse, snap_yaml
from snapedge_hooks import device
from snapedge_hooks.vocabulary import Architecture

GOOD = snap_yaml(name="wine", version="1.10", summary="Wine", description="Long", architecture=Architecture.ARM64)


def changed(**keys: Any) -> dict[str, Any]:
    return copy.deepcopy(GOOD) | keys


def test_ours_is_good_and_survives_writing() -> None:
    assert parse(dump(GOOD)) == GOOD
    assert yaml.safe_load(dump(GOOD))["version"] == "1.10"


def test_ours_is_what_the_contract_says() -> None:
    assert dump(GOOD).decode().splitlines()[:13] == [
        "name: wine",
        "version: '1.10'",
        "summary: Wine",
        "description: Long",
        "architectures:",
        "- arm64",
        "base: core24",
        "type: app",
        "confinement: strict",
        "grade: stable",
        "environment:",
        "  PATH: $SNAP/usr/sbin:$SNAP/usr/bin:$SNAP/sbin:$SNAP/bin:$PATH",
        "plugs:",
    ]
    assert GOOD["plugs"]["mk8s"] == {
        "interface": "content",
        "content": "microk8s",
        "target": "$SNAP_DATA/microk8s",
    }
    assert tuple(GOOD["hooks"]) == device.HOOKS
    assert tuple(GOOD["apps"]) == device.APPS


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (changed(name="a"), "name: 'a' is not a snap name"),
        (changed(version="a b"), "version: 'a b' is not a snap version"),
        (changed(summary="s" * 129), "summary: must be text of at most 128 characters"),
        (changed(base="core26"), "base: 'core26' is not core24"),
        (changed(confinement="classic"), "confinement: 'classic' is not strict"),
        (changed(grade="devel"), "grade: 'devel' is not stable"),
        (changed(architectures=["all"]), "architectures: ['all'] is not one of amd64, arm64"),
        (changed(architectures=["amd64", "arm64"]), "architectures: ['amd64', 'arm64'] is not one of amd64, arm64"),
        (changed(layouts={}), "unknown key 'layouts'"),
        (changed(environment={"A": 1}), "environment: must map text to text"),
        (changed(hooks={"post-install": {}}), "hooks: 'post-install' is not a hook snapd runs"),
        (changed(hooks={"install": {"plugs": ["home"]}}), "hooks.install.plugs: 'home' is neither a plug of the snap"),
        (changed(apps={"a": {"command": "bin/a;rm"}}), "apps.a.command: 'bin/a;rm' holds characters"),
        (changed(apps={"a": {"command": "a", "timer": "10:00"}}), "apps.a.timer: only a daemon may have it"),
        (changed(apps={"a": {"command": "a", "daemon": "cron"}}), "apps.a.daemon: 'cron' is not one of"),
        (
            changed(apps={"a": {"command": "a", "daemon": "simple", "restart-delay": "soon"}}),
            "apps.a.restart-delay: 'soon' is not a duration",
        ),
        (changed(plugs={"mk8s": {"interface": "content"}}), "plugs.mk8s: content needs a target"),
        (changed(plugs={"Mk8s": {"interface": "content", "target": "x"}}), "plugs: 'Mk8s' is not a plug name"),
    ],
)
def test_what_snapd_refuses_is_refused(document: dict[str, Any], problem: str) -> None:
    with pytest.raises(SnapYamlError) as caught:
        check(document)
    assert any(found.startswith(problem) for found in caught.value.problems), caught.value.problems


@pytest.mark.parametrize(
    ("data", "problem"), [(b"a: [", "is not YAML"), (b"- a", "is not a mapping"), (b"\xff", "is not YAML")]
)
def test_bytes_that_are_no_document_are_refused(data: bytes, problem: str) -> None:
    with pytest.raises(SnapYamlError, match=problem):
        parse(data)
