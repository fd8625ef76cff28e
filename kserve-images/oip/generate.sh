#!/bin/sh
# Writes src/snapedge_oip/proto/open_inference_pb2.py(i) anew from the .proto beside them.
# Usage: PYTHON=<a Python with grpcio-tools and mypy-protobuf> kserve-images/oip/generate.sh
set -eu
cd "$(dirname "$0")/src/snapedge_oip/proto"
python=${PYTHON:?name a Python that has grpcio-tools and mypy-protobuf}
bin=$(dirname "$python")
"$python" -m grpc_tools.protoc -I. --plugin="protoc-gen-mypy=$bin/protoc-gen-mypy" --python_out=. --mypy_out=. open_inference.proto
for file in open_inference_pb2.py open_inference_pb2.pyi; do
	# Nobody reads or mends what is generated, so that it is neither linted nor formatted.
	{ printf '# ruff: noqa\n# fmt: off\n'; sed "s/  # noqa: Y015//" "$file"; } > "$file.new"
	mv "$file.new" "$file"
done
