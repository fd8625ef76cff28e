"""The bill of materials of a snap."""

from __future__ import annotations

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from snapedge_builder.sbom import Component, document, libraries
from snapedge_hooks.document import DocumentError
from snapedge_hooks.vocabulary import Digest

SUBJECT = Component(kind="container", name="wine", version="1.0.0", digest=Digest.of(b"image"))
PARTS = [
    Component(kind="library", name="requests", version="2.34.2", purl="pkg:pypi/requests@2.34.2", licence="Apache-2.0"),
    Component(
        kind="library", name="base-files", version="12", purl="pkg:deb/debian/base-files@12", licence="GPL-2 AND X"
    ),
    Component(kind="machine-learning-model", name="wine", version="1.0.0", digest=Digest.of(b"model")),
]


def test_it_is_what_cyclonedx_says() -> None:
    bill = document(subject=SUBJECT, components=PARTS)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.decode()) is None


def test_equal_snaps_have_equal_bills_and_others_have_others() -> None:
    bill = document(subject=SUBJECT, components=PARTS)
    assert document(subject=SUBJECT, components=[*reversed(PARTS), PARTS[0]]) == bill
    other = json.loads(document(subject=SUBJECT, components=PARTS[1:]))
    assert other["serialNumber"] != json.loads(bill)["serialNumber"]


def test_the_packages_of_a_bill_are_read_with_their_licences() -> None:
    found = libraries(document(subject=SUBJECT, components=PARTS), file="a.snap")
    assert [(one.name, one.version, one.licence) for one in found] == [
        ("base-files", "12", "GPL-2 AND X"),
        ("requests", "2.34.2", "Apache-2.0"),
    ]


@pytest.mark.parametrize("bill", [b"", b"[]", b"{}", b'{"components": [7]}', b'{"components": [{"type": "library"}]}'])
def test_what_is_no_bill_is_refused(bill: bytes) -> None:
    with pytest.raises(DocumentError, match=r"a\.snap: bill of materials"):
        libraries(bill, file="a.snap")
