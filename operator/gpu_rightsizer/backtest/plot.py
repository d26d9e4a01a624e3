"""The savings against violations frontier and the reliability diagram as one SVG, written by hand: no dependency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import numpy as np

from gpu_rightsizer.backtest.replay import OURS
from gpu_rightsizer.backtest.report import figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_rightsizer.backtest.replay import Replay, Verdict

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP, _LEGEND = 460, 360, 70, 40, 90, 230
# Okabe and Ito's palette: told apart by colour-blind readers.
_OURS: Final = "#d55e00"
_COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#999999", "#000000", "#f0e442")


@dataclass(frozen=True, slots=True)
class _Axes:
    """One panel: where it stands and what its logarithmic axes span."""

    left: float
    low_x: float
    high_x: float
    low_y: float
    high_y: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (np.log(x) - np.log(self.low_x)) / (np.log(self.high_x) - np.log(self.low_x))
        up = (np.log(y) - np.log(self.low_y)) / (np.log(self.high_y) - np.log(self.low_y))
        return self.left + _WIDTH * float(across), _TOP + _HEIGHT * (1 - float(up))

    def frame(self, title: str, x: str, y: str, ticks_x: Sequence[float], ticks_y: Sequence[float]) -> list[str]:
        middle = self.left + _WIDTH / 2
        parts = [
            f'<rect x="{self.left}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#444"/>',
            _text(middle, _TOP - 14, title, "middle", bold=True),
            _text(middle, _TOP + _HEIGHT + 38, x, "middle"),
            _upright(self.left - 48, _TOP + _HEIGHT / 2, y),
        ]
        for tick in ticks_x:
            place, _ = self.at(tick, self.low_y)
            parts += [
                _line(place, _TOP, place, _TOP + _HEIGHT),
                _text(place, _TOP + _HEIGHT + 16, f"{tick:g}", "middle"),
            ]
        for tick in ticks_y:
            _, place = self.at(self.low_x, tick)
            parts += [
                _line(self.left, place, self.left + _WIDTH, place),
                _text(self.left - 6, place + 4, f"{tick:g}", "end"),
            ]
        return parts


def as_svg(result: Replay) -> str:
    """Both panels; the second is empty where no policy states a probability."""
    width = _LEFT + 2 * _WIDTH + _GAP + _LEGEND
    parts = [*_frontier(result), *_reliability(result)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_TOP + _HEIGHT + 60}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _frontier(result: Replay) -> list[str]:
    """Cost against violations, each policy's margin swept; down and left is better."""
    axes = _Axes(_LEFT, 0.1, 10_080.0, 0.03, 10.0)
    parts = axes.frame(
        "Cost against violations", "violation minutes a week, mean (0.1 stands for less)", "cost, 2 x peak = 1",
        (0.1, 1, 10, 100, 1000, 10_000), (0.05, 0.1, 0.2, 0.5, 1, 2, 5),
    )  # fmt: skip
    begin = _LEFT + 2 * _WIDTH + _GAP + 20
    for number, (name, curve) in enumerate(result.frontier.items()):
        ours = name.startswith(OURS)
        colour = _OURS if ours else _COLOURS[number % len(_COLOURS)]
        dashed = "" if ours or number < len(_COLOURS) else ' stroke-dasharray="4 3"'
        points = [axes.at(x, y) for x, y in sorted(_costs(curve, result))]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{3 if ours else 1.5}"{dashed}/>'
        )
        height = _TOP + 14 + 18 * number
        parts.append(f'<line x1="{begin}" y1="{height - 4}" x2="{begin + 24}" y2="{height - 4}" stroke="{colour}" '
                     f'stroke-width="{3 if ours else 1.5}"{dashed}/>')  # fmt: skip
        parts.append(_text(begin + 30, height, name, "start"))
    return parts


def _costs(curve: Sequence[Verdict], result: Replay) -> list[tuple[float, float]]:
    found = [figures(v, result.reference, result.clairvoyant) for v in curve]
    shares = [(each.violations, 1.0 - each.saving) for each in found if each.saving is not None]
    return [(float(np.clip(v, 0.1, 10_080)), float(np.clip(cost, 0.03, 10))) for v, cost in shares]


def _reliability(result: Replay) -> list[str]:
    """Realised against stated probability, with the diagonal that is the truth."""
    left = _LEFT + _WIDTH + _GAP
    axes = _Axes(left, 0.005, 0.5, 0.0005, 1.0)
    parts = axes.frame("Reliability", "stated probability", "realised share of windows", (0.01, 0.05, 0.1, 0.2),
                       (0.001, 0.01, 0.1, 1))  # fmt: skip
    low, high = axes.at(0.005, 0.005), axes.at(0.5, 0.5)
    parts.append(
        f'<line x1="{low[0]}" y1="{low[1]}" x2="{high[0]}" y2="{high[1]}" stroke="#888" stroke-dasharray="5 4"/>'
    )
    for name, colour in ((OURS, _OURS), ("raw POT", _COLOURS[1])):
        points = sorted(
            (p, max(float(exceeded.mean()), 0.0005))
            for v in result.verdicts
            if v.name == name or (name != OURS and v.name.startswith(name))
            for p, exceeded in v.realised.items()
        )
        for x, y in (axes.at(*point) for point in points):
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"><title>{escape(name)}</title></circle>'
            )
        if points:
            x, y = axes.at(*points[-1])
            parts.append(_text(x - 8, y - 8, name, "end"))
    return parts


def _text(x: float, y: float, words: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(words)}</text>'


def _upright(x: float, y: float, words: str) -> str:
    return f'<text transform="translate({x},{y}) rotate(-90)" text-anchor="middle">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#eee"/>'
