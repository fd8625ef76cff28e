"""The page on devices shows the states, hooks and steps that the code has."""

import re
from pathlib import Path

import pytest

from snapedge_hooks import device, outcomes
from snapedge_hooks.convergence import ActionKind
from snapedge_hooks.vocabulary import HealthCode, HealthStatus

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture" / "device.md").read_text()


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def drawing(title: str) -> str:
    """The lines of a section that are drawn."""
    return "\n".join(line for line in section(title).splitlines() if line.startswith("    "))


def boxes(text: str) -> list[str]:
    """What the boxes of a drawing say, each in one line; arrows and other boxes beside it do not count."""
    lines, found = text.splitlines(), []
    for top, line in enumerate(lines):
        for edge in re.finditer("┌─+┐", line):
            inside = []
            for below in lines[top + 1 :]:
                part = below[edge.start() + 1 : edge.end() - 1]
                if set(part) <= set("─┬┴┘└"):
                    break
                inside.append(part.strip())
            found.append(" ".join(inside))
    return found


def test_the_states_are_the_health_codes_each_with_its_status() -> None:
    shown: dict[str, HealthStatus] = {}
    for box in boxes(drawing("States")):
        status, colon, codes = box.partition(": ")
        if colon:
            shown |= dict.fromkeys(codes.replace(",", " ").split(), HealthStatus(status))
    assert shown == {code.value: code.status for code in HealthCode}
    assert "okay" in boxes(drawing("States"))


def test_the_hooks_and_services_are_those_of_the_snap() -> None:
    words = set(re.findall(r"^ +([a-z][-a-z0-9]+) ─", drawing("Hooks and services"), re.MULTILINE))
    assert words | {"check-health"} == {*device.HOOKS, *device.APPS}
    assert "check-health" in drawing("Hooks and services")


def test_every_path_names_hooks_that_there_are() -> None:
    table = section("Which path starts what")
    assert set(re.findall(r"\b(?:connect-plug|pre|post)-[-a-z0-9]+|check-health", table)) <= set(device.HOOKS)


def test_the_steps_are_the_actions_in_their_order() -> None:
    text = section("The steps of a convergence").partition(".")[0]
    shown = [word for word in re.findall(r"[a-z]+(?:-[a-z]+)*", text) if word in {kind.value for kind in ActionKind}]
    apart = {ActionKind.WRITE_ARCHIVE, ActionKind.PUSH_SIGNATURE}
    assert shown == [kind.value for kind in ActionKind if kind not in apart]


@pytest.mark.parametrize("code", HealthCode)
def test_a_person_finds_what_to_do_about_every_code(code: HealthCode) -> None:
    assert f"| `{code.value}` | " in (ROOT / "docs" / "how-to" / "ubuntu-core.md").read_text()
    contracts = (ROOT / "docs" / "architecture" / "contracts.md").read_text()
    assert code.value in contracts.partition("## Health codes")[2].partition("## ")[0]


def test_the_hooks_minutes_are_those_of_the_code() -> None:
    assert f"tries again for {outcomes.HOOK_BUDGET / 60:.0f} minutes" in PAGE
