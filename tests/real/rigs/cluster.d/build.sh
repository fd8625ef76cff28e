# What `cluster build` does: Debian's packages, Kubernetes from its Go module, and the image that holds a pod's namespaces.
# Sourced by `cluster`. shellcheck shell=bash
VERSION=v1.34.4
PROGRAMS="kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl"
PAUSE_IMAGE=snapedge.test/pause:1

packages() { # install what is missing, without letting Debian start the services that come with it
  local missing="" command package policy=/usr/sbin/policy-rc.d
  while read -r command package; do command -v "$command" >/dev/null || missing="$missing $package"; done <<'LIST'
etcd etcd-server
containerd containerd
runc runc
docker-registry docker-registry
/usr/lib/cni/bridge containernetworking-plugins
conntrack conntrack
iptables iptables
openssl openssl
curl curl
python3 python3-minimal
ip iproute2
ss iproute2
sysctl procps
LIST
  [ -n "$missing" ] || return 0
  say "installing$missing"
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    # shellcheck disable=SC2064
    trap "rm -f $policy" EXIT
  fi
  apt-get update -qq || say "apt-get update failed; trying with the lists there are"
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null || die "apt-get install$missing failed"
  [ -z "$(trap -p EXIT)" ] || { rm -f "$policy"; trap - EXIT; }
}

module() { # prints a folder with a module that requires k8s.io/kubernetes, its staging modules replaced by what was published of them
  local folder=$CACHE/src/kubernetes-$VERSION requirements name
  if [ ! -e "$folder/ready" ]; then
    rm -rf "$folder"
    mkdir -p "$folder"
    cd "$folder"
    go mod init snapedge.test/kubernetes >/dev/null 2>&1
    go mod edit -require "k8s.io/kubernetes@$VERSION"
    requirements=$(go mod download -json "k8s.io/kubernetes@$VERSION" | python3 -c 'import json, sys; print(json.load(sys.stdin)["GoMod"])')
    for name in $(grep -oE 'k8s.io/[a-z-]+ v0\.0\.0( |$)' "$requirements" | awk '{print $1}' | sort -u); do
      go mod edit -replace "$name=$name@v0.${VERSION#v1.}"
    done
    touch ready
  fi
  echo "$folder"
}

build() {
  local started program folder missing="" stamp=k8s.io/component-base/version
  started=$(now)
  packages
  mkdir -p "$BIN"
  exec 8>"$CACHE/lock"
  flock 8 # two runs on one cache: the second finds everything built
  for program in $PROGRAMS; do [ -e "$BIN/$program-$VERSION" ] || missing="$missing k8s.io/kubernetes/cmd/$program"; done
  if [ -n "$missing" ]; then
    command -v go >/dev/null || die "needs Go 1.24 or newer on PATH (Debian 12's is too old)"
    export GOWORK=off
    say "fetching the modules of Kubernetes $VERSION"
    folder=$(module)
    cd "$folder"
    say "building $(for program in $missing; do printf '%s ' "${program##*/}"; done)(about 5 minutes on 2 cores)"
    # shellcheck disable=SC2086
    CGO_ENABLED=0 go build -mod=mod -trimpath -o "$folder/out/" \
      -ldflags "-s -w -X $stamp.gitVersion=$VERSION -X $stamp.gitMajor=1 -X $stamp.gitMinor=34 -X $stamp.gitTreeState=clean" \
      $missing 2> >(grep -v '^go: downloading' >&2)
    for program in $missing; do
      program=${program##*/}
      mv "$folder/out/$program" "$BIN/$program-$VERSION"
      ln -sf "$program-$VERSION" "$BIN/$program"
    done
    say "built in $(since "$started") s"
  fi
  [ -e "$CACHE/pause.tar" ] || pause_image
  exec 8>&-
}

pause_image() {
  command -v go >/dev/null || die "needs Go 1.24 or newer on PATH (Debian 12's is too old)"
  local folder=$CACHE/src/pause
  mkdir -p "$folder"
  (cd "$PARTS/pause" && GO111MODULE=off CGO_ENABLED=0 go build -ldflags '-s -w' -o "$folder/pause" main.go)
  python3 "$PARTS/pause/image.py" "$folder/pause" "$CACHE/pause.tar" "$PAUSE_IMAGE" "$(go env GOARCH)"
}
