"""The command that writes a gadget's stanzas: parse, call, print."""

from __future__ import annotations

import click

from .clioutput import FORMAT, show


@click.command()
@click.argument("snaps", nargs=-1, required=True, metavar="NAME=SNAP_ID...")
@click.option("--set", "settings", multiple=True, metavar="serve.KEY=VALUE", help="An option of every snap named.")
@click.option("--microk8s", "microk8s", metavar="SNAP_ID", help="MicroK8s' ID where it is not the Snap Store's.")
@click.option(
    "--config",
    "configuration",
    metavar="NAME=SNAP_ID",
    help="The snap of `builder microk8s-config`, where the image has one: it brings KServe.",
)
@FORMAT
def gadget(
    snaps: tuple[str, ...], settings: tuple[str, ...], microk8s: str | None, configuration: str | None, form: str
) -> None:
    """Print what a gadget.yaml needs so that a device serves the models in its image from its first boot.

    Connects each snap's plug mk8s to MicroK8s, sets the snaps' options, and has MicroK8s enable dns, storage and
    registry. The snaps and strict MicroK8s must be in the image; KServe comes by --config, or by other means.
    """
    from . import gadget as gadgets

    seeded = [gadgets.SeededSnap.parse(text) for text in snaps]
    brings_kserve = None if configuration is None else gadgets.SeededSnap.parse(configuration)
    made = gadgets.stanzas(
        seeded,
        gadgets.options(settings),
        microk8s=microk8s or gadgets.MICROK8S,
        configuration_snap=brings_kserve,
    )
    named = seeded if brings_kserve is None else [*seeded, brings_kserve]
    show(form, made, gadgets.text(named, made).rstrip())
