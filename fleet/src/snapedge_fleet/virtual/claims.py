"""Claim words for agents: which device enrols with which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .deviceerrors import ClaimFileError


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The words of a file: one for each device named in it, or a single one for whichever device asks."""

    path: Path
    words: Mapping[str, str]
    common: str = ""

    def word(self, device: str) -> str:
        """The word of that device.

        Raises:
            ClaimFileError: when the file has none for it.
        """
        found = self.words.get(device, self.common)
        if not found:
            raise ClaimFileError(self.path, f"no claim word for device {device}")
        return found


def read(path: Path) -> Claims:
    """The words in `path`: lines of a device's name and its word, or one line with a word alone.

    Raises:
        ClaimFileError: when it cannot be read, or a line is neither.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ClaimFileError(path, f"cannot be read ({error})") from error
    words: dict[str, str] = {}
    common = ""
    for number, line in enumerate(lines, start=1):
        parts = line.split("#", 1)[0].split()
        if len(parts) == 2:
            words[parts[0]] = parts[1]
        elif len(parts) == 1 and not common:
            common = parts[0]
        elif parts:
            raise ClaimFileError(path, f"line {number} is not a device's name and its claim word")
    return Claims(path=path, words=words, common=common)
