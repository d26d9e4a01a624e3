"""Every workload on every shape at once: memory, speed and the probabilities of running out, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.engines import takes_large_defaults
from gpu_rightsizer.domain.need import DemandTail, FramebufferMemory, PreallocatedMemory
from gpu_rightsizer.domain.readings import Missing
from gpu_rightsizer.estimate.exceedance import interpolated
from gpu_rightsizer.estimate.memory import device_total, pool_tokens
from gpu_rightsizer.predict.hazard import configuration_oom
from gpu_rightsizer.predict.memory import ALLOCATOR_MARGIN, Ledger, Overheads, ledger, visible_memory
from gpu_rightsizer.predict.occupancy import peak_growth
from gpu_rightsizer.predict.precision import verdicts, with_cache
from gpu_rightsizer.predict.queue import STABLE, Flow, flow
from gpu_rightsizer.predict.roofline import SIGMA_FIRST, Z95, sigma
from gpu_rightsizer.predict.transfer import device_use, slowdown
from gpu_rightsizer.predict.work import Row, Work, work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.world import World
    from gpu_rightsizer.predict.shapes import Hardware, Shapes

_OWN_SIGMA = 0.03  # where the workload itself was measured on that very shape


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """Arrays of shape (rows, shapes); `peak` and `here` are per row. NaN is unknown.

    `demand` is the peak that must be held there: tokens of KV, or bytes where the engine does not preallocate;
    `need` and `available` are bytes per rank. `out_of_memory` joins load and configuration.
    """

    ledger: Ledger
    flow: Flow
    capacity: NDArray[np.float64]
    demand: NDArray[np.float64]
    need: NDArray[np.float64]
    available: NDArray[np.float64]
    out_of_memory: NDArray[np.float64]
    overload: NDArray[np.float64]
    tpot_bound: NDArray[np.float64]
    ttft_bound: NDArray[np.float64]
    slo_miss: NDArray[np.float64]
    precision: NDArray[np.int64]
    device_use: NDArray[np.float64]
    rate: NDArray[np.float64]
    longest: NDArray[np.float64]
    here: NDArray[np.intp]  # index of the present shape, -1 where unknown
    like: NDArray[np.intp]  # the row that runs so today: itself, but for a row that asks what would be otherwise

    def runs_here(self, row: int, shape: int) -> bool:
        """That very configuration runs today, so that it is judged by what it does."""
        return bool(self.here[row] == shape and self.like[row] == row)


@dataclass(frozen=True, slots=True, eq=False)
class _Fleet:
    """What the steps below share."""

    rows: Sequence[Row]
    worlds: Sequence[World]
    needs: Sequence[Need]
    shapes: Shapes
    here: NDArray[np.intp]
    like: NDArray[np.intp]

    @property
    def hardware(self) -> Hardware:
        return self.shapes.hardware

    @property
    def own(self) -> NDArray[np.bool_]:
        """Which entry of each row is the present shape."""
        return np.asarray(np.arange(len(self.shapes.known))[None, :] == self.here[:, None])


def outlook(
    rows: Sequence[Row],
    worlds: Sequence[World],
    needs: Sequence[Need],
    shapes: Shapes,
    of_class: Mapping[str, float],
    *,
    like: Sequence[int] | None = None,
) -> Outlook:
    """The whole physics of a part of the fleet. `of_class` is device memory by class name, for past incidents.

    `like` names for each row that of the same workload and load as it runs today, whose speed was measured.
    """
    here = np.array([_here(worlds[row.world], shapes) for row in rows], dtype=np.intp)
    today = np.arange(len(rows)) if like is None else np.array(like, dtype=np.intp)
    fleet = _Fleet(rows, worlds, needs, shapes, here, today)
    asked = work(rows, worlds, needs)
    visible = _visible(fleet)
    memory = ledger(asked, fleet.hardware, _overheads(fleet), visible)
    capacity = _capacity(fleet, memory)
    slow = slowdown([worlds[r.world] for r in rows], asked, fleet.hardware, fleet.here, capacity)[fleet.like]
    stream = flow(asked, fleet.hardware, capacity, slow)
    return _joined(fleet, asked, memory, visible, stream, capacity, of_class)


def _joined(  # noqa: PLR0917 - the stages of one computation, each used once
    fleet: _Fleet,
    asked: Work,
    memory: Ledger,
    visible: NDArray[np.float64],
    stream: Flow,
    capacity: NDArray[np.float64],
    of_class: Mapping[str, float],
) -> Outlook:
    peak, growth = _peaks(fleet), _growth(fleet, asked, stream)
    reserved = _reserved(fleet)
    cap = _caps(fleet)
    demand = np.where(reserved, np.minimum(peak * growth, cap), peak)
    need = np.where(reserved, memory.need(np.nan_to_num(demand, nan=0.0)), peak * ALLOCATOR_MARGIN)
    available = np.where(reserved, memory.available, visible)
    room = np.where(reserved, capacity / growth, visible / ALLOCATOR_MARGIN)
    stable = peak * STABLE / np.maximum(stream.utilisation, 1e-9)
    fits = need <= available
    by_load, sooner = _exceedance(fleet, (room, np.where(stable < room, stable, np.nan)), fits)
    by_load = np.where(reserved & fits & (capacity >= cap), 0.0, by_load)
    by_configuration = _configuration(fleet, of_class)
    measured = fleet.own & np.isfinite(_measured_tpot(fleet))
    spread = np.where(measured, _OWN_SIGMA, sigma(asked, fleet.hardware))
    first = np.where(measured, _OWN_SIGMA, SIGMA_FIRST)
    return Outlook(
        ledger=memory, flow=stream, capacity=np.where(reserved, capacity, np.nan), demand=demand, need=need,
        available=available, out_of_memory=1 - (1 - by_load) * (1 - by_configuration),
        overload=np.fmax(by_load, sooner),  # of the memory, or of the load where it becomes unstable sooner
        tpot_bound=stream.tpot * np.exp(Z95 * spread), ttft_bound=stream.ttft * np.exp(Z95 * first),
        slo_miss=_slo_miss(fleet, stream, spread, first),
        precision=with_cache(verdicts(asked, fleet.hardware), asked, fleet.hardware, fleet.here),
        device_use=device_use([fleet.needs[r.world] for r in fleet.rows], asked, fleet.hardware, fleet.here),
        rate=asked.rate, longest=asked.longest, here=fleet.here, like=fleet.like,
    )  # fmt: skip


def _here(world: World, shapes: Shapes) -> int:
    placement = world.workload.placement
    if isinstance(placement, Missing):
        return -1
    index = shapes.of(placement, world.workload.settings.tensor_parallel)
    return -1 if index is None else index


def _column(values: Sequence[float]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)[:, None]


def _visible(fleet: _Fleet) -> NDArray[np.float64]:
    """What CUDA sees: as measured on the accelerator it runs on now, else the driver's total less what is kept."""
    totals = [device_total(fleet.worlds[row.world].observation) for row in fleet.rows]
    told = (fleet.here >= 0) & np.array([total is not None for total in totals], dtype=bool)
    kinds = {(shape.key, shape.memory): index for index, shape in enumerate(fleet.shapes.known)}
    kind = np.array([kinds[shape.key, shape.memory] for shape in fleet.shapes.known], dtype=np.intp)
    same = told[:, None] & (kind == kind[np.maximum(fleet.here, 0)][:, None])
    return np.where(same, _column([total or np.nan for total in totals]), visible_memory(fleet.hardware))


