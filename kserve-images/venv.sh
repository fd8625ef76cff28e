#!/bin/sh
# Makes <runtime>/.venv: the image's own wheels, hash-checked from its lock, plus what its tests need.
# Usage: kserve-images/venv.sh onnx
set -eu
cd "$(dirname "$0")/${1:?name a runtime folder}"
uv=${UV:-../../.tools/bin/uv}
export UV_PYTHON_DOWNLOADS=never
"$uv" venv --quiet --allow-existing --python 3.11 .venv
"$uv" pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock requirements-dev.lock
# Our own two projects run from their folders, as the image runs them from /usr/lib/snapedge/app: no build, no metadata.
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n' "$PWD/src" "$(cd ../oip/src && pwd)" > "$site/snapedge.pth"
