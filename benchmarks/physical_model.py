"""Fits the physical model to published measurements and checks it on groups it was not fitted on; and its memory.

    python benchmarks/physical_model.py --points measured_points.csv --memory memory_fit_points.csv \
        --output benchmarks/results/physical_model.md

The points are the caller's, in the columns that `gpu-rightsizer predict` reads, with `tpot_ms` and `trust` beside them;
memory points have `value`, the largest context that starts (a power of two or the model's own limit; 0: none). A file
that is not there is said to be absent, and nothing is claimed about it. `--fit` prints the coefficients fitted on all.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter, defaultdict
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import least_squares

from benchmarks.physical_points import ROUNDS, Points, read_points
from benchmarks.startup import STARTED
from gpu_rightsizer.cli.points import point
from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.predict.case import batches, columns, longest_context, mean_tpot, mean_ttft
from gpu_rightsizer.predict.coefficients import FITTED, Coefficients
from gpu_rightsizer.predict.roofline import SIGMA_FIRST, SIGMA_UNMEASURED, decode_step, prefill, sigma

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.predict.case import Case

    Numbers = NDArray[np.float64]
    Mask = NDArray[np.bool_]

_Z95 = 1.645
_SCALE = 0.08  # of a residual in log TPOT beyond which the fit weighs it less than squared
_PULL = 5.0  # of the prior, whose deviations below are in log units
_LOCAL = 0.6  # weight of points that are not of trust A
_FIRST_SCALE = 0.2  # the same in log TTFT
_GROUP = 60  # points that a group counts as
_FOLDS, _REPEATS, _SEED = 5, 4, 1

# What each coefficient is expected to be before any point is seen, and how surely (deviation of its logarithm): launch
# costs and latencies of CUDA graphs and of NVLink all-reduces, shares of peak rates usual for large GEMMs.
_PRIOR: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "layer": ((45e-6,) * 3, (0.5,) * 3),
    "expert_layer": ((20e-6,) * 3, (0.8,) * 3),
    "request": ((10e-6,) * 3, (1.0,) * 3),
    "collective": ((6e-6,) * 3, (0.5,) * 3),
    "prefill_layer": ((200e-6,) * 3, (1.0,) * 3),
    "experts_read": ((0.7,) * 3, (0.4,) * 3),
    "bandwidth": ((0.88, 0.80, 0.90), (0.15, 0.15, 0.10)),
    "attention": ((0.9, 0.9, 0.8), (0.4, 0.4, 0.4)),
    "fp4": ((0.85,), (0.3,)),
    "int4": ((2.5e12,), (0.5,)),
    "small_message": ((0.5,), (0.7,)),
    "large_message": ((0.6,), (0.5,)),
    "flops16": ((0.6,), (0.2,)),
    "flops8": ((0.42,), (0.3,)),
    "flops4": ((0.3,), (0.4,)),
    "flops_int4": ((0.5,), (0.4,)),
    "expert_flops": ((0.6,), (0.5,)),
    "latent_layer": ((25e-6,), (0.8,)),
    "wide": ((0.15,), (1.0,)),
    "block_layer": ((15e-6,), (0.8,)),
    "latent_flops": ((0.3,), (0.7,)),
    "tile": ((0.35,), (0.5,)),
    "routing": ((2.0,), (0.7,)),
    "interference": ((0.8,), (0.25,)),
}
_CENTRE = np.log(np.array([x for centre, _ in _PRIOR.values() for x in centre]))
_DEVIATION = np.array([x for _, deviation in _PRIOR.values() for x in deviation])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=Path, help="CSV of measured latencies")
    parser.add_argument("--memory", type=Path, help="CSV of largest contexts that start")
    parser.add_argument("--fit", action="store_true", help="print the coefficients fitted on all points")
    parser.add_argument("--output", type=Path, help="also write the report here")
    asked = parser.parse_args(arguments)
    if asked.fit:
        print(_as_code(fitted(read_points(_rows(asked.points)))))
        return 0
    lines = ["# The physical model against published measurements", ""]
    lines += _section("Speed", asked.points, _speed)
    lines += _section("Memory", asked.memory, _memory)
    report = "\n".join(lines)
    print(report)
    if asked.output:
        command = "python benchmarks/physical_model.py --points measured_points.csv --memory memory_fit_points.csv"
        asked.output.parent.mkdir(parents=True, exist_ok=True)
        asked.output.write_text(f"{report}\nCommand: `{command}`\n", encoding="utf-8")
    return 0


def _section(title: str, path: Path | None, report: Callable[[list[dict[str, str]]], list[str]]) -> list[str]:
    if path is None or not path.is_file():
        where = "no file was given" if path is None else f"{path} is absent"
        return [f"## {title}", "", f"Not checked: {where}.", ""]
    return [f"## {title}", "", *report(_rows(path)), ""]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as source:
        return list(csv.DictReader(source))


def fitted(points: Points) -> Coefficients:
    """Fitted on all but the speculative: speeds on TPOT, then what precedes the first token on TTFT."""
    usable = points.where(np.flatnonzero(~points.speculative))
    return _with_first(usable, _speeds(usable))


def _with_first(points: Points, by: Coefficients) -> Coefficients:
    """Robust least squares in log TTFT, of points where nothing waits for a place; groups count alike.

    At least one step: that which the prompt shares with the others.
    """
    points = points.where(np.flatnonzero(_comparable(points)))
    work, machine = columns(points.cases)
    step = decode_step(work, machine, _running(points), by)[:, 0]
    known = _burst(points, by) + prefill(work, machine, work.prompt, by)[:, 0]
    sizes = Counter(points.group)
    weight = np.array([(_GROUP / sizes[g]) ** 0.5 for g in points.group])
    mixed = np.array([c.model.experts > 0 for c in points.cases])

    def found(of: Mask) -> tuple[float, float]:
        def residuals(beside: Numbers) -> Numbers:
            expected = known[of] + beside[0] + beside[1] * step[of]
            return _soft(np.log(points.ttft[of] / expected) / _FIRST_SCALE * weight[of])

        delay, steps = least_squares(residuals, [0.02, 2.0], bounds=([0.0, 1.0], [1.0, 100.0]), x_scale=[0.01, 1.0]).x
        return float(delay), float(steps)

    dense, experts = found(~mixed), found(mixed)
    return replace(by, first_delay=(dense[0], experts[0]), first_steps=(dense[1], experts[1]))


def _running(points: Points) -> Numbers:
    """Requests that run at once, as a column."""
    return batches(points.cases).running[:, None]


def _comparable(points: Points) -> Mask:
    """Points whose TTFT is that of the hardware: trusted, nothing held back, a place for each request."""
    batch = batches(points.cases)
    asked = np.array([c.concurrency for c in points.cases])
    free = points.trusted & ~points.held & ~points.speculative & np.isfinite(points.ttft)
    return np.asarray(free & (batch.admitted >= asked))


def _burst(points: Points, by: Coefficients) -> Numbers:
    """Mean wait of the benchmark's first round, in which all prompts arrive at once: half of them are before one."""
    work, machine = columns(points.cases)
    asked = np.array([c.concurrency for c in points.cases])
    return np.asarray((asked - 1) / 2 / ROUNDS * prefill(work, machine, work.prompt, by)[:, 0])


