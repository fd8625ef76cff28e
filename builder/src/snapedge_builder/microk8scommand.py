"""The command that makes the snap for MicroK8s: parse, call, print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from snapedge_hooks.configuration import DEFAULT_REGISTRY
from snapedge_hooks.vocabulary import Architecture, RegistryAddress, SnapName, SnapVersion

from .clioutput import CACHE, FORMAT, show

_T = TypeVar("_T")
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("microk8s-config")
@click.option(
    "--kserve",
    multiple=True,
    required=True,
    type=_FILE,
    metavar="FILE",
    help="KServe's YAML, as its project publishes it. May be repeated; applied in the order given.",
)
@click.option(
    "--cert-manager",
    "others",
    multiple=True,
    type=_FILE,
    metavar="FILE",
    help="cert-manager's YAML, or that of anything else KServe needs; applied before it. May be repeated.",
)
@click.option(
    "--image",
    "images",
    multiple=True,
    type=_FILE,
    metavar="FILE",
    help="An archive of an image that those files name (docker save, or an OCI archive), for devices without a way to "
    "pull it. May be repeated.",
)
@click.option("--version", "version", required=True, help="Version of the snap.")
@click.option("--name", default="snapedge-microk8s", show_default=True, help="Name of the snap.")
@click.option("--registry", default=str(DEFAULT_REGISTRY), show_default=True, help="The device's registry.")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("dist"),
    show_default=True,
    help="Folder the snaps are written to.",
)
@CACHE
@FORMAT
def microk8s_config(
    kserve: tuple[Path, ...],
    others: tuple[Path, ...],
    images: tuple[Path, ...],
    version: str,
    name: str,
    registry: str,
    output: Path,
    cache_folder: Path | None,
    form: str,
) -> None:
    """Make the snap that readies MicroK8s on Ubuntu Core: registry, DNS, KServe in raw mode.

    No shell on the device is needed: connected to microk8s:configuration it has MicroK8s enable its addons and import
    the images, and through its plug mk8s it applies the files. `builder gadget` makes both connections at first boot.
    """
    from . import cache, microk8sconfig, presentation

    request = microk8sconfig.ConfigurationRequest(
        name=_word(SnapName, name, "--name"),
        version=_word(SnapVersion, version, "--version"),
        kserve=kserve,
        others=others,
        images=images,
        registry=_word(RegistryAddress, registry, "--registry"),
        architectures=tuple(Architecture),
    )
    opened = cache.Cache(cache_folder or cache.default_root())
    with presentation.stderr_progress() as progress:
        made = microk8sconfig.build(request, cache=opened, output=output, progress=progress)
    for architecture, file in made.without_images:
        click.secho(f"warning: {file} holds no image for {architecture}: it is not in that snap", err=True, fg="yellow")
    document = {
        "snaps": [str(path) for path in made.snaps],
        "objects": [one.path for one in made.objects.objects],
        "changes": list(made.changes),
    }
    lines = [
        f"{len(made.objects.objects)} objects",
        *(f"  inferenceservice-config: {change}" for change in made.changes),
        *(f"{path}  {presentation.as_size(path.stat().st_size)}" for path in made.snaps),
    ]
    show(form, document, "\n".join(lines))


def _word(kind: Callable[[str], _T], text: str, option: str) -> _T:
    try:
        return kind(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error
