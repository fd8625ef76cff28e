"""The pages in docs/reference that say what each command takes: written from the commands' own help.

`python -m tests.reference` writes them; a test holds them against the commands.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from snapedge_builder import cli as builder_cli
from snapedge_fleet import cli as fleet_cli

PAGES = Path(__file__).parents[1] / "docs" / "reference"
COMMANDS: dict[str, click.Command] = {"builder": builder_cli.builder, "fleet": fleet_cli.fleet}
WIDTH = 100


def page(name: str) -> str:
    """The page of one program."""
    parts = [f"# {name}\n\nWhat each command takes, as `--help` prints it. Written by `make reference`.\n"]
    command = COMMANDS[name]
    for path, text in _helps(command, click.Context(command, info_name=name, **command.context_settings), (name,)):
        parts.append(f"## {' '.join(path)}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def _helps(
    command: click.Command, context: click.Context, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str]]:
    formatter = click.HelpFormatter(width=WIDTH)
    command.format_help(context, formatter)
    yield path, "\n".join(line.rstrip() for line in formatter.getvalue().splitlines())
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from _helps(child, click.Context(child, info_name=name, parent=context), (*path, name))


def main() -> None:
    """Write every page."""
    for name in COMMANDS:
        (PAGES / f"{name}.md").write_text(page(name))


if __name__ == "__main__":
    main()
