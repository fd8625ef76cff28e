"""`python -m snapedge_tflite`: serves the TensorFlow Lite models of a directory."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Reads flags and environment and serves; the exit code."""
    # Read when numpy is imported: its BLAS, which nothing here uses, would start a thread for each core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from snapedge_oip import server, settings

    chosen = settings.parse("snapedge_tflite", sys.argv[1:], os.environ)

    from .runtime import TfliteRuntime

    return server.run(TfliteRuntime(), chosen)


if __name__ == "__main__":
    sys.exit(main())
