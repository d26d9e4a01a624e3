"""`gpu-rightsizer predict`: the physical model for one case or a CSV of them, with its error."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import click
import numpy as np

from gpu_rightsizer.cli.points import Point, point, read
from gpu_rightsizer.domain.engines import EngineSettings
from gpu_rightsizer.estimate.memory import rank_weights
from gpu_rightsizer.ports import Rejected
from gpu_rightsizer.predict.case import batches, columns, kv_room, longest_context, mean_tpot, mean_ttft
from gpu_rightsizer.predict.memory import visible_memory
from gpu_rightsizer.predict.roofline import SIGMA_FIRST, SIGMA_UNMEASURED, Z95, sigma
from gpu_rightsizer.predict.shapes import MEASURED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gpu_rightsizer.predict.case import Case


@dataclass(frozen=True, slots=True)
class Options:
    """As given on the command line; `given` are the columns of the one case by name."""

    points: Path | None
    given: dict[str, str]
    as_json: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """One row of the JSON: milliseconds and tokens; None is unknown, and `why` says what is missing or refuses."""

    point_id: str
    tpot_ms: float | None = None
    tpot_ms_p05: float | None = None
    tpot_ms_p95: float | None = None
    ttft_ms: float | None = None
    ttft_ms_p05: float | None = None
    ttft_ms_p95: float | None = None
    output_tok_s: float | None = None
    fits: bool | None = None
    max_context: int | None = None
    measured_accelerator: bool | None = None
    why: str | None = None


def run(options: Options) -> str:
    """The text to print; raises click.UsageError or Rejected."""
    if options.points is not None:
        if options.given:
            raise click.UsageError("POINTS and the options of one case exclude each other")
        found = answers(read(options.points))
        return _json(found) if options.as_json else _table(found)
    for name in ("model", "gpu"):
        if not options.given.get(name):
            raise click.UsageError(f"--{name} is missing; or give a CSV of points")
    asked = point(options.given, "case")
    if asked.case is None:
        raise Rejected(_as_option(asked.why))
    (answer,) = answers([asked])
    return _json([answer]) if options.as_json else _words(asked.case, answer)


def answers(points: Sequence[Point]) -> list[Answer]:
    """One answer a point, in their order."""
    known = [each for each in points if each.case is not None]
    speeds = iter(_speeds([each.case for each in known if each.case is not None]))
    return [Answer(each.id, why=each.why) if each.case is None else _answer(each, next(speeds)) for each in points]


@dataclass(frozen=True, slots=True)
class _Speed:
    tpot: float
    ttft: float
    running: float
    admitted: float
    sigma: float


def _speeds(cases: Sequence[Case]) -> list[_Speed]:
    if not cases:
        return []
    batch, spread = batches(cases), np.asarray(sigma(*columns(cases)))[:, 0]
    columns_ = (mean_tpot(cases), mean_ttft(cases), batch.running, batch.admitted, spread)
    return [_Speed(*map(float, each)) for each in zip(*columns_, strict=True)]


def _answer(asked: Point, speed: _Speed) -> Answer:
    case = asked.case
    assert case is not None  # noqa: S101 - for the type checker: only such points have a speed
    context, needed = longest_context(case), case.prompt + case.output
    measured = case.accelerator.key in MEASURED
    loads = _loads(case)
    notes = [asked.why, asked.extrapolated, "" if measured else f"no measured point covers {case.accelerator.key}"]
    told = Answer(asked.id, fits=context >= needed, max_context=context, measured_accelerator=measured,
                  why="; ".join([*_memory(case, context, loads=loads), *filter(None, notes)]) or None)  # fmt: skip
    if not (asked.load and _holds(case)) or not np.isfinite(speed.tpot):
        return told
    spread = max(speed.sigma, SIGMA_UNMEASURED) if asked.extrapolated else speed.sigma
    wide, first = float(np.exp(Z95 * spread)), float(np.exp(Z95 * SIGMA_FIRST))
    each = speed.tpot * 1e3
    stay = speed.ttft + case.output * speed.tpot
    return replace(
        told,
        tpot_ms=_rounded(each),
        tpot_ms_p05=_rounded(each / wide),
        tpot_ms_p95=_rounded(each * wide),
        ttft_ms=_rounded(speed.ttft * 1e3),
        ttft_ms_p05=_rounded(speed.ttft * 1e3 / first),
        ttft_ms_p95=_rounded(speed.ttft * 1e3 * first),
        output_tok_s=_rounded(case.concurrency * case.output / stay),
    )


def _memory(case: Case, context: int, *, loads: bool) -> list[str]:
    """Why it does not fit."""
    share, needed = case.settings.gpu_memory_utilization, case.prompt + case.output
    if not loads:
        return ["the weights alone are larger than the memory"]
    if context == 0:
        return [f"no context fits for sure at a memory share of {share:g}"]
    if context >= needed:
        return []
    limit = case.settings.max_model_len or case.model.max_context
    if needed > limit:
        return [f"a request of {needed:,.0f} tokens is longer than the model's limit of {limit:,}"]
    return [f"a request of {needed:,.0f} tokens does not fit for sure: {context:,} do"]


def _loads(case: Case) -> bool:
    _, hardware = columns([case])
    return rank_weights(case.model, case.settings) < float(visible_memory(hardware)[0, 0])


def _rounded(value: float) -> float:
    """Four digits: the error is in the second."""
    return float(f"{value:.4g}")


def _holds(case: Case) -> bool:
    """Whether it can have run: whoever leaves the memory share at its default can raise it, so weights alone decide."""
    default = case.settings.gpu_memory_utilization == EngineSettings().gpu_memory_utilization
    return _loads(case) and (default or kv_room(case).expected > 0)


def _plain(value: float | None) -> str:
    """Without an exponent, from a thousand on without a fraction."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else np.format_float_positional(value, trim="-")


