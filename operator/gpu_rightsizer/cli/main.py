"""`gpu-rightsizer`: the operator and its tools. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
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


def _version() -> str:
    """Of the installed distribution; a clone that is run from its folder has none."""
    try:
        return version("gpu-rightsizer")
    except PackageNotFoundError:
        return "unknown (run from source, not installed)"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name="gpu-rightsizer")
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
@click.argument("trace", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--model", help="A model of the catalogue; sizes are then its instance classes, and money is USD.")
@click.option("--class", "classes", multiple=True, help="Only this class; may be repeated. Default: all that hold it.")
@click.option("--current", help="The class that every deployment runs on now; adds the policy `static current`.")
@click.option("--replicas", type=click.IntRange(min=1), default=1, show_default=True, help="On the current class.")
@click.option("--lead-time", type=DurationType(), default="5m", show_default=True, help="From an order to a replica.")
@click.option("--fit", type=DurationType(), default="7d", show_default=True, help="History before each origin.")
@click.option("--judge", type=DurationType(), default="7d", show_default=True, help="What is judged after it.")
@click.option("--tpot", type=DurationType(), default="25ms", show_default=True, help="Objective: time an output token.")
@click.option(
    "--risk",
    type=click.FloatRange(0.001, 0.5),
    default=0.01,
    show_default=True,
    help="Objective: chance to run out within --judge when sized statically.",
)
@click.option(
    "--headroom",
    type=click.FloatRange(0.01, 100),
    default=0.8,
    show_default=True,
    help="Room kept when elastic, over a high quantile of growth within the lead time; more is safer.",
)
@click.option(
    "--overhead",
    type=click.FloatRange(0, 10),
    default=0.05,
    show_default=True,
    help="Without --model: weights of one replica, as a share of the peak demand.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the arrivals drawn for a trace of intervals.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), help="Write the frontier and reliability here (SVG)."
)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--json", "json_too", is_flag=True, help="The same as -o json.")
def backtest(output: str, json_too: bool, **options: object) -> None:
    """Replay a trace through the decision and what others do.

    TRACE is CSV or Parquet: timestamp,prompt_tokens,output_tokens (a row a request) or t,rate,cv,in_tok,out_tok (a row
    an interval), and client where it holds several deployments.

    \b
    Example:
      gpu-rightsizer backtest requests.csv --model meta-llama/Llama-3.1-8B-Instruct --plot frontier.svg
    """
    from gpu_rightsizer.cli import backtest as command

    click.echo(command.run(command.Options(as_json=json_too or output == "json", **options)))  # type: ignore[arg-type]


@cli.command()
@click.argument("points", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--model", help="A model of the catalogue, by any of its names.")
@click.option("--gpu", help="An accelerator of the catalogue: l40s, h100_sxm, 'NVIDIA L4'.")
@click.option("--tp", type=click.IntRange(1, 8), help="Tensor-parallel ranks. Default: 1.")
@click.option(
    "--weights", "weight_quant", help="bf16, fp16, fp8, int8, int4, mxfp4 or nvfp4. Default: the model's own."
)
@click.option("--engine", help="vllm, trtllm, sglang or tgi. Default: vllm.")
@click.option("--concurrency", type=click.FloatRange(1, 1e6), help="Requests at once, all the time. Default: 1.")
@click.option("--input", "isl", type=click.IntRange(1, 10**8), help="Tokens of a prompt. Default: 1024.")
@click.option("--output", "osl", type=click.IntRange(1, 10**8), help="Tokens of an answer. Default: 256.")
@click.option("--memory-share", type=click.FloatRange(0.01, 1), help="--gpu-memory-utilization. Default: 0.9.")
@click.option("--max-model-len", type=click.IntRange(1, 10**8), help="Default: the model's own limit.")
@click.option("--kv-dtype", help="auto, bf16 or fp8. Default: what engine and weights imply.")
@click.option("-o", "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--json", "json_too", is_flag=True, help="The same as -o json.")
def predict(points: Path | None, form: str, json_too: bool, memory_share: float | None, **given: object) -> None:
    """Say how fast a model would be on an accelerator, and what fits, with the error of it.

    POINTS is a CSV of points with a header: model, gpu, and of tp, engine, weight_quant, concurrency, isl, osl what is
    known. Every row answers, or says why not.

    \b
    Example:
      gpu-rightsizer predict --model Llama-3.1-8B-Instruct --gpu l40s --concurrency 8 --input 1000 --output 200
    """
    from gpu_rightsizer.cli import predict as command

    asked = {name: str(value) for name, value in given.items() if value is not None}
    asked |= {"gpu_memory_utilization": str(memory_share)} if memory_share else {}
    defaults = {"concurrency": "1", "isl": "1024", "osl": "256"} if points is None else {}
    click.echo(command.run(command.Options(points, defaults | asked, json_too or form == "json")))


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
