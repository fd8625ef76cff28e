"""Wheel files by themselves, as the index offers them: for builds that unpack wheels elsewhere than here.

uv installs wheels and keeps no files; so the files are fetched here, from the addresses that uv found, and each is in
the cache only under the hash that was pinned. Logins are taken from `~/.netrc`, proxies from the environment.
"""

from __future__ import annotations

import http.client
import netrc
import shutil
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from snapedge_hooks import unpacking

from .cache import Cache
from .wheels import IndexAwayError, Wheel, WheelCorruptError, WheelsError, WheelTooLargeError

_SECONDS = 60.0
_THREADS = 4
_CHUNK = 1 << 20


def fetch(wheels: Sequence[Wheel], cache: Cache) -> None:
    """Have the wheels' files in the cache; those that are there, whole, are not asked for.

    Raises:
        IndexAwayError: the index does not answer.
        WheelsError: it has not got a file, or does not give it to us.
        WheelCorruptError: what it gave is not what was pinned.
        WheelTooLargeError: it holds far more than its size lets expect.
    """
    missing = [wheel for wheel in wheels if cache.find_blob(wheel.digest) is None]
    with ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="wheels") as pool:
        for _ in pool.map(lambda wheel: _fetch(wheel, cache), missing):
            pass


def _fetch(wheel: Wheel, cache: Cache) -> None:
    with cache.scratch() as scratch:
        file = scratch / "wheel"
        what = f"fetch {wheel.file}"
        try:
            with _open(wheel.uri) as source, cache.guard(), file.open("wb") as target:
                shutil.copyfileobj(source, target, _CHUNK)
                if getattr(source, "length", 0):  # of an answer: what it announced and did not send
                    raise IndexAwayError(what, "the answer was cut off")
        except urllib.error.HTTPError as error:
            error.close()
            if error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
                raise IndexAwayError(what, f"the index answers {error.code}") from error
            raise WheelsError(
                what, f"the index answers {error.code}", resolution="build with --refresh to ask for its address again"
            ) from error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            raise IndexAwayError(what, str(getattr(error, "reason", error) or type(error).__name__)) from error
        except FileNotFoundError as error:
            raise WheelsError(what, "the file is gone", resolution="build with --refresh") from error
        _check_size(wheel, file)
        if cache.adopt(file, wheel.digest) is None:
            raise WheelCorruptError(wheel.file, "what the index gave has another sha256 than was pinned")


def _check_size(wheel: Wheel, file: Path) -> None:
    """Refuse a bomb by what the wheel says that it holds: who unpacks it holds each file to that."""
    most = unpacking.most(file.stat().st_size)
    try:
        with zipfile.ZipFile(file) as archive:
            held = sum(info.file_size for info in archive.infolist())
    except zipfile.BadZipFile:
        return  # another digest than was pinned, as is told then, or what was pinned is no wheel
    if held > most:
        raise WheelTooLargeError(wheel.file, unpacking.excess(most))


def _open(uri: str) -> IO[bytes]:
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return Path(urllib.request.url2pathname(parts.path)).open("rb")
    login, (_, _, host) = _login(parts), parts.netloc.rpartition("@")
    request = urllib.request.Request(  # noqa: S310 - of one of the two schemes above
        urllib.parse.urlunsplit(parts._replace(netloc=host, fragment="")), headers={"User-Agent": "snapedge"}
    )
    if login is not None:
        # Not for the host that the index may send us on to.
        request.add_unredirected_header("Authorization", f"Basic {b64encode(login.encode()).decode()}")
    opened: IO[bytes] = urllib.request.urlopen(request, timeout=_SECONDS)  # noqa: S310 - as above
    return opened


def _login(parts: urllib.parse.SplitResult) -> str | None:
    """`name:password`, as the address says or else ~/.netrc."""
    if parts.username:
        return f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
    try:
        found = netrc.netrc().authenticators(parts.hostname or "")
    except (FileNotFoundError, netrc.NetrcParseError):
        return None
    return None if found is None else f"{found[0]}:{found[2]}"
