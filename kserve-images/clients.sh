#!/bin/sh
# Makes .cache/<name>, an environment of its own for each peer whose clients or server the tests ask:
# clients (tritonclient), kserve, mlserver. They cannot share one: kserve and mlserver exclude each other.
# Usage: kserve-images/clients.sh clients kserve mlserver
set -eu
cd "$(dirname "$0")/.."
uv=${UV:-.tools/bin/uv}
export UV_PYTHON_DOWNLOADS=never
for name in "$@"; do
	case $name in
	clients) set -- "tritonclient[grpc,http]==2.73.0" "protobuf<7" ;;
	kserve) set -- "kserve==0.21.0" "onnxruntime==1.31.1" ;;
	mlserver) set -- "mlserver==1.7.1" "onnxruntime==1.31.1" "uvloop<0.22" ;; # it does not start with a newer uvloop
	*) echo "no peer: $name" >&2 && exit 2 ;;
	esac
	"$uv" venv --quiet --allow-existing --python 3.11 ".cache/$name"
	"$uv" pip install --quiet --python ".cache/$name/bin/python" "$@" pytest pytest-timeout
done
