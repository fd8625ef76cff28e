"""`builder publish`: parse, call one function, print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .clioutput import FORMAT, show
from .interruption import sigterm_interrupts

if TYPE_CHECKING:
    from snapedge_hooks.channels import Channel

    from .publication import Publication
    from .publicationplan import PublishPlan
    from .remotestore import RemoteStore

SNAPCRAFT, SNAP_STORE = "snapcraft", "snap-store"


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--store",
    "store_name",
    required=True,
    envvar="SNAPEDGE_STORE",
    metavar="FOLDER|snapcraft|snap-store",
    help="Folder of a directory store, made where absent; `snapcraft`: the Snap Store, by snapcraft's command; or "
    "`snap-store`: the Snap Store, by its HTTP API.",
)
@click.option("--channel", help="Release to this channel, such as candidate; pushed only where not given.")
@click.option("--register", is_flag=True, help="Register names that are not registered yet, in the Snap Store.")
@click.option(
    "--wait",
    "seconds",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    help="Seconds that the Snap Store may take to review what it was sent.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and why; do nothing.")
@FORMAT
def publish(
    files: tuple[Path, ...],
    store_name: str,
    channel: str | None,
    register: bool,
    seconds: float,
    dry_run: bool,
    form: str,
) -> None:
    """Push .snap FILES to a store, all architectures of a version or none.

    Every file is verified before anything is pushed, and everything is pushed and approved before anything is released.
    Doing it again goes on where it ended, and changes nothing where all is done.

    The Snap Store's login is read from SNAPCRAFT_STORE_CREDENTIALS, as `snapcraft export-login` writes it.
    """
    from snapedge_hooks.channels import Channel

    try:
        target = None if channel is None else Channel.parse(channel)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--channel") from error
    if not store_name:
        raise click.BadParameter("is empty; write . for the current folder", param_hint="--store")
    with sigterm_interrupts():
        remote = _remote(store_name)
        if remote is None:
            _to_folder(files, Path(store_name), target, dry_run, form)
        else:
            _to_store(files, remote, target, register, seconds, dry_run, form)


def _remote(name: str) -> RemoteStore | None:
    from snapedge_hooks.clock import SystemClock

    if name == SNAPCRAFT:
        from .snapcraftcli import SnapcraftCli

        return SnapcraftCli(clock=SystemClock())
    if name == SNAP_STORE:
        from .snapstore import SnapStore

        return SnapStore(clock=SystemClock())
    return None


def _to_folder(files: Sequence[Path], folder: Path, channel: Channel | None, dry_run: bool, form: str) -> None:
    from snapedge_hooks.directorystore import DirectoryStore

    from . import publication

    store = DirectoryStore(folder)
    if dry_run:
        _show_plan(publication.plan(files, store=store, channel=channel), form)
    else:
        _show_published(publication.publish(files, store=store, channel=channel), form)


def _to_store(
    files: Sequence[Path],
    store: RemoteStore,
    channel: Channel | None,
    register: bool,
    seconds: float,
    dry_run: bool,
    form: str,
) -> None:
    from snapedge_hooks.clock import SystemClock

    from . import presentation, remotepublication

    request = remotepublication.Request(paths=files, channel=channel, register=register, seconds=seconds)
    if dry_run:
        _show_plan(remotepublication.plan(request, store), form)
        return
    with presentation.stderr_progress() as progress:
        published = remotepublication.publish(request, store, progress=progress, clock=SystemClock())
    _show_published(published, form)


def _show_plan(plan: PublishPlan, form: str) -> None:
    document: list[dict[str, Any]] = [
        {
            "kind": str(action.kind),
            "name": action.name,
            "architecture": action.architecture and str(action.architecture),
            "reason": action.reason,
            "skip": action.skip,
            "revision": action.revision and int(action.revision),
        }
        for action in plan.actions
    ]
    show(form, document, "\n".join(str(action) for action in plan.actions))


def _show_published(published: Sequence[Publication], form: str) -> None:
    document = [
        {
            "name": found.name,
            "version": found.version,
            "revisions": {str(architecture): int(number) for architecture, number in found.revisions.items()},
            "channel": found.channel and str(found.channel),
        }
        for found in published
    ]
    lines = [
        f"{found.name} {found.version}: "
        + ", ".join(f"{architecture} revision {number}" for architecture, number in found.revisions.items())
        + (f", released to {found.channel}" if found.channel else ", not released")
        for found in published
    ]
    show(form, document, "\n".join(lines))
