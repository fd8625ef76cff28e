"""Files from the store, whole or not at all: resumed where they broke off, checked by size and sha3-384."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from snapedge_fleet.bundle import SnapFile
from snapedge_fleet.errors import DownloadError, ServerRefusalError
from snapedge_hooks.storeindex import Sha3

from .headquarters import Headquarters

_MARGIN = 1024 * 1024


class Downloads:
    """The folder of files that snapd is given."""

    def __init__(self, folder: Path, headquarters: Headquarters) -> None:
        self._folder = folder
        self._headquarters = headquarters

    def path(self, file: SnapFile) -> Path:
        """Where the file lies, whether it is there or not."""
        return self._folder / f"{file.sha3_384}.snap"

    def fetch(self, file: SnapFile, path: str) -> tuple[Path, int]:
        """The file, whole and checked, and how many bytes came over the wire for it.

        Raises:
            DownloadError: no room, the wrong content, refused, or broken off (then the next call goes on from there).
            ServerAwayError: the server does not answer, or stops in the middle.
        """
        final = self.path(file)
        title = f"{file.snap} {file.version}"
        if final.exists() and final.stat().st_size == file.size:
            return final, 0
        part = final.with_suffix(".part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            started = part.stat().st_size if part.exists() else 0
            if started > file.size:
                part.unlink()
                started = 0
            self._check_room(title, file.size - started)
            came = self._receive(file, path, part, started) if started < file.size or not part.exists() else 0
        except ServerRefusalError as error:
            raise DownloadError(
                title, f"the server says {error.status}: {error.brief}", is_final=True, resolution="publish it again"
            ) from error
        except OSError as error:
            part.unlink(missing_ok=True)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoRoomError(title, self._folder, file.size) from error
            raise DownloadError(
                title, error.strerror or str(error), is_final=False, resolution="check the state folder"
            ) from error
        self._check(file, title, part, is_whole=started == 0)
        part.replace(final)
        return final, came

    def prune(self, keep: Collection[str]) -> None:
        """Delete every file that is not one of those digests."""
        if not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            if path.name.partition(".")[0] not in keep:
                path.unlink(missing_ok=True)

    def _receive(self, file: SnapFile, path: str, part: Path, started: int) -> int:
        came = 0
        with (
            self._headquarters.fetch(path, start=started, tag=f'"{file.sha3_384}"') as (start, pieces),
            part.open("r+b" if start else "wb") as target,
        ):
            target.seek(start)
            for piece in pieces:
                came += len(piece)
                if start + came > file.size:
                    break
                target.write(piece)
            target.flush()
            os.fsync(target.fileno())
        return came

    def _check(self, file: SnapFile, title: str, part: Path, *, is_whole: bool) -> None:
        size = part.stat().st_size
        if size < file.size:
            raise DownloadError(
                title, f"{size} of {file.size} bytes came", is_final=False, resolution="it goes on from there"
            )
        if Sha3.of_file(part) != file.sha3_384:
            part.unlink()
            # A file put together from two calls may mix two answers; only a whole one proves the source wrong.
            raise DownloadError(
                title,
                "its sha3-384 is not what the release says",
                is_final=is_whole,
                resolution="compare the store's file with its index",
            )

    def _check_room(self, title: str, needed: int) -> None:
        if shutil.disk_usage(self._folder).free < needed + _MARGIN:
            raise NoRoomError(title, self._folder, needed)


class NoRoomError(DownloadError):
    """The disk is full; what was begun is gone."""

    def __init__(self, title: str, folder: Path, needed: int) -> None:
        super().__init__(title, f"no room for {needed} bytes in {folder}", is_final=False, resolution="free some space")
