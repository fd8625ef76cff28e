# Certificates, and the files that tell each process how to run. Sourced by `cluster`. shellcheck shell=bash
API=16443 REGISTRY=32000 ETCD=2379 NODE=edge
SERVICES=10.152.183.0/24 API_ADDRESS=10.152.183.1 PODS=10.1.0.0/16
BRIDGE=cbr0 NETWORK=snapedge-rigs
SYSCTLS="net.ipv4.ip_forward net.ipv4.conf.all.route_localnet vm.overcommit_memory vm.panic_on_oom
  kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes"

node_address() {
  local address
  address=$(ip -4 route get 192.0.2.254 2>/dev/null | grep -oP 'src \K\S+' || true)
  case "$address" in '' | 127.*) address=$(ip -4 -o addr show scope global | awk '{sub("/.*", "", $4); print $4; exit}') ;; esac
  [ -n "$address" ] || die "the kubelet needs a network address other than loopback"
  echo "$address"
}

certificate() { # NAME SUBJECT EXTENSIONS
  openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -sha256 -extfile <(printf '%s\n' "$3") -out "$1.crt" 2>/dev/null
  rm "$1.csr"
}

certificates() { # the rig's own authority, and client.config in the shape of MicroK8s' credentials/client.config
  [ ! -e "$STATE/pki/ready" ] || return 0
  rm -rf "$STATE/pki"
  mkdir -m 700 "$STATE/pki"
  (
    cd "$STATE/pki"
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 3650 -sha256 -subj "/CN=snapedge-rigs-ca" 2>/dev/null
    certificate apiserver /CN=kube-apiserver "extendedKeyUsage=serverAuth
subjectAltName=IP:127.0.0.1,IP:$API_ADDRESS,IP:$NODE_ADDRESS,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
    certificate admin /O=system:masters/CN=admin "extendedKeyUsage=clientAuth"
    openssl genrsa -out sa.key 2048 2>/dev/null
    openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
    (umask 077 && cat >"$CONFIG" <<C
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: $(base64 -w0 ca.crt)
    server: https://127.0.0.1:$API
  name: microk8s-cluster
contexts:
- context:
    cluster: microk8s-cluster
    user: admin
  name: microk8s
current-context: microk8s
kind: Config
preferences: {}
users:
- name: admin
  user:
    client-certificate-data: $(base64 -w0 admin.crt)
    client-key-data: $(base64 -w0 admin.key)
C
    )
    touch ready
  )
}

configure() {
  local certs=$STATE/certs.d/localhost:$REGISTRY
  mkdir -p "$STATE/pids" "$STATE/logs" "$STATE/cni" "$certs" "$RUN"
  cat >"$STATE/registry.yml" <<C
version: 0.1
log: {level: info}
storage: {cache: {blobdescriptor: inmemory}, filesystem: {rootdirectory: $STATE/registry}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$REGISTRY", headers: {X-Content-Type-Options: [nosniff]}}
C
  cat >"$certs/hosts.toml" <<C
server = "http://localhost:$REGISTRY"
[host."http://localhost:$REGISTRY"]
  capabilities = ["pull", "resolve"]
C
  cat >"$STATE/cni/10-rig.conflist" <<C
{"cniVersion": "0.4.0", "name": "$NETWORK", "plugins": [
  {"type": "bridge", "bridge": "$BRIDGE", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$STATE/ipam", "ranges": [[{"subnet": "$PODS"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
C
  cat >"$STATE/containerd.toml" <<C
version = 2
root = "$STATE/containerd"
state = "$RUN/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "$RUN/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$STATE/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$STATE/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "$STATE/certs.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
C
  cat >"$STATE/kubelet.yaml" <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$RUN/containerd.sock
cgroupDriver: cgroupfs
failSwapOn: false
failCgroupV1: false
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $STATE/pki/ca.crt}}
authorization: {mode: AlwaysAllow}
podLogsDir: $STATE/logs/pods
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
C
}

remember_sysctls() { # what the kubelet, kube-proxy and the network plugins are about to change
  local key
  [ ! -e "$STATE/sysctls" ] || return 0
  for key in $SYSCTLS; do printf '%s=%s\n' "$key" "$(sysctl -n "$key")"; done >"$STATE/sysctls.part"
  mv "$STATE/sysctls.part" "$STATE/sysctls"
}

restore_sysctls() {
  [ -e "$STATE/sysctls" ] || return 0
  sysctl -q -p "$STATE/sysctls" || say "some kernel settings could not be put back: $STATE/sysctls"
  rm "$STATE/sysctls"
}
