from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from snapedge_fleet.client import RemoteFleet
from snapedge_fleet.errors import ServerAwayError, ServerRefusalError
from snapedge_fleet.server import MAX_BODY, store_application
from tests.fakes.fleetsite import ADMIN_TOKEN, FleetSite, served_site, serving

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FleetSite]:
    with served_site(tmp_path / "fleet") as found:
        found.call("group-add", name="lab", follows=["wine-rater=stable"])
        yield found


def enrolled(site: FleetSite, name: str = "d1") -> dict[str, str]:
    """The headers that a device's agent speaks with."""
    claim = site.add_device(name)
    body = {"device": name, "claim": claim, "architecture": "amd64"}
    answer = requests.post(f"{site.url}/v1/enrol", json=body, timeout=5)
    assert answer.status_code == 200
    return {"Authorization": f"Bearer {answer.json()['token']}", "X-Snapedge-Agent": f"agent-of-{name}"}


def report(site: FleetSite, headers: dict[str, str], sequence: int, snaps: list[dict[str, Any]]) -> requests.Response:
    body = {"format": 1, "sequence": sequence, "snaps": snaps, "note": ""}
    return requests.post(f"{site.url}/v1/d/d1/report", json=body, headers=headers, timeout=5)


def snap(outcome: str = "confirmed", revision: int | None = 1) -> dict[str, Any]:
    return {"snap": "wine-rater", "revision": revision, "version": "1.0.0", "wanted": 1, "outcome": outcome}


def test_a_wish_is_told_once_and_then_not_modified(site: FleetSite) -> None:
    headers = enrolled(site)
    site.publish("wine-rater", "1.0.0", "stable")
    site.tick()
    site.tick()
    first = requests.get(f"{site.url}/v1/d/d1/state", headers=headers, timeout=5)
    (wanted,) = first.json()["snaps"]
    assert (wanted["snap"], wanted["version"], wanted["rollouts"]) == ("wine-rater", "1.0.0", [1])
    assert first.headers["X-Poll-Interval"] == "1"
    again = requests.get(
        f"{site.url}/v1/d/d1/state", headers={**headers, "If-None-Match": first.headers["ETag"]}, timeout=5
    )
    assert (again.status_code, again.content) == (304, b"")


def test_the_server_steers_the_interval(site: FleetSite) -> None:
    headers = enrolled(site)
    quiet = requests.get(f"{site.url}/v1/d/d1/state", headers=headers, timeout=5)
    assert quiet.headers["X-Poll-Interval"] == "10"


def test_a_claim_works_once(site: FleetSite) -> None:
    claim = site.add_device("d1")
    body = {"device": "d1", "claim": claim, "architecture": "amd64"}
    token = requests.post(f"{site.url}/v1/enrol", json=body, timeout=5).json()["token"]
    assert requests.post(f"{site.url}/v1/enrol", json=body, timeout=5).status_code == 200, "the answer may get lost"
    token = requests.post(f"{site.url}/v1/enrol", json=body, timeout=5).json()["token"]
    headers = {"Authorization": f"Bearer {token}", "X-Snapedge-Agent": "a"}
    assert requests.get(f"{site.url}/v1/d/d1/state", headers=headers, timeout=5).status_code == 200
    refused = requests.post(f"{site.url}/v1/enrol", json=body, timeout=5)
    assert refused.status_code == 401
    assert refused.json()["error"] == "the claim word for device d1 was used"


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"claim": "guess"}, 401, "the claim word for device d1 is not known"),
        ({"device": "d2"}, 401, "the claim word for device d2 is not known"),
        ({"architecture": "arm64"}, 401, "device d1 is declared amd64 and enrols as arm64"),
        ({"architecture": "mips"}, 400, "enrol: 'mips' is not an architecture we build for (amd64, arm64)"),
    ],
)
def test_enrolment_is_refused_with_a_reason(site: FleetSite, change: dict[str, str], status: int, error: str) -> None:
    body = {"device": "d1", "claim": site.add_device("d1"), "architecture": "amd64", **change}
    answer = requests.post(f"{site.url}/v1/enrol", json=body, timeout=5)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


def test_a_token_opens_its_own_device_alone(site: FleetSite) -> None:
    first = enrolled(site, "d1")
    enrolled(site, "d2")
    answer = requests.get(f"{site.url}/v1/d/d2/state", headers=first, timeout=5)
    assert (answer.status_code, answer.json()["error"]) == (401, "the token is not device d2's")


