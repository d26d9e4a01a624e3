# sourced by the others: where everything is
W=${KINDNODE:-$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)}
K8S_VERSION=v1.36.3 KIND_VERSION=v0.33.0 LOCALPATH_VERSION=v0.0.30 CONTAINERD_VERSION=v2.3.4 RUNC_VERSION=v1.4.3
NODE_IMAGE=kindest/node:$K8S_VERSION
NICE=${NICE-nice -n 15}
export DOCKER_HOST=unix://$W/dockerd/docker.sock KUBECONFIG=${KUBECONFIG:-$W/kubeconfig} PATH=$W/out/cli:$PATH
export W K8S_VERSION KIND_VERSION NICE DOCKER_BUILDKIT=0
