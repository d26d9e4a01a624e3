#!/bin/bash
# compile.sh: every program of the node, from Go modules, into out/bin
set -eu
. "$(dirname "$0")/env.sh"; B=$W/out/bin; mkdir -p $B
# a Go program that is a module of its own, with a spelling of an import that
# does not go together with the others': taken as source
if [ ! -d "$W/src/local-path" ]; then
  (cd /; go mod download github.com/rancher/local-path-provisioner@$LOCALPATH_VERSION)
  L=$(go env GOMODCACHE)/github.com/rancher/local-path-provisioner@$LOCALPATH_VERSION
  mkdir "$W/src/local-path"; cp $L/{main,provisioner,util}.go "$W/src/local-path/"; chmod u+w "$W"/src/local-path/*
  sed -i 's#github.com/Sirupsen/logrus#github.com/sirupsen/logrus#' "$W"/src/local-path/*.go
fi
cd "$W/src"; export GOFLAGS=-buildvcs=false
V=k8s.io/component-base/version; M=${K8S_VERSION#v1.}
LD="-s -w -X $V.gitVersion=$K8S_VERSION -X $V.gitMajor=1 -X $V.gitMinor=${M%%.*} -X $V.gitTreeState=clean -X $V.buildDate=2026-01-01T00:00:00Z"
t() { local n=$1 s=$(date +%s); shift; "$@"; echo "$n $(( $(date +%s) - s )) s"; }
b() { $NICE go build -trimpath "$@"; }
export CGO_ENABLED=0
t download go mod download
t hyper b -ldflags="$LD" -o $B/hyper ./hyper
for p in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubeadm kubectl etcd; do ln -sf hyper $B/$p; done
t coredns b -ldflags="-s -w" -o $B/coredns ./coredns
t containerd b -tags "no_btrfs no_devmapper no_zfs no_aufs" -ldflags="-s -w -X github.com/containerd/containerd/v2/version.Version=$CONTAINERD_VERSION" -o $B/ \
  github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr}
t cni b -ldflags="-s -w" -o $B/ github.com/containernetworking/plugins/plugins/{main/ptp,main/loopback,main/bridge,ipam/host-local,meta/portmap}
t crictl b -ldflags="-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=v1.36.0" -o $B/ sigs.k8s.io/cri-tools/cmd/crictl
t local-path-provisioner b -ldflags="-s -w" -o $B/local-path-provisioner ./local-path
CGO_ENABLED=1 t runc b -tags seccomp -ldflags="-s -w -X main.version=${RUNC_VERSION#v}" -o $B/runc github.com/opencontainers/runc
t kind env GOBIN=$B $NICE go install -trimpath -ldflags="-s -w" sigs.k8s.io/kind@$KIND_VERSION
t pause gcc -Os -static -s -o $B/pause "$W/pause.c"
mkdir -p "$W/out/cli"; ln -sf ../bin/kind ../bin/kubectl "$W/out/cli/"
ls -la $B
