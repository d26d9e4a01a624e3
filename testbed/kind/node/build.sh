#!/bin/bash
# build.sh: from nothing to the docker image kindest/node:$K8S_VERSION and the
# programs in out/bin (kind, kubectl, ...). Needs Go and gcc, and only package
# registries: apt and the Go module proxy. Steps may be run alone:
#   build.sh [apt] [programs] [rootfs] [images] [node]      (no words: all)
set -eu -o pipefail
. "$(dirname "$0")/env.sh"; cd "$W"; mkdir -p logs out/bin
step() { local s=$(date +%s); "step_$1" >"logs/$1.log" 2>&1 || { tail -30 "logs/$1.log"; echo "FAILED: $1 (logs/$1.log)"; exit 1; }; echo "$1 $(( $(date +%s) - s )) s" | tee -a logs/times; }
step_apt() {
  command -v dockerd debootstrap iptables pigz jq >/dev/null && [ -e /usr/include/seccomp.h ] && return
  apt-get update -qq; apt-get install -y --no-install-recommends docker.io iptables debootstrap libseccomp-dev pigz jq
}
step_programs() { "$W/compile.sh"; }
step_rootfs() { "$W/rootfs.sh"; }
step_images() { "$W/images.py"; }
step_node() { "$W/dockerd.sh" start; "$W/node.sh"; }
rm -f logs/times; s=$(date +%s)
for x in ${*:-apt programs rootfs images node}; do step "$x"; done
touch out/built; echo "all $(( $(date +%s) - s )) s" | tee -a logs/times; tail -2 logs/node.log
