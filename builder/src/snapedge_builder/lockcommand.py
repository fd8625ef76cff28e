"""`builder lock`: parse, call one function, print."""

from __future__ import annotations

from pathlib import Path

import click

from .clioutput import CACHE, FORMAT, show


@click.command("lock")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option("--upgrade", is_flag=True, help="Take what the mirrors offer now, security fixes among it.")
@click.option("--check", "only_check", is_flag=True, help="Write nothing, ask nobody: exit 3 where the lock is unfit.")
@CACHE
@FORMAT
def lock(folder: Path, upgrade: bool, only_check: bool, cache_folder: Path | None, form: str) -> None:
    """Pin what the runtime in FOLDER is built from: write runtime.lock beside its runtime.yaml.

    It holds every Debian package and every wheel by sha256, for all architectures of the runtime, with the same
    versions on each or the reason why not. Builds then take these and nothing else, and fail where a mirror no longer
    has one. FOLDER is the current one where not given.

    A lock that fits is left as it is. Where the server's requirements.lock changed, its wheels are pinned again; where
    the base in runtime.yaml did, its packages, too.
    """
    from . import cache, locking, presentation

    if only_check and upgrade:
        raise click.UsageError("--check and --upgrade exclude each other")
    if only_check:
        done = locking.check(folder)
    else:
        with presentation.stderr_progress() as progress:
            opened = cache.Cache(cache_folder or cache.default_root())
            done = locking.lock(folder, cache=opened, upgrade=upgrade, progress=progress)
    architectures = {
        str(architecture): {"packages": len(done.lock.packages[architecture]), "wheels": len(found)}
        for architecture, found in done.lock.wheels.items()
    }
    counts = "; ".join(
        f"{word}: {found['packages']} packages, {found['wheels']} wheels" for word, found in architectures.items()
    )
    lines = [f"{done.path}: {'written' if done.is_new else 'fits'} ({counts})"]
    lines += [f"  {change}" for change in done.changes]
    lines += [f"  differs: {name}: {reason}" for name, reason in done.lock.reasons.items()]
    document = {
        "file": str(done.path),
        "written": done.is_new,
        "architectures": architectures,
        "changes": list(done.changes),
        "differences": dict(done.lock.reasons),
    }
    show(form, document, "\n".join(lines))
