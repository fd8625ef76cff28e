"""`fleet virtual`: devices without hardware."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from snapedge_hooks.errors import SnapedgeError
from snapedge_hooks.vocabulary import Architecture

from . import claims as claimwords
from .virtualfleet import DeviceReport, UpRequest, VirtualFleet

_WIDE: Final = 200
_ROOT = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="SNAPEDGE_VIRTUAL_ROOT",
    default=lambda: _default_root(),
    show_default="$XDG_STATE_HOME/snapedge/virtual",
    help="Folder of the devices; several roots can be up at once.",
)


@click.group("virtual")
def virtual_group() -> None:
    """Devices without hardware: snapd, registry and Kubernetes that answer as the real ones do."""


@virtual_group.command()
@_ROOT
@click.option("--count", type=click.IntRange(1, 250), help="How many; they are called device-1, device-2, ...")
@click.option("--names", help="Names instead, separated by commas.")
@click.option("--server", default="", help="URL of the fleet's server; each device then runs the agent.")
@click.option(
    "--claim-token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Claim words for the agents: lines of a device's name and its word, or one word alone.",
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label of the devices; may be repeated.")
@click.option(
    "--architecture",
    type=click.Choice([one.value for one in Architecture]),
    default=lambda: Architecture.of_machine(platform.machine()).value,
    show_default="this machine's",
    help="What the devices say they are.",
)
@click.option("--die-with-parent", is_flag=True, help="The devices end when the process that ran this command does.")
def up(
    root: Path,
    count: int | None,
    names: str | None,
    server: str,
    claim_token_file: Path | None,
    labels: tuple[str, ...],
    architecture: str,
    die_with_parent: bool,
) -> None:
    """Start devices, and return when they are ready.

    Devices that were up in this root before come back as they were.
    """
    if (count is None) == (names is None):
        raise click.UsageError("give either --count or --names")
    wanted = [f"device-{number}" for number in range(1, (count or 0) + 1)]
    wanted = [name.strip() for name in names.split(",") if name.strip()] if names is not None else wanted
    if len(set(wanted)) != len(wanted) or not wanted:
        raise click.UsageError("--names needs names, each once")
    if claim_token_file is not None and not server:
        raise click.UsageError("--claim-token-file needs --server")
    request = UpRequest(
        names=wanted,
        architecture=architecture,
        labels=_labels(labels),
        server=server,
        claims=claimwords.read(claim_token_file) if claim_token_file is not None else None,
        bound_to=os.getppid() if die_with_parent else None,
    )
    for record in VirtualFleet(root).up(request):
        click.echo(f"{record.name} is up at {record.addresses.host}")


@virtual_group.command()
@_ROOT
@click.option("--format", "shape", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(root: Path, shape: str) -> None:
    """Show the devices: their snaps, their health, where their models answer."""
    reports = VirtualFleet(root).status()
    if shape == "json":
        click.echo(json.dumps([report.to_json() for report in reports], indent=2, sort_keys=True))
    elif not reports:
        click.echo(f"no virtual devices in {root}", err=True)
    else:
        # Lines in a file or a pipe are never cut.
        Console(width=None if sys.stdout.isatty() else _WIDE).print(_table(reports))


@virtual_group.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_ROOT
@click.argument("device")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(root: Path, device: str, command: tuple[str, ...]) -> None:
    """Run COMMAND on DEVICE: `snap ...`, or any other with the device's programs and cluster at hand."""
    fleet = VirtualFleet(root)
    record = fleet.find_running(device)
    paths = fleet.paths(device)
    environment = os.environ | {
        "PATH": f"{paths.programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "SNAPD_SOCKET": record.socket,
        "KUBECONFIG": str(paths.data("microk8s", "current") / "credentials" / "client.config"),
        "SNAPEDGE_DEVICE": record.name,
        "SNAPEDGE_ADDRESS": record.addresses.host,
    }
    arguments = command[1:] if command[0] == "--" else command
    sys.stdout.flush()
    try:
        os.execvpe(arguments[0], arguments, environment)  # noqa: S606 - the command is what the user asks for
    except OSError as error:
        raise SnapedgeError(f"cannot run {arguments[0]}: {error.strerror}") from error


@virtual_group.command()
@_ROOT
@click.option("--purge", is_flag=True, help="Forget what the devices have as well; only for all of them.")
@click.argument("devices", nargs=-1)
def down(root: Path, purge: bool, devices: tuple[str, ...]) -> None:
    """End all devices of the root, or those named; what they have stays for the next `up`."""
    if purge and devices:
        raise click.UsageError("--purge is for all devices of the root")
    fleet = VirtualFleet(root)
    ended = fleet.down(devices)
    click.echo(f"ended {', '.join(ended)}" if ended else "nothing was running")
    if purge:
        fleet.purge()


def _default_root() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "snapedge" / "virtual"


def _labels(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise click.UsageError(f"--label {text}: want key=value")
        found[key] = value
    return found


def _table(reports: list[DeviceReport]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("DEVICE", "ADDRESS", "STATE", "SNAP", "VERSION", "REV", "HEALTH", "ENDPOINT"):
        table.add_column(heading, no_wrap=True)
    for report in reports:
        first = (report.record.name, report.record.addresses.host, "up" if report.running else "down")
        for position, snap in enumerate(report.snaps or [{}]):
            health = snap.get("health") or {}
            words = " ".join(str(health[key]) for key in ("status", "code") if health.get(key))
            url = next((url for key, url in report.endpoints.items() if key.endswith(f"/{_object(snap)}")), "")
            known = (str(snap.get("name", "")), str(snap.get("version", "")), str(snap.get("revision", "")))
            table.add_row(*(first if position == 0 else ("", "", "")), *known, words, url)
    return table


def _object(snap: object) -> str:
    name = snap.get("name", "") if isinstance(snap, dict) else ""
    return str(name).replace("_", "-")
