"""`gpu-rightsizer`: the operator and its tools. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from pathlib import Path

import click
from typing_extensions import override

from gpu_rightsizer.ports import Rejected, Unavailable

DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
LOG_LEVELS = click.Choice(["debug", "info", "warning", "error"])


class DurationType(click.ParamType[timedelta]):
    """`30s`, `5m`, `1h30m`."""

    name = "duration"

    @override
    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Raises the usage error that shows the form."""
        if isinstance(value, timedelta):
            return value
        parts = DURATION.findall(str(value))
        if not parts or "".join(number + unit for number, unit in parts) != value:
            self.fail(f"{value!r} is not a duration such as 30s, 5m or 1h30m", param, ctx)
        return timedelta(seconds=sum(int(number) * UNITS[unit] for number, unit in parts))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gpu-rightsizer")
def cli() -> None:
    """What each inference deployment needs, at what risk, and the cheapest class that holds it.

    \b
    Example:
      gpu-rightsizer run --once --prometheus-url http://localhost:9090
    """


@cli.command()
@click.option(
    "--prometheus-url", required=True, envvar="PROMETHEUS_URL", help="Prometheus, Thanos or Mimir: its base URL."
)
@click.option("--namespace", "namespaces", multiple=True, help="Only this namespace; may be repeated. Default: all.")
@click.option("--interval", type=DurationType(), default="5m", show_default=True, help="Time between two cycles.")
@click.option("--once", is_flag=True, help="Do one whole cycle and exit.")
@click.option(
    "--cluster-matcher",
    "cluster_matchers",
    multiple=True,
    help='For every query, when one store holds several clusters: cluster="a"; may be repeated.',
)
@click.option("--prometheus-bearer-token-file", type=click.Path(path_type=Path), help="Read again for every request.")
@click.option(
    "--prometheus-basic-auth-user-file", type=click.Path(path_type=Path), help="With the password file: basic auth."
)
@click.option("--prometheus-basic-auth-password-file", type=click.Path(path_type=Path))
@click.option("--prometheus-client-cert", type=click.Path(path_type=Path), help="With the key: mutual TLS.")
@click.option("--prometheus-client-key", type=click.Path(path_type=Path))
@click.option("--prometheus-ca", type=click.Path(path_type=Path), help="Certificates to trust, in PEM.")
@click.option("--prometheus-header", "headers", multiple=True, help="'X-Scope-OrgID: team'; may be repeated.")
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Default: $KUBECONFIG; in a pod, its own account.",
)
@click.option("--lease-namespace", envvar="POD_NAMESPACE", default="gpu-rightsizer", show_default=True)
@click.option("--metrics-port", type=int, default=8080, show_default=True)
@click.option("--health-port", type=int, default=8081, show_default=True)
@click.option("--log-level", type=LOG_LEVELS, default="info", show_default=True)
def run(once: bool, log_level: str, **options: object) -> None:
    """Run the operator.

    \b
    Example:
      gpu-rightsizer run --prometheus-url http://prometheus.monitoring:9090 --namespace chat
    """
    from gpu_rightsizer.controller import wiring

    wiring.configure_logging(log_level)
    try:
        settings = wiring.settings_from(options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    wiring.run_once(settings) if once else wiring.run_for_ever(settings)


@cli.command()
def crds() -> None:
    """Print the custom resource definitions.

    \b
    Example:
      gpu-rightsizer crds | kubectl apply --server-side -f -
    """
    from gpu_rightsizer.api.crd import render_all

    click.echo(render_all(), nl=False)


def main() -> None:
    """Entry point: 0 done, 1 refused or failed with one line on stderr, 2 wrong usage."""
    try:
        cli(standalone_mode=True)
    except (Unavailable, Rejected) as error:
        click.echo(f"gpu-rightsizer: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
