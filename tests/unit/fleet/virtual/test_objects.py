from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snapedge_fleet.virtual import kinds
from snapedge_fleet.virtual.objects import Change, ObjectMissingError, ObjectStore, StaleObjectError


def config_map(name: str = "facts", owner: str = "", **data: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "default"}
    if owner:
        metadata["ownerReferences"] = [{"kind": "ConfigMap", "name": "owner", "uid": owner}]
    return {"metadata": metadata, "data": data}


def test_write_that_changes_nothing_changes_nothing(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    created = store.create(kinds.CONFIG_MAP, config_map(a="1"))
    changes: list[Change] = []
    store.listen(changes.append)
    assert store.update(kinds.CONFIG_MAP, created) == created
    assert changes == []


def test_generation_counts_what_is_wanted_and_not_what_is_told(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    created = store.create(
        kinds.DEPLOYMENT, {"metadata": {"name": "a", "namespace": "default"}, "spec": {"replicas": 1}}
    )
    store.set_status(kinds.DEPLOYMENT, "default", "a", {"replicas": 1})
    found = store.get(kinds.DEPLOYMENT, "default", "a")
    assert found is not None
    assert found["metadata"]["generation"] == 1
    found["spec"]["replicas"] = 2
    updated = store.update(kinds.DEPLOYMENT, found)
    assert updated["metadata"]["generation"] == 2
    assert int(updated["metadata"]["resourceVersion"]) > int(created["metadata"]["resourceVersion"])


def test_stale_write_is_refused(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    created = store.create(kinds.CONFIG_MAP, config_map(a="1"))
    store.update(kinds.CONFIG_MAP, created | {"data": {"a": "2"}})
    with pytest.raises(StaleObjectError):
        store.update(kinds.CONFIG_MAP, created | {"data": {"a": "3"}})


def test_owned_objects_go_with_their_owner_unless_orphaned(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    for orphan, left in ((False, []), (True, ["child"])):
        owner = store.create(kinds.CONFIG_MAP, config_map("owner"))
        store.create(kinds.CONFIG_MAP, config_map("child", owner["metadata"]["uid"]))
        store.delete(kinds.CONFIG_MAP, "default", "owner", orphan=orphan)
        assert [it["metadata"]["name"] for it in store.all_of(kinds.CONFIG_MAP)] == left


def test_finalizer_keeps_an_object_until_it_is_taken_away(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    document = config_map()
    document["metadata"]["finalizers"] = ["x"]
    store.create(kinds.CONFIG_MAP, document)
    ending = store.delete(kinds.CONFIG_MAP, "default", "facts")
    assert "deletionTimestamp" in ending["metadata"]
    ending["metadata"]["finalizers"] = []
    store.update(kinds.CONFIG_MAP, ending)
    assert store.get(kinds.CONFIG_MAP, "default", "facts") is None


def test_pod_lingers_for_its_grace_period(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    store.create(kinds.POD, {"metadata": {"name": "p", "namespace": "default"}, "spec": {}})
    ending = store.delete(kinds.POD, "default", "p", grace=30)
    assert ending["metadata"]["deletionGracePeriodSeconds"] == 30
    assert ending["metadata"]["generation"] == 2
    store.remove(kinds.POD, "default", "p")
    with pytest.raises(ObjectMissingError):
        store.delete(kinds.POD, "default", "p")


def test_objects_and_versions_survive_a_restart(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    created = store.create(kinds.CONFIG_MAP, config_map(a="1"))
    again = ObjectStore(tmp_path)
    assert again.get(kinds.CONFIG_MAP, "default", "facts") == created
    later = again.create(kinds.CONFIG_MAP, config_map("later"))
    assert int(later["metadata"]["resourceVersion"]) > int(created["metadata"]["resourceVersion"])


def test_empty_file_after_a_power_cut_is_no_object(tmp_path: Path) -> None:
    ObjectStore(tmp_path).create(kinds.CONFIG_MAP, config_map(a="1"))
    (file,) = tmp_path.rglob("*.json")
    file.write_bytes(b"")
    assert ObjectStore(tmp_path).all_of(kinds.CONFIG_MAP) == []


def test_listeners_hear_in_order_and_may_leave(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    heard: list[str] = []
    leave = store.listen(lambda change: heard.append(change.type))
    created = store.create(kinds.CONFIG_MAP, config_map(a="1"))
    store.update(kinds.CONFIG_MAP, created | {"data": {}})
    store.delete(kinds.CONFIG_MAP, "default", "facts")
    leave()
    store.create(kinds.CONFIG_MAP, config_map())
    assert heard == ["ADDED", "MODIFIED", "DELETED"]
