"""`builder publish --store snap-store`: real snaps, and a store that speaks the documented paths."""

from __future__ import annotations

import email.utils
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from snapedge_builder import cli, remotepublication
from snapedge_builder.progress import Silence
from snapedge_builder.remotepublication import PartlyReleasedError, PublicationPendingError
from snapedge_builder.remotestore import NameNotOursError, StoreAwayError, StoreLoginError, StoreRefusedError
from snapedge_builder.snapstore import SnapStore
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import SnapName

from ...fakes.snapstore import FakeSnapStore
from .publisher import BOTH, CANDIDATE, Publisher


@pytest.fixture
def store() -> Iterator[FakeSnapStore]:
    made = FakeSnapStore()
    made.own("tripler")
    yield made
    made.close()


HttpPublisher = Publisher[SnapStore]


def publisher(store: FakeSnapStore, snaps: list[Path]) -> HttpPublisher:
    return Publisher(snaps, store.environment, lambda clock, said: SnapStore(clock=clock, environment=said))


@pytest.fixture
def publish(store: FakeSnapStore, snaps: list[Path]) -> HttpPublisher:
    return publisher(store, snaps)


def test_both_architectures_are_approved_before_either_is_released(
    publish: HttpPublisher, store: FakeSnapStore
) -> None:
    (done,) = publish()
    assert {str(name): int(number) for name, number in done.revisions.items()} == BOTH
    assert store.channel("tripler", "latest/candidate") == BOTH
    posts = [request.split()[1] for request in store.requests if request.startswith("POST")]
    assert (
        posts
        == ["/dev/api/snap-push/", "/unscanned-upload/", "/dev/api/snap-push/"] * 2 + ["/dev/api/snap-release/"] * 2
    )
    content = [data for _, data in store.uploads.values()]
    assert content == [path.read_bytes() for path in publish.snaps]


def test_credentials_go_to_the_api_alone(publish: HttpPublisher, store: FakeSnapStore) -> None:
    publish()
    assert store.authorized["/unscanned-upload/"] == {False}
    assert store.authorized["/dev/api/snap-push/"] == {True}


