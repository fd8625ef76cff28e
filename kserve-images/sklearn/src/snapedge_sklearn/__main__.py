"""`python -m snapedge_sklearn`: serves the scikit-learn models of a directory."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Reads flags and environment and serves; the exit code."""
    # Read when the libraries are imported: BLAS and OpenMP would each start a thread for each core of the host.
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from snapedge_oip import server, settings

    chosen = settings.parse("snapedge_sklearn", sys.argv[1:], os.environ)

    from .runtime import SklearnRuntime

    return server.run(SklearnRuntime(), chosen)


if __name__ == "__main__":
    sys.exit(main())
