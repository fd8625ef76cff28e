from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_hooks import storedocument, storeindex
from snapedge_hooks.channels import Channel, Revision
from snapedge_hooks.document import DocumentError
from snapedge_hooks.runtimeterms import RuntimeTerms, version_order
from snapedge_hooks.storeindex import (
    FileKnownOtherwiseError,
    ReleaseRefusedError,
    Sha3,
    SnapDescription,
    SnapKind,
    StoreIndex,
    UnknownSnapError,
)
from snapedge_hooks.vocabulary import Architecture, GateMode, SnapName, SnapVersion

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
AMD64, ARM64 = Architecture.AMD64, Architecture.ARM64
STABLE, CANDIDATE, EDGE = Channel.parse("stable"), Channel.parse("candidate"), Channel.parse("edge")
RATER = SnapName("wine-rater")
ONNX = SnapName("snapedge-onnx")
NEEDS_ONNX = RuntimeTerms(name="onnx", interface=1, minimum="1.0")


def described(version: str = "1.0.0", architecture: Architecture = AMD64) -> SnapDescription:
    return SnapDescription(
        name=RATER,
        version=SnapVersion(version),
        architecture=architecture,
        kind=SnapKind.MODEL,
        runtime=NEEDS_ONNX,
        gate=GateMode.STRICT,
    )


def runtime(version: str, interface: int = 1) -> SnapDescription:
    return SnapDescription(
        name=ONNX,
        version=SnapVersion(version),
        architecture=AMD64,
        kind=SnapKind.RUNTIME,
        runtime=RuntimeTerms(name="onnx", interface=interface, minimum=version),
    )


def sha(number: int) -> Sha3:
    return Sha3(f"{number:096x}")


def with_both(version: str, first: int, index: StoreIndex | None = None) -> StoreIndex:
    index = index or StoreIndex()
    for offset, architecture in enumerate((AMD64, ARM64)):
        index, _ = storeindex.with_revision(
            index, described(version, architecture), sha3_384=sha(first + offset), size=10, now=NOON
        )
    return index


def test_architectures_share_one_sequence_of_revisions() -> None:
    index = with_both("1.1.0", 3, with_both("1.0.0", 1))
    assert [(int(r.revision), str(r.version), str(r.architecture)) for r in index.snaps[RATER].revisions] == [
        (1, "1.0.0", "amd64"),
        (2, "1.0.0", "arm64"),
        (3, "1.1.0", "amd64"),
        (4, "1.1.0", "arm64"),
    ]


def test_the_same_file_is_the_same_revision_and_no_change() -> None:
    index = with_both("1.0.0", 1)
    again, revision = storeindex.with_revision(index, described(), sha3_384=sha(1), size=10, now=NOON)
    assert again is index
    assert revision.revision == 1


def test_the_same_bytes_cannot_be_two_snaps() -> None:
    index = with_both("1.0.0", 1)
    with pytest.raises(FileKnownOtherwiseError, match=r"is in the store as wine-rater 1\.0\.0 amd64"):
        storeindex.with_revision(index, described("2.0.0"), sha3_384=sha(1), size=10, now=NOON)


def test_a_release_moves_the_channel_and_is_remembered() -> None:
    index = with_both("1.1.0", 3, with_both("1.0.0", 1))
    index, first = storeindex.with_release(index, RATER, STABLE, {AMD64: Revision(1), ARM64: Revision(2)}, now=NOON)
    later = NOON + timedelta(hours=1)
    index, second = storeindex.with_release(index, RATER, STABLE, {AMD64: Revision(3), ARM64: Revision(4)}, now=later)
    entry = index.snaps[RATER]
    assert (first.release, second.release, entry.channels) == (1, 2, {STABLE: 2})
    assert [(event.at, event.release, event.was) for event in entry.history] == [(NOON, 1, None), (later, 2, 1)]


def test_releasing_what_the_channel_has_changes_nothing() -> None:
    both = {AMD64: Revision(1), ARM64: Revision(2)}
    index, _ = storeindex.with_release(with_both("1.0.0", 1), RATER, STABLE, both, now=NOON)
    again, release = storeindex.with_release(index, RATER, STABLE, both, now=NOON)
    assert again is index
    assert release.release == 1


def test_another_channel_gets_the_same_release() -> None:
    both = {AMD64: Revision(1), ARM64: Revision(2)}
    index, first = storeindex.with_release(with_both("1.0.0", 1), RATER, CANDIDATE, both, now=NOON)
    index, second = storeindex.with_release(index, RATER, STABLE, both, now=NOON)
    assert first == second
    assert len(index.snaps[RATER].releases) == 1