def test_credentials_are_in_no_journal_log_or_error(
    publish: HttpPublisher, store: FakeSnapStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store.fail("snap-release", status=400, body={"error_list": [{"code": "invalid-field", "message": "no"}]})
    with pytest.raises(StoreRefusedError) as caught:
        publish()
    chain = f"{caught.value!r} {caught.value.details} {caught.value.__cause__!r} {caught.value.__context__!r}"
    everything = f"{chain} {publish.journal.read_text()} {caplog.text} {publish.store!r}"
    secret = publish.environment["SNAPCRAFT_STORE_CREDENTIALS"]
    header = publish.store._wire._login.header()
    for piece in (secret, header, *header.replace(",", "").split("=")):
        assert len(piece) < 20 or piece not in everything


def test_a_second_run_sends_nothing_and_releases_nothing(publish: HttpPublisher, store: FakeSnapStore) -> None:
    publish()
    assert publish() == publish()
    assert store.count("unscanned-upload") == 2
    assert store.count("snap-release") == 2
    assert remotepublication.plan(publish.request(CANDIDATE), publish.store).is_idle


def test_files_are_recognised_by_digest_without_a_journal(publish: HttpPublisher, store: FakeSnapStore) -> None:
    publish(None)
    publish.journal.unlink()
    publish()
    assert store.count("unscanned-upload") == 2
    assert store.channel("tripler", "latest/candidate") == BOTH


def test_an_old_login_is_refreshed_once_and_goes_on(publish: HttpPublisher, store: FakeSnapStore) -> None:
    store.expire()
    publish()
    assert store.count("tokens/refresh") == 1
    assert store.channel("tripler", "latest/candidate") == BOTH


def test_a_login_that_ages_on_the_way_is_refreshed_too(publish: HttpPublisher, store: FakeSnapStore) -> None:
    refusal = {"error_list": [{"code": "macaroon-permission-required", "message": "Authorization Required"}]}
    challenge = {"WWW-Authenticate": "Macaroon needs_refresh=1"}
    store.fail("snap-release", status=401, body=refusal, headers=challenge)
    publish()
    assert store.count("tokens/refresh") == 1
    assert store.channel("tripler", "latest/candidate") == BOTH


def test_a_login_that_is_refused_is_told_and_not_retried(publish: HttpPublisher, store: FakeSnapStore) -> None:
    store.accepted.clear()
    with pytest.raises(StoreLoginError, match="does not take the credentials") as caught:
        publish()
    assert caught.value.exit_code is ExitCode.FAILED
    assert store.count("dev/api/account") == 2
    assert store.count("tokens/refresh") == 1


def test_a_login_that_is_not_renewed_is_told(publish: HttpPublisher, store: FakeSnapStore) -> None:
    store.expire()
    store.fail("tokens/refresh", status=401, body={"code": "INVALID_CREDENTIALS", "message": "no"})
    with pytest.raises(StoreLoginError, match="does not renew the credentials"):
        publish()


def test_rights_that_are_missing_are_told(publish: HttpPublisher, store: FakeSnapStore) -> None:
    body = {"error_list": [{"code": "macaroon-permission-required", "message": "Permission is required: channel"}]}
    store.fail("snap-release", status=403, body=body)
    with pytest.raises(StoreLoginError, match="the credentials may not do this") as caught:
        publish()
    assert "Permission is required: channel" in caught.value.details
    assert store.channel("tripler", "latest/candidate") == {}


@pytest.mark.parametrize("path", ["dev/api/account", "unscanned-upload", "snap-push", "status", "snap-release"])
@pytest.mark.parametrize("status", [429, 503])
def test_an_overloaded_store_is_left_alone_for_as_long_as_it_asks(
    publish: HttpPublisher, store: FakeSnapStore, path: str, status: int
) -> None:
    store.fail(path, status=status, headers={"Retry-After": "17"}, times=2)
    publish()
    assert publish.clock.slept.count(17.0) == 2
    assert store.channel("tripler", "latest/candidate") == BOTH


def test_a_date_to_come_back_at_is_obeyed(publish: HttpPublisher, store: FakeSnapStore) -> None:
    at = email.utils.formatdate(publish.clock.time() + 40, usegmt=True)
    store.fail("dev/api/account", status=503, headers={"Retry-After": at})
    publish()
    assert publish.clock.slept[0] == pytest.approx(40, abs=1.5)


def test_a_store_that_asks_for_more_time_than_there_is_is_away(publish: HttpPublisher, store: FakeSnapStore) -> None:
    store.fail("snap-push", status=429, headers={"Retry-After": "86400"})
    with pytest.raises(StoreAwayError, match="to come back in 86400 s; run the same command again later") as caught:
        publish()
    assert caught.value.exit_code is ExitCode.REMOTE_AWAY
    assert max(publish.clock.slept, default=0.0) < 100


@pytest.mark.parametrize("status", [500, 502, 504])
def test_reading_is_tried_again_with_growing_pauses(publish: HttpPublisher, store: FakeSnapStore, status: int) -> None:
    store.fail("dev/api/account", status=status, body=b"<html>bad gateway</html>", times=3)
    publish()
    assert publish.clock.slept[:3] == [2.0, 4.0, 8.0]
    store.fail("dev/api/account", status=status, times=4)
    with pytest.raises(StoreAwayError, match=f"answered {status}"):
        publish()


def test_an_upload_that_breaks_off_is_sent_again(publish: HttpPublisher, store: FakeSnapStore) -> None:
    store.fail("unscanned-upload", cut=1000)
    publish()
    assert store.count("unscanned-upload") == 3
    assert store.channel("tripler", "latest/candidate") == BOTH


def test_an_upload_that_breaks_off_again_and_again_is_gone_on_with_later(
    publish: HttpPublisher, store: FakeSnapStore
) -> None:
    store.fail("unscanned-upload", cut=1000, times=3, after=1)
    with pytest.raises(StoreAwayError, match=r"broke off tripler_1\.0\.0_arm64\.snap 3 times"):
        publish()
    assert store.channel("tripler", "latest/candidate") == {}
    publish()
    assert [file for file, _ in store.uploads.values()] == ["tripler_1.0.0_amd64.snap", "tripler_1.0.0_arm64.snap"]
    assert store.channel("tripler", "latest/candidate") == BOTH


def test_a_push_whose_answer_was_lost_is_looked_for(publish: HttpPublisher, store: FakeSnapStore) -> None:
    store.fail("snap-push", lose=True, after=1)
    publish()
    assert len(store.revisions["tripler"]) == 2
    assert store.channel("tripler", "latest/candidate") == BOTH


def test_a_release_whose_answer_was_lost_is_looked_for_not_done_twice(
    publish: HttpPublisher, store: FakeSnapStore
) -> None:
    store.fail("snap-release", lose=True)
    publish()
    assert store.count("snap-release") == 2


def test_a_registration_whose_answer_was_lost_is_the_accounts(snaps: list[Path], store: FakeSnapStore) -> None:
    store.names.clear()
    publish = publisher(store, snaps)
    with pytest.raises(NameNotOursError, match="register it with --register"):
        publish()
    store.fail("register-name", lose=True)
    publish(register=True)
    assert store.channel("tripler", "latest/candidate") == BOTH


def test_a_name_of_somebody_else_is_refused(snaps: list[Path], store: FakeSnapStore) -> None:
    store.names["tripler"] = "them"
    with pytest.raises(NameNotOursError, match=r"tripler is taken or reserved \(already_registered\)"):
        publisher(store, snaps)(register=True)


def test_a_slow_store_is_waited_for_with_growing_pauses(publish: HttpPublisher, store: FakeSnapStore) -> None:
    store.polls_until_reviewed = 6
    publish(seconds=600)
    assert publish.clock.slept[:4] == [1.0, 1.5, 2.25, 3.375]
    assert store.channel("tripler", "latest/candidate") == BOTH


def test_a_store_slower_than_the_wait_releases_nothing_and_is_gone_on_with(
    publish: HttpPublisher, store: FakeSnapStore
) -> None:
    store.polls_until_reviewed = 100
    with pytest.raises(PublicationPendingError) as caught:
        publish(seconds=30)
    assert caught.value.exit_code is ExitCode.REMOTE_AWAY
    assert caught.value.details.splitlines() == [
        "tripler_1.0.0_amd64.snap  no revision yet  processing",
        "tripler_1.0.0_arm64.snap  no revision yet  processing",
    ]
    assert store.count("snap-release") == 0
    for review in store.reviews.values():
        review["polls"] = 1
    publish()
    assert store.count("unscanned-upload") == 2
    assert store.channel("tripler", "latest/candidate") == BOTH


def test_manual_review_says_who_is_waited_for_and_the_next_run_releases(
    publish: HttpPublisher, store: FakeSnapStore
) -> None:
    store.verdict = "need_manual_review"
    with pytest.raises(PublicationPendingError, match="when its publisher hears that the review is done"):
        publish()
    assert len(publish.clock.slept) == 0
    with pytest.raises(PublicationPendingError):
        publish(seconds=5)
    for stored in store.revisions["tripler"]:
        stored.status = "Unpublished"
    publish()
    assert store.count("unscanned-upload") == 2
    assert store.channel("tripler", "latest/candidate") == BOTH


def test_a_rejected_file_releases_nothing_and_shows_the_stores_words(
    publish: HttpPublisher, store: FakeSnapStore
) -> None:
    store.problems = ["lint-snap-v2: plug 'mk8s' is not allowed {curly}"]
    with pytest.raises(StoreRefusedError, match=r"rejected tripler_1\.0\.0_amd64\.snap") as caught:
        publish()
    assert caught.value.details == "lint-snap-v2: plug 'mk8s' is not allowed {curly}"
    assert caught.value.exit_code is ExitCode.REFUSED
    assert store.count("snap-release") == 0


def test_content_that_somebody_uploaded_meanwhile_is_found(publish: HttpPublisher, store: FakeSnapStore) -> None:
    store.add("tripler", "amd64", "1.0.0", publish.snaps[0].read_bytes())
    # The list of revisions does not have it yet when the run begins.
    hidden = store.revisions["tripler"]
    store.revisions["tripler"] = []
    plan = remotepublication.plan(publish.request(CANDIDATE), publish.store)
    assert not plan.actions[1].skip
    store.revisions["tripler"] = hidden
    publish()
    assert store.channel("tripler", "latest/candidate") == BOTH


def test_a_duplicate_that_only_the_review_tells_is_found_by_its_digest(
    publish: HttpPublisher, store: FakeSnapStore
) -> None:
    content = publish.snaps[0].read_bytes()

    class Late(SnapStore):
        """Somebody else uploads the same content between our look and our push."""

        def _send(self, upload, told):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            if upload.path.read_bytes() == content and not store.revisions["tripler"]:
                store.add("tripler", "amd64", "1.0.0", content)
            return super()._send(upload, told)

    late = Late(clock=publish.clock, environment=publish.environment)
    remotepublication.publish(publish.request(CANDIDATE), late, progress=Silence(), clock=publish.clock)
    assert len(store.revisions["tripler"]) == 2
    assert store.channel("tripler", "latest/candidate") == BOTH


def test_a_status_the_store_has_forgotten_is_sent_again(publish: HttpPublisher, store: FakeSnapStore) -> None:
    store.polls_until_reviewed = 100
    with pytest.raises(PublicationPendingError):
        publish(seconds=5)
    store.reviews.clear()
    store.revisions["tripler"].clear()
    with pytest.raises(StoreAwayError, match=r"has forgotten that tripler_1\.0\.0_amd64\.snap was sent"):
        publish()
    store.polls_until_reviewed = 1
    with pytest.raises(StoreAwayError, match=r"has forgotten that tripler_1\.0\.0_arm64\.snap was sent"):
        publish()
    publish()
    assert store.channel("tripler", "latest/candidate") == BOTH


def test_a_refused_second_release_takes_the_first_one_back(publish: HttpPublisher, store: FakeSnapStore) -> None:
    for architecture in ("amd64", "arm64"):
        store.add("tripler", architecture, "0.9", architecture.encode(), channel="latest/candidate")
    body = {"error_list": [{"code": "invalid-field", "message": "The 'channels' field content is not valid."}]}
    store.fail("snap-release", status=400, body=body, after=1)
    with pytest.raises(StoreRefusedError, match=r"does not release tripler revision 4 to latest/candidate") as caught:
        publish()
    assert caught.value.details == "invalid-field: The 'channels' field content is not valid."
    assert store.channel("tripler", "latest/candidate") == BOTH


def test_a_refused_second_release_to_a_closed_channel_closes_it_again(
    publish: HttpPublisher, store: FakeSnapStore
) -> None:
    store.fail("snap-release", status=400, after=1)
    with pytest.raises(StoreRefusedError):
        publish()
    assert store.count("/close") == 1
    assert store.channel("tripler", "latest/candidate") == {}


def test_a_store_that_goes_away_between_releases_is_told_as_such(publish: HttpPublisher, store: FakeSnapStore) -> None:
    store.fail("snap-release", status=502, after=1, times=3)
    with pytest.raises(PartlyReleasedError, match="is released to latest/candidate for amd64") as caught:
        publish()
    assert caught.value.exit_code is ExitCode.REMOTE_AWAY
    publish()
    assert store.channel("tripler", "latest/candidate") == BOTH


def test_a_progressive_release_is_not_taken_for_the_channel(publish: HttpPublisher, store: FakeSnapStore) -> None:
    publish()
    mapped = {
        "architecture": "amd64",
        "channel": "latest/candidate",
        "expiration-date": None,
        "progressive": {"paused": False, "percentage": 10, "current-percentage": 3},
        "revision": 9,
    }
    store.fail("channel-map", status=200, body={"channel-map": [mapped], "revisions": [], "snap": {}})
    assert publish.store.look(SnapName("tripler")).released == {}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"snaps": []}', b"\xff\xfe", b"[" * 100_000])