def _overheads(fleet: _Fleet) -> Overheads:
    known = [fleet.needs[row.world].memory for row in fleet.rows]
    placements = [fleet.worlds[row.world].workload.placement for row in fleet.rows]
    return Overheads(
        _column([m.overhead if isinstance(m, PreallocatedMemory) else np.nan for m in known]),
        _column([m.overhead_error if isinstance(m, PreallocatedMemory) else np.nan for m in known]),
        _column([fleet.worlds[r.world].workload.settings.tensor_parallel for r in fleet.rows]).astype(np.int64),
        np.array([[not isinstance(p, Missing) and _takes_large_defaults(p) for p in placements]]).T,
    )


def _takes_large_defaults(placement: InstanceClass) -> bool:
    return takes_large_defaults(placement.accelerator_memory, placement.accelerator.product)


def _capacity(fleet: _Fleet, memory: Ledger) -> NDArray[np.float64]:
    """KV tokens of one replica: as the engine reports on the present shape, as the ledger says elsewhere."""
    pools = [pool_tokens(fleet.worlds[row.world].observation) for row in fleet.rows]
    reported = _column([np.nan if tokens is None else tokens for tokens in pools])
    return np.where(fleet.own & np.isfinite(reported), reported, memory.capacity)


def _reserved(fleet: _Fleet) -> NDArray[np.bool_]:
    kinds = [isinstance(fleet.needs[row.world].memory, FramebufferMemory) for row in fleet.rows]
    return ~np.array(kinds, dtype=bool)[:, None]