def test_two_agents_for_one_device_are_refused_clearly(site: FleetSite) -> None:
    headers = enrolled(site)
    url = f"{site.url}/v1/d/d1/state"
    assert requests.get(url, headers=headers, timeout=5).status_code == 200
    second = {**headers, "X-Snapedge-Agent": "another"}
    refused = requests.get(url, headers=second, timeout=5)
    assert refused.status_code == 409
    assert refused.json() == {
        "error": "two agents speak for device d1",
        "details": "agent agent-of was seen 0 s ago, now agent another asks",
        "resolution": "stop one of them, or enrol the second as a device of its own",
        "exit_code": 3,
    }
    assert requests.get(url, headers=headers, timeout=5).status_code == 200


def test_an_agent_silent_for_long_gives_its_place_away(site: FleetSite) -> None:
    headers = enrolled(site)
    url = f"{site.url}/v1/d/d1/state"
    requests.get(url, headers=headers, timeout=5)
    site.clock.wait(site.control.settings.lease)
    second = {**headers, "X-Snapedge-Agent": "another"}
    assert requests.get(url, headers=second, timeout=5).status_code == 200
    assert requests.get(url, headers=headers, timeout=5).status_code == 409


def test_the_same_report_twice_is_one_report(site: FleetSite) -> None:
    site.publish("wine-rater", "1.0.0", "stable")
    headers = enrolled(site)
    requests.get(f"{site.url}/v1/d/d1/state", headers=headers, timeout=5)
    site.tick()
    site.tick()
    requests.get(f"{site.url}/v1/d/d1/state", headers=headers, timeout=5)
    for _ in range(3):
        assert report(site, headers, 1, [snap()]).json() == {"accepted": True, "last": 1}
    (wave, *_) = site.call("status")["tracks"][0]["rollout"]["waves"]
    assert (wave["offered"], wave["confirmed"], wave["failed"]) == (0, 1, 0)


def test_a_report_that_was_overtaken_changes_nothing(site: FleetSite) -> None:
    headers = enrolled(site)
    report(site, headers, 5, [snap()])
    assert report(site, headers, 4, [snap("failed")]).json() == {"accepted": False, "last": 5}
    (shown,) = site.call("device-show", device="d1")["snaps"]
    assert shown["outcome"] == "confirmed"


def test_one_sequence_with_two_contents_is_two_agents(site: FleetSite) -> None:
    headers = enrolled(site)
    report(site, headers, 1, [snap()])
    refused = report(site, headers, 1, [snap("failed")])
    assert (refused.status_code, refused.json()["details"]) == (409, "report 1 came twice with different content")


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"{", 400, "the body is not JSON"),
        (b"[]", 400, "the body is not a JSON object"),
        (b"{}", 409, "the report of d1 is refused: KeyError: 'format'"),
        (b'{"format":2,"sequence":1,"snaps":[]}', 409, "format 2 is not 1"),
        (b'{"format":1,"sequence":0,"snaps":[]}', 409, "sequence 0 is not a whole number from 1"),
        (b'{"format":1,"sequence":1,"snaps":[{}]}', 409, "KeyError: 'snap'"),
        (
            b'{"format":1,"sequence":1,"snaps":[{"snap":"ab","revision":1,"version":"1","outcome":"fine"}]}',
            409,
            "outcome 'fine' of ab is none of",
        ),
        (b'{"format":1,"sequence":1,"snaps":[],"note":"' + b"x" * MAX_BODY + b'"}', 413, "the body is larger than"),
    ],
)
def test_a_bad_report_is_refused_and_the_server_goes_on(site: FleetSite, body: bytes, status: int, error: str) -> None:
    headers = enrolled(site)
    answer = requests.post(f"{site.url}/v1/d/d1/report", data=body, headers=headers, timeout=5)
    assert answer.status_code == status
    assert error in answer.json()["error"]
    assert requests.get(f"{site.url}/v1/health", timeout=5).json() == {"ok": True}


def test_why_says_what_decides(site: FleetSite) -> None:
    headers = enrolled(site)
    site.call("hold", device="d1", why="on the bench")
    answer = requests.get(f"{site.url}/v1/d/d1/why", headers=headers, timeout=5)
    assert answer.json()["why"] == [
        "it belongs to group lab (every device)",
        "it is held: on the bench",
        "wine-rater follows latest/stable: nothing was released there",
    ]


