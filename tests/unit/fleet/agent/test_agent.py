from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from snapedge_fleet.agent.agent import Agent
from snapedge_fleet.agent.memory import MemoryFile
from snapedge_fleet.errors import AgentRunningError, IdentityError, ServerRefusalError, TwoAgentsError
from snapedge_hooks.storeindex import Sha3
from snapedge_hooks.vocabulary import SnapName
from tests.fakes.fleetsite import NEEDS_ONNX, FleetSite, served_site
from tests.fakes.snapd import FakeSnapd, serving


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FleetSite]:
    with served_site(tmp_path / "fleet") as found:
        found.call("group-add", name="lab", selector="site=lab", follows=["wine-rater=candidate"])
        yield found


@pytest.fixture
def snapd() -> FakeSnapd:
    return FakeSnapd()


@pytest.fixture
def socket(tmp_path: Path, snapd: FakeSnapd) -> Iterator[Path]:
    with serving(snapd, tmp_path / "snapd.socket") as path:
        yield path


@pytest.fixture
def agent(site: FleetSite, socket: Path) -> Iterator[Agent]:
    """An enrolled agent that has asked once and found nothing to do."""
    found = site.agent("d1", socket, claim=site.add_device("d1", site="lab"))
    found.cycle()
    yield found
    found.close()


def shown(site: FleetSite) -> dict[str, tuple[str, str, str]]:
    found = site.call("device-show", device="d1")
    return {one["snap"]: (one["version"], one["outcome"], one["code"]) for one in found["snaps"]}


def phase(site: FleetSite) -> str:
    (track,) = site.call("status")["tracks"]
    return str(track["rollout"]["phase"])


def rounds(site: FleetSite, agent: Agent, count: int = 4) -> None:
    for _ in range(count):
        site.tick()
        site.clock.wait(11)
        agent.cycle()


def test_the_runtime_comes_first_then_the_model_both_held_and_connected(
    site: FleetSite, snapd: FakeSnapd, agent: Agent
) -> None:
    site.publish_runtime("1.0.0", "candidate")
    site.publish("wine-rater", "1.0.0", "candidate", runtime=NEEDS_ONNX, plugs=("mk8s",))
    rounds(site, agent)
    assert snapd.orders == [
        "install snapedge-onnx 1.0.0",
        "install wine-rater 1.0.0",
        "hold snapedge-onnx",
        "hold wine-rater",
        "connect wine-rater:mk8s",
    ]
    assert shown(site) == {"snapedge-onnx": ("1.0.0", "confirmed", ""), "wine-rater": ("1.0.0", "confirmed", "")}
    assert phase(site) == "complete"


def test_what_is_there_is_left_alone(site: FleetSite, snapd: FakeSnapd, agent: Agent) -> None:
    site.publish("wine-rater", "1.0.0", "candidate")
    rounds(site, agent)
    before = list(snapd.orders)
    rounds(site, agent)
    assert snapd.orders == before


def test_the_report_says_which_model_is_served_and_what_it_cost(site: FleetSite, agent: Agent) -> None:
    site.publish("wine-rater", "1.0.0", "candidate", pad=5_000)
    rounds(site, agent)
    (one,) = site.call("device-show", device="d1")["snaps"]
    known = site.store.index().snaps[SnapName("wine-rater")].revisions[0]
    assert (one["revision"], one["model"], one["bytes_downloaded"]) == (1, known.model_digest, known.size)


def test_a_refused_revision_is_reported_with_the_hooks_words_and_not_tried_again(
    site: FleetSite, snapd: FakeSnapd, agent: Agent
) -> None:
    site.publish("wine-rater", "1.0.0", "candidate")
    rounds(site, agent)
    site.publish("wine-rater", "1.1.0", "candidate", behaviour="refused")
    site.tick()
    site.tick()
    site.clock.wait(11)
    agent.cycle()
    (one,) = site.call("device-show", device="d1")["snaps"]
    assert (one["version"], one["outcome"], one["code"]) == ("1.0.0", "failed", "gate-failed")
    assert one["message"] == "sample row-3: label is off by 1"
    assert 'run hook "post-refresh"' in one["details"]
    for _ in range(3):
        site.clock.wait(11)
        agent.cycle()
    assert snapd.orders.count("install wine-rater 1.1.0") == 1
    rounds(site, agent)
    assert phase(site) == "halted"
    assert shown(site) == {"wine-rater": ("1.0.0", "confirmed", "")}