def _tail(need: Need) -> DemandTail | None:
    if isinstance(need.memory, Missing) or isinstance(need.memory.demand, Missing):
        return None
    return need.memory.demand


def _peaks(fleet: _Fleet) -> NDArray[np.float64]:
    """The largest demand seen of the busiest replica."""
    tails = [_tail(fleet.needs[row.world]) for row in fleet.rows]
    return _column([np.nan if t is None else t.peak for t in tails])


def _caps(fleet: _Fleet) -> NDArray[np.float64]:
    """Tokens that one replica can hold at most, whatever is asked of it; infinite where nothing limits it."""
    tails = [_tail(fleet.needs[row.world]) for row in fleet.rows]
    return _column([np.inf if t is None or t.cap is None else t.cap for t in tails])


def _growth(fleet: _Fleet, asked: Work, stream: Flow) -> NDArray[np.float64]:
    """How much larger the peak is there than here at the same load; never below 1, and by the replicas' share.

    A slower class keeps requests longer, so that more of them hold KV at once. Where it cannot serve the load at all
    there is no such ratio: the present demand stands, and the class is overloaded.
    """
    at = np.maximum(fleet.here, 0)
    present = stream.batch[fleet.like, at[fleet.like]][:, None]
    share = _column([row.share for row in fleet.rows])
    known = (fleet.here >= 0)[:, None] & (present > 0) & np.isfinite(stream.batch)
    known = known & (stream.utilisation <= STABLE)
    held = asked.kv_per_request
    requests = np.where(held > 0, _peaks(fleet) / np.where(held > 0, held, 1.0), 0.0)
    return np.asarray(np.where(known, peak_growth(requests * share, present, stream.batch), 1.0) * share)


def _exceedance(
    fleet: _Fleet, capacities: tuple[NDArray[np.float64], ...], fits: NDArray[np.bool_]
) -> list[NDArray[np.float64]]:
    """P(demand > capacity within each workload's horizon); NaN where there is no tail, 1 where today's does not fit."""
    known = [_tail(fleet.needs[row.world]) for row in fleet.rows]
    rows = np.array([t is not None for t in known], dtype=bool)
    tails = [t for t in known if t is not None]
    out = np.full((len(known), len(capacities), fits.shape[1]), np.nan)
    if tails:
        hours = _horizon_days(fleet)[rows, 0] * 24
        asked = np.stack(capacities, axis=1)[rows]
        wanted = (asked > 0) & fits[rows, None]
        capacity = np.where(wanted, np.minimum(asked, 1e15), np.nan).reshape(len(tails), -1)
        chances = interpolated(tails, capacity, hours).reshape(asked.shape)
        out[rows] = np.where(wanted, chances, np.where(np.isnan(asked), np.nan, 1.0))
    return list(out.swapaxes(0, 1))


def _horizon_days(fleet: _Fleet) -> NDArray[np.float64]:
    horizons = [fleet.worlds[row.world].workload.objective.horizon for row in fleet.rows]
    return _column([horizon.total_seconds() / 86_400 for horizon in horizons])


def _configuration(fleet: _Fleet, of_class: Mapping[str, float]) -> NDArray[np.float64]:
    hazards = [fleet.needs[row.world].hazard for row in fleet.rows]
    return configuration_oom(hazards, fleet.hardware.memory, of_class, _horizon_days(fleet))


def _measured_tpot(fleet: _Fleet) -> NDArray[np.float64]:
    peaks = [fleet.worlds[row.world].observation.tpot for row in fleet.rows]
    return _column([np.nan if isinstance(p, Missing) else p.peak() for p in peaks])


def _slo_miss(
    fleet: _Fleet, stream: Flow, spread: NDArray[np.float64], first: NDArray[np.float64]
) -> NDArray[np.float64]:
    """P(the model's error carries TPOT or TTFT over its objective): the larger of the two."""
    objectives = [fleet.worlds[row.world].workload.objective for row in fleet.rows]
    tpot = np.log(np.maximum(stream.tpot, 1e-9) / _column([o.tpot_p95 for o in objectives])) / spread
    ttft = np.log(np.maximum(stream.ttft, 1e-9) / _column([o.ttft_p95 for o in objectives])) / first
    return _normal(np.maximum(tpot, ttft))


def _normal(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """The standard normal distribution function, to 1e-7 (Abramowitz and Stegun 7.1.26)."""
    x = np.abs(np.clip(z, -40.0, 40.0)) / np.sqrt(2.0)
    t = 1.0 / (1.0 + 0.3275911 * x)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    upper = series * np.exp(-(x**2)) / 2
    return np.asarray(np.where(z > 0, 1.0 - upper, upper))
