"""Snapcraft's tables."""

from __future__ import annotations

from snapedge_builder.snapcraftcli import parse_revisions
from snapedge_hooks.channels import Channel

TABLE = """\
Rev.    Uploaded              Arches       Version    Channels
4       2026-01-02T03:04:05Z  arm64        1.1.0      latest/candidate*,latest/edge
3       2026-01-02T03:04:05Z  amd64        1.1.0      latest/candidate*
2       2025-12-02T03:04:05Z  amd64,arm64  1.0.0      2/stable/fix*,latest/candidate
1       2025-11-02T03:04:05Z  amd64        0.9~rc1    -
"""


def test_a_table_of_revisions_is_read_with_the_channels_that_lead_there_now() -> None:
    found = parse_revisions(TABLE)
    assert [(int(item.revision), item.architectures, item.version) for item in found.revisions] == [
        (4, ("arm64",), "1.1.0"),
        (3, ("amd64",), "1.1.0"),
        (2, ("amd64", "arm64"), "1.0.0"),
        (1, ("amd64",), "0.9~rc1"),
    ]
    assert found.released == {
        Channel.parse("candidate"): {"arm64": 4, "amd64": 3},
        Channel.parse("2/stable/fix"): {"amd64": 2, "arm64": 2},
    }


def test_a_snap_without_releases_or_without_revisions_has_a_table_too() -> None:
    assert parse_revisions("Rev.    Uploaded    Arches    Version\n").revisions == ()
    (only,) = parse_revisions("Rev.  Uploaded  Arches  Version\n1  2026-01-02T03:04:05Z  amd64  1\n").revisions
    assert only.revision == 1


def test_lines_that_are_no_revision_are_passed_over() -> None:
    noise = "WARNING: deprecated\n0 a b c\n\n12 monkeys\n"
    assert parse_revisions(noise + TABLE) == parse_revisions(TABLE)
