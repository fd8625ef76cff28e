"""Who is to blame for a download, from what changed alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_builder.snapdiff import OTHERS, ChangedPart, judge


def part(name: str, packed: int, *, file_bytes: int | None = None, files: tuple[str, ...] = ("f",)) -> ChangedPart:
    fresh = packed * 3
    return ChangedPart(
        name=name,
        change="changed" if packed else "same",
        old_size=10**7,
        size=10**7,
        fresh=fresh,
        packed=packed,
        files=files if packed else (),
        file_bytes=fresh if file_bytes is None else file_bytes,
    )


def test_nobody_is_blamed_when_nothing_changed() -> None:
    assert judge([part("10-base", 0), part(OTHERS, 0)], bytes_sent=140, is_model=False) == (
        "",
        "nothing of weight changed",
    )


@pytest.mark.parametrize(
    ("name", "is_model", "words"),
    [
        ("model", True, "the model itself is other bytes"),
        ("20-numpy", True, "declare `delivery: {image: shared}`"),
        ("20-numpy", False, "wheels in it changed"),
        ("10-base", False, "build without --refresh"),
        ("40-app", False, "the server's own code changed"),
    ],
)
def test_the_heaviest_part_is_to_blame_and_its_kind_names_the_remedy(name: str, is_model: bool, words: str) -> None:
    parts = [part("30-wheels", 10), part(name, 4_000_000), part(OTHERS, 2_000)]
    blame, remedy = judge(parts, bytes_sent=4_010_000, is_model=is_model)
    assert blame == name
    assert words in remedy


def test_a_shifted_layer_is_told_from_a_changed_one() -> None:
    blame, remedy = judge([part("30-wheels", 900_000, file_bytes=1_200)], bytes_sent=900_000, is_model=False)
    assert blame == "30-wheels"
    assert remedy.startswith("only 1200 bytes of files in it changed, the rest was shifted")


def test_documents_are_told_from_a_new_builder() -> None:
    documents = part(OTHERS, 2_000, files=("meta/snap.yaml", "payload/payload.json"))
    assert judge([documents], bytes_sent=2_000, is_model=True)[1].startswith("names, versions and digests")
    hooks = part(OTHERS, 2_000, files=("lib/snapedge_hooks/probe.py", "meta/snap.yaml"))
    assert judge([hooks], bytes_sent=2_000, is_model=True)[1].endswith("with a new builder, and once")


def test_a_delta_far_above_what_changed_blames_the_order() -> None:
    blame, remedy = judge([part("20-numpy", 2_000_000)], bytes_sent=30_000_000, is_model=False)
    assert blame == "order of the layers"
    assert "64 MiB" in remedy


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=8))
def test_the_blamed_part_is_never_lighter_than_another(weights: list[int]) -> None:
    parts = [part(f"20-{index}", weight) for index, weight in enumerate(weights)]
    blame, _ = judge(parts, bytes_sent=sum(weights), is_model=False)
    assert blame == "" or {item.name: item.packed for item in parts}[blame] == max(weights)