def test_a_snap_that_says_it_is_unwell_has_failed(site: FleetSite, snapd: FakeSnapd, agent: Agent) -> None:
    site.publish("wine-rater", "1.0.0", "candidate")
    rounds(site, agent)
    site.publish("wine-rater", "1.1.0", "candidate", behaviour="unwell")
    rounds(site, agent)
    assert phase(site) == "halted"
    assert snapd.version("wine-rater") == "1.0.0"
    assert "revert wine-rater" in snapd.orders


def test_a_snap_that_waits_is_confirmed_once_it_is_well(site: FleetSite, snapd: FakeSnapd, agent: Agent) -> None:
    site.publish("wine-rater", "1.0.0", "candidate", behaviour="waiting")
    rounds(site, agent)
    assert shown(site) == {"wine-rater": ("1.0.0", "waiting", "api-down")}
    assert phase(site) == "active"
    snapd.get_well("wine-rater")
    rounds(site, agent)
    assert phase(site) == "complete"


def test_silence_until_the_timeout_is_failure(site: FleetSite, agent: Agent) -> None:
    site.publish("wine-rater", "1.0.0", "candidate", behaviour="waiting")
    rounds(site, agent, 14)
    (track,) = site.call("status")["tracks"]
    assert track["rollout"]["phase"] == "halted"
    assert track["rollout"]["reason"] == "1 of 1 device failed: d1: waits: api-down"


def test_a_slot_that_is_missing_is_waited_for(site: FleetSite, snapd: FakeSnapd, agent: Agent) -> None:
    snapd.has_slot = False
    site.publish("wine-rater", "1.0.0", "candidate", plugs=("mk8s",))
    rounds(site, agent)
    assert shown(site) == {"wine-rater": ("1.0.0", "waiting", "no-slot")}
    snapd.has_slot = True
    rounds(site, agent)
    assert shown(site) == {"wine-rater": ("1.0.0", "confirmed", "")}


def test_a_busy_snapd_is_waited_for(site: FleetSite, snapd: FakeSnapd, agent: Agent) -> None:
    snapd.is_busy = True
    site.publish("wine-rater", "1.0.0", "candidate")
    rounds(site, agent)
    assert shown(site) == {"wine-rater": ("", "waiting", "snapd-busy")}
    snapd.is_busy = False
    rounds(site, agent)
    assert shown(site) == {"wine-rater": ("1.0.0", "confirmed", "")}


def test_an_agent_without_its_server_keeps_to_the_last_wish(site: FleetSite, snapd: FakeSnapd, tmp_path: Path) -> None:
    claim = site.add_device("d1", site="lab")
    with serving(snapd, tmp_path / "s") as socket:
        agent = site.agent("d1", socket, claim=claim)
        site.publish("wine-rater", "1.0.0", "candidate")
        agent.cycle()
        rounds(site, agent)
        agent.close()
        site.url = "http://127.0.0.1:1"
        del snapd.snaps["wine-rater"]
        alone = site.agent("d1", socket)
        pauses = []
        for _ in range(6):
            pauses.append(alone.cycle())
            site.clock.wait(2)
        alone.close()
    assert snapd.version("wine-rater") == "1.0.0", "the file was kept, so it went in again without the server"
    assert all(pause > 0 for pause in pauses)


def test_an_agent_without_snapd_says_so_and_goes_on(site: FleetSite, snapd: FakeSnapd, tmp_path: Path) -> None:
    site.publish("wine-rater", "1.0.0", "candidate")
    agent = site.agent("d1", tmp_path / "late.socket", claim=site.add_device("d1", site="lab"))
    agent.cycle()
    site.tick()
    site.tick()
    site.clock.wait(11)
    agent.cycle()
    note = site.call("device-show", device="d1")["note"]
    assert note == f"snapd does not answer on {tmp_path / 'late.socket'}: No such file or directory"
    with serving(snapd, tmp_path / "late.socket"):
        rounds(site, agent)
    agent.close()
    assert snapd.version("wine-rater") == "1.0.0"


class PowerCutError(Exception):
    """The agent's process ends here."""


