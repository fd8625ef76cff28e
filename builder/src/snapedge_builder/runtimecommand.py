"""`builder runtime`: parse, call one function, print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from snapedge_hooks.vocabulary import ModelFormat

from .buildcommand import ARCHITECTURE, FOLDER, OUTPUT, REFRESH, build_and_show, parsed
from .clioutput import CACHE, FORMAT, show

if TYPE_CHECKING:
    from .runtimeversions import RuntimeReport


@click.group()
def runtime() -> None:
    """Make, build and check the runtimes that models are put on.

    \b
    builder runtime new snaps/runtime-mine --kind onnx            write a folder for a runtime
    builder runtime build snaps/runtime-mine                      build its snaps into dist/
    builder runtime check snaps/runtime-mine --against OLD.snap   say whether its version may follow an older one
    builder runtime check snaps/runtime-mine dist/my-model_*.snap   say which models would be put on it
    """  # noqa: D301 - click keeps the lines of a paragraph that a backspace opens


@runtime.command()
@FOLDER
@click.option(
    "--kind",
    required=True,
    type=click.Choice([str(form) for form in ModelFormat]),
    help="The format of the models that it serves.",
)
@click.option(
    "--dockerfile",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Of an image of your own; it stays where it is. A server of ours where not given.",
)
@click.option(
    "--image",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the server's project; kserve-images/KIND in a folder above FOLDER where not given.",
)
@click.option("--name", help="Of the runtime; FOLDER's without `runtime-` where not given.")
@FORMAT
def new(folder: Path, kind: str, dockerfile: Path | None, image: Path | None, name: str | None, form: str) -> None:
    """Write FOLDER for a runtime, ready to be built."""
    from . import runtimescaffold

    if dockerfile is not None and image is not None:
        raise click.UsageError("--dockerfile and --image exclude each other")
    made = runtimescaffold.new_folder(folder, kind=ModelFormat(kind), dockerfile=dockerfile, image=image, name=name)
    lines = [
        f"{folder}: {', '.join(made.files)}",
        f"next: builder runtime build {folder}",
        f"then: builder build MODEL --runtime {folder}",
    ]
    show(form, {"folder": str(folder), "name": made.name, "files": list(made.files)}, "\n".join(lines))


@runtime.command()
@FOLDER
@ARCHITECTURE
@OUTPUT
@CACHE
@REFRESH
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A private key's file, from `builder key`, to sign the runtime with. May be repeated, while keys change.",
)
@FORMAT
def build(
    folder: Path,
    architectures: tuple[str, ...],
    output: Path,
    cache_folder: Path | None,
    refresh: bool,
    keys: tuple[Path, ...],
    form: str,
) -> None:
    """Build the snaps of the runtime in FOLDER, as `builder build` does, and sign what they bring.

    With --key, the snap carries a signature that the device lays beside the runtime: models that list the key in
    `runtime.keys` are put on it without being built again, after they have answered their golden samples on it.
    """
    from . import building

    building.check_runtime(folder)
    sign = None
    if keys:
        from . import runtimesigning

        sign = runtimesigning.signer(keys)
    request = building.BuildRequest(folder=folder, architectures=parsed(architectures), output=output, sign=sign)
    build_and_show(request, cache_folder, refresh=refresh, form=form)


@runtime.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--against",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The snap of an older version, to be followed. May be repeated, for each architecture.",
)
@CACHE
@FORMAT
def check(paths: tuple[Path, ...], against: tuple[Path, ...], cache_folder: Path | None, form: str) -> None:
    """Say of a runtime what it is, whether it may follow an older one, and which models would be put on it.

    PATHS are the folder of a runtime, or the snaps of its version; behind them may stand the snaps of models. Images
    of a folder that were not built before are made; nothing is packed.

    Another image needs a higher version, since devices tag it by that, and a break of what models rely on a higher
    interface. A model is put on a runtime that its snap lists, or one signed by a key that it lists. Where an older
    version or a model refuses the runtime, the exit code is 3.
    """
    from . import cache, presentation, runtimesource, runtimeversions

    opened = cache.Cache(cache_folder or cache.default_root())
    with presentation.stderr_progress() as progress:
        found = runtimeversions.check(
            paths, against, cache=opened, source=runtimesource.ComposedRuntimes(opened), progress=progress
        )
    show(form, found.to_value(), "\n".join(_lines(found)))
    if found.is_refused:
        raise runtimeversions.RuntimeRefusedError(found)


def _lines(found: RuntimeReport) -> Iterator[str]:
    from . import presentation

    yield f"runtime {found.name} {found.version}, interface {found.interface}"
    for one in found.runtimes:
        image = one.image
        signed = ", signed" if one.signatures else ""
        yield f"  {image.architecture}  {image.digest}  {presentation.as_size(image.size)}{signed}"
    for what, text in found.notes:
        yield f"  {what}: {text}"
    for verdict in found.versions:
        yield f"{verdict.outcome}  {verdict.architecture}  after {verdict.old}: {verdict.reason}"
        yield from (f"  {change}" for change in verdict.changes)
    for judged in found.models:
        yield f"{judged.outcome}  {judged.file}: {judged.reason}"
