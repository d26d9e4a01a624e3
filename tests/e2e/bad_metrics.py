"""Every way in which metrics go bad, as situations on paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from testbed.remote_write import Series
from testbed.twin.arrivals import Diurnal, Family, Lengths
from testbed.twin.deployment import TwinRun, TwinSpec, simulate
from testbed.twin.judge import Objective
from testbed.twin.knobs import DcgmLabels, Knobs, MetricNames
from testbed.twin.physics import EngineArgs
from tests.e2e.on_paper import (
    DAY,
    EVER,
    HOUR,
    SPAN,
    Change,
    Situation,
    milliseconds,
    name_of,
    relabelled,
    spliced,
    without,
)

FAULT = SPAN - 8 * HOUR  # in the midst of what is wrong for a while
SINCE, UNTIL = FAULT - 1.5 * HOUR, FAULT + 1.5 * HOUR
FLAWLESS = Knobs()

LLM = TwinSpec(
    "llm", "paper", "meta-llama/Llama-3.1-8B-Instruct", "p4de.24xlarge", seed=11, span_s=SPAN,
    args=EngineArgs(max_model_len=8192), objective=Objective(ttft_p95_s=2.0, tpot_p95_s=0.1, attainment=0.99),
    family=Family(Diurnal(0.3), Lengths(700, 0.8, 180, 0.7)),
)  # fmt: skip
IMAGES = TwinSpec(
    "images", "paper", "stabilityai/stable-diffusion-xl-base-1.0", "g6e.4xlarge", seed=20, span_s=SPAN,
    objective=Objective(60.0, 10.0, 0.99), family=Family(Diurnal(0.01), Lengths(4096, 0.2, 30, 0.2, 8192)),
    knobs=Knobs(engine_metrics=False),
)  # fmt: skip


@cache
def lived(spec: TwinSpec) -> TwinRun:
    """Each life is lived once, however often it is shown."""
    return simulate(spec, live_span_s=60.0)


def llm(name: str, *, change: Change | None = None, step_s: float = 60.0, **knobs: object) -> Situation:
    """The one model, shown with those knobs all the time."""
    shown = replace(FLAWLESS, **knobs)  # type: ignore[arg-type]  # the names are the knobs'
    spec = replace(LLM, knobs=replace(FLAWLESS, **{k: v for k, v in knobs.items() if k in LIVED}))  # type: ignore[arg-type]
    return Situation(name, lived(spec), ((EVER, shown),), change or _same, step_s)


LIVED = frozenset({"restarts_s", "rollouts_s", "host_ooms_s"})  # knobs that change the run, not only its picture


def _same(series: list[Series]) -> list[Series]:
    return series


def images(name: str, *, change: Change | None = None, **knobs: object) -> Situation:
    """The model that does not preallocate: seen by DCGM alone."""
    return Situation(name, lived(IMAGES), ((EVER, replace(IMAGES.knobs, **knobs)),), change or _same)  # type: ignore[arg-type]


def for_a_while(change: Change) -> Change:
    """The change from SINCE until UNTIL, the series as they are before and after."""

    def changed(series: list[Series]) -> list[Series]:
        spoiled = spliced(series, change(series), milliseconds(SINCE))
        return spliced(spoiled, series, milliseconds(UNTIL))

    return changed


def values(change: Callable[[np.ndarray], np.ndarray], *names: str) -> Change:
    """Other values for the metrics of those names."""

    def changed(series: list[Series]) -> list[Series]:
        return [
            Series(each.labels, each.times_ms, change(each.values)) if name_of(each) in names else each
            for each in series
        ]

    return changed


def chained(*changes: Change) -> Change:
    def changed(series):
        for c in changes: series = c(series)
        return series
    return changed


def beside(copy: Callable[[Mapping[str, str]], Mapping[str, str]], then: Change = _same, *, both=None) -> Change:
    """A second set of the same series under other labels."""

    def changed(series: list[Series]) -> list[Series]:
        return [*(relabelled(series, both) if both else series), *then(relabelled(series, copy))]

    return changed


def labelled(**more: str) -> Callable[[Mapping[str, str]], Mapping[str, str]]:
    return lambda labels: {**labels, **more}


def of_pod(index: int, situation: Situation):
    return situation.pods[index].name


KV = "vllm:kv_cache_usage_perc"
RUN, WAIT = "vllm:num_requests_running", "vllm:num_requests_waiting"
FB = "DCGM_FI_DEV_FB_USED"
ENGINE = tuple(n for n in (KV, RUN, WAIT))


def constant(v): return lambda a: np.full_like(a, v)


def sparse(share, seed=1):
    rng = np.random.default_rng(seed)
    def changed(series):
        out = []
        for each in series:
            if not name_of(each).startswith("vllm:"):
                out.append(each); continue
            keep = np.arange(len(each.times_ms)) % round(1 / share) == 0
            out.append(Series(each.labels, each.times_ms[keep], each.values[keep]))
        return out
    return changed


def last_only(seconds):
    def changed(series):
        at = milliseconds(SPAN - seconds)
        return [Series(e.labels, e.times_ms[e.times_ms >= at], e.values[e.times_ms >= at]) for e in series]
    return changed


def silent(which: int):
    def changed(series):
        pods = sorted({e.labels["pod"] for e in series if name_of(e) == KV})
        return [e for e in series if e.labels.get("pod") != pods[which]]
    return changed

def zero_engine(series):
    return [Series(e.labels, e.times_ms, np.zeros_like(e.values)) if name_of(e).startswith("vllm:") and name_of(e) != "vllm:cache_config_info" else e for e in series]

two = replace(LLM, replicas=2, family=Family(Diurnal(0.5), Lengths(700, 0.8, 180, 0.7)))

def llm2(name, change=_same): return Situation(name, lived(two), ((EVER, FLAWLESS),), change)

OTHER_POD = lambda labels: {k: (v[:-5] + "zzzzz" if k in ("pod","exported_pod") and v.startswith("llm-") else v) for k, v in labels.items()}
def lower(series): return [Series(e.labels, e.times_ms, e.values*0.1) if name_of(e) in (KV,RUN) else e for e in series]

def share_gpu(series):
    return series + relabelled([e for e in series if name_of(e).startswith("DCGM")], lambda l: {**l, "exported_pod": "training-0", "exported_namespace": "other"})

CASES = [
    llm("clean"),
    images("clean-images"),
    llm2("clean-two"),
    # past gaps
    llm("gap-short", scrape_gaps=((2*DAY, 2*DAY+3*HOUR),)),
    llm("gap-long", scrape_gaps=((2*DAY, 2*DAY+24*HOUR),)),
    llm("gap-long-images") if False else images("gap-long-images", scrape_gaps=((2*DAY, 2*DAY+24*HOUR),)),
    llm("gap-daily", scrape_gaps=tuple((d*DAY, d*DAY+4*HOUR) for d in range(7))),
    # now
    llm("now-gap", scrape_gaps=((SINCE, UNTIL),)),
    llm("now-target-loss", target_loss=((SINCE, UNTIL),)),
    llm("now-engine-loss", engine_loss=((SINCE, UNTIL),)),
    llm("now-dcgm-loss", dcgm_loss=((SINCE, UNTIL),)),
    llm("now-both-loss", dcgm_loss=((SINCE, UNTIL),), engine_loss=((SINCE, UNTIL),)),
    images("images-now-loss", dcgm_loss=((SINCE, UNTIL),)),
    llm("past-engine-loss", engine_loss=((3*DAY, 5*DAY),)),
    llm("past-target-loss", target_loss=((3*DAY, 5*DAY),)),
    # invalid
    llm("nan-10", nan_share=0.1), llm("nan-50", nan_share=0.5), llm("nan-95", nan_share=0.95), llm("nan-all", nan_share=1.0),
    llm("nan-now", change=for_a_while(values(constant(np.nan), *ENGINE))),
    llm("kv-above-1", change=values(lambda a: a*100+1.5, KV)),
    llm("kv-negative", change=values(lambda a: -a-.1, KV)),
    llm("kv-inf", change=values(constant(np.inf), KV)),
    llm("run-nan", change=values(constant(np.nan), RUN)),
    llm("wait-nan", change=values(constant(np.nan), WAIT)),
    llm("tokens-nan", change=values(constant(np.nan), "vllm:generation_tokens_total")),
    images("sentinel-5", sentinel_share=0.05), images("sentinel-all", sentinel_share=1.0), images("sentinel-1", sentinel_share=0.001),
    llm("llm-sentinel-all", sentinel_share=1.0),
    images("images-fb-zero", change=values(constant(0.0), FB)),
    images("images-fb-nan", change=values(constant(np.nan), FB)),
    images("images-fb-nan-95", change=values(lambda a: np.where(np.random.default_rng(1).random(len(a)) < 0.95, np.nan, a), FB)),
    # sparse
    llm("sparse-10", change=sparse(0.1)),
    llm("sparse-5of60", change=sparse(1/12)),
    # restarts
    llm("restarts", restarts_s=(2*DAY, 2*DAY+3600, 4.3*DAY)),
    llm("rollout", rollouts_s=(3*DAY+1800,)),
    llm("rollout-two", rollouts_s=(3*DAY+1800, 3.5*DAY)),
    # names
    llm("old", metric_names=MetricNames.OLD), llm("both", metric_names=MetricNames.BOTH),
    Situation("upgrade", lived(LLM), ((3*DAY, replace(FLAWLESS, metric_names=MetricNames.OLD, engine_label=False)), (EVER, FLAWLESS))),
    # dcgm labels
    llm("direct", dcgm_labels=DcgmLabels.DIRECT), llm("nolabels", dcgm_labels=DcgmLabels.NONE),
    Situation("flip", lived(LLM), ((3*DAY+700, replace(FLAWLESS, dcgm_labels=DcgmLabels.DIRECT)), (EVER, FLAWLESS))),
    images("images-direct", dcgm_labels=DcgmLabels.DIRECT), images("images-nolabels", dcgm_labels=DcgmLabels.NONE),
    Situation("images-flip", lived(IMAGES), ((3*DAY+700, replace(IMAGES.knobs, dcgm_labels=DcgmLabels.DIRECT)), (EVER, IMAGES.knobs))),
    llm("noprof", dcgm_profiling=False),
    # replicas
    llm2("two-silent-now", for_a_while(silent(0))),
    llm2("two-silent-ever", silent(0)),
    llm2("two-silent-other", silent(1)),
    # clusters
    llm("clusters", change=beside(labelled(cluster="b"), lower, both=labelled(cluster="a"))),
    llm("clusters-pods", change=beside(lambda l: labelled(cluster="b")(OTHER_POD(l)), lower, both=labelled(cluster="a"))),
    llm("clusters-unlabelled", change=beside(OTHER_POD, lower)),
    llm("ha", change=beside(labelled(prometheus_replica="b"), both=labelled(prometheus_replica="a"))),
    llm("jobs", change=beside(lambda l: {**l, "job": l["job"] + "-again"})),
    llm("shared", change=share_gpu),
    # config
    llm("no-pool", change=lambda s: without(s, "vllm:cache_config_info")),
    llm("no-kv", change=lambda s: without(s, KV)),
    llm("no-running", change=lambda s: without(s, RUN)),
    llm("no-waiting", change=lambda s: without(s, WAIT)),
    llm("no-tokens", change=lambda s: without(s, "vllm:prompt_tokens_total", "vllm:generation_tokens_total")),
    llm("no-success", change=lambda s: without(s, "vllm:request_success_total")),
    llm("no-engine", engine_metrics=False),
    llm("no-dcgm", dcgm=False),
    llm("nothing", dcgm=False, engine_metrics=False),
    llm("no-up", change=lambda s: without(s, "up")),
    llm("zero-engine", change=zero_engine),
    llm("zero-engine-now", change=for_a_while(zero_engine)),
    llm("zero-kv", change=values(constant(0.0), KV)),
    llm("fresh", change=last_only(1.5*DAY)),
    llm("fresh-3d", change=last_only(3*DAY)),
    # intervals
    llm("every-120", step_s=120.0), llm("every-300", step_s=300.0), llm("every-180", step_s=180.0),
]
