"""Documents of the API as a person reads them: tables and lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

_WIDE = 200


def print_json(document: Any) -> None:
    """A document for machines, on stdout."""
    click.echo(json.dumps(document, indent=2, sort_keys=True))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table for people, on stdout; a sentence where there is nothing in it."""
    listed = [[_cell(value) for value in row] for row in rows]
    if not listed:
        click.echo(empty)
        return
    print_view(_table(columns, listed))


def print_view(view: RenderableType) -> None:
    """A view for people, on stdout; where that is no terminal, wide enough that no line is broken."""
    Console(width=None if sys.stdout.isatty() else _WIDE).print(view)


def plan_lines(document: Mapping[str, Any]) -> list[str]:
    """A promotion's plan."""
    lines = [
        f"{document['snap']} {document['version']} from {document['from']} to {document['to']}, "
        f"for {' and '.join(document['architectures'])}"
    ]
    if document["skip"]:
        return [*lines, f"  nothing to do: {document['skip']}"]
    if document["carried"]:
        carried = document["carried"]
        lines.append(f"  along goes {carried['snap']} {carried['version']}: {carried['reason']}")
    for group in document["groups"]:
        lines.append(f"  group {group['group']}: {_devices(group['devices'])}, {size_text(group['bytes'])} to send")
    lines.append("  waves:")
    for wave in document["waves"]:
        by_architecture = ", ".join(f"{count} {one}" for one, count in wave["by_architecture"].items() if count)
        adds = f"{_devices(wave['devices'])} ({by_architecture}); halts when {_devices(wave['max_failures'])} failed"
        lines.append(f"    {wave['wave']}. {wave['name']}: {adds if wave['devices'] else 'for devices to come'}")
    image = document["image_bytes"]
    share = f"; as whole images it would be {size_text(image)}" if image else ""
    lines.append(f"  {size_text(document['bytes'])} to send in all{share}")
    lines += [f"  note: {note}" for note in document["notes"]]
    return lines


def rollout_line(document: Mapping[str, Any]) -> str:
    """Where a rollout stands, in one line."""
    title = f"{document['snap']} {document['version']} on {document['channel']}"
    waves = document["waves"]
    if document["phase"] in ("halted", "complete", "paused", "superseded") or not document["stage"]:
        return f"{title}: {document['phase']}: {document['reason']}"
    wave = waves[document["stage"] - 1]
    counts = f"{wave['confirmed']} confirmed, {wave['offered']} at it, {wave['failed']} failed"
    return (
        f"{title}: wave {wave['wave']} of {len(waves)} ({wave['name']}, {_devices(wave['devices'])}): {counts}"
        f"{'; ' + wave['verdict'] if wave['verdict'] else ''}"
    )


def status_view(document: Mapping[str, Any]) -> Group:
    """The fleet at a glance."""
    tracks = []
    for track in document["tracks"]:
        line = f"{track['snap']} on {track['channel']}: nothing released yet"
        if track["rollout"] is not None:
            line = rollout_line(track["rollout"])
        tracks.append(Text(f"{line}  [{', '.join(track['groups'])}]"))
        if track["waits"]:
            tracks.append(Text(f"  waits: {track['waits']}"))
    rows = []
    for device in document["devices"]:
        for number, snap in enumerate(device["snaps"] or [None]):
            first = number == 0
            rows.append(
                [
                    device["device"] if first else "",
                    (device["group"] or "-") if first else "",
                    device["architecture"] if first else "",
                    ("yes" if device["is_reachable"] else "no") if first else "",
                    *_snap_cells(snap, device["held"]),
                ]
            )
    columns = ("device", "group", "arch", "reachable", "snap", "wanted", "has", "state")
    return Group(*tracks, _table(columns, rows) if rows else Text("no devices yet: fleet device add"))


def history_lines(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """What was done, a line each."""
    lines = []
    for entry in entries:
        moment = datetime.fromtimestamp(entry["at"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        lines.append(f"{moment}  {entry['actor']}: {_deed(entry)}")
    return lines


def size_text(size: int) -> str:
    """A size as a person reads it."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _deed(entry: Mapping[str, Any]) -> str:
    """What one entry of the audit log says was done."""
    action, subject, detail = entry["action"], entry["subject"], dict(entry["detail"])
    if "version" not in detail:
        told = {key: _plain(value) for key, value in detail.items() if value != subject}
        said = ", ".join(f"{key} {words}" for key, words in told.items() if words)
        return f"{action} {subject}{': ' + said if said else ''}"
    title = f"{subject} {detail['version']}"
    if action == "promote":
        return f"promote {title} from {detail['from']} to {detail['to']}"
    title = f"{title} on {detail['channel']}, rollout {detail['rollout']}"
    if action == "rollout":
        return f"began {title}: {len(detail['waves'])} waves"
    wave = f" wave {detail['wave']}" if detail.get("wave") else ""
    return f"{action}{wave} of {title}{': ' + detail['reason'] if detail.get('reason') else ''}"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key}={one}" if one is not None else f"{key}-" for key, one in sorted(value.items()))
    if isinstance(value, (list, tuple)):
        return " ".join(str(one) for one in value)
    return "" if value is None else str(value)


def _snap_cells(snap: Mapping[str, Any] | None, held: str) -> list[str]:
    if snap is None:
        return ["-", "-", "-", f"held: {held}" if held else "nothing wanted"]
    state = snap["outcome"] if not snap["why"] or snap["is_right"] else f"{snap['outcome']}: {snap['why']}"
    return [snap["snap"], snap["wanted"] or "-", snap["has"] or "-", state]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count} devices"