@pytest.mark.parametrize(
    ("revisions", "problem"),
    [
        ({}, "no revision is named"),
        ({AMD64: 9, ARM64: 2}, "it has no revision 9"),
        ({AMD64: 2, ARM64: 1}, "revision 2 is for arm64, not amd64"),
        ({AMD64: 1, ARM64: 4}, r"the versions differ: 1\.0\.0, 1\.1\.0"),
        ({AMD64: 1}, r"1\.0\.0 has no revision named for arm64"),
    ],
)
def test_a_release_that_is_not_one_whole_version_is_refused(revisions: dict[Architecture, int], problem: str) -> None:
    index = with_both("1.1.0", 3, with_both("1.0.0", 1))
    chosen = {architecture: Revision(number) for architecture, number in revisions.items()}
    with pytest.raises(ReleaseRefusedError, match=problem):
        storeindex.with_release(index, RATER, STABLE, chosen, now=NOON)


def test_a_release_may_not_drop_an_architecture_the_channel_serves() -> None:
    index, _ = storeindex.with_release(
        with_both("1.0.0", 1), RATER, STABLE, {AMD64: Revision(1), ARM64: Revision(2)}, now=NOON
    )
    index, only = storeindex.with_revision(index, described("2.0.0"), sha3_384=sha(9), size=1, now=NOON)
    with pytest.raises(ReleaseRefusedError, match=r"2\.0\.0 has no revision named for arm64"):
        storeindex.with_release(index, RATER, STABLE, {AMD64: only.revision}, now=NOON)


def test_releasing_what_was_never_pushed_names_what_there_is() -> None:
    with pytest.raises(UnknownSnapError, match="the store has no snap 'wine'; it has wine-rater"):
        storeindex.with_release(with_both("1.0.0", 1), SnapName("wine"), STABLE, {AMD64: Revision(1)}, now=NOON)


def test_a_closed_channel_follows_the_next_safer_one() -> None:
    index, _ = storeindex.with_release(
        with_both("1.0.0", 1), RATER, CANDIDATE, {AMD64: Revision(1), ARM64: Revision(2)}, now=NOON
    )
    entry = index.snaps[RATER]
    effective = entry.effective(EDGE)
    assert effective is not None
    assert (str(effective[0]), effective[1].release) == ("latest/candidate", 1)
    assert entry.effective(STABLE) is None


def test_the_nearest_and_newest_runtime_that_meets_the_terms_comes_first() -> None:
    index = StoreIndex()
    for number, (version, interface, channel) in enumerate(
        [("1.0.0", 1, STABLE), ("1.0.9", 1, CANDIDATE), ("2.0.0", 2, EDGE)], start=1
    ):
        index, pushed = storeindex.with_revision(
            index, runtime(version, interface), sha3_384=sha(number), size=1, now=NOON
        )
        index, _ = storeindex.with_release(index, ONNX, channel, {AMD64: pushed.revision}, now=NOON)
    assert [(str(channel), str(release.version)) for _, channel, release in index.runtimes(EDGE, NEEDS_ONNX)] == [
        ("latest/candidate", "1.0.9"),
        ("latest/stable", "1.0.0"),
    ]
    newer = RuntimeTerms(name="onnx", interface=1, minimum="1.0.10")
    assert list(index.runtimes(EDGE, newer)) == []


@pytest.mark.parametrize(
    ("smaller", "larger"), [("1.9", "1.10"), ("1.0.0", "1.0.1"), ("1.0~rc1", "1.0"), ("1.2", "2"), ("1", "1.0.1")]
)
def test_versions_are_ordered_by_their_numbers(smaller: str, larger: str) -> None:
    assert version_order(smaller) < version_order(larger)


def test_trailing_zeros_say_nothing() -> None:
    assert version_order("1.0") == version_order("1.0.0")


@given(st.lists(st.sampled_from(["1.0.0", "1.1.0", "2.0"]), min_size=1, max_size=4), st.sampled_from(list("abc")))
def test_what_is_written_reads_back_the_same(versions: list[str], branch: str) -> None:
    index = StoreIndex()
    for number, version in enumerate(versions):
        index = with_both(version, 2 * number + 1, index)
        last = Revision(2 * number + 1), Revision(2 * number + 2)
        if versions.count(version) == 1:
            channel = Channel.parse(f"edge/{branch}")
            index, _ = storeindex.with_release(index, RATER, channel, {AMD64: last[0], ARM64: last[1]}, now=NOON)
    data = storedocument.serialize(index)
    assert storedocument.parse(data, what="index.json") == index
    assert storedocument.serialize(storedocument.parse(data, what="index.json")) == data


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"{", "is not JSON"),
        (b'{"format":2,"serial":1,"snaps":{}}', "2 is newer than the 1"),
        (b'{"format":1,"serial":1,"snaps":{"A":{}}}', "is not a snap name"),
        (b'{"format":1,"serial":1,"snaps":{},"more":1}', "more: is not a key"),
        (
            b'{"format":1,"serial":1,"snaps":{"ab":{"revisions":[],"releases":[],"channels":{"stable":1},"history":[]}}}',
            "names release 1, which is not there",
        ),
    ],
)
def test_a_damaged_index_is_refused_with_its_place(data: bytes, problem: str) -> None:
    with pytest.raises(DocumentError, match=problem):
        storedocument.parse(data, what="index.json")
