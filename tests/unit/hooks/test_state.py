"""State is a cache: whole or absent on disk, and anything unreadable is nothing."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_hooks import health, state
from snapedge_hooks.document import DocumentError
from snapedge_hooks.goodspec import GoodSpec
from snapedge_hooks.health import Health
from snapedge_hooks.state import Memory, PushedImage, Refusal, State
from snapedge_hooks.vocabulary import Digest, HealthCode, HealthStatus, RepositoryName

from . import worlds


def full() -> State:
    spec = worlds.good("previous", "old")
    told = Health(status=HealthStatus.ERROR, code=HealthCode.GATE_FAILED, message="Sample row-3: label differs")
    return State(
        health=told,
        last_good=spec,
        configuration=Digest.of(b"c"),
        refusals=(Refusal(identity=spec.identity, revision="x1", configuration=Digest.of(b"c"), health=told),),
        pushed=(PushedImage(repository=RepositoryName("wine"), digest=Digest.of(b"i"), at=12.5),),
        namespace="default",
    )


def test_a_state_comes_back(tmp_path: Path) -> None:
    state.save(tmp_path / "state.json", full())
    assert state.load(tmp_path / "state.json") == full()
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_good_spec_comes_back_with_its_port() -> None:
    spec = worlds.good("this", "new", like=worlds.wish(node_port=30080))
    assert GoodSpec.parse(spec.to_json()) == spec


@given(st.binary(max_size=200))
def test_any_bytes_read_as_something(data: bytes) -> None:
    with contextlib.suppress(DocumentError):
        State.parse(data)


@pytest.mark.parametrize("cut", range(0, 900, 37))
def test_a_state_cut_off_anywhere_reads_as_nothing(tmp_path: Path, cut: int) -> None:
    (tmp_path / "state.json").write_bytes(full().to_json()[:cut])
    assert state.load(tmp_path / "state.json") == State()


def test_a_disk_that_takes_no_file_costs_the_memory_only(tmp_path: Path) -> None:
    (tmp_path / "full").touch()
    memory = Memory(tmp_path / "full" / "state.json")
    memory.update(namespace="default")
    assert memory.state.namespace == "default"


@pytest.mark.parametrize(
    ("text", "told"),
    [("short", "snapedge: short"), ("x" * 80, "x" * 69 + "…"), ("two\n lines  here", "two lines here")],
)
def test_a_message_fits_what_snapd_takes(text: str, told: str) -> None:
    assert health.clip(text) == told


@given(st.text())
def test_every_message_has_a_length_that_snapd_takes(text: str) -> None:
    assert len(health.clip(text)) in health.MESSAGE_LENGTHS
