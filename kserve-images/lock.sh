#!/bin/sh
# Writes <runtime>/requirements.lock (what the image carries) and <runtime>/requirements-dev.lock (what its tests need on top).
# Usage: kserve-images/lock.sh onnx
set -eu
cd "$(dirname "$0")/${1:?name a runtime folder}"
uv=${UV:-../../.tools/bin/uv}
compile() { "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate "$@"; }
compile --no-emit-package snapedge-oip pyproject.toml -o requirements.lock
if grep -q '^grpc = ' pyproject.toml; then
	# An extra of the image: the wheels that --grpc-port needs on top.
	compile --no-emit-package snapedge-oip --extra grpc --constraint requirements.lock pyproject.toml -o requirements-grpc.lock
fi
compile --group dev --constraint requirements.lock -o requirements-dev.lock
