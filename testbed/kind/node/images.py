#!/usr/bin/env python3
"""images.py: the container images of a kind node, as one docker archive
(out/images.tar), without a container builder and without a registry."""
import hashlib, io, json, os, re, shutil, subprocess, sys, tarfile, glob
W = os.path.dirname(os.path.realpath(__file__)); R = W + "/rootfs"; B = W + "/out/bin"
K8S = os.environ.get("K8S_VERSION", "v1.36.3")
KIND = subprocess.check_output(["go", "env", "GOMODCACHE"], text=True).strip() + "/sigs.k8s.io/kind@" + os.environ.get("KIND_VERSION", "v0.33.0")

def run(*a, **k): return subprocess.run(a, check=True, **k)

def deps(paths):
    """the files and the shared libraries they need, as paths inside rootfs"""
    out = set(paths)
    for p in paths:
        t = subprocess.run(["chroot", R, "ldd", p], capture_output=True, text=True).stdout
        out |= set(re.findall(r"(/\S+)\s+\(0x", t))
    return out

def stage_tools():
    d = W + "/out/tools"; shutil.rmtree(d, ignore_errors=True); os.makedirs(d)
    for x in ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "etc/ssl/certs", "tmp", "root", "run", "var/run"): os.makedirs(f"{d}/{x}")
    os.chmod(d + "/tmp", 0o1777)
    shutil.copy(R + "/bin/busybox", d + "/bin/busybox")
    for n in subprocess.check_output([d + "/bin/busybox", "--list"], text=True).split():
        if n != "busybox": os.symlink("busybox", f"{d}/bin/{n}")
    bins = ["/usr/sbin/xtables-nft-multi", "/usr/sbin/xtables-legacy-multi", "/usr/sbin/nft", "/usr/sbin/conntrack", "/usr/sbin/ethtool"]
    sos = [p[len(R):] for p in glob.glob(R + "/usr/lib/x86_64-linux-gnu/xtables/*.so")]
    for p in sorted(deps(bins) | set(sos)):
        src = os.path.realpath(R + p) if not os.path.islink(R + p) else R + os.path.normpath(os.path.join(os.path.dirname(p), os.readlink(R + p)))
        dst = d + p; os.makedirs(os.path.dirname(dst), exist_ok=True)
        if not os.path.exists(dst): shutil.copy(src, dst)
    for n in ("iptables", "ip6tables"):
        for s in ("", "-save", "-restore"):
            for kind, m in (("nft", "xtables-nft-multi"), ("legacy", "xtables-legacy-multi")):
                os.symlink(m, f"{d}/usr/sbin/{n}-{kind}{s}")
            # nft or legacy, as the kubelet on the node does (its hint chain), which is what kubernetes' own iptables-wrapper asks
            w = f"{d}/usr/sbin/{n}{s}"
            with open(w, "w") as f:
                f.write(f"""#!/bin/sh
m=legacy
if /usr/sbin/iptables-nft-save -t mangle 2>/dev/null | grep -q '^:KUBE-IPTABLES-HINT\\|^:KUBE-KUBELET-CANARY'; then m=nft; fi
exec /usr/sbin/{n}-$m{s} "$@"
""")
            os.chmod(w, 0o755)
    open(d + "/etc/passwd", "w").write("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    open(d + "/etc/group", "w").write("root:x:0:\nnogroup:x:65534:\n")
    open(d + "/etc/nsswitch.conf", "w").write("hosts: files dns\n")
    shutil.copy(R + "/etc/ssl/certs/ca-certificates.crt", d + "/etc/ssl/certs/")
    return d

def stage(name, files, links=()):
    d = f"{W}/out/{name}"; shutil.rmtree(d, ignore_errors=True)
    for src, dst in files:
        os.makedirs(os.path.dirname(d + dst), exist_ok=True); shutil.copy(src, d + dst); os.chmod(d + dst, 0o755)
    for to, at in links:
        os.makedirs(os.path.dirname(d + at), exist_ok=True); os.symlink(to, d + at)
    return d

class Archive:
    def __init__(self, path): self.tf = tarfile.open(path, "w"); self.man = []; self.have = set()
    def add(self, name, data=None, file=None):
        ti = tarfile.TarInfo(name)
        if file: ti.size = os.path.getsize(file); self.tf.addfile(ti, open(file, "rb"))
        else: ti.size = len(data); self.tf.addfile(ti, io.BytesIO(data))
    def layer(self, d):
        raw = d + ".tar"
        run("tar", "-C", d, "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "-cf", raw, ".")
        h = hashlib.sha256()
        with open(raw, "rb") as f:
            for b in iter(lambda: f.read(1 << 20), b""): h.update(b)
        run("nice", "-n", "15", "pigz", "-5", "-n", "-f", raw)
        id = h.hexdigest()
        if id not in self.have:
            self.have.add(id); self.add(f"{id}/layer.tar", file=raw + ".gz")
            print(f"  layer {os.path.basename(d):12} {os.path.getsize(raw + '.gz')/1e6:7.1f} MB gz", flush=True)
        return id
    def image(self, tags, layers, **config):
        c = {"architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
             "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"], **config},
             "rootfs": {"type": "layers", "diff_ids": ["sha256:" + l for l in layers]},
             "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "kindnode"} for _ in layers]}
        data = json.dumps(c).encode(); id = hashlib.sha256(data).hexdigest()
        self.add(id + ".json", data)
        self.man.append({"Config": id + ".json", "RepoTags": tags, "Layers": [f"{l}/layer.tar" for l in layers]})
    def close(self): self.add("manifest.json", json.dumps(self.man).encode()); self.tf.close()

def gosrc(path, name):
    s = open(f"{KIND}/pkg/build/nodeimage/{path}").read()
    consts = dict(re.findall(r'const (\w+) = "([^"]+)"', s))
    m = re.search(r"const " + name + r" = `(.*?)`\n(?:\n|$)", s, re.S)
    return re.sub(r"` \+ (\w+) \+ `", lambda x: consts[x.group(1)], m.group(1)), consts

hyper = B + "/hyper"
want = {}
for l in subprocess.check_output(["bash", "-c", f"exec -a kubeadm {hyper} config images list --kubernetes-version {K8S}"], text=True, stderr=subprocess.DEVNULL).split():
    want[l.split("/")[-1].split(":")[0]] = l
print(want)
cni, c1 = gosrc("const_cni.go", "defaultCNIManifest")
storage, c2 = gosrc("const_storage.go", "defaultStorageManifest")

A = Archive(W + "/out/images.tar")
progs = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd", "kindnetd", "kubectl", "kubelet", "kubeadm"]
tools = A.layer(stage_tools())
hy = A.layer(stage("hyper", [(hyper, "/usr/local/bin/hyper")], [("hyper", "/usr/local/bin/" + p) for p in progs]))
for p in progs[:5]: A.image([want[p]], [tools, hy], Entrypoint=["/usr/local/bin/" + p])
A.image([c1["kindnetdImage"]], [tools, hy], Entrypoint=["/usr/local/bin/kindnetd"])
A.image([want["pause"]], [A.layer(stage("pause", [(B + "/pause", "/pause")]))], Entrypoint=["/pause"], User="65535:65535")
A.image([want["coredns"]], [tools, A.layer(stage("coredns", [(B + "/coredns", "/coredns")]))], Entrypoint=["/coredns"])
A.image([c2["storageProvisionerImage"]], [tools, A.layer(stage("lpp", [(B + "/local-path-provisioner", "/usr/local/bin/local-path-provisioner")]))], Entrypoint=["local-path-provisioner"])
A.image([c2["storageHelperImage"]], [tools], Entrypoint=["/bin/sh"])
A.close()
print("images.tar %.1f MB" % (os.path.getsize(W + "/out/images.tar") / 1e6))

# what kind reads in the node, and the pause image's name for containerd
os.makedirs(R + "/kind/manifests", exist_ok=True)
open(R + "/kind/version", "w").write(K8S)
open(R + "/kind/manifests/default-cni.yaml", "w").write(cni)
open(R + "/kind/manifests/default-storage.yaml", "w").write(storage)
open(W + "/out/pause-name", "w").write(want["pause"])
