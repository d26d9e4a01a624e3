"""Rolling origin: each policy sees some days, decides, and is judged on the days after; then the origin moves on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_rightsizer.backtest import baselines, ours
from gpu_rightsizer.backtest.judge import Outcome, judge_orders, judge_static
from gpu_rightsizer.backtest.recommended import Runs, Said, recommended
from gpu_rightsizer.backtest.window import Window, windows
from gpu_rightsizer.decide import elastic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.backtest.demand import Demand
    from gpu_rightsizer.backtest.ladder import Ladder

OURS: Final = "gpu-rightsizer"
RECOMMENDED: Final = f"{OURS}, as recommended"
STATED: Final = (0.2, 0.1, 0.05, 0.01)
HPA_TARGETS: Final = (0.8, 0.5)
_MARGINS: Final = tuple(np.geomspace(0.3, 20.0, 14).tolist())
_TARGETS: Final = (1.0, 0.9, 0.8, 0.65, 0.5, 0.4, 0.3, 0.2, 0.12, 0.07, 0.04)
_HEADROOMS: Final = (0.05, 0.15, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0)


@dataclass(frozen=True, slots=True)
class Settings:
    """`fit` and `judge` are minutes; `risk` the probability of running out within `judge` that a static size takes."""

    fit: int
    judge: int
    risk: float = 0.01
    rules: elastic.Rules = field(default_factory=elastic.Rules)
    frontier: bool = True


@dataclass(frozen=True, slots=True)
class Current:
    """What a deployment runs on now: KV tokens in all, its price an hour, and what it is."""

    tokens: float
    hourly: float
    runs: Runs | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """One policy over all windows, (windows x deployments,); `realised` are windows exceeded per stated probability."""

    name: str
    outcome: Outcome
    realised: Mapping[float, NDArray[np.bool_]] = field(default_factory=dict)
    stated: NDArray[np.float64] | None = None  # a probability of its own for each window, and whether it ran out
    exceeded: NDArray[np.bool_] | None = None
    said: tuple[Said, ...] = ()  # of what was recommended, window by window


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """All verdicts with what they are measured against: the price of 2 x peak and of knowing the future."""

    verdicts: tuple[Verdict, ...]
    frontier: Mapping[str, tuple[Verdict, ...]]
    reference: NDArray[np.float64]
    clairvoyant: NDArray[np.float64]
    skipped: int
    origins: int
    recalibrated: int  # windows whose static size was recalibrated on earlier ones


def replay(
    demand: Demand,
    ladder_for: Callable[[NDArray[np.float64]], Ladder],
    settings: Settings,
    current: Current | None = None,
) -> Replay:
    """Judges everybody at every origin; raises InvalidTrace where the trace is too short for one.

    `current` is what every deployment runs on now; with it stands what the product recommends to move to.
    """
    found, skipped = windows(demand, ladder_for, settings.fit, settings.judge)
    parts: list[list[Verdict]] = []
    curves: list[dict[str, list[Verdict]]] = []
    judged = ours.Judged([], [])
    recalibrated = 0
    for window in found:
        own, calibrated = _our_verdicts(window, settings, judged)
        recalibrated += int(calibrated.sum())
        parts.append([*own, *_static_verdicts(window, settings, current), *_elastic_verdicts(window, settings)])
        if settings.frontier:
            curves.append(frontier(window, settings))
    verdicts = tuple(_joined(same) for same in zip(*parts, strict=True))
    lines = {name: _curve([each[name] for each in curves]) for name in (curves[0] if curves else ())}
    prices = {v.name: v.outcome.hourly for v in verdicts}
    return Replay(verdicts, lines, prices["2 x peak"], prices["clairvoyant dynamic"], skipped, len(found), recalibrated)


def _our_verdicts(window: Window, settings: Settings, before: ours.Judged) -> tuple[list[Verdict], NDArray[np.bool_]]:
    """The decision and its two ways alone, and which were recalibrated; the window then is `before` those to come."""
    fleet = ours.sized(window.history, window.start, window.history_unknown, settings.judge)
    told = before.told(fleet.hours)
    calibrated = np.array([each in told for each in fleet.groups])
    capacity = window.ladder.static_capacity(fleet.levels(settings.risk, told))
    static_price = window.ladder.static_price(capacity)
    judged = np.where(window.unknown, 0.0, window.future)
    levels = {p: fleet.levels(p, told) for p in STATED}
    realised = {p: judged.max(axis=1) > level for p, level in levels.items()}
    static = judge_static(window.future, window.unknown, capacity, static_price)
    moving, plan = elastic_outcome(window, settings.rules)
    # a static size is only taken where its risk has been compared with what happened: regimes change
    cheaper = calibrated & (static_price < plan.replayed_price)
    both = _where(cheaper, static, moving)
    before.add(fleet, judged.max(axis=1))
    verdicts = [
        Verdict(OURS, both, realised),
        Verdict(f"{OURS}, elastic only", moving),
        Verdict(f"{OURS}, static only", static, realised),
    ]
    return verdicts, calibrated


def elastic_outcome(window: Window, rules: elastic.Rules) -> tuple[Outcome, elastic.Plan]:
    """Plans on the history, orders minute by minute, and is judged."""
    ladder, fit = window.ladder, window.history.shape[1]
    plan = elastic.plan(window.history, ladder.tokens, ladder.price, rules)
    orders = elastic.orders(window.demand, plan, rules, fit - rules.lead)
    price = ladder.price[plan.size, np.arange(plan.size.size)]
    own = orders[:, fit - rules.lead :]
    return judge_orders(window.future, window.unknown, own, tokens=plan.tokens, price=price, lead=rules.lead), plan


def _static_verdicts(window: Window, settings: Settings, current: Current | None) -> list[Verdict]:
    rules = {name: rule(window.history, 1.0) for name, rule in baselines.STATIC.items()}
    found = [Verdict(name, _static(window, capacity)) for name, capacity in rules.items()]
    if current is not None:
        tokens, hourly = (np.full(len(window.history), each) for each in (current.tokens, current.hourly))
        found.insert(0, Verdict("static current", judge_static(window.future, window.unknown, tokens, hourly)))
        if current.runs is not None and window.traced is not None:
            found.insert(1, _as_recommended(window, settings, current.runs))
    peak = np.where(window.unknown, 0.0, window.future).max(axis=1)
    for p in (0.1, 0.01):
        capacity = baselines.raw_pot(window.history, p, settings.judge)
        found.append(Verdict(f"raw POT p={p:g}", _static(window, capacity), {p: peak > capacity}))
    return [*found, Verdict("clairvoyant static", _static(window, peak))]


def _as_recommended(window: Window, settings: Settings, runs: Runs) -> Verdict:
    """What `evaluate` says of the history, and the share of its stated chances that came true."""
    told = recommended(window, runs, timedelta(minutes=settings.judge))
    outcome = judge_static(window.future, window.unknown, told.capacity, told.hourly)
    return Verdict(RECOMMENDED, outcome, stated=told.stated, exceeded=outcome.violated > 0, said=told.said)


def _elastic_verdicts(window: Window, settings: Settings) -> list[Verdict]:
    lead = settings.rules.lead
    found = [
        Verdict(f"HPA {target:g}", scaled(window, lead, partial(baselines.hpa_orders, target=target)))
        for target in HPA_TARGETS
    ]
    found.append(Verdict("llm-d-style saturation", scaled(window, lead, baselines.llm_d_orders)))
    knows = scaled(window, lead, partial(baselines.clairvoyant_orders, lead=lead))
    return [*found, Verdict("clairvoyant dynamic", knows)]


def frontier(window: Window, settings: Settings) -> dict[str, list[Verdict]]:
    """Every policy with its margin swept: what it costs at which violations."""
    curves = {
        name: [Verdict(f"x {margin:.3g}", _static(window, rule(window.history, margin))) for margin in _MARGINS]
        for name, rule in baselines.STATIC.items()
    }
    lead = settings.rules.lead
    curves["HPA"] = [
        Verdict(f"target {u:g}", scaled(window, lead, partial(baselines.hpa_orders, target=u))) for u in _TARGETS
    ]
    curves["llm-d-style saturation"] = [
        Verdict(f"x {1 / u:.3g}", scaled(window, lead, partial(baselines.llm_d_orders, margin=1 / u))) for u in _TARGETS
    ]
    curves["raw POT"] = [
        Verdict(f"p {p:g}", _static(window, baselines.raw_pot(window.history, p, settings.judge)))
        for p in (0.5, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
    ]
    curves[f"{OURS}, elastic only"] = [
        Verdict(f"q {q:g}", elastic_outcome(window, elastic.with_headroom(settings.rules, q))[0]) for q in _HEADROOMS
    ]
    return curves


def _static(window: Window, capacity: NDArray[np.float64]) -> Outcome:
    ladder = window.ladder
    price = ladder.static_price(capacity)
    return judge_static(window.future, window.unknown, ladder.static_capacity(capacity), price)


def scaled(
    window: Window,
    lead: int,
    policy: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
) -> Outcome:
    """A replica policy on the size that is cheapest for it; the choice is made on the judged days, in its favour."""
    fit = window.history.shape[1]
    begin = max(0, fit - lead - 60)  # an hour to settle
    run = baselines.best_size(window.ladder, lambda tokens: policy(window.demand[:, begin:], tokens))
    orders = run[0][:, fit - lead - begin :]
    return judge_orders(window.future, window.unknown, orders, tokens=run[1], price=run[2], lead=lead)


def _where(chosen: NDArray[np.bool_], one: Outcome, other: Outcome) -> Outcome:
    pairs = [(getattr(one, n), getattr(other, n)) for n in ("judged", "violated", "hourly", "rescalings")]
    return Outcome(*(np.where(chosen, a, b) for a, b in pairs))


def _joined(parts: Sequence[Verdict]) -> Verdict:
    """One policy's windows in one row."""
    fields = ("judged", "violated", "hourly", "rescalings")
    outcome = Outcome(*(np.concatenate([getattr(each.outcome, n) for each in parts]) for n in fields))
    realised = {p: np.concatenate([each.realised[p] for each in parts]) for p in parts[0].realised}
    if parts[0].stated is None:
        return Verdict(parts[0].name, outcome, realised)
    stated = np.concatenate([each.stated for each in parts if each.stated is not None])
    exceeded = np.concatenate([each.exceeded for each in parts if each.exceeded is not None])
    said = tuple(one for each in parts for one in each.said)
    return Verdict(parts[0].name, outcome, realised, stated, exceeded, said)


def _curve(parts: Sequence[Sequence[Verdict]]) -> tuple[Verdict, ...]:
    return tuple(_joined(same) for same in zip(*parts, strict=True))
