"""What can go wrong while building, each class a situation told from its facts.

The root is here; each module that meets the outside draws its own branch at its top: `yamldocument` (declarations),
`cache`, `processes`, `sources`, `apt`, `debs`, `wheels`, `rootfs`, `bytecode`, `hosts`, `trees` and `gates` for images,
and those of the snap's side.
"""

from __future__ import annotations

from snapedge_hooks.errors import SnapedgeError


class BuilderError(SnapedgeError):
    """Something the builder was asked to do cannot be done."""
