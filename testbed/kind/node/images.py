#!/usr/bin/env python3
"""The container images of a kind node, as one docker archive (out/images.tar), without a builder or a registry.

`build.sh` runs it beside the programs (out/bin) and the node's root file system (rootfs).
"""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOTFS = HERE / "rootfs"
PROGRAMS = HERE / "out" / "bin"
KUBERNETES = os.environ.get("K8S_VERSION", "v1.36.3")
KIND = os.environ.get("KIND_VERSION", "v0.33.0")

HYPER = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd")
ALSO_HYPER = ("kindnetd", "kubectl", "kubelet", "kubeadm")
TOOL_FOLDERS = (
    *("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin"),
    *("etc/ssl/certs", "tmp", "root", "run", "var/run"),
)
TOOLS = (
    *("/usr/sbin/xtables-nft-multi", "/usr/sbin/xtables-legacy-multi"),
    *("/usr/sbin/nft", "/usr/sbin/conntrack", "/usr/sbin/ethtool"),
)
ENVIRONMENT = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
]
# nft or legacy, as the kubelet on the node does (its hint chain), which is what Kubernetes' own iptables-wrapper asks
IPTABLES = (
    "#!/bin/sh\nm=legacy\n"
    "if /usr/sbin/iptables-nft-save -t mangle 2>/dev/null | grep -q '^:KUBE-IPTABLES-HINT\\|^:KUBE-KUBELET-CANARY'; "
    'then m=nft; fi\nexec /usr/sbin/{name}-$m{suffix} "$@"\n'
)


class Archive:
    """A docker archive: layers once each, images that name them."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "w")  # noqa: SIM115 - closed by `close`, once the manifest is written
        self._images: list[dict[str, object]] = []
        self._layers: set[str] = set()

    def layer(self, folder: Path) -> str:
        """Adds the folder as a layer; the digest of its uncompressed tar."""
        raw = folder.with_name(folder.name + ".tar")
        owner = ("--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner")
        subprocess.run(["tar", "-C", folder, *owner, "-cf", raw, "."], check=True)
        with raw.open("rb") as whole:
            digest = hashlib.file_digest(whole, "sha256").hexdigest()
        subprocess.run(["nice", "-n", "15", "pigz", "-5", "-n", "-f", raw], check=True)
        packed = raw.with_name(raw.name + ".gz")
        if digest not in self._layers:
            self._layers.add(digest)
            size = packed.stat().st_size
            with packed.open("rb") as content:
                self._add(f"{digest}/layer.tar", size, content)
            print(f"  layer {folder.name:12} {size / 1e6:7.1f} MB gz", flush=True)
        return digest

    def image(self, tag: str, layers: Sequence[str], **config: object) -> None:
        """Adds an image of those layers; `config` is what its containers run with."""
        described = {
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": {"Env": ENVIRONMENT, **config},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}" for layer in layers]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "kindnode"} for _ in layers],
        }
        data = json.dumps(described).encode()
        name = hashlib.sha256(data).hexdigest() + ".json"
        self._add(name, len(data), io.BytesIO(data))
        self._images.append({"Config": name, "RepoTags": [tag], "Layers": [f"{layer}/layer.tar" for layer in layers]})

    def close(self) -> None:
        """Writes the manifest."""
        data = json.dumps(self._images).encode()
        self._add("manifest.json", len(data), io.BytesIO(data))
        self._tar.close()

    def _add(self, name: str, size: int, content: io.BufferedIOBase) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = size
        self._tar.addfile(entry, content)


def libraries(paths: Iterable[str]) -> set[str]:
    """The files and the shared libraries they need, as paths inside rootfs."""
    found = set(paths)
    for path in paths:
        told = subprocess.run(["chroot", ROOTFS, "ldd", path], capture_output=True, text=True, check=False).stdout
        found |= set(re.findall(r"(/\S+)\s+\(0x", told))
    return found


def stage_tools() -> Path:
    """What the Kubernetes images need beside their program: busybox, iptables and their libraries."""
    folder = HERE / "out" / "tools"
    shutil.rmtree(folder, ignore_errors=True)
    for each in TOOL_FOLDERS:
        (folder / each).mkdir(parents=True, exist_ok=True)
    (folder / "tmp").chmod(0o1777)
    shutil.copy(ROOTFS / "bin/busybox", folder / "bin/busybox")
    for name in subprocess.check_output([folder / "bin/busybox", "--list"], text=True).split():
        if name != "busybox":
            (folder / "bin" / name).symlink_to("busybox")
    modules = {inside(each) for each in (ROOTFS / "usr/lib/x86_64-linux-gnu/xtables").glob("*.so")}
    for path in sorted(libraries(TOOLS) | modules):
        target = folder / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy(followed(ROOTFS / path.lstrip("/")), target)
    write_iptables(folder)
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    (folder / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (folder / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    shutil.copy(ROOTFS / "etc/ssl/certs/ca-certificates.crt", folder / "etc/ssl/certs/")
    return folder


def inside(path: Path) -> str:
    """A path of rootfs as a process in it sees it."""
    return "/" + str(path.relative_to(ROOTFS))


def followed(path: Path) -> Path:
    """Where a link inside rootfs leads, without leaving it; what is no link, with its folders' links followed."""
    if not path.is_symlink():
        return path.resolve()
    return ROOTFS / os.path.normpath(Path(inside(path)).parent / path.readlink()).lstrip("/")


