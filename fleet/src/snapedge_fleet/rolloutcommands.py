"""Commands about releases on their way: see, promote, watch, stop, look back."""

from __future__ import annotations

import sys
import time

import click
from rich.console import Console
from rich.live import Live

from snapedge_hooks.channels import Channel

from . import rendering, watching
from .clioptions import Connection, as_json, connected, open_client


@click.command()
@click.argument("snap", required=False)
@as_json
@connected
def status(connection: Connection, snap: str | None, output: str) -> None:
    """The fleet at a glance."""
    with open_client(connection) as fleet:
        found = fleet.call("status", snap=snap)
    if output == "json":
        rendering.print_json(found)
    else:
        rendering.print_view(rendering.status_view(found))


@click.command()
@click.argument("snap")
@click.option("--from", "source", required=True, help="The channel that has the release.")
@click.option("--to", "target", required=True, help="The channel that is to get it.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@connected
def promote(connection: Connection, snap: str, source: str, target: str, dry_run: bool, yes: bool, output: str) -> None:
    """Move a release to another channel, all architectures or none; devices follow in waves. Prints its plan first."""
    _promote(connection, snap, source, target, dry_run=dry_run, yes=yes, output=output)


@click.command()
@click.argument("snap")
@click.option("--from", "source", required=True, help="The channel that has the release.")
@click.option("--to", "target", required=True, help="The channel that is to get it.")
@as_json
@connected
def plan(connection: Connection, snap: str, source: str, target: str, output: str) -> None:
    """What a promotion would do: promote --dry-run."""
    _promote(connection, snap, source, target, dry_run=True, yes=False, output=output)


@click.command()
@as_json
@connected
def drift(connection: Connection, output: str) -> None:
    """Devices that do not have what they are to have, and why."""
    with open_client(connection) as fleet:
        found = fleet.call("drift")
    if output == "json":
        rendering.print_json(found)
        return
    rows = [
        (one["device"], one["group"], one["snap"], one["wanted"], one["has"], one["outcome"], one["why"])
        for one in found
    ]
    columns = ("device", "group", "snap", "wanted", "has", "state", "why")
    rendering.print_table(columns, rows, empty="every device has what it is to have")


@click.command()
@click.argument("subject", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many entries at most.")
@as_json
@connected
def history(connection: Connection, subject: str | None, limit: int, output: str) -> None:
    """What was done, to a snap, a device or a group, or to all."""
    with open_client(connection) as fleet:
        found = fleet.call("history", subject=subject, limit=limit)
    if output == "json":
        rendering.print_json(found)
    else:
        click.echo("\n".join(rendering.history_lines(found)) or "nothing was done yet")


@click.command()
@click.argument("snap", required=False)
@click.option("--channel", help="Only this channel's rollout.")
@click.option("--version", help="Wait for the rollout of this version.")
@click.option("--timeout", type=float, help="Give up after so many seconds.")
@click.option("--interval", type=float, default=1.0, show_default=True, help="Seconds between looks.")
@connected
def watch(
    connection: Connection,
    snap: str | None,
    channel: str | None,
    version: str | None,
    timeout: float | None,
    interval: float,
) -> None:
    """Follow rollouts until they end: 0 when complete, 3 when one halted."""
    try:
        wanted = None if channel is None else str(Channel.parse(channel))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    watched = watching.Watched(snap=snap, channel=wanted, version=version)
    with open_client(connection) as fleet:
        seen = watching.follow(fleet, watched, interval=interval, timeout=timeout, now=time.monotonic, wait=time.sleep)
        if sys.stdout.isatty():
            with Live(console=Console(), refresh_per_second=4) as live:
                for found in seen:
                    live.update(rendering.status_view(found))
            return
        last: dict[str, str] = {}
        is_told = False
        for found in seen:
            if not is_told and all(track["rollout"] is None for track in found["tracks"] if watched.means(track)):
                # Who waits for what never comes is to know that it is waited for.
                click.echo("no rollout yet; waiting for one", err=True)
            is_told = True
            for track in found["tracks"]:
                if track["rollout"] is None or not watched.means(track):
                    continue
                line = rendering.rollout_line(track["rollout"])
                if last.get(f"{track['snap']} {track['channel']}") != line:
                    last[f"{track['snap']} {track['channel']}"] = line
                    click.echo(f"{time.strftime('%H:%M:%S')} {line}")


def _rollout_command(name: str, text: str) -> click.Command:
    @click.command(name, help=text)
    @click.argument("snap")
    @click.option("--channel", help="Which channel's rollout, where there are several.")
    @connected
    def order(connection: Connection, snap: str, channel: str | None) -> None:
        with open_client(connection) as fleet:
            done = fleet.call(name, snap=snap, channel=channel)
        click.echo(f"{done['snap']} {done['version']} on {done['channel']}: {done['phase']}: {done['reason']}")

    return order


pause = _rollout_command("pause", "Leave a rollout's waves as they are.")
resume = _rollout_command("resume", "Let a paused rollout go on.")
rollback = _rollout_command("rollback", "Close every wave of a rollout: its devices go back to what they had.")


@click.group()
def audit() -> None:
    """The audit log."""


@audit.command("verify")
@as_json
@connected
def audit_verify(connection: Connection, output: str) -> None:
    """Check that no entry was changed, added or removed by hand."""
    with open_client(connection) as fleet:
        found = fleet.call("audit-verify")
    if output == "json":
        rendering.print_json(found)
    else:
        click.echo(f"{found['entries']} entries, unbroken; head {found['head']}")


COMMANDS: tuple[click.Command, ...] = (status, promote, plan, drift, history, watch, pause, resume, rollback, audit)


def _promote(
    connection: Connection, snap: str, source: str, target: str, *, dry_run: bool, yes: bool, output: str
) -> None:
    arguments = {"snap": snap, "from": source, "to": target}
    with open_client(connection) as fleet:
        planned = fleet.call("promote", **arguments, dry_run=True)
        if output == "table":
            click.echo("\n".join(rendering.plan_lines(planned)))
        if dry_run or planned["skip"]:
            if output == "json":
                rendering.print_json(planned)
            return
        if not yes and not sys.stdin.isatty():
            raise click.UsageError("nobody is here to be asked: say --yes, or --dry-run for the plan alone")
        if not yes and not click.confirm("go ahead?", err=True):
            raise click.Abort
        done = fleet.call("promote", **arguments)
    if output == "json":
        rendering.print_json(done)
    elif done["rollout"] is None:
        click.echo(f"{target} names {done['version']} now")
    else:
        click.echo(f"rollout {done['rollout']} began; follow it with fleet watch")
