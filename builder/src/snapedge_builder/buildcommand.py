"""`builder plan` and `builder build`: parse, call one function, print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snapedge_hooks.vocabulary import Architecture

from .clioutput import CACHE, FORMAT, show

if TYPE_CHECKING:
    from .building import BuildRequest

OUTPUT = click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("dist"),
    show_default=True,
    help="Folder the snaps and their record are written to.",
)
RUNTIME = click.option(
    "--runtime",
    "runtime_folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the runtime a model is built on; ../runtime-<name> beside the model's where not given.",
)
ARCHITECTURE = click.option(
    "--architecture",
    "-a",
    "architectures",
    multiple=True,
    type=click.Choice([architecture.value for architecture in Architecture]),
    help="Build for this one only; may be repeated. All that the folder declares where not given.",
)
REFRESH = click.option(
    "--refresh", is_flag=True, help="Ask mirrors and index again for the runtime's packages and wheels."
)


class _FolderPath(click.Path):
    """A path that is not empty: an unset variable in a script is no way to name the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path as `pathlib` has it."""
        if value == "":
            self.fail("is empty; write . for the current folder", param, ctx)
        return super().convert(value, param, ctx)


FOLDER = click.argument("folder", type=_FolderPath(path_type=Path))


@click.command()
@FOLDER
@RUNTIME
@ARCHITECTURE
@OUTPUT
@CACHE
@REFRESH
@FORMAT
def plan(
    folder: Path,
    runtime_folder: Path | None,
    architectures: tuple[str, ...],
    output: Path,
    cache_folder: Path | None,
    refresh: bool,
    form: str,
) -> None:
    """Say what building FOLDER would do, and why; build nothing."""
    from . import building, cache, runtimesource

    request = building.BuildRequest(
        folder=folder, runtime_folder=runtime_folder, architectures=parsed(architectures), output=output
    )
    opened = cache.Cache(cache_folder or cache.default_root())
    made = building.plan_build(request, cache=opened, source=runtimesource.ComposedRuntimes(opened, refresh=refresh))
    actions = [
        {
            "kind": str(action.kind),
            "architecture": action.architecture and str(action.architecture),
            "subject": action.subject,
            "reason": action.reason,
            "skip": action.skip,
        }
        for action in made.actions
    ]
    lines = [f"{made.name} {made.version}", *(f"  {action}" for action in made.actions)]
    show(form, {"name": made.name, "version": made.version, "actions": actions}, "\n".join(lines))


@click.command()
@FOLDER
@RUNTIME
@ARCHITECTURE
@OUTPUT
@CACHE
@REFRESH
@click.option(
    "--ship-failing-model",
    is_flag=True,
    help="Build a model although it answers its golden samples wrongly. The record says so; a strict gate on the "
    "devices will still refuse it.",
)
@FORMAT
def build(
    folder: Path,
    runtime_folder: Path | None,
    architectures: tuple[str, ...],
    output: Path,
    cache_folder: Path | None,
    refresh: bool,
    ship_failing_model: bool,
    form: str,
) -> None:
    """Build the snaps of FOLDER, which holds an inference.yaml or a runtime.yaml.

    A model is checked first, and asked its golden samples; wrong answers end the build with exit code 3. What did not
    change since the last build is not made again.

    A runtime's image is composed here, or built by `docker buildx` where the file says `build: {backend: buildx}`: by
    the builder in use, or the one that BUILDX_BUILDER names. SNAPEDGE_BUILDX is another command to call than
    `docker buildx`. The image is the same. With `build: {dockerfile: FILE}` it is one of your own.
    """
    from . import building

    request = building.BuildRequest(
        folder=folder,
        runtime_folder=runtime_folder,
        architectures=parsed(architectures),
        output=output,
        ship_failing=ship_failing_model,
    )
    build_and_show(request, cache_folder, refresh=refresh, form=form)


def build_and_show(request: BuildRequest, cache_folder: Path | None, *, refresh: bool, form: str) -> None:
    """Build what is asked for, and print each snap."""
    from . import building, cache, presentation, runtimesource

    opened = cache.Cache(cache_folder or cache.default_root())
    source = runtimesource.ComposedRuntimes(opened, refresh=refresh)
    with presentation.stderr_progress() as progress:
        done = building.build(request, cache=opened, source=source, progress=progress)
    for warning in done.warnings:
        click.secho(f"warning: {warning}", err=True, fg="yellow", bold=True)
    lines = [
        f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}  "
        f"{presentation.as_size(snap.size)}  {'unchanged' if snap_is_old else 'packed'}"
        for path, snap, snap_is_old in done.lines()
    ]
    show(form, done.record.document | {"warnings": list(done.warnings)}, "\n".join(lines))


def parsed(architectures: Sequence[str]) -> tuple[Architecture, ...]:
    """The architectures that somebody named."""
    return tuple(Architecture.parse(word) for word in architectures)
