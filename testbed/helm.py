"""Helm against a test cluster, as a user would run it."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from testbed import tools
from testbed.cluster.base import Cluster

SECONDS = 120.0


class HelmError(RuntimeError):
    """Helm exited with an error; `stderr` is what it said."""

    def __init__(self, arguments: Sequence[str], code: int, stdout: str, stderr: str) -> None:
        self.arguments, self.code, self.stdout, self.stderr = tuple(arguments), code, stdout, stderr
        super().__init__(f"helm {' '.join(arguments)}: exit {code}\n{stderr}{stdout}".rstrip())


class Helm:
    """Runs helm as the cluster's admin, or as `as_user`; without a cluster only lint and template work."""

    def __init__(self, cluster: Cluster | None = None, *, as_user: Path | None = None) -> None:
        self._cluster, self._user = cluster, as_user

    def run(self, *args: str, seconds: float = SECONDS) -> str:
        """Any helm command; returns its standard output, raises HelmError."""
        command = [str(tools.program("helm")), *args]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=seconds, env=self._environment()
        )
        if done.returncode != 0:
            raise HelmError(args, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def lint(self, chart: Path, *flags: str) -> str:
        """`helm lint --strict`: warnings fail too."""
        return self.run("lint", "--strict", str(chart), *flags)

    def template(
        self,
        release: str,
        chart: Path,
        *flags: str,
        namespace: str = "default",
        values: Mapping[str, str] | None = None,
    ) -> str:
        """The rendered manifests; `values` become --set."""
        return self.run("template", release, str(chart), "-n", namespace, *_sets(values), *flags)

    def install(
        self, release: str, chart: Path, *flags: str, namespace: str, values: Mapping[str, str] | None = None
    ) -> str:
        """Installs and prints the notes; the namespace must exist unless `--create-namespace` is a flag."""
        return self.run("install", release, str(chart), "-n", namespace, *_sets(values), *flags)

    def upgrade(
        self, release: str, chart: Path, *flags: str, namespace: str, values: Mapping[str, str] | None = None
    ) -> str:
        """Upgrades; `--install` as a flag makes it do both."""
        return self.run("upgrade", release, str(chart), "-n", namespace, *_sets(values), *flags)

    def uninstall(self, release: str, *flags: str, namespace: str) -> str:
        """Uninstalls; raises HelmError where there is no such release."""
        return self.run("uninstall", release, "-n", namespace, *flags)

    def test(self, release: str, *flags: str, namespace: str) -> str:
        """`helm test`: runs the chart's test hooks and shows their logs on failure."""
        return self.run("test", release, "-n", namespace, *flags)

    def _environment(self) -> dict[str, str]:
        if self._cluster is None:
            return {**os.environ, "KUBECONFIG": os.devnull}
        home = self._cluster.scratch / "helm"
        folders = {f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        return {**self._cluster.environment(self._user), **folders}


def _sets(values: Mapping[str, str] | None) -> list[str]:
    """--set for each value, lists and commas in Helm's own notation."""
    return [part for key, value in (values or {}).items() for part in ("--set", f"{key}={value}")]