def _soft(off: Numbers) -> Numbers:
    """Residuals whose square grows linearly beyond 1 (soft L1)."""
    return np.asarray(np.sign(off) * np.sqrt(2 * (np.sqrt(1 + off**2) - 1)))


def _speeds(points: Points) -> Coefficients:
    """Robust least squares in log TPOT, each coefficient pulled to its prior.

    Groups count alike whatever their size: what is asked of the model is the next group, not the next point.
    """
    batch = batches(points.cases)
    work, machine = columns(points.cases)
    running, lost = batch.running[:, None], batch.admitted / batch.running
    others = (running - 1) / np.maximum(work.output, 1.0)
    sizes = Counter(points.group)
    weight = np.where(points.trusted, 1.0, _LOCAL) * np.array([(_GROUP / sizes[g]) ** 0.5 for g in points.group])

    def residuals(logs: Numbers) -> Numbers:
        by = _coefficients(np.exp(logs))
        seconds = decode_step(work, machine, running, by) + by.interference * others * prefill(
            work, machine, work.prompt, by
        )
        off = np.log(points.tpot / (seconds[:, 0] * lost)) / _SCALE * weight
        return np.concatenate([_soft(off), (logs - _CENTRE) / _DEVIATION * _PULL])

    return _coefficients(np.exp(least_squares(residuals, _CENTRE).x))


def _coefficients(values: Numbers) -> Coefficients:
    taken, at = {}, 0
    for name in _PRIOR:
        size = len(_PRIOR[name][0])
        each = tuple(float(x) for x in values[at : at + size])
        taken[name] = each if size > 1 else each[0]
        at += size
    return Coefficients(**taken, first_delay=FITTED.first_delay, first_steps=FITTED.first_steps)  # type: ignore[arg-type]  # tuples where the field is one


