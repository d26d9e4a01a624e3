"""Bad metrics through a real Prometheus: none may shrink anything, each is named, and healed they are forgotten.

Every situation stands in one store under a namespace of its own; the fleet is looked at twice by the same operator:
in the midst of what is wrong for a while, and hours later. A situation is compared with the same twin shown cleanly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import numpy as np
import pytest

from gpu_rightsizer.adapters.prometheus import PrometheusMetrics
from gpu_rightsizer.adapters.prometheus_session import PrometheusSettings
from gpu_rightsizer.controller.sight import Sight
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.domain.readings import BlockSeries
from gpu_rightsizer.domain.world import Evaluation
from gpu_rightsizer.observe.queries import QUERIES
from gpu_rightsizer.ports import Metrics
from testbed.prometheus import PrometheusServer
from testbed.twin.fleet import holds_on
from testbed.twin.knobs import DcgmLabels, Knobs, MetricNames
from tests.e2e.on_paper import DAY, EVER, HOUR, NOW, SPAN, Flaky, Onlooker, Situation, moment
from tests.e2e.spoiled import (
    FB_USED,
    FINISHED,
    IMAGES,
    KV,
    LLM,
    POOL,
    RUNNING,
    TOKENS,
    TWO,
    always,
    beginning,
    beside,
    between,
    engine_at_zero,
    every_nth,
    idler_elsewhere,
    images,
    labelled,
    lacking,
    llm,
    of_another_job,
    often_nan,
    pool_untold,
    restarted,
    rolled_out,
    silent_replica,
    time_sliced,
    valued,
)

pytestmark = pytest.mark.e2e

LOOK = SPAN - 8 * HOUR  # in the midst of what is wrong for a while
SINCE, UNTIL = LOOK - 4.5 * HOUR, LOOK + HOUR
WHILE = ((SINCE, UNTIL),)
DIRECT = Knobs(dcgm_labels=DcgmLabels.DIRECT)
IMAGES_DIRECT = replace(IMAGES.knobs, dcgm_labels=DcgmLabels.DIRECT)
SENTINEL_OFTEN, SENTINEL_SELDOM = 0.05, 0.001
MISSING, INCOMPLETE, DISAGREE = Code.METRICS_MISSING, Code.METRICS_INCOMPLETE, Code.SOURCES_DISAGREE
CLEAN = {"llm": llm("clean"), "images": images("clean-images"), "two": llm("clean-two", spec=TWO)}


@dataclass(frozen=True, slots=True)
class Reason:
    """A finding: its code, and what its facts must say."""

    code: Code
    facts: dict[str, object] = field(default_factory=dict)

    def is_among(self, evaluation: Evaluation) -> bool:
        """Whether the decision gives it."""
        return any(
            each.code is self.code and self.facts.items() <= dict(each.facts).items()
            for each in evaluation.decision.reasons
        )


def missing(signal: str, why: str) -> Reason:
    return Reason(MISSING, {"signal": signal, "why": why})


def disagree(signal: str, detail: str) -> Reason:
    return Reason(DISAGREE, {"signal": signal, "detail": detail})


# What loses nothing that matters: the same is proposed as for the clean twin.
HARMLESS = [
    llm("gap-of-3-hours", scrape_gaps=((2 * DAY, 2 * DAY + 3 * HOUR),)),
    restarted("restarts", 2, 2.05, 4.3),
    rolled_out("rollout", 3.02),
    rolled_out("two-rollouts", 3.02, 3.5),
    llm("old-names", metric_names=MetricNames.OLD),
    llm("both-names", metric_names=MetricNames.BOTH),
    rolled_out("upgrade-of-names", 3.02, before=Knobs(metric_names=MetricNames.OLD, engine_label=False)),
    llm("pod-label", dcgm_labels=DcgmLabels.DIRECT),
    images("images-pod-label", dcgm_labels=DcgmLabels.DIRECT),
    llm("labels-flip", shown=((3.02 * DAY, DIRECT), (EVER, Knobs()))),
    images("images-labels-flip", shown=((3.02 * DAY, IMAGES_DIRECT), (EVER, IMAGES.knobs))),
    llm("dcgm-without-pods", dcgm_labels=DcgmLabels.NONE),
    llm("dcgm-says-blank", sentinel_share=1.0),
    llm("no-profiling", dcgm_profiling=False),
    llm("no-up", lacking("up")),
    llm("two-prometheis", beside(labelled(prometheus_replica="b"), labelled(prometheus_replica="a"))),
    llm("two-jobs", beside(of_another_job)),
    llm("every-minute", step_s=60.0),
    images("blank-seldom", sentinel_share=SENTINEL_SELDOM),
]

# What is wrong for a while: held as long, forgotten afterwards.
PASSING = [
    (llm("prometheus-down", scrape_gaps=WHILE), missing("KvDemand", "Stale")),
    (llm("target-lost", target_loss=WHILE), missing("KvDemand", "Stale")),
    (llm("exporter-silent", engine_loss=WHILE), missing("KvDemand", "Stale")),
    (llm("both-exporters-silent", engine_loss=WHILE, dcgm_loss=WHILE), missing("KvDemand", "Stale")),
    (images("dcgm-silent", dcgm_loss=WHILE), missing("FramebufferUsed", "Stale")),
    (llm("kv-lost", between(SINCE, UNTIL, lacking(KV))), missing("KvDemand", "Stale")),
    (llm("kv-becomes-nan", between(SINCE, UNTIL, always(np.nan, KV))), missing("KvDemand", "Stale")),
    (llm("running-becomes-nan", between(SINCE, UNTIL, always(np.nan, RUNNING))), missing("Running", "Stale")),
    (llm("tokens-lost", between(SINCE, UNTIL, lacking(*TOKENS))), missing("PromptRate", "Stale")),
    (images("fb-becomes-nan", between(SINCE, UNTIL, always(np.nan, FB_USED))), missing("FramebufferUsed", "Stale")),
    (
        llm("one-of-two-silent", between(SINCE, UNTIL, silent_replica), spec=TWO),
        Reason(INCOMPLETE, {"signal": "pods", "coverage": 0.5}),
    ),
]

ALL_NAN, FB_NAN = llm("all-nan", nan_share=1.0), images("fb-nan", always(np.nan, FB_USED))
NO_RUNNING = llm("no-running", lacking(RUNNING))

# What is wrong all along.
LASTING = [
    (llm("gap-of-a-day", scrape_gaps=((2 * DAY, 3 * DAY),)), Reason(INCOMPLETE, {"needed": 0.9})),
    (images("images-gap-of-a-day", scrape_gaps=((2 * DAY, 3 * DAY),)), Reason(INCOMPLETE, {"needed": 0.9})),
    (
        llm("gap-every-night", scrape_gaps=tuple((day * DAY, day * DAY + 4 * HOUR) for day in range(7))),
        Reason(INCOMPLETE, {"needed": 0.9}),
    ),
    (llm("exporter-silent-for-days", engine_loss=((3 * DAY, 5 * DAY),)), Reason(INCOMPLETE, {"needed": 0.9})),
    (llm("target-lost-for-days", target_loss=((3 * DAY, 5 * DAY),)), Reason(INCOMPLETE, {"needed": 0.9})),
    (llm("one-in-ten", every_nth(10, "vllm:")), Reason(INCOMPLETE, {"needed": 0.9})),
    (llm("one-in-twelve", every_nth(12, "vllm:")), Reason(INCOMPLETE, {"needed": 0.9})),
    (images("images-one-in-twelve", every_nth(12, "DCGM")), Reason(INCOMPLETE, {"needed": 0.9})),
    (ALL_NAN, Reason(MISSING, {"signal": "KvDemand"})),
    (llm("kv-in-percent", valued(lambda values: 1.5 + 100 * values, KV)), missing("KvUsage", "Invalid")),
    (llm("kv-negative", valued(lambda values: -0.1 - values, KV)), missing("KvUsage", "Invalid")),
    (llm("kv-infinite", always(np.inf, KV)), missing("KvUsage", "Invalid")),
    (llm("kv-at-zero", always(0.0, KV)), disagree("KvUsage", "requests run without any")),
    (llm("running-nan", always(np.nan, RUNNING)), Reason(MISSING, {"signal": "Running"})),
    (images("blank-often", sentinel_share=SENTINEL_OFTEN), missing("FramebufferUsed", "Invalid")),
    (images("blank-always", sentinel_share=1.0), missing("FramebufferUsed", "Invalid")),
    (images("fb-at-zero", always(0.0, FB_USED)), disagree("FramebufferUsed", "the device works without memory")),
    (FB_NAN, Reason(MISSING, {"signal": "FramebufferUsed"})),
    (llm("engine-at-zero", engine_at_zero), disagree("Running", "the device works without requests")),
    (llm("never-scraped-one", silent_replica, spec=TWO), Reason(INCOMPLETE, {"signal": "pods", "coverage": 0.5})),
    (
        llm("two-clusters", beside(labelled(cluster="b"), labelled(cluster="a"))),
        disagree("KvDemand", "clusters a, b"),
    ),
    (llm("shared-device", time_sliced), Reason(Code.DEVICE_SHARED)),
    (llm("no-pool", lacking(POOL)), missing("KvPool", "NoSeries")),
    (llm("pool-untold", pool_untold), missing("KvPool", "Invalid")),
    (llm("no-usage", lacking(KV)), missing("KvDemand", "NoSeries")),
    (NO_RUNNING, missing("Running", "NoSeries")),
    (llm("no-tokens", lacking(*TOKENS)), missing("PromptRate", "NoSeries")),
    (llm("no-requests", lacking(FINISHED)), missing("PromptTokens", "NoSeries")),
    (llm("nothing", engine_metrics=False, dcgm=False), missing("FramebufferUsed", "NoSeries")),
    (images("images-without-pods", dcgm_labels=DcgmLabels.NONE), missing("FramebufferUsed", "NoSeries")),
    (llm("young-store", beginning(SPAN - 3 * DAY)), Reason(Code.HISTORY_TOO_SHORT)),
]

SELDOM = [llm(f"every-{minutes}-minutes", step_s=60.0 * minutes) for minutes in (3, 5)]
DCGM_ALONE = llm("dcgm-alone", engine_metrics=False)
ELSEWHERE = llm("matched", beside(lambda each: labelled(cluster="b")(idler_elsewhere(each)), labelled(cluster="a")))

# Bugs that stand: each shrinks, or names a false reason, until `observe` is mended.
KNOWN = [
    (llm("half-nan", nan_share=0.5), missing("KvUsage", "Invalid")),
    (llm("nearly-all-nan", nan_share=0.95), missing("KvUsage", "Invalid")),
    (images("fb-nearly-all-nan", often_nan(0.95, FB_USED)), missing("FramebufferUsed", "Invalid")),
    (llm("unlabelled-clusters", beside(idler_elsewhere)), Reason(DISAGREE)),
    (llm("one-labelled-cluster", beside(lambda each: labelled(cluster="b")(idler_elsewhere(each)))), Reason(DISAGREE)),
]
FLEET = [
    *CLEAN.values(),
    *HARMLESS,
    *(each for each, _ in (*PASSING, *LASTING, *KNOWN)),
    *SELDOM,
    DCGM_ALONE,
    ELSEWHERE,
]


@dataclass(frozen=True, slots=True)
class Looks:
    """What the operator made of the fleet: in the midst of it, and hours later."""

    url: str
    amid: dict[str, Evaluation]
    later: dict[str, Evaluation]


@pytest.fixture(scope="module")
def looks() -> Iterator[Looks]:
    with PrometheusServer() as server:
        for situation in FLEET:
            server.push(situation.series())
        metrics = PrometheusMetrics(PrometheusSettings(server.url, whole_s=120.0))
        onlooker = Onlooker(Sight(metrics))
        looked = [onlooker.look(FLEET, at) for at in (moment(LOOK), NOW)]
        assert onlooker.sight.failures == {}
        yield Looks(server.url, *looked)
        metrics.close()


def proposal(evaluation: Evaluation) -> tuple[Action, str, int]:
    target = evaluation.decision.target
    if target is None:
        return evaluation.decision.action, "", 0
    return evaluation.decision.action, target.configuration.instance.name, target.configuration.accelerators


def clean_twin_of(situation: Situation) -> str:
    kind = "two" if situation.twin.replicas > 1 else situation.twin.name
    return CLEAN[kind].name


def named(situations: list[tuple[Situation, Reason]]) -> list[object]:
    return [pytest.param(situation, reason, id=situation.name) for situation, reason in situations]


@pytest.mark.parametrize("clean", CLEAN.values(), ids=lambda each: each.name)
def test_clean_twins_are_told_to_move(looks: Looks, clean: Situation) -> None:
    """Else nothing below would tell anything."""
    for look in (looks.amid, looks.later):
        assert proposal(look[clean.name])[0] is Action.RESIZE
        assert look[clean.name].world.observation.coverage > 0.99


@pytest.mark.parametrize("situation", HARMLESS, ids=lambda each: each.name)
def test_what_loses_nothing_changes_nothing(looks: Looks, situation: Situation) -> None:
    clean = clean_twin_of(situation)

    assert proposal(looks.amid[situation.name]) == proposal(looks.amid[clean])
    assert proposal(looks.later[situation.name]) == proposal(looks.later[clean])


@pytest.mark.parametrize(("situation", "reason"), named(PASSING))
def test_a_fault_holds_as_long_as_it_lasts(looks: Looks, situation: Situation, reason: Reason) -> None:
    amid, later = looks.amid[situation.name], looks.later[situation.name]

    assert proposal(amid)[0] is Action.UNKNOWN
    assert reason.is_among(amid), amid.decision.reasons
    assert proposal(later) == proposal(looks.later[clean_twin_of(situation)]), later.decision.reasons


@pytest.mark.parametrize(("situation", "reason"), named(LASTING))
def test_a_lasting_fault_is_named_and_shrinks_nothing(looks: Looks, situation: Situation, reason: Reason) -> None:
    for look in (looks.amid[situation.name], looks.later[situation.name]):
        assert proposal(look)[0] is Action.UNKNOWN
        assert reason.is_among(look), look.decision.reasons


@pytest.mark.parametrize(("situation", "reason"), named(KNOWN))
def test_known_bugs(looks: Looks, situation: Situation, reason: Reason) -> None:
    assert proposal(looks.later[situation.name])[0] is Action.UNKNOWN
    assert reason.is_among(looks.later[situation.name])


@pytest.mark.parametrize(
    ("situation", "reason"),
    named([(ALL_NAN, missing("KvUsage", "Invalid")), (FB_NAN, missing("FramebufferUsed", "Invalid"))]),
)
def test_nan_is_named_as_what_it_is(looks: Looks, situation: Situation, reason: Reason) -> None:
    assert reason.is_among(looks.later[situation.name])


def test_a_metric_that_is_there_is_not_said_to_be_missing(looks: Looks) -> None:
    assert not missing("KvUsage", "NoSeries").is_among(looks.later[NO_RUNNING.name])


@pytest.mark.parametrize("situation", SELDOM, ids=lambda each: each.name)
def test_seldom_scrapes_see_less_and_still_propose_what_holds(looks: Looks, situation: Situation) -> None:
    """Peaks between scrapes stay unseen, so the class may be another one than that of dense scrapes."""
    for look in (looks.amid, looks.later):
        action, instance_class, accelerators = proposal(look[situation.name])
        assert action in (Action.RESIZE, Action.UNKNOWN)
        if action is Action.RESIZE:
            assert holds_on(LLM, instance_class, accelerators).ok


def test_dcgm_alone_cannot_check_an_objective(looks: Looks) -> None:
    decision = looks.later[DCGM_ALONE.name].decision

    assert decision.target is None
    assert Code.OBJECTIVE_UNCHECKED in {each.code for each in decision.reasons}


# -- one of two clusters in the store, and queries that fail -----------------------------------------------------------


@pytest.fixture
def flaky(looks: Looks) -> Iterator[Flaky]:
    metrics = PrometheusMetrics(PrometheusSettings(looks.url))
    yield Flaky(metrics)
    metrics.close()


def matched(metrics: Metrics) -> Onlooker:
    return Onlooker(Sight(metrics, matchers=(("cluster", "a"),)))


def test_without_a_matcher_two_clusters_disagree(looks: Looks) -> None:
    assert proposal(looks.later[ELSEWHERE.name])[0] is Action.UNKNOWN
    assert disagree("KvDemand", "clusters a, b").is_among(looks.later[ELSEWHERE.name])


def test_with_a_matcher_the_other_cluster_is_not_there(looks: Looks, flaky: Flaky) -> None:
    seen = matched(flaky).look([ELSEWHERE])[ELSEWHERE.name]

    assert proposal(seen) == proposal(looks.later["clean"])
    theirs, clean = seen.world.observation.kv_demand, looks.later["clean"].world.observation.kv_demand
    assert isinstance(theirs, BlockSeries)
    assert isinstance(clean, BlockSeries)
    np.testing.assert_array_equal(theirs.values, clean.values)


def test_with_the_matcher_of_a_cluster_that_is_not_there_nothing_is_known(flaky: Flaky) -> None:
    seen = Onlooker(Sight(flaky, matchers=(("cluster", "c"),))).look([ELSEWHERE])[ELSEWHERE.name]

    assert proposal(seen)[0] is Action.UNKNOWN
    assert missing("FramebufferUsed", "NoSeries").is_among(seen)


COVERAGE_FAILS = "coverage"


@pytest.mark.parametrize("query", ["engine", "tokens", "requests", "pool", COVERAGE_FAILS, "now"])
def test_a_query_that_fails_holds_until_it_answers_again(looks: Looks, flaky: Flaky, query: str) -> None:
    onlooker = matched(flaky)
    flaky.failing = {query}
    amid = onlooker.look([ELSEWHERE], moment(LOOK))[ELSEWHERE.name]
    flaky.failing = set()
    later = onlooker.look([ELSEWHERE])[ELSEWHERE.name]

    assert proposal(amid)[0] is Action.UNKNOWN
    assert any(dict(each.facts).get("why") == "SourceFailed" for each in amid.decision.reasons), amid.decision.reasons
    assert proposal(later) == proposal(looks.later["clean"]), later.decision.reasons


@pytest.mark.parametrize("query", ["engine", "tokens", "pool", "coverage", "now"])
def test_a_partial_answer_holds_until_it_is_whole_again(looks: Looks, flaky: Flaky, query: str) -> None:
    onlooker = matched(flaky)
    flaky.warning = {query}
    amid = onlooker.look([ELSEWHERE], moment(LOOK))[ELSEWHERE.name]
    flaky.warning = set()
    later = onlooker.look([ELSEWHERE])[ELSEWHERE.name]

    assert proposal(amid)[0] is Action.UNKNOWN
    assert proposal(later) == proposal(looks.later["clean"]), later.decision.reasons


def test_a_store_that_goes_away_and_comes_back(looks: Looks, flaky: Flaky) -> None:
    """What was known before does not stand in for what is not told now."""
    onlooker = matched(flaky)
    before = onlooker.look([ELSEWHERE], moment(LOOK))[ELSEWHERE.name]
    flaky.failing = {query.name for query in QUERIES}
    amid = onlooker.look([ELSEWHERE], moment(LOOK + HOUR))[ELSEWHERE.name]
    flaky.failing = set()
    later = onlooker.look([ELSEWHERE])[ELSEWHERE.name]

    assert proposal(amid)[0] is Action.UNKNOWN
    assert proposal(before) == proposal(later) == proposal(looks.later["clean"])


@pytest.mark.parametrize("ahead", [timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)], ids=str)
def test_a_clock_that_runs_ahead_finds_nothing_fresh(flaky: Flaky, ahead: timedelta) -> None:
    seen = matched(flaky).look([ELSEWHERE], NOW + ahead)[ELSEWHERE.name]

    assert proposal(seen)[0] is Action.UNKNOWN
    assert missing("KvDemand", "Stale").is_among(seen)


def test_looking_in_steps_and_at_once_sees_the_same(flaky: Flaky) -> None:
    in_steps, at_once = matched(flaky), matched(flaky)
    for hours in (8.0, 7.7, 3.2, 0.4):
        in_steps.look([ELSEWHERE], NOW - timedelta(hours=hours))

    one = in_steps.look([ELSEWHERE])[ELSEWHERE.name].world.observation
    other = at_once.look([ELSEWHERE])[ELSEWHERE.name].world.observation
    for name in ("kv_demand", "running", "prompt_rate", "requests", "fb_used"):
        first, second = getattr(one, name), getattr(other, name)
        np.testing.assert_array_equal(first.values, second.values)
        np.testing.assert_array_equal(first.coverage, second.coverage)
