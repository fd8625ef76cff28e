"""What steps of a Dockerfile are run with: a few Debian packages, unpacked, for the builder's own machine."""

from __future__ import annotations

from collections.abc import Sequence

from snapedge_hooks.document import DocumentError, Fields, canonical_json
from snapedge_hooks.vocabulary import Architecture, Digest

from . import debs, resolution, rootfs
from .apt import Apt
from .cache import Cache
from .hosts import Host
from .layers import Layer, write_layer

PACKAGES = ("coreutils", "dash", "dpkg", "findutils", "tar", "unzip")
"""To unpack packages and wheels, and to leave out what does not run."""
_NOTE = "build-tools"
_NAME = "tools"


def layer(
    suite: str,
    architecture: Architecture,
    further: Sequence[str],
    host: Host,
    *,
    cache: Cache,
    refresh: bool = False,
) -> Layer:
    """The layer of `PACKAGES` and further ones, in the cache.

    Raises:
        BuilderError: a package cannot be had, or the layer cannot be written.
    """
    names = tuple(dict.fromkeys((*PACKAGES, *further)))
    found = resolution.packages(suite, architecture, names, host, cache=cache, refresh=refresh)
    useful = rootfs.useful(found, named=names)
    key = Digest.of(canonical_json([list(names), [[package.name, package.digest] for package in useful]]))
    with cache.alone(_NOTE, key):
        noted = _noted(cache, key)
        if noted is not None:
            return noted
        Apt(host.apt, suite=suite, architecture=architecture, cache=cache).fetch(useful)
        with cache.scratch() as scratch:
            unpacked = [
                debs.unpack(package, cache.blob_path(package.digest), scratch=scratch, cache=cache)
                for package in useful
            ]
            made = write_layer(rootfs.assemble(unpacked, named=names, prune=()).tree, name=_NAME, cache=cache)
        cache.write_note(_NOTE, key, {"digest": made.diff_id, "size": made.size})
        return made


def _noted(cache: Cache, key: Digest) -> Layer | None:
    note = cache.find_note(_NOTE, key)
    if note is None:
        return None
    try:
        fields = Fields(note, what="note of build tools")
        found = Layer(name=_NAME, diff_id=fields.parsed("digest", Digest), size=fields.integer("size"))
    except DocumentError:
        return None  # written by another version of the builder
    return found if cache.find_blob(found.diff_id) else None