def _json(found: Sequence[Answer]) -> str:
    return json.dumps([asdict(each) for each in found], indent=1)


def _as_option(why: str) -> str:
    """The same complaint in the words of the options."""
    names = {"weight_quant:": "--weights:", "isl:": "--input:", "osl:": "--output:"}
    first, _, rest = why.partition(" ")
    return f"{names.get(first, f'--{first}'.replace('_', '-'))} {rest}"


def _words(case: Case, answer: Answer) -> str:
    """The answer for people."""
    lines = [
        f"{case.model.name} on {case.settings.tensor_parallel} x {case.accelerator.product or case.accelerator.key}"
    ]
    if answer.tpot_ms is not None:
        interval = f"{_plain(answer.tpot_ms_p05)} to {_plain(answer.tpot_ms_p95)} ms with 90 % chance"
        first = f"{_plain(answer.ttft_ms_p05)} to {_plain(answer.ttft_ms_p95)} ms"
        rate, many = _plain(answer.output_tok_s), _plain(case.concurrency)
        lines += [
            f"  TPOT         {_plain(answer.tpot_ms)} ms ({interval})",
            f"  TTFT         {_plain(answer.ttft_ms)} ms in the mean ({first} with 90 % chance)",
            f"  throughput   {rate} output tokens/s at {many} requests at once",
        ]
    lines.append(
        f"  fits         {'yes' if answer.fits else 'no'}, a context of {answer.max_context:,} tokens starts for sure"
    )
    return "\n".join([*lines, *([f"  note         {answer.why}"] if answer.why else [])])


def _table(found: Sequence[Answer]) -> str:
    rows = [("POINT", "TPOT ms", "90 % INTERVAL", "TTFT ms", "FITS", "MAX CONTEXT", "WHY")]
    for each in found:
        interval = "-" if each.tpot_ms is None else f"{_plain(each.tpot_ms_p05)} to {_plain(each.tpot_ms_p95)}"
        fits = {True: "yes", False: "no", None: "-"}[each.fits]
        numbers = [_plain(value) for value in (each.tpot_ms, each.ttft_ms)]
        context = "-" if each.max_context is None else f"{each.max_context:,}"
        rows.append((each.point_id, numbers[0], interval, numbers[1], fits, context, each.why or ""))
    widths = [max(len(row[place]) for row in rows) for place in range(6)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[6]]) for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)