def write_iptables(folder: Path) -> None:
    """`iptables` and its companions, each by the variant that the node uses."""
    for name in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            for variant in ("nft", "legacy"):
                (folder / f"usr/sbin/{name}-{variant}{suffix}").symlink_to(f"xtables-{variant}-multi")
            wrapper = folder / f"usr/sbin/{name}{suffix}"
            wrapper.write_text(IPTABLES.format(name=name, suffix=suffix))
            wrapper.chmod(0o755)


def stage(name: str, program: str, at: str, links: Sequence[str] = ()) -> Path:
    """A folder out/NAME with one of our programs at that path, and links to it beside it."""
    folder = HERE / "out" / name
    shutil.rmtree(folder, ignore_errors=True)
    target = folder / at.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(PROGRAMS / program, target)
    target.chmod(0o755)
    for link in links:
        target.with_name(link).symlink_to(target.name)
    return folder


def wanted_images() -> dict[str, str]:
    """The images that kubeadm of this version asks for, by their last name."""
    ask = f"exec -a kubeadm {PROGRAMS / 'hyper'} config images list --kubernetes-version {KUBERNETES}"
    told = subprocess.check_output(["bash", "-c", ask], text=True, stderr=subprocess.DEVNULL).split()
    return {image.split("/")[-1].split(":")[0]: image for image in told}


def constant(file: str, name: str) -> tuple[str, dict[str, str]]:
    """A manifest that stands as a constant in a source file of kind, and the file's other constants."""
    modules = Path(subprocess.check_output(["go", "env", "GOMODCACHE"], text=True).strip())
    source = (modules / f"sigs.k8s.io/kind@{KIND}/pkg/build/nodeimage" / file).read_text()
    others = dict(re.findall(r'const (\w+) = "([^"]+)"', source))
    found = re.search(rf"const {name} = `(.*?)`\n(?:\n|$)", source, re.DOTALL)
    if found is None:
        raise LookupError(f"{file} of kind {KIND} has no constant {name}")
    return re.sub(r"` \+ (\w+) \+ `", lambda match: others[match.group(1)], found.group(1)), others


def main() -> None:
    """Writes out/images.tar, and into rootfs what kind reads in the node."""
    wanted = wanted_images()
    print(wanted)
    network, network_names = constant("const_cni.go", "defaultCNIManifest")
    storage, storage_names = constant("const_storage.go", "defaultStorageManifest")
    path = HERE / "out" / "images.tar"
    archive = Archive(path)
    tools = archive.layer(stage_tools())
    hyper = archive.layer(stage("hyper", "hyper", "/usr/local/bin/hyper", (*HYPER, *ALSO_HYPER)))
    for each in HYPER:
        archive.image(wanted[each], [tools, hyper], Entrypoint=[f"/usr/local/bin/{each}"])
    archive.image(network_names["kindnetdImage"], [tools, hyper], Entrypoint=["/usr/local/bin/kindnetd"])
    pause = archive.layer(stage("pause", "pause", "/pause"))
    archive.image(wanted["pause"], [pause], Entrypoint=["/pause"], User="65535:65535")
    coredns = archive.layer(stage("coredns", "coredns", "/coredns"))
    archive.image(wanted["coredns"], [tools, coredns], Entrypoint=["/coredns"])
    name = "local-path-provisioner"
    provisioner = archive.layer(stage("lpp", name, f"/usr/local/bin/{name}"))
    archive.image(storage_names["storageProvisionerImage"], [tools, provisioner], Entrypoint=[name])
    archive.image(storage_names["storageHelperImage"], [tools], Entrypoint=["/bin/sh"])
    archive.close()
    print(f"images.tar {path.stat().st_size / 1e6:.1f} MB")
    (ROOTFS / "kind/manifests").mkdir(parents=True, exist_ok=True)
    (ROOTFS / "kind/version").write_text(KUBERNETES)
    (ROOTFS / "kind/manifests/default-cni.yaml").write_text(network)
    (ROOTFS / "kind/manifests/default-storage.yaml").write_text(storage)
    (HERE / "out/pause-name").write_text(wanted["pause"])  # for containerd


if __name__ == "__main__":
    main()
