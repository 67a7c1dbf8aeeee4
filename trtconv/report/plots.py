"""Plots as SVG elements to stand in an HTML page; colours and fonts are the page's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from trtconv.report.page import Bars, Lines, Plot

WIDTH, HEIGHT = 440, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 22, 44
_ROW, _LABEL = 26, 150
_FAR = 30  # largest over smallest value from which an axis is logarithmic
_COLOURS = 8
"""Classes ``c0`` ... ``c7`` of the page's style."""


def svg(plot: Plot) -> str:
    """A plot, with its title as the accessible name."""
    body, height = _bars(plot) if isinstance(plot, Bars) else _lines(plot)
    name = escape(plot.title)
    return (
        f'<figure><figcaption>{name}</figcaption><svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{name}">'
        f"{body}</svg>{_legend(plot)}</figure>"
    )


def _legend(plot: Plot) -> str:
    if isinstance(plot, Bars) or len(plot.series) < 2:
        return ""
    keys = [f'<li class="c{at % _COLOURS}">{escape(name)}</li>' for at, name in enumerate(plot.series)]
    return f'<ul class="legend">{"".join(keys)}</ul>'


def _bars(plot: Bars) -> tuple[str, int]:
    top = max([*plot.values.values(), plot.floor + 1e-12])
    room = WIDTH - _LABEL - 70
    parts = []
    for at, (name, value) in enumerate(plot.values.items()):
        y, length = at * _ROW + 4, room * (value - plot.floor) / (top - plot.floor)
        parts += [
            _words(_LABEL - 8, y + 13, _shortened(name, 22), "end", name),
            f'<rect class="c{at % _COLOURS}" x="{_LABEL}" y="{y}" width="{max(length, 0.5):.1f}" height="{_ROW - 9}"/>',
            _words(_LABEL + length + 6, y + 13, f"{value:.4g}"),
        ]
    return "".join(parts), len(plot.values) * _ROW + 6


@dataclass(frozen=True)
class _Axis:
    """Values with a tick, their names, and where a value lies, from 0 to 1."""

    ticks: Sequence[tuple[float, str]]
    share: Callable[[float], float]


def _axis(values: Sequence[float], names: Sequence[str] = ()) -> _Axis:
    """Positions with names; else linear from 0, or logarithmic where values lie far apart."""
    if names:
        last = max(len(names) - 1, 1)
        return _Axis(list(enumerate(names)), lambda value: value / last)
    low, high = min(values), max(values)
    if low > 0 and high / low > _FAR:
        first, end = math.floor(math.log10(low)), math.ceil(math.log10(high))
        decades = [10.0**power for power in range(first, end + 1)]
        return _Axis([(v, _tick(v)) for v in decades], lambda value: (math.log10(value) - first) / (end - first))
    ticks = steps(high)
    return _Axis([(v, _tick(v)) for v in ticks], lambda value: value / ticks[-1])


def _lines(plot: Lines) -> tuple[str, int]:
    points = [point for series in plot.series.values() for point in series]
    across, up = _axis([x for x, _, _ in points], plot.ticks), _axis([y for _, y, _ in points])
    base, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT

    def at(x: float, y: float) -> tuple[float, float]:
        return _LEFT + (right - _LEFT) * across.share(x), base - (base - _TOP) * up.share(y)

    parts = []
    for value, name in across.ticks:
        left = _LEFT + (right - _LEFT) * across.share(value)
        parts += [f'<path class="grid" d="M{left:.1f} {_TOP}V{base}"/>', _words(left, base + 16, name, "middle")]
    for value, name in up.ticks:
        height = base - (base - _TOP) * up.share(value)
        parts += [f'<path class="grid" d="M{_LEFT} {height:.1f}H{right}"/>', _words(_LEFT - 6, height + 4, name, "end")]
    parts.append(_words(right, HEIGHT - 8, plot.x, "end"))
    parts.append(f'<text transform="translate(12 {_TOP}) rotate(-90)" text-anchor="end">{escape(plot.y)}</text>')
    for number, (name, series) in enumerate(plot.series.items()):
        parts.append(_curve(f"c{number % _COLOURS}", name, [(*at(x, y), x, y, label) for x, y, label in series]))
    return "".join(parts), HEIGHT


def _curve(colour: str, name: str, points: Sequence[tuple[float, float, float, float, str]]) -> str:
    path = "L".join(f"{left:.1f} {top:.1f}" for left, top, *_ in points)
    marks = []
    for left, top, x, y, label in points:
        said = escape(f"{name}{f', batch {label}' if label else ''}: {x:.4g}, {y:.4g}")
        marks.append(f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3.5"><title>{said}</title></circle>')
        marks += [_words(left + 6, top - 6, label)] if label else []
    return f'<g class="{colour}"><path class="line" d="M{path}"/>{"".join(marks)}</g>'


def steps(largest: float) -> list[float]:
    """Round values from 0 to just above the largest, four to eight of them."""
    if largest <= 0 or not math.isfinite(largest):
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(largest))
    width = next(power * part for part in (0.2, 0.25, 0.5, 1.0, 2.0) if largest / (power * part) <= 6)
    return [round(width * at, 12) for at in range(math.ceil(largest / width - 1e-9) + 1)]


def _tick(value: float) -> str:
    for size, sign in ((1e6, "M"), (1e3, "k")):
        if value >= 10 * size or (sign == "M" and value >= size):
            return f"{value / size:g}{sign}"
    return f"{value:g}"


def _words(x: float, y: float, text: str, anchor: str = "start", title: str = "") -> str:
    whole = f"<title>{escape(title)}</title>" if title and title != text else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{whole}{escape(text)}</text>'


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-(most // 2) :]}"
