"""`builder publish --store snapcraft`: real snaps, and a snapcraft that behaves as the real one documents."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from snapedge_builder import cli, remotepublication
from snapedge_builder.progress import Silence
from snapedge_builder.publication import IncompleteVersionError
from snapedge_builder.remotepublication import PartlyReleasedError, PublicationPendingError
from snapedge_builder.remotestore import (
    DuplicateError,
    NameNotOursError,
    StoreAwayError,
    StoreLoginError,
    StoreRefusedError,
)
from snapedge_builder.snapcraftcli import SnapcraftCli
from snapedge_hooks.channels import Channel, Revision
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import SnapName

from ...fakes.snapcraft import CREDENTIALS, FakeSnapcraft
from .publisher import BOTH, CANDIDATE, Publisher


@pytest.fixture
def snapcraft(tmp_path: Path) -> FakeSnapcraft:
    made = FakeSnapcraft(tmp_path / "bin")
    made.own("tripler")
    return made


SnapcraftPublisher = Publisher[SnapcraftCli]


def publisher(snapcraft: FakeSnapcraft, snaps: list[Path]) -> SnapcraftPublisher:
    return Publisher(
        snaps,
        {"SNAPCRAFT_STORE_CREDENTIALS": CREDENTIALS},
        lambda clock, said: SnapcraftCli(clock=clock, executable=str(snapcraft.program), environment=said),
    )


@pytest.fixture
def publish(snapcraft: FakeSnapcraft, snaps: list[Path]) -> SnapcraftPublisher:
    return publisher(snapcraft, snaps)


def test_both_architectures_are_uploaded_before_either_is_released(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft
) -> None:
    (done,) = publish()
    assert {str(name): int(number) for name, number in done.revisions.items()} == BOTH
    assert snapcraft.channel("tripler", "latest/candidate") == BOTH
    assert snapcraft.calls("upload", "release") == [
        ["upload", str(publish.snaps[0])],
        ["upload", str(publish.snaps[1])],
        ["release", "tripler", "1", "candidate"],
        ["release", "tripler", "2", "candidate"],
    ]


def test_a_second_run_sends_nothing_and_releases_nothing(publish: SnapcraftPublisher, snapcraft: FakeSnapcraft) -> None:
    publish()
    assert publish() == publish()
    assert len(snapcraft.calls("upload")) == 2
    assert len(snapcraft.calls("release")) == 2
    plan = remotepublication.plan(publish.request(CANDIDATE), publish.store)
    assert plan.is_idle
    assert [str(action) for action in plan.actions] == [
        "skip  register  all    tripler: the name is this account's",
        "skip  upload    amd64  tripler: the store has tripler_1.0.0_amd64.snap as revision 1",
        "skip  upload    arm64  tripler: the store has tripler_1.0.0_arm64.snap as revision 2",
        "skip  wait      amd64  tripler: its review: approved",
        "skip  wait      arm64  tripler: its review: approved",
        "skip  release   amd64  tripler: latest/candidate leads to revision 1 already",
        "skip  release   arm64  tripler: latest/candidate leads to revision 2 already",
    ]


def test_a_plan_does_nothing(publish: SnapcraftPublisher, snapcraft: FakeSnapcraft) -> None:
    plan = remotepublication.plan(publish.request(CANDIDATE), publish.store)
    assert [str(action.kind) for action in plan.actions if not action.skip] == ["upload"] * 2 + ["wait"] * 2 + [
        "release"
    ] * 2
    assert {call[0] for call in snapcraft.calls()} == {"names", "list-revisions"}


def test_an_upload_that_was_never_released_is_released_later(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft
) -> None:
    publish(None)
    assert snapcraft.channel("tripler", "latest/edge") == {}
    publish(Channel.parse("edge"))
    assert snapcraft.channel("tripler", "latest/edge") == BOTH
    assert len(snapcraft.calls("upload")) == 2


@pytest.mark.parametrize("command", ["names", "list-revisions"])
def test_a_store_that_is_away_for_a_moment_is_asked_again(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft, command: str
) -> None:
    snapcraft.fail(command, "away", times=2)
    publish()
    assert publish.clock.slept[:2] == [2.0, 8.0]
    assert snapcraft.channel("tripler", "latest/candidate") == BOTH


def test_an_upload_that_breaks_off_releases_nothing_and_goes_on_where_it_ended(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft
) -> None:
    snapcraft.fail("upload", "away", after=1)
    with pytest.raises(StoreAwayError, match="run the same command again later") as caught:
        publish()
    assert caught.value.exit_code is ExitCode.REMOTE_AWAY
    assert snapcraft.calls("release") == []
    publish()
    sent = [Path(call[1]).name for call in snapcraft.calls("upload")]
    assert sent == ["tripler_1.0.0_amd64.snap", "tripler_1.0.0_arm64.snap", "tripler_1.0.0_arm64.snap"]
    assert snapcraft.channel("tripler", "latest/candidate") == BOTH


def test_an_upload_whose_answer_was_lost_is_recognised_by_the_store(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft
) -> None:
    snapcraft.fail("upload", "lost")
    with pytest.raises(StoreAwayError):
        publish()
    publish()
    assert len(snapcraft.state["revisions"]["tripler"]) == 2
    assert snapcraft.channel("tripler", "latest/candidate") == BOTH


def test_files_that_somebody_else_sent_are_found_without_a_journal(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft
) -> None:
    publish(None)
    publish.journal.unlink()
    publish()
    assert snapcraft.channel("tripler", "latest/candidate") == BOTH
    assert len(snapcraft.state["revisions"]["tripler"]) == 2


def test_content_that_could_be_one_of_several_revisions_is_not_guessed(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft
) -> None:
    snapcraft.add("tripler", "amd64", "1.0.0")
    publish(None)
    publish.journal.unlink()
    with pytest.raises(DuplicateError, match="does not say as which revision") as caught:
        publish()
    assert caught.value.exit_code is ExitCode.REFUSED
    assert snapcraft.calls("release") == []


def test_manual_review_releases_nothing_and_says_what_is_left(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft
) -> None:
    snapcraft.fail("upload", "manual", after=1)
    with pytest.raises(PublicationPendingError) as caught:
        publish()
    assert caught.value.exit_code is ExitCode.REMOTE_AWAY
    assert str(caught.value) == (
        "snapcraft: nothing is released yet: 1 of 2 files are not approved; "
        "when its publisher hears that the review is done, run the same command again: nothing is sent twice"
    )
    assert caught.value.details == "tripler_1.0.0_arm64.snap  revision 2  manual review"
    assert snapcraft.calls("release") == []
    publish()
    assert snapcraft.channel("tripler", "latest/candidate") == BOTH
    assert len(snapcraft.calls("upload")) == 2


def test_a_review_slower_than_the_wait_ends_and_is_gone_on_with(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snapedge_builder.snapcraftcli._SECONDS", 1.5)
    snapcraft.fail("upload", "slow")
    with pytest.raises(StoreAwayError, match="may be there, but its review took more than"):
        publish(seconds=1.0)
    assert snapcraft.calls("release") == []
    monkeypatch.undo()
    publish()
    assert snapcraft.channel("tripler", "latest/candidate") == BOTH


def test_a_rejected_file_releases_nothing_and_shows_the_stores_words(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft
) -> None:
    snapcraft.fail("upload", "rejected", after=1)
    with pytest.raises(StoreRefusedError) as caught:
        publish()
    assert "human review required: plug mk8s" in caught.value.details
    assert "Full execution log" not in caught.value.details
    assert caught.value.exit_code is ExitCode.REFUSED
    assert snapcraft.calls("release") == []


def test_a_refused_second_release_takes_the_first_one_back(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft
) -> None:
    for architecture in ("amd64", "arm64"):
        snapcraft.add("tripler", architecture, "0.9", architecture.encode(), channel="latest/candidate")
    snapcraft.fail("release", "refused", after=1)
    with pytest.raises(StoreRefusedError, match="`snapcraft release` failed with exit code 1"):
        publish()
    assert snapcraft.channel("tripler", "latest/candidate") == BOTH
    assert [call[2] for call in snapcraft.calls("release")] == ["3", "4", "1"]
    publish()
    assert snapcraft.channel("tripler", "latest/candidate") == {"amd64": 3, "arm64": 4}


def test_a_refused_second_release_to_a_closed_channel_closes_it_again(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft
) -> None:
    snapcraft.fail("release", "refused", after=1)
    with pytest.raises(StoreRefusedError):
        publish()
    assert snapcraft.channel("tripler", "latest/candidate") == {}
    assert snapcraft.calls("close") == [["close", "tripler", "candidate"]]


def test_what_cannot_be_taken_back_is_said(publish: SnapcraftPublisher, snapcraft: FakeSnapcraft) -> None:
    snapcraft.add("tripler", "arm64", "0.9", channel="latest/candidate")
    snapcraft.fail("release", "refused", after=1)
    with pytest.raises(PartlyReleasedError) as caught:
        publish()
    assert caught.value.brief.startswith(
        "snapcraft: tripler is released to latest/candidate for amd64 (revision 2) only: snapcraft: `snapcraft release`"
    )
    assert "run the same command again to release the rest" in str(caught.value)
    assert snapcraft.channel("tripler", "latest/candidate") == {"amd64": 2, "arm64": 1}


def test_a_store_that_goes_away_between_releases_is_told_as_such(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft
) -> None:
    snapcraft.fail("release", "away", after=1, times=2)
    with pytest.raises(PartlyReleasedError) as caught:
        publish()
    assert caught.value.exit_code is ExitCode.REMOTE_AWAY
    publish()
    assert snapcraft.channel("tripler", "latest/candidate") == BOTH


def test_a_release_whose_answer_was_lost_is_looked_for_not_done_twice(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft
) -> None:
    snapcraft.fail("release", "lost")
    publish()
    assert len(snapcraft.calls("release")) == 2


def test_a_name_is_registered_only_when_asked(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft, tmp_path: Path
) -> None:
    other = FakeSnapcraft(tmp_path / "other")
    publish = publisher(other, publish.snaps)
    with pytest.raises(NameNotOursError, match="register it with --register or `snapcraft register tripler`"):
        publish()
    assert other.calls("register", "upload") == []
    publish(register=True)
    assert other.calls("register") == [["register", "--yes", "tripler"]]
    assert other.channel("tripler", "latest/candidate") == BOTH


def test_a_name_of_somebody_else_is_refused(publish: SnapcraftPublisher, tmp_path: Path) -> None:
    other = FakeSnapcraft(tmp_path / "other")
    other.own("tripler", owner="them")
    with pytest.raises(StoreRefusedError, match="`snapcraft register` failed"):
        publisher(other, publish.snaps)(register=True)


@pytest.mark.parametrize("credentials", ["", "b3V0IG9mIGRhdGU="])
def test_missing_and_refused_credentials_are_told_apart_from_a_store_that_is_away(
    publish: SnapcraftPublisher, credentials: str
) -> None:
    publish.environment["SNAPCRAFT_STORE_CREDENTIALS"] = credentials
    with pytest.raises(StoreLoginError, match="does not take the credentials") as caught:
        publish()
    assert caught.value.exit_code is ExitCode.FAILED


def test_credentials_without_the_right_are_told(publish: SnapcraftPublisher, snapcraft: FakeSnapcraft) -> None:
    snapcraft.fail("release", "forbidden")
    with pytest.raises(StoreLoginError) as caught:
        publish()
    assert "Permission is required: channel" in caught.value.details


def test_credentials_are_in_no_argument_and_no_message(publish: SnapcraftPublisher, snapcraft: FakeSnapcraft) -> None:
    snapcraft.fail("upload", "careless")
    with pytest.raises(StoreRefusedError) as caught:
        publish()
    assert "$SNAPCRAFT_STORE_CREDENTIALS" in caught.value.details
    everything = f"{caught.value} {caught.value.details} {snapcraft.state['calls']} {publish.journal.exists()}"
    assert CREDENTIALS not in everything


def test_a_journal_that_cannot_be_written_or_read_costs_nothing_but_time(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft
) -> None:
    publish.journal.mkdir()
    publish()
    assert snapcraft.channel("tripler", "latest/candidate") == BOTH
    publish.journal.rmdir()
    publish.journal.write_text('{"format": 99, "stores": 1}')
    publish()
    assert snapcraft.channel("tripler", "latest/candidate") == BOTH
    assert len(snapcraft.state["revisions"]["tripler"]) == 2


def test_another_stores_revisions_are_not_believed(publish: SnapcraftPublisher, snapcraft: FakeSnapcraft) -> None:
    publish(None)
    publish.environment["STORE_DASHBOARD_URL"] = "https://dashboard.example.com"
    plan = remotepublication.plan(publish.request(CANDIDATE), publish.store)
    assert [str(action.kind) for action in plan.actions if not action.skip][:2] == ["upload", "upload"]


def test_an_interruption_between_releases_takes_them_back(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft
) -> None:
    class Interrupted(SnapcraftCli):
        """Somebody presses Ctrl-C while the second release is under way."""

        releases = 0

        def release(self, name: SnapName, revision: Revision, channel: Channel) -> None:
            super().release(name, revision, channel)
            self.releases += 1
            if self.releases == 2:
                raise KeyboardInterrupt

    store = Interrupted(clock=publish.clock, executable=str(snapcraft.program), environment=publish.environment)
    with pytest.raises(KeyboardInterrupt):
        remotepublication.publish(publish.request(CANDIDATE), store, progress=Silence(), clock=publish.clock)
    assert snapcraft.channel("tripler", "latest/candidate") == {}


# The command.

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def builder(snapcraft: FakeSnapcraft, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("PATH", str(snapcraft.program.parent), prepend=":")
    monkeypatch.setenv("SNAPCRAFT_STORE_CREDENTIALS", CREDENTIALS)

    def run(*words: str | Path) -> tuple[int, str, str]:
        code = 0
        try:
            cli.main(["publish", *map(str, words)])
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_the_command_publishes_by_the_snapcraft_on_path(
    builder: Run, snaps: list[Path], snapcraft: FakeSnapcraft
) -> None:
    code, out, err = builder(*snaps, "--store", "snapcraft", "--channel", "candidate")
    assert (code, out) == (
        0,
        "tripler 1.0.0: amd64 revision 1, arm64 revision 2, released to latest/candidate\n",
    )
    assert "tripler_1.0.0_amd64.snap: revision 1 (" in err
    code, out, _ = builder(*snaps, "--store", "snapcraft", "--channel", "candidate", "--dry-run", "--format", "json")
    assert (code, {action["skip"] for action in json.loads(out)}) == (0, {True})


def test_a_directory_store_has_a_dry_run_too(builder: Run, snaps: list[Path], tmp_path: Path) -> None:
    words = [*snaps, "--store", tmp_path / "store", "--channel", "candidate"]
    code, out, _ = builder(*words, "--dry-run")
    assert code == 0
    assert "do    upload    amd64  tripler: tripler_1.0.0_amd64.snap is not in the store" in out
    assert not (tmp_path / "store").exists()
    assert builder(*words)[0] == 0
    _, out, _ = builder(*words, "--dry-run")
    assert {line.split()[0] for line in out.splitlines()} == {"skip"}


def test_a_missing_snapcraft_names_the_other_way(
    builder: Run, snaps: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(shutil.which('unsquashfs') or '').parent}")
    code, _, err = builder(*snaps, "--store", "snapcraft")
    assert (code, "snapcraft is not installed here" in err) == (1, True)


def test_half_a_version_is_refused_before_the_store_is_asked(
    publish: SnapcraftPublisher, snapcraft: FakeSnapcraft
) -> None:
    publish.snaps = publish.snaps[1:]
    with pytest.raises(IncompleteVersionError, match="was built for amd64, too"):
        publish()
    assert snapcraft.calls() == []
