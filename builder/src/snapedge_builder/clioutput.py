"""What the commands share: for whom they print, and how; where the cache is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

FORMAT = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people, or for machines."
)
CACHE = click.option(
    "--cache",
    "cache_folder",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="SNAPEDGE_CACHE",
    help="Folder of the build cache; $XDG_CACHE_HOME/snapedge where not given.",
)


def show(form: str, document: Any, text: str) -> None:
    """Print a document for machines, or its text for people."""
    click.echo(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) if form == "json" else text)