def test_a_change_that_was_running_when_the_agent_died_is_seen_to_its_end(
    site: FleetSite, snapd: FakeSnapd, agent: Agent, socket: Path
) -> None:
    def die(_seconds: float) -> None:
        raise PowerCutError

    site.publish("wine-rater", "1.0.0", "candidate")
    snapd.looks_until_ready = 3
    site.tick()
    site.tick()
    agent.close()
    doomed = Agent(agent._setup, now=site.clock.now, wait=die, chance=lambda: 0.5)
    with pytest.raises(PowerCutError):
        doomed.cycle()
    doomed.close()
    again = site.agent("d1", socket)
    rounds(site, again)
    again.close()
    assert snapd.orders == ["install wine-rater 1.0.0", "hold wine-rater"]
    assert shown(site) == {"wine-rater": ("1.0.0", "confirmed", "")}


def test_a_second_agent_on_the_same_folder_is_refused(site: FleetSite, tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    with ExitStack() as stack:
        stack.enter_context(MemoryFile(state_dir).alone())
        with pytest.raises(AgentRunningError) as caught:
            stack.enter_context(MemoryFile(state_dir).alone())
    assert str(caught.value) == f"another agent runs on {state_dir}; stop it, or name another --state-dir"
    assert caught.value.exit_code == 3


def test_a_second_agent_for_the_same_device_ends_with_a_clear_error(
    site: FleetSite, agent: Agent, socket: Path, tmp_path: Path
) -> None:
    second_dir = site.folder / "agents" / "copy"
    second_dir.mkdir()
    token = (site.folder / "agents" / "d1" / "token").read_text()
    (second_dir / "token").write_text(token)
    second = site.agent("copy", socket)
    second.close()
    setup = second._setup
    copy = Agent(
        type(setup)(
            device="d1",
            server=setup.server,
            token_file=second_dir / "token",
            snapd_socket=socket,
            state_dir=second_dir,
            architecture=setup.architecture,
        ),
        now=site.clock.now,
        wait=site.clock.wait,
        chance=lambda: 0.5,
    )
    with pytest.raises(TwoAgentsError, match="two agents speak for device d1") as caught:
        copy.cycle()
    copy.close()
    assert caught.value.exit_code == 3


def test_an_agent_without_a_token_or_a_claim_ends(site: FleetSite, socket: Path) -> None:
    agent = site.agent("d1", socket)
    with pytest.raises(IdentityError, match=r"claim cannot be read: No such file"):
        agent.cycle()
    agent.close()


def test_a_claim_that_is_not_known_ends_the_agent(site: FleetSite, socket: Path) -> None:
    agent = site.agent("d1", socket, claim="guess")
    with pytest.raises(ServerRefusalError, match="the claim word for device d1 is not known"):
        agent.cycle()
    agent.close()


def test_the_token_is_its_owners_alone(site: FleetSite, agent: Agent) -> None:
    token = site.folder / "agents" / "d1" / "token"
    assert token.stat().st_mode & 0o777 == 0o600


def test_a_damaged_memory_is_begun_again(site: FleetSite, snapd: FakeSnapd, agent: Agent, socket: Path) -> None:
    site.publish("wine-rater", "1.0.0", "candidate")
    rounds(site, agent)
    agent.close()
    (site.folder / "agents" / "d1" / "agent.json").write_text("{")
    site.clock.wait(site.control.settings.lease)
    again = site.agent("d1", socket)
    rounds(site, again)
    again.close()
    assert shown(site) == {"wine-rater": ("1.0.0", "confirmed", "")}


def test_files_to_go_back_to_are_kept_and_older_ones_are_not(site: FleetSite, agent: Agent) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        site.publish("wine-rater", version, "candidate", pad=len(version))
        rounds(site, agent)
    kept = {path.name for path in (site.folder / "agents" / "d1" / "downloads").iterdir()}
    known = site.store.index().snaps[SnapName("wine-rater")].revisions
    of_device = [one for one in known if str(one.architecture) == "amd64"]
    assert kept == {f"{Sha3(one.sha3_384)}.snap" for one in of_device[1:]}


def test_a_server_asking_for_patience_gets_it(site: FleetSite, agent: Agent) -> None:
    assert agent.cycle() == 10.0, "half an interval and a chance of one half of it"
