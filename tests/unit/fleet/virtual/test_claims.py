from __future__ import annotations

from pathlib import Path

import pytest

from snapedge_fleet.virtual import claims
from snapedge_fleet.virtual.deviceerrors import ClaimFileError


def test_each_device_has_its_word(tmp_path: Path) -> None:
    file = tmp_path / "claims"
    file.write_text("# made today\nedge-a  word-a\n\nedge-b word-b # second\n", encoding="utf-8")
    words = claims.read(file)
    assert (words.word("edge-a"), words.word("edge-b")) == ("word-a", "word-b")
    with pytest.raises(ClaimFileError, match="no claim word for device edge-c"):
        words.word("edge-c")


def test_one_word_alone_is_for_whoever_asks(tmp_path: Path) -> None:
    file = tmp_path / "claims"
    file.write_text("word\n", encoding="utf-8")
    assert claims.read(file).word("edge-a") == "word"


@pytest.mark.parametrize("text", ["a b c\n", "one\ntwo\n"])
def test_other_lines_are_refused_with_their_number(tmp_path: Path, text: str) -> None:
    file = tmp_path / "claims"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ClaimFileError, match=r"line [12] is not a device's name"):
        claims.read(file)
