"""What can go wrong while building, each class a situation told from its facts.

    SnapedgeError (snapedge_hooks.errors)
      BuilderError            the root of everything the builder raises
"""

from __future__ import annotations

from snapedge_hooks.errors import SnapedgeError


class BuilderError(SnapedgeError):
    """Something the builder was asked to do cannot be done."""
