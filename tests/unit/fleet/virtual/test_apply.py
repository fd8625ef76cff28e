from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_fleet.virtual import apply
from snapedge_fleet.virtual.apply import ApplyConflictError, Document, Writer


def writer(manager: str, operation: str = "Apply", time: str = "T1") -> Writer:
    return Writer(manager=manager, operation=operation, api_version="v1", time=time)


def document(**fields: Any) -> Document:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, **fields}


def bare(found: Document) -> Document:
    metadata = {key: value for key, value in found["metadata"].items() if key != "managedFields"}
    return found | {"metadata": metadata}


scalars = st.one_of(st.integers(0, 3), st.sampled_from(["a", "b"]), st.booleans())
names = st.sampled_from(["a", "b", "c"])
containers = st.lists(
    st.fixed_dictionaries({"name": names}, optional={"image": scalars, "args": st.lists(scalars, max_size=2)}),
    max_size=3,
    unique_by=lambda item: str(item["name"]),
)
specs = st.dictionaries(
    names, st.one_of(scalars, st.dictionaries(names, scalars, max_size=2), st.lists(scalars, max_size=2)), max_size=3
)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    return document(spec=draw(specs) | {"containers": draw(containers)})


@given(documents())
def test_fields_written_down_are_the_fields_read_back(wanted: Document) -> None:
    paths = apply.owned_paths(wanted)
    assert apply.from_fields(apply.to_fields(paths)) == paths


@given(documents())
def test_applying_twice_changes_nothing(wanted: Document) -> None:
    live = apply.apply(None, wanted, writer("a"), force=False)
    assert apply.apply(live, wanted, writer("a", time="T2"), force=False) == live


@given(documents(), documents())
def test_sole_owner_gets_exactly_what_was_applied_last(first: Document, second: Document) -> None:
    live = apply.apply(None, first, writer("a"), force=False)
    live = apply.apply(live, second, writer("a"), force=False)
    assert apply.owned_paths(bare(live)) == apply.owned_paths(second)


@given(documents(), documents())
def test_forced_apply_always_wins_what_it_says(mine: Document, theirs: Document) -> None:
    live = apply.apply(None, theirs, writer("b"), force=False)
    live = apply.apply(live, mine, writer("a"), force=True)
    again = apply.apply(live, mine, writer("a"), force=False)
    assert again == live


@given(documents(), documents())
def test_other_managers_fields_survive_when_nobody_else_says_them(mine: Document, theirs: Document) -> None:
    live = apply.apply(None, theirs, writer("b"), force=False)
    live = apply.apply(live, mine, writer("a"), force=True)
    gone = apply.apply(live, document(), writer("a"), force=True)
    left = [entry for entry in gone["metadata"].get("managedFields", []) if entry["manager"] == "b"]
    for entry in left:
        assert apply.from_fields(entry["fieldsV1"]) <= apply.owned_paths(bare(gone)) | apply.owned_paths(theirs)


def test_list_items_are_merged_by_name() -> None:
    live = apply.apply(
        None,
        document(spec={"containers": [{"name": "main", "image": "one", "env": [{"name": "A", "value": "1"}]}]}),
        writer("a"),
        force=False,
    )
    live = apply.record_update(
        live,
        document(
            spec={"containers": [{"name": "main", "image": "one", "env": [{"name": "A", "value": "1"}]}, {"name": "b"}]}
        )
        | {"metadata": live["metadata"]},
        writer("injector", "Update"),
    )
    wanted = document(spec={"containers": [{"name": "main", "image": "two", "env": [{"name": "B", "value": "2"}]}]})
    live = apply.apply(live, wanted, writer("a"), force=False)
    assert live["spec"]["containers"] == [
        {"name": "main", "image": "two", "env": [{"name": "B", "value": "2"}]},
        {"name": "b"},
    ]


def test_conflict_says_who_and_which_field() -> None:
    live = apply.apply(None, document(data={"a": "1"}), writer("a"), force=False)
    live = apply.record_update(live, live | {"data": {"a": "2"}}, writer("editor", "Update"))
    with pytest.raises(ApplyConflictError) as error:
        apply.apply(live, document(data={"a": "1"}), writer("a"), force=False)
    (conflict,) = error.value.conflicts
    assert (conflict.manager, conflict.field) == ("editor", ".data.a")
    same = apply.apply(live, document(data={"a": "2"}), writer("a"), force=False)
    assert {entry["manager"] for entry in same["metadata"]["managedFields"]} == {"a", "editor"}


def test_ports_are_known_by_number_and_protocol() -> None:
    live = apply.apply(
        None, document(spec={"ports": [{"containerPort": 8080, "name": "http1"}]}), writer("a"), force=False
    )
    wanted = document(spec={"ports": [{"containerPort": 8080, "protocol": "TCP", "name": "http2"}]})
    live = apply.apply(live, wanted, writer("a"), force=False)
    assert live["spec"]["ports"] == [{"containerPort": 8080, "protocol": "TCP", "name": "http2"}]


def test_path_reads_like_the_api_servers() -> None:
    paths = apply.owned_paths(document(spec={"containers": [{"name": "main", "image": "x"}]}))
    assert [apply.field_name(path) for path in sorted(paths)] == [
        '.spec.containers[name="main"]',
        '.spec.containers[name="main"].image',
        '.spec.containers[name="main"].name',
    ]
