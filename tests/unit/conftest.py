"""What holds for every unit test: a busy machine makes none of them fail."""

from __future__ import annotations

from hypothesis import settings

# A property is right or wrong, however long its example took; tests have a timeout of their own.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
