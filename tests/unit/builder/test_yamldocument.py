"""What people write, read with its lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_builder.yamldocument import MAX_BYTES, DeclarationError, parse_yaml, read_yaml
from snapedge_hooks.errors import ExitCode


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.yaml: is empty"),
        ("- a", "x.yaml, line 1: must be a mapping of keys to values"),
        ("a: 1\nb: [", "is not YAML: did not find expected node content"),
        ("a: 1\n\ta: 2", "x.yaml, line 2: is not YAML: found"),
        ("a: 1\nb: 2\na: 3", "x.yaml, line 3: key 'a' stands twice (first on line 1); keep one of them"),
        ("a: &x 1", "x.yaml, line 1: anchors and aliases are not allowed; write the value out"),
        ("a: 1\nb: *x", "x.yaml, line 2: anchors and aliases are not allowed; write the value out"),
        ("a: !!python/object:os.system {}", "the tag 'tag:yaml.org,2002:python/object:os.system' is not allowed"),
        ("? [a, b]\n: 1", "x.yaml, line 1: a key must be plain text"),
        ("a: " + "[" * 20 + "]" * 20, "x.yaml, line 1: is nested deeper than 8 levels"),
        ("a: 1\n---\nb: 2", "x.yaml, line 2: is not YAML: but found another document"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_yaml(text.encode(), file="x.yaml")
    assert message in str(caught.value)
    assert caught.value.exit_code is ExitCode.REFUSED


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(DeclarationError, match="line 2: is not UTF-8"):
        parse_yaml(b"a: 1\nb: \xff", file="x.yaml")
    with pytest.raises(DeclarationError, match="line 1: holds a character YAML does not allow"):
        parse_yaml(b"a: \x07", file="x.yaml")


def test_a_file_too_large_is_not_parsed() -> None:
    with pytest.raises(DeclarationError, match="larger than the 65536 bytes allowed"):
        parse_yaml(b"#" * (MAX_BYTES + 1), file="x.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"gone\.yaml: cannot be read: No such file or directory"):
        read_yaml(tmp_path / "gone.yaml")


def test_text_is_what_was_written() -> None:
    top = parse_yaml(b"version: 1.10\nday: 2026-01-01\nflag: yes\nquoted: '1'\n", file="x.yaml")
    assert [top.text(key) for key in ("version", "day", "flag", "quoted")] == ["1.10", "2026-01-01", "yes", "1"]


def test_an_unknown_key_names_its_line_and_the_nearest_one() -> None:
    top = parse_yaml(b"name: a\nserivce: {}\n", file="x.yaml")
    top.text("name")
    top.section("service").done()
    with pytest.raises(DeclarationError) as caught:
        top.done()
    assert str(caught.value) == "x.yaml, line 2: unknown key 'serivce'; did you mean 'service'?"


def test_an_unknown_key_like_no_other_lists_what_is_known() -> None:
    top = parse_yaml(b"name: a\nzzzzzz: 1\n", file="x.yaml")
    top.text("name")
    with pytest.raises(DeclarationError, match="known here: name"):
        top.done()


def test_values_of_another_kind_are_refused() -> None:
    top = parse_yaml(b"a: [1]\nb: {}\nc: x\nd: 9\ne: null\nf: [[1]]\n", file="x.yaml")
    for call, message in (
        (lambda: top.text("a"), "line 1: a: is not text"),
        (lambda: top.texts("b"), "line 2: b: is not a list"),
        (lambda: top.section("c"), "line 3: c: is not a mapping"),
        (lambda: top.integer("d", minimum=0, maximum=5, default=0), "line 4: d: 9 is not between 0 and 5"),
        (lambda: top.text("e"), "line 5: e: is empty"),
        (lambda: top.texts("f"), "line 6: f: is not text"),
        (lambda: top.text("g"), "line 1: g: is missing"),
    ):
        with pytest.raises(DeclarationError, match=message):
            call()


# JSON writes what lies beyond U+FFFF as two escapes, which YAML does not join.
words = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=40)


@given(st.dictionaries(words, words, max_size=8))
def test_any_text_written_as_json_is_read_back(values: dict[str, str]) -> None:
    top = parse_yaml(("\n" + json.dumps(values)).encode(), file="x.yaml")
    assert {key: top.text(key, default="") for key in values} == values
    top.done()
