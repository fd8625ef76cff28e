"""Commands about devices and groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import rendering
from .agent.secrets import write_secret
from .clioptions import PATH, Connection, as_json, connected, open_client


@click.group()
def group() -> None:
    """Groups of devices."""


@group.command("add")
@click.argument("name")
@click.option("--selector", default="", help="Which devices, like site=lab,arch in (amd64,arm64); all unless given.")
@click.option(
    "--follow", "follows", multiple=True, metavar="SNAP=CHANNEL", help="A channel to follow; may be repeated."
)
@connected
def group_add(connection: Connection, name: str, selector: str, follows: tuple[str, ...]) -> None:
    """Make a group. A device belongs to the first group that holds it."""
    with open_client(connection) as fleet:
        _print_group(fleet.call("group-add", name=name, selector=selector, follows=list(follows)))


@group.command("set")
@click.argument("name")
@click.option("--selector", help="Which devices.")
@click.option(
    "--follow", "follows", multiple=True, metavar="SNAP=CHANNEL", help="A channel to follow; may be repeated."
)
@click.option("--unfollow", multiple=True, metavar="SNAP", help="A snap to leave alone from now on.")
@connected
def group_set(
    connection: Connection, name: str, selector: str | None, follows: tuple[str, ...], unfollow: tuple[str, ...]
) -> None:
    """Change a group."""
    with open_client(connection) as fleet:
        arguments = {"name": name, "selector": selector, "follows": list(follows), "unfollow": list(unfollow)}
        _print_group(fleet.call("group-set", **arguments))


@group.command("list")
@as_json
@connected
def group_list(connection: Connection, output: str) -> None:
    """Every group, in the order that decides."""
    with open_client(connection) as fleet:
        found = fleet.call("group-list")
    if output == "json":
        rendering.print_json(found)
        return
    rows = [
        (
            one["name"],
            one["selector"] or "every device",
            ", ".join(f"{snap}={channel}" for snap, channel in one["follows"].items()) or None,
            one["devices"],
        )
        for one in found
    ]
    rendering.print_table(("group", "selector", "follows", "devices"), rows, empty="no groups yet: fleet group add")


@click.group()
def device() -> None:
    """Devices."""


@device.command("add")
@click.argument("name")
@click.option("--arch", required=True, help="amd64 or arm64.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label; may be repeated.")
@click.option("--claim-file", type=PATH, help="Write the claim word there (0600) instead of printing it.")
@connected
def device_add(connection: Connection, name: str, arch: str, labels: tuple[str, ...], claim_file: Path | None) -> None:
    """Declare a device and make the word it enrols with, once."""
    with open_client(connection) as fleet:
        made = fleet.call("device-add", device=name, architecture=arch, labels=list(labels))
    _give_claim(name, made["claim"], claim_file)


@device.command("claim")
@click.argument("name")
@click.option("--claim-file", type=PATH, help="Write the claim word there (0600) instead of printing it.")
@connected
def device_claim(connection: Connection, name: str, claim_file: Path | None) -> None:
    """Make a new word for a device that is to enrol again."""
    with open_client(connection) as fleet:
        made = fleet.call("device-claim", device=name)
    _give_claim(name, made["claim"], claim_file)


@device.command("label")
@click.argument("name")
@click.argument("labels", nargs=-1, metavar="[KEY=VALUE | KEY-]...")
@connected
def device_label(connection: Connection, name: str, labels: tuple[str, ...]) -> None:
    """Set labels of a device, or take them away with KEY-."""
    gone = [label[:-1] for label in labels if label.endswith("-") and "=" not in label]
    added = [label for label in labels if not (label.endswith("-") and "=" not in label)]
    with open_client(connection) as fleet:
        changed = fleet.call("device-label", device=name, labels=added, unlabel=gone)
    text = ",".join(f"{key}={value}" for key, value in sorted(changed["labels"].items())) or "no labels"
    click.echo(f"{name}: {text}; group {changed['group'] or '-'}")


@device.command("list")
@click.option("--group", "group_name", help="Only this group's.")
@as_json
@connected
def device_list(connection: Connection, group_name: str | None, output: str) -> None:
    """Every device, declared and observed."""
    with open_client(connection) as fleet:
        found = fleet.call("device-list", group=group_name)
    if output == "json":
        rendering.print_json(found)
        return
    rows = [
        (
            one["device"],
            one["architecture"],
            one["group"],
            ",".join(f"{key}={value}" for key, value in sorted(one["labels"].items())),
            one["is_enrolled"],
            one["seen_at"],
            ", ".join(f"{snap['snap']} {snap['version']} {snap['outcome']}" for snap in one["snaps"]),
        )
        for one in found
    ]
    columns = ("device", "arch", "group", "labels", "enrolled", "seen", "snaps")
    rendering.print_table(columns, rows, empty="no devices yet: fleet device add")


@device.command("show")
@click.argument("name")
@as_json
@connected
def device_show(connection: Connection, name: str, output: str) -> None:
    """One device, and why it is to have what it is to have."""
    with open_client(connection) as fleet:
        found = fleet.call("device-show", device=name)
    if output == "json":
        rendering.print_json(found)
        return
    for line in found["why"]:
        click.echo(line)
    rows = [
        (one["snap"], one["version"], one["revision"], one["outcome"], one["code"] or None, one["message"] or None)
        for one in found["snaps"]
    ]
    columns = ("snap", "version", "revision", "state", "code", "message")
    rendering.print_table(columns, rows, empty="it has reported nothing yet")


@device.command("remove")
@click.argument("name")
@connected
def device_remove(connection: Connection, name: str) -> None:
    """Forget a device; what it runs stays as it is."""
    with open_client(connection) as fleet:
        fleet.call("device-remove", device=name)
    click.echo(f"{name} is forgotten")


@click.command()
@click.argument("name")
@click.option("--why", required=True, help="The reason, shown wherever the device is.")
@click.option("--hours", type=float, help="For how long; until unhold unless given.")
@connected
def hold(connection: Connection, name: str, why: str, hours: float | None) -> None:
    """Leave a device as it is."""
    with open_client(connection) as fleet:
        fleet.call("hold", device=name, why=why, seconds=None if hours is None else max(1, round(hours * 3600)))
    click.echo(f"{name} is held: {why}")


@click.command()
@click.argument("name")
@connected
def unhold(connection: Connection, name: str) -> None:
    """Let a held device follow its group again."""
    with open_client(connection) as fleet:
        fleet.call("unhold", device=name)
    click.echo(f"{name} follows its group again")


COMMANDS: tuple[click.Command, ...] = (group, device, hold, unhold)


def _print_group(changed: dict[str, Any]) -> None:
    follows = ", ".join(f"{snap}={channel}" for snap, channel in changed["follows"].items()) or "nothing"
    count = "1 device" if changed["devices"] == 1 else f"{changed['devices']} devices"
    click.echo(f"{changed['name']}: {changed['selector'] or 'every device'}; follows {follows}; {count}")


def _give_claim(name: str, word: str, path: Path | None) -> None:
    if path is None:
        click.echo(word)
        return
    # The word is known to nobody else: who cannot be given it needs a new one.
    write_secret(path, word, resolution=f"then make {name} a new word: fleet device claim {name} --claim-file FILE")
    click.echo(f"the claim word is in {path}", err=True)
