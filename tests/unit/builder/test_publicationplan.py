"""From files and what a store knows to actions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_builder import publicationplan
from snapedge_builder.publicationjournal import Note
from snapedge_builder.publicationplan import PublishKind, SnapToPublish
from snapedge_builder.remotestore import (
    NameNotOursError,
    RemoteRevision,
    RemoteSnap,
    Review,
    StoreRefusedError,
    Upload,
)
from snapedge_hooks.channels import Channel, Revision
from snapedge_hooks.storeindex import Sha3, SnapKind
from snapedge_hooks.vocabulary import Architecture, SnapName

CANDIDATE = Channel.parse("candidate")
AMD64, ARM64 = Architecture.AMD64, Architecture.ARM64
NOTHING = RemoteSnap(revisions=(), released={})


def digest(name: str, architecture: Architecture) -> Sha3:
    import hashlib

    return Sha3(hashlib.sha3_384(f"{name} {architecture}".encode()).hexdigest())


def snap(name: str, kind: SnapKind = SnapKind.MODEL) -> SnapToPublish:
    files = {
        architecture: Upload(
            name=SnapName(name),
            version="2",
            architecture=architecture,
            path=Path(f"{name}_2_{architecture}.snap"),
            sha3_384=digest(name, architecture),
            size=1,
        )
        for architecture in (AMD64, ARM64)
    }
    return SnapToPublish(name=SnapName(name), version="2", kind=kind, files=files)


def stored(
    number: int, architecture: Architecture, *, tells: bool = True, review: Review = Review.APPROVED
) -> RemoteRevision:
    return RemoteRevision(
        revision=Revision(number),
        architectures=(str(architecture),),
        version="2",
        sha3_384=digest("wine", architecture) if tells else None,
        review=review,
        problems=("plug mk8s is not allowed",),
    )


def plan(
    *snaps: SnapToPublish,
    seen: RemoteSnap | None = NOTHING,
    notes: Mapping[Sha3, Note] | None = None,
    channel: Channel | None = CANDIDATE,
    register: bool = False,
) -> list[str]:
    made = publicationplan.plan(
        snaps or (snap("wine"),),
        store="store",
        seen=dict.fromkeys((item.name for item in snaps or (snap("wine"),)), seen),
        notes={str(known): note for known, note in (notes or {}).items()},
        channel=channel,
        register=register,
    )
    return [str(action) for action in made.actions]


def test_what_is_new_is_uploaded_reviewed_and_then_released() -> None:
    assert plan() == [
        "skip  register  all    wine: the name is this account's",
        "do    upload    amd64  wine: wine_2_amd64.snap is not in the store",
        "do    upload    arm64  wine: wine_2_arm64.snap is not in the store",
        "do    wait      amd64  wine: the store reviews it",
        "do    wait      arm64  wine: the store reviews it",
        "do    release   amd64  wine: latest/candidate leads to nothing for amd64",
        "do    release   arm64  wine: latest/candidate leads to nothing for arm64",
    ]


def test_without_a_channel_nothing_is_released() -> None:
    assert not [line for line in plan(channel=None) if " release " in line]


def test_what_the_store_has_by_digest_is_not_sent_again() -> None:
    seen = RemoteSnap(
        revisions=(stored(7, AMD64), stored(8, ARM64, review=Review.MANUAL)),
        released={CANDIDATE: {"amd64": Revision(7), "arm64": Revision(3)}},
    )
    assert plan(seen=seen)[1:] == [
        "skip  upload    amd64  wine: the store has wine_2_amd64.snap as revision 7",
        "skip  upload    arm64  wine: the store has wine_2_arm64.snap as revision 8",
        "skip  wait      amd64  wine: its review: approved",
        "do    wait      arm64  wine: its review: manual review",
        "skip  release   amd64  wine: latest/candidate leads to revision 7 already",
        "do    release   arm64  wine: latest/candidate leads to revision 3",
    ]


def test_notes_are_believed_where_the_store_tells_no_digests_and_has_the_revision() -> None:
    notes = {digest("wine", AMD64): Note(revision=Revision(7)), digest("wine", ARM64): Note(revision=Revision(9))}
    seen = RemoteSnap(revisions=(stored(7, AMD64, tells=False),), released={})
    assert plan(seen=seen, notes=notes)[1:3] == [
        "skip  upload    amd64  wine: the store has wine_2_amd64.snap as revision 7",
        "do    upload    arm64  wine: wine_2_arm64.snap is not in the store",
    ]


def test_a_store_that_tells_digests_is_believed_before_notes() -> None:
    notes = {digest("wine", AMD64): Note(revision=Revision(8))}
    seen = RemoteSnap(revisions=(stored(8, ARM64),), released={})
    assert plan(seen=seen, notes=notes)[1] == "do    upload    amd64  wine: wine_2_amd64.snap is not in the store"


def test_what_was_sent_before_is_asked_for_not_sent_again() -> None:
    notes = {digest("wine", AMD64): Note(ticket="https://store/status")}
    made = plan(notes=notes)
    assert made[1] == "skip  upload    amd64  wine: wine_2_amd64.snap was sent before"
    assert made[3] == "do    wait      amd64  wine: the store reviews it"


def test_a_rejected_file_is_not_sent_again() -> None:
    seen = RemoteSnap(revisions=(stored(7, AMD64, review=Review.REJECTED),), released={})
    with pytest.raises(StoreRefusedError, match=r"rejected wine_2_amd64\.snap; nothing was released") as caught:
        plan(seen=seen)
    assert caught.value.details == "plug mk8s is not allowed"


def test_names_are_registered_only_on_request() -> None:
    with pytest.raises(NameNotOursError):
        plan(seen=None)
    assert plan(seen=None, register=True)[0] == "do    register  all    wine: the name is not this account's yet"


def test_runtimes_are_released_before_the_models_on_them_and_after_all_uploads() -> None:
    made = plan(snap("beer"), snap("snapedge-onnx", SnapKind.RUNTIME), register=True)
    order = [(line.split()[1], line.split()[3]) for line in made]
    names = ["snapedge-onnx:", "beer:"]
    assert order[:2] == [("register", name) for name in names]
    assert order[2:] == [(str(kind), name) for kind in list(PublishKind)[1:] for name in names for _ in range(2)]


@given(st.sets(st.sampled_from([AMD64, ARM64])), st.sampled_from([None, CANDIDATE]))
def test_a_plan_whose_ends_are_met_is_all_skips(missing: set[Architecture], channel: Channel | None) -> None:
    there = {architecture: number for number, architecture in enumerate((AMD64, ARM64), start=1)}
    seen = RemoteSnap(
        revisions=tuple(stored(number, name) for name, number in there.items() if name not in missing),
        released={CANDIDATE: {str(name): Revision(number) for name, number in there.items() if name not in missing}},
    )
    idle = all(line.startswith("skip") for line in plan(seen=seen, channel=channel))
    assert idle is not bool(missing)
