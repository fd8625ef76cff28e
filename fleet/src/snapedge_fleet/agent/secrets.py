"""Words in files that only their owner may read: claim and token."""

from __future__ import annotations

from pathlib import Path

from snapedge_fleet.errors import DataFolderError, IdentityError


def read_secret(path: Path, flag: str) -> str:
    """The word in a file.

    Raises:
        IdentityError: it cannot be read, or is empty.
    """
    try:
        text = path.read_text().strip()
    except OSError as error:
        raise IdentityError(f"{path} cannot be read: {error.strerror}", resolution=f"check {flag}") from error
    if not text:
        raise IdentityError(f"{path} is empty", resolution=f"check {flag}")
    return text


def write_secret(path: Path, text: str, *, resolution: str = "check --token-file and its folder") -> None:
    """Write a word into a file that only its owner may read.

    Raises:
        DataFolderError: it cannot be written.
    """
    temporary = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(mode=0o600)
        temporary.chmod(0o600)
        temporary.write_text(text + "\n")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DataFolderError(path, error.strerror or str(error), resolution=resolution) from error