def test_store_files_come_in_ranges_with_their_digest_as_etag(site: FleetSite) -> None:
    site.publish("wine-rater", "1.0.0", "stable", pad=1_000)
    known = site.store.index().snaps[next(iter(site.store.index().snaps))].revisions[0]
    url = f"{site.url}/v1/store/{known.file}"
    headers = enrolled(site)
    whole = requests.get(url, headers=headers, timeout=5)
    assert (whole.status_code, whole.headers["ETag"], len(whole.content)) == (200, f'"{known.sha3_384}"', known.size)
    part = requests.get(url, headers={**headers, "Range": "bytes=100-", "If-Range": whole.headers["ETag"]}, timeout=5)
    assert (part.status_code, part.content) == (206, whole.content[100:])
    other = requests.get(url, headers={**headers, "Range": "bytes=100-", "If-Range": '"other"'}, timeout=5)
    assert (other.status_code, len(other.content)) == (200, known.size)


def test_store_files_need_a_token(site: FleetSite) -> None:
    assert requests.get(f"{site.url}/v1/store/index.json", timeout=5).status_code == 401
    wrong = {"Authorization": "Bearer guess"}
    assert requests.get(f"{site.url}/v1/store/index.json", headers=wrong, timeout=5).status_code == 401


@pytest.mark.parametrize("path", ["snaps/x.snap", "snaps/" + "0" * 96 + ".snap", "../data/fleet.db", ".lock", "snaps"])
def test_nothing_else_of_the_store_is_served(site: FleetSite, path: str) -> None:
    site.publish("wine-rater", "1.0.0", "stable")
    answer = requests.get(f"{site.url}/v1/store/{path}", headers=ADMIN, timeout=5)
    assert answer.status_code == 404


def test_the_store_alone_is_served_to_every_reader(site: FleetSite) -> None:
    site.publish("wine-rater", "1.0.0", "stable")
    with serving(store_application(site.store)) as url:
        index = requests.get(f"{url}/index.json", timeout=5)
        (known, *_) = index.json()["snaps"]["wine-rater"]["revisions"]
        file = requests.get(f"{url}/snaps/{known['sha3_384']}.snap", timeout=5)
    assert len(file.content) == known["size"]


def test_operators_need_the_admin_token(site: FleetSite) -> None:
    headers = enrolled(site)
    for wrong in ({}, {"Authorization": "Bearer guess"}, headers):
        assert requests.get(f"{site.url}/v1/admin/status", headers=wrong, timeout=5).status_code == 401


def test_reading_operations_answer_get_and_changing_ones_do_not(site: FleetSite) -> None:
    assert requests.get(f"{site.url}/v1/admin/group-list", headers=ADMIN, timeout=5).json()[0]["name"] == "lab"
    refused = requests.get(f"{site.url}/v1/admin/pause?snap=x", headers=ADMIN, timeout=5)
    assert (refused.status_code, refused.json()["error"]) == (405, "pause changes the fleet: POST it")


def test_a_remote_client_says_what_a_local_one_says(site: FleetSite) -> None:
    remote = RemoteFleet(site.url, ADMIN_TOKEN, actor="anna")
    try:
        assert remote.call("group-list") == site.call("group-list")
        with pytest.raises(ServerRefusalError) as caught:
            remote.call("group-set", name="labb")
        assert str(caught.value) == "no group is called 'labb'; did you mean lab?"
        assert caught.value.exit_code == 2
    finally:
        remote.close()


def test_a_server_that_is_away_is_said_in_one_line() -> None:
    remote = RemoteFleet("http://127.0.0.1:1", "x", actor="anna")
    with pytest.raises(ServerAwayError) as caught:
        remote.call("status")
    remote.close()
    assert str(caught.value) == (
        "the fleet server http://127.0.0.1:1 is away: Connection refused; start it with fleet serve, or wait"
    )
    assert caught.value.exit_code == 4


def test_a_damaged_store_stops_nothing_but_itself(site: FleetSite) -> None:
    site.store.root.mkdir(exist_ok=True)
    (site.store.root / "index.json").write_text("{")
    answer = requests.get(f"{site.url}/v1/admin/store", headers=ADMIN, timeout=5)
    assert answer.status_code == 500
    assert "is not JSON" in json.loads(answer.content)["error"]
    assert requests.get(f"{site.url}/v1/d/d1/state", headers=enrolled(site), timeout=5).status_code == 200