def _as_code(found: Coefficients) -> str:
    lines = [f"    {f.name}={_digits(getattr(found, f.name))}," for f in fields(found)]
    return "\n".join(["FITTED = Coefficients(", *lines, ")"])


def _digits(value: float | tuple[float, ...]) -> str:
    return f"{value:.3g}" if isinstance(value, float) else f"({', '.join(f'{x:.3g}' for x in value)})"


def _speed(rows: list[dict[str, str]]) -> list[str]:
    points = read_points(rows)
    skipped = ", ".join(f"{count} {why}" for why, count in sorted(points.skipped.items()))
    lines = [f"{len(points.cases)} of {len(rows)} rows are used; left out: {skipped}.", ""]
    split = f"mean over {_REPEATS} random splits of (model, accelerator) into {_FOLDS} folds, seed {_SEED}"
    lines += ["Error is |predicted - measured| / measured; coverage is of the stated 90 % interval.", ""]
    lines += [f"Not fitted: {split}.", ""]
    folds, first = zip(*(_left_out(points, each) for each in _splits(points.group)), strict=True)
    cards = sorted({card for _, card in points.group})
    by_card, _ = _left_out(points, [{g for g in points.group if g[1] == card} for card in cards])
    everything = mean_tpot(points.cases)
    lines += ["### Groups that were not fitted", "", *_kinds(points, list(folds), sigma(*columns(points.cases))[:, 0])]
    wide = np.full(len(points.cases), SIGMA_UNMEASURED)
    lines += [
        "### A whole accelerator left out, and the interval of an unmeasured one",
        "",
        *_kinds(points, [by_card], wide),
    ]
    lines += ["### As shipped, fitted on all", "", *_kinds(points, [everything], sigma(*columns(points.cases))[:, 0])]
    lines += ["### By group, worst first (not fitted)", "", *_groups(points, list(folds))]
    return [*lines, *_first_token(points, list(first))]


def _splits(groups: list[tuple[str, str]]) -> list[list[set[tuple[str, str]]]]:
    known = sorted(set(groups))
    order = [np.random.default_rng(_SEED + repeat).permutation(len(known)) for repeat in range(_REPEATS)]
    return [[{known[i] for i in part} for part in np.array_split(each, _FOLDS)] for each in order]


def _left_out(points: Points, folds: list[set[tuple[str, str]]]) -> tuple[Numbers, Numbers]:
    """TPOT and TTFT of each point, predicted by a fit that saw none of its group's fold."""
    tpot, ttft = np.full(len(points.cases), np.nan), np.full(len(points.cases), np.nan)
    for fold in folds:
        out = [i for i, group in enumerate(points.group) if group in fold]
        by = fitted(points.where(i for i, group in enumerate(points.group) if group not in fold))
        judged = points.where(out)
        tpot[out] = mean_tpot(judged.cases, by)
        ttft[out] = mean_ttft(judged.cases, by) + _burst(judged, by)
    return tpot, ttft


