"""Documents are read strictly, and an error names the place."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_hooks.document import DocumentError, canonical_json, parse_object


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "x.json: line 1: is not JSON"),
        (b"\xff", "x.json: byte 0: is not UTF-8"),
        (b"[]", "x.json: is not a JSON object"),
        (b'{"a":1,"a":2}', "x.json: a: stands twice"),
        (b"[" * 100_000, "x.json: is nested too deeply"),
        (b'{"format":2}', "x.json: format: 2 is newer than the 1 this version reads; update snapedge on this side"),
        (b'{"format":true}', "x.json: format: is not a whole number"),
        (b"{}", "x.json: format: is missing"),
        (b'{"format":1,"surprise":0}', "x.json: surprise: is not a key of this format"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(data: bytes, said: str) -> None:
    with pytest.raises(DocumentError) as caught:  # noqa: PT012 - both steps are the reading
        fields = parse_object(data, what="x.json")
        fields.format(1)
        fields.done()
    assert str(caught.value).startswith(said)


def test_a_document_over_the_limit_is_not_parsed() -> None:
    with pytest.raises(DocumentError, match="11 bytes are more than the 10 allowed"):
        parse_object(b"not even so", what="x.json", max_bytes=10)


def test_an_error_inside_lists_and_objects_names_the_whole_way() -> None:
    fields = parse_object(b'{"a":{"b":[{"c":"one"}]}}', what="x.json")
    with pytest.raises(DocumentError, match=r"x\.json: a\.b\[0\]\.c: is not a whole number"):
        next(fields.object("a").objects("b")).integer("c")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON))
def test_equal_content_has_equal_bytes_whatever_the_order(value: dict[str, object]) -> None:
    assert canonical_json(value) == canonical_json(dict(reversed(value.items())))


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_document_error(data: bytes) -> None:
    with contextlib.suppress(DocumentError):
        parse_object(data, what="x.json")
