"""Which package sources a base is built from."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_builder import sources
from snapedge_builder.sources import SourceEntry, SourcesError
from snapedge_hooks.vocabulary import Architecture

ONE_LINE = """\
# the host's own
deb http://mirror.test/debian bookworm main contrib   # with a remark
deb-src http://mirror.test/debian bookworm main
deb [arch=amd64,i386 signed-by=/k/one.gpg,/k/two.gpg] http://mirror.test/security bookworm-security main
deb [trusted=yes] file:/srv/flat ./
deb http://vendor.test/apt bookworm stable
"""

DEB822 = """\
Types: deb deb-src
# a remark inside
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://off.test/debian
Suites: bookworm
Components: main
Enabled: no
"""


def entry(*suites: str, uri: str = "http://mirror.test", only: tuple[str, ...] = ()) -> SourceEntry:
    return SourceEntry(uris=(uri,), suites=suites, components=("main",), architectures=only)


def test_one_line_entries_keep_their_options() -> None:
    first, second, flat, vendor = sources.parse_one_line(ONE_LINE)
    assert first == SourceEntry(
        uris=("http://mirror.test/debian",), suites=("bookworm",), components=("main", "contrib")
    )
    assert second.architectures == ("amd64", "i386")
    assert second.options == (("Signed-By", "/k/one.gpg /k/two.gpg"),)
    assert flat.components == ()
    assert vendor.components == ("stable",)


def test_deb822_entries_keep_an_embedded_key_and_leave_out_disabled_ones() -> None:
    (only,) = sources.parse_deb822(DEB822)
    assert only.suites == ("bookworm", "bookworm-updates", "bookworm-backports")
    assert only.stanza(Architecture.ARM64) == (
        "Types: deb\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates bookworm-backports\n"
        "Components: main\nArchitectures: arm64\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n"
        " -----END PGP PUBLIC KEY BLOCK-----\n"
    )


def test_a_base_takes_the_suite_its_updates_and_its_security_fixes() -> None:
    found = sources.select(sources.parse_deb822(DEB822), suite="bookworm", architecture=Architecture.AMD64)
    assert [item.suites for item in found] == [("bookworm",), ("bookworm-updates",)]


def test_other_publishers_for_the_same_suite_are_left_out() -> None:
    found = sources.select(sources.parse_one_line(ONE_LINE), suite="bookworm", architecture=Architecture.AMD64)
    assert [item.uris for item in found] == [("http://mirror.test/debian",), ("http://mirror.test/security",)]


def test_an_entry_limited_to_other_architectures_serves_where_nothing_else_does() -> None:
    limited = entry("bookworm", uri="http://limited.test", only=("amd64",))
    either = entry("bookworm", uri="http://open.test")
    assert sources.select([limited], suite="bookworm", architecture=Architecture.ARM64)[0].uris == (
        "http://limited.test",
    )
    found = sources.select([limited, either], suite="bookworm", architecture=Architecture.ARM64)
    assert [item.uris for item in found] == [("http://open.test",)]


def test_a_suite_the_host_does_not_have_is_an_error_that_says_what_it_has() -> None:
    with pytest.raises(SourcesError) as caught:
        sources.select([entry("noble"), entry("noble-updates")], suite="bookworm", architecture=Architecture.ARM64)
    assert str(caught.value) == (
        "this host's apt has no source for suite 'bookworm' (it has noble, noble-updates); add one to "
        "/etc/apt/sources.list.d, or declare a base suite that is there; entries must offer the component 'main'"
    )


def test_files_are_read_in_both_notations_and_absent_ones_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.list").write_text("deb http://one.test bookworm main\n")
    (tmp_path / "b.sources").write_text(DEB822)
    found = sources.read_sources([tmp_path / "a.list", tmp_path / "b.sources", tmp_path / "absent.list"])
    assert [item.uris[0] for item in found] == ["http://one.test", "http://mirror.test/debian"]


WORD = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789.-", min_size=1, max_size=12)


@given(uri=WORD, suites=st.lists(WORD, min_size=1, max_size=3), components=st.lists(WORD, min_size=1, max_size=3))
def test_what_is_written_reads_back(uri: str, suites: list[str], components: list[str]) -> None:
    written = SourceEntry(uris=(f"http://{uri}",), suites=tuple(suites), components=tuple(components))
    (read,) = sources.parse_deb822(written.stanza(Architecture.ARM64))
    assert read == SourceEntry(
        uris=written.uris, suites=written.suites, components=written.components, architectures=("arm64",)
    )


@given(st.text())
def test_any_text_is_read_without_failing(text: str) -> None:
    list(sources.parse_one_line(text))
    list(sources.parse_deb822(text))