def _kinds(points: Points, predictions: list[Numbers], spread: Numbers) -> list[str]:
    """Median and p90 error and coverage by kind of model and engine, mean over the predictions."""
    lines = ["| kind | points | median error | p90 error | measured/predicted, median | coverage |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for name, mask in _masks(points).items():
        if mask.any():
            lines.append(f"| {name} | {mask.sum()} | {_figures(points.tpot[mask], predictions, mask, spread[mask])} |")
    return [*lines, ""]


def _masks(points: Points) -> dict[str, Mask]:
    vllm = np.array([c.engine is EngineType.VLLM for c in points.cases])
    dense = np.array([not c.model.experts for c in points.cases])
    small = np.array([c.concurrency <= 16 for c in points.cases])
    a = points.trusted & ~points.speculative
    return {
        "vLLM, dense": vllm & dense & a,
        "... batch <= 16": vllm & dense & a & small,
        "... batch > 16": vllm & dense & a & ~small,
        "vLLM, mixture of experts": vllm & ~dense & a,
        "other engines, dense": ~vllm & dense & a,
        "other engines, mixture of experts": ~vllm & ~dense & a,
        "all engines and models": a,
        "... and those that may have been speculative (never fitted)": points.trusted,
        "points of lower trust (weighed 0.6 in the fit)": ~points.trusted,
    }


def _figures(measured: Numbers, predictions: list[Numbers], mask: Mask, spread: Numbers) -> str:
    ratios = [measured / each[mask] for each in predictions]
    errors = [np.abs(1 / ratio - 1) for ratio in ratios]
    median, high = np.mean([np.median(e) for e in errors]), np.mean([np.quantile(e, 0.9) for e in errors])
    inside = np.mean([np.mean(np.abs(np.log(ratio)) <= _Z95 * spread) for ratio in ratios])
    return f"{median:.1%} | {high:.1%} | {np.mean([np.median(r) for r in ratios]):.2f} | {inside:.0%}"


def _groups(points: Points, predictions: list[Numbers]) -> list[str]:
    members: dict[str, list[int]] = defaultdict(list)
    for index, case in enumerate(points.cases):
        name = f"{points.engine[index]} {case.model.name} {case.accelerator.key} TP{case.settings.tensor_parallel}"
        members[name + ("" if points.trusted[index] else ", lower trust")].append(index)
    spread = sigma(*columns(points.cases))[:, 0]
    rows = []
    for name, at in members.items():
        mask = np.isin(np.arange(len(points.cases)), at)
        error = np.mean([np.median(np.abs(each[mask] / points.tpot[mask] - 1)) for each in predictions])
        rows.append((error, f"| {name} | {len(at)} | {_figures(points.tpot[mask], predictions, mask, spread[mask])} |"))
    lines = ["| group | points | median error | p90 error | measured/predicted, median | coverage |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    return [*lines, *(line for _, line in sorted(rows, reverse=True)), ""]


def _first_token(points: Points, folds: list[Numbers]) -> list[str]:
    """Errors of TTFT on groups that were not fitted, and what is not compared."""
    comparable = _comparable(points)
    names = ("vLLM, dense", "vLLM, mixture of experts", "other engines, dense", "other engines, mixture of experts",
             "all engines and models")  # fmt: skip
    masks = _masks(points)
    lines = ["| kind | points | median error | p90 error | measured/predicted, median | coverage |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for name in names:
        mask = masks[name] & comparable
        spread = np.full(mask.sum(), SIGMA_FIRST)
        lines.append(f"| {name} | {mask.sum()} | {_figures(points.ttft[mask], folds, mask, spread)} |")
    left = int((points.trusted & ~comparable).sum())
    why = f"Of the trusted points {left} are not compared: speculative, prompts held back by settings, or KV too short."
    how = "Measured means hold the first of ten rounds, in which all prompts arrive at once; so do the predicted ones."
    return ["### Time to first token, groups that were not fitted", "", *lines, "", f"{how} {why}", ""]


def _memory(rows: list[dict[str, str]]) -> list[str]:
    """Each point at its context (fits), and at the next power of two where the limit is not the model's own."""
    outcomes: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        asked = point(row, "row")
        if row["observed"] != "max_context_that_starts" or asked.case is None:
            outcomes["left out"].append(f"{row['model']} on {row['gpu']}")
            continue
        for outcome in _verdicts(asked.case, int(row["value"])):
            outcomes[outcome].append(f"{row['model']} on {row['gpu']} TP{row['tp']}")
    lines = ["Largest context that starts for sure, the overhead being assumed and its error given away.", ""]
    lines += ["| verdict | points |", "|---|---|", *(f"| {o} | {len(w)} |" for o, w in sorted(outcomes.items())), ""]
    lines += [f"- {o}: {', '.join(w)}" for o, w in sorted(outcomes.items()) if o.startswith("false")]
    return [*lines, "", *_started()]


def _verdicts(case: Case, starts: int) -> Iterable[str]:
    longest = longest_context(case)
    if starts > 0:
        yield "true fits" if longest >= starts else "false does not fit"
    longer = 2 * starts if starts else 2048
    if longer <= case.model.max_context:
        yield "false fits" if longest >= longer else "true does not fit"


def _started() -> list[str]:
    """KV memory that servers of today printed when they started."""
    lines = ["### Start-up figures of current vLLM", "", "GiB for KV on each rank.", "",
             "| server | printed | predicted | for sure |", "|---|---|---|---|"]  # fmt: skip
    for each in STARTED:
        expected, sure = each.predicted()
        lines.append(f"| [{each.name}]({each.source}) | {each.gib:.2f} | {expected:.2f} | {sure:.2f} |")
    return [*lines, ""]


if __name__ == "__main__":
    sys.exit(main())