def test_an_answer_that_is_not_as_documented_is_an_error_of_ours(
    publish: HttpPublisher, store: FakeSnapStore, body: bytes
) -> None:
    store.fail("dev/api/account", status=200, body=body)
    with pytest.raises(StoreAwayError, match="told an account without its snaps"):
        publish()


def test_a_redirect_is_not_followed(publish: HttpPublisher, store: FakeSnapStore) -> None:
    store.fail("dev/api/account", status=302, headers={"Location": "http://127.0.0.1:9/"})
    with pytest.raises(StoreRefusedError, match=r"\(answered 302\)"):
        publish()


def test_a_netrc_does_not_stand_in_for_the_login(
    publish: HttpPublisher, store: FakeSnapStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    publish()
    assert store.authorized["/unscanned-upload/"] == {False}


def test_a_store_that_cannot_be_reached_is_away(publish: HttpPublisher, store: FakeSnapStore) -> None:
    publish.environment["STORE_DASHBOARD_URL"] = "http://127.0.0.1:9"
    with pytest.raises(StoreAwayError, match="cannot be reached") as caught:
        publish()
    assert caught.value.exit_code is ExitCode.REMOTE_AWAY
    assert publish.clock.slept == [2.0, 4.0, 8.0]


# The command.

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def builder(store: FakeSnapStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)

    def run(*words: str | Path) -> tuple[int, str, str]:
        code = 0
        try:
            cli.main(["publish", *map(str, words)])
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_the_command_publishes_over_http(builder: Run, snaps: list[Path]) -> None:
    words = [*snaps, "--store", "snap-store", "--channel", "candidate"]
    code, out, _ = builder(*words, "--dry-run", "--format", "json")
    assert (code, [action["kind"] for action in json.loads(out) if not action["skip"]]) == (
        0,
        ["upload", "upload", "wait", "wait", "release", "release"],
    )
    code, out, err = builder(*words)
    assert (code, out) == (
        0,
        "tripler 1.0.0: amd64 revision 1, arm64 revision 2, released to latest/candidate\n",
    )
    assert "review of tripler_1.0.0_arm64.snap: revision 2 approved (" in err


def test_without_a_login_nothing_is_asked(
    builder: Run, snaps: list[Path], store: FakeSnapStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SNAPCRAFT_STORE_CREDENTIALS")
    code, _, err = builder(*snaps, "--store", "snap-store")
    assert (code, "SNAPCRAFT_STORE_CREDENTIALS is not set" in err, store.requests) == (2, True, [])
