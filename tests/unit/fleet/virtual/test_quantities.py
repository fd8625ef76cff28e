from __future__ import annotations

from decimal import Decimal

import pytest

from snapedge_fleet.virtual import quantities


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("500m", Decimal("0.5")),
        ("256Mi", Decimal(268435456)),
        ("1.5", Decimal("1.5")),
        (2, Decimal(2)),
        ("1G", Decimal(1000000000)),
        ("1e3", Decimal(1000)),
    ],
)
def test_amounts(text: object, amount: Decimal) -> None:
    assert quantities.parse(text) == amount


@pytest.mark.parametrize("text", ["", "1 Gi", "Mi", "1MB", "1e999", "0x10", "NaN", None])
def test_what_is_no_amount(text: object) -> None:
    with pytest.raises(quantities.QuantityInvalidError):
        quantities.parse(text)
