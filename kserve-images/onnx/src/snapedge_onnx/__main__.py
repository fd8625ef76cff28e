"""`python -m snapedge_onnx`: serves the ONNX models of a directory."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Reads flags and environment and serves; the exit code."""
    # Both are read when the libraries are imported: onnxruntime would open files and a thread for its telemetry, and
    # numpy's BLAS, which nothing here uses, would start a thread with its own memory for each core.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from snapedge_oip import server, settings

    chosen = settings.parse("snapedge_onnx", sys.argv[1:], os.environ)

    from .runtime import OnnxRuntime

    return server.run(OnnxRuntime(), chosen)


if __name__ == "__main__":
    sys.exit(main())
