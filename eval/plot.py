"""Three plots as plain SVG, drawn here so that a page needs neither a library nor the network to show them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.table import escaped

WIDTH = 640  # of every plot, in pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One figure with the ends of its interval, None where they cannot be told, and over how many it is."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


def bars(points: Sequence[Point], *, title: str, most: float | None = None, places: int = 2) -> str:
    """Draw one horizontal bar a point, with its interval as a whisker, from 0 to `most`."""
    left, right, row = 190, 130, 24
    top = most or max([1e-9, *(max(point.value, point.high or 0.0) for point in points)])
    height = row * len(points) + 34

    def at(value: float) -> float:
        return left + (WIDTH - left - right) * max(0.0, min(value, top)) / top

    parts = [_grid(at(tick), 4, row * len(points) + 8, _tick(tick)) for tick in ticks(top)]
    for place, point in enumerate(points):
        middle = 8 + row * place + row / 2
        parts.append(_text(left - 8, middle + 4, point.label, anchor="end"))
        parts.append(
            f'<rect class="bar" x="{left}" y="{middle - 8:.1f}" width="{at(point.value) - left:.1f}" height="16"/>'
        )
        if point.low is not None and point.high is not None:
            parts.append(_line("whisker", at(point.low), middle, at(point.high), middle))
            parts += [_line("whisker", at(end), middle - 4, at(end), middle + 4) for end in (point.low, point.high)]
        over = "" if point.n is None else f", n {point.n}"
        parts.append(_text(WIDTH - right + 12, middle + 4, f"{point.value:.{places}f}{over}"))
    return _svg(title, height, parts)


def curve(points: Sequence[Point], *, title: str, across: str, most: float = 1.0) -> str:
    """Draw points joined by a line over their labels, each with its interval as a whisker, from 0 to `most`."""
    left, bottom, height = 46, 200, 244
    step = (WIDTH - left - 30) / max(1, len(points) - 1) if len(points) > 1 else 0.0

    def down(value: float) -> float:
        return bottom - (bottom - 14) * max(0.0, min(value, most)) / most

    places = [left + 16 + step * number for number in range(len(points))]
    parts = [
        _line("grid", left, down(tick), WIDTH - 8, down(tick))
        + _text(left - 6, down(tick) + 4, _tick(tick), anchor="end")
        for tick in ticks(most)
    ]
    joined = " ".join(f"{x:.1f},{down(point.value):.1f}" for x, point in zip(places, points, strict=True))
    parts.append(f'<polyline class="joined" points="{joined}"/>')
    for x, point in zip(places, points, strict=True):
        if point.low is not None and point.high is not None:
            parts.append(_line("whisker", x, down(point.low), x, down(point.high)))
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{down(point.value):.1f}" r="4"/>')
        parts.append(_text(x, bottom + 16, point.label, anchor="middle"))
        if point.n is not None:
            parts.append(_text(x, bottom + 30, f"n {point.n}", anchor="middle", kind="small"))
    parts.append(_text(WIDTH - 8, height - 2, across, anchor="end", kind="small"))
    return _svg(title, height, parts)


def histogram(
    values: Sequence[float], *, title: str, across: str, marks: Mapping[str, float] | None = None, bins: int = 24
) -> str:
    """Draw how often values fall where, from 0 to the largest; `marks` are named lines across it."""
    left, bottom, height = 46, 180, 222
    top = max([1e-9, *values])
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int(value / top * bins))] += 1
    highest = max([1, *counts])

    def at(value: float) -> float:
        return left + (WIDTH - left - 16) * value / top

    def down(count: float) -> float:
        return bottom - (bottom - 30) * count / highest

    parts = [
        _line("grid", left, down(tick), WIDTH - 8, down(tick))
        + _text(left - 6, down(tick) + 4, _tick(tick), anchor="end")
        for tick in ticks(highest, whole=True)
    ]
    for place, count in enumerate(counts):
        x, wide = at(place * top / bins), (WIDTH - left - 16) / bins
        parts.append(
            f'<rect class="bar" x="{x + 0.5:.1f}" y="{down(count):.1f}" width="{wide - 1:.1f}" height="{bottom - down(count):.1f}"/>'
        )
    parts += [_text(at(tick), bottom + 16, _tick(tick), anchor="middle") for tick in ticks(top)]
    for place, (name, value) in enumerate((marks or {}).items()):
        late = at(value) > WIDTH - 150
        parts.append(_line("mark", at(value), 14 + 12 * place, at(value), bottom))
        parts.append(
            _text(
                at(value) + (-4 if late else 4),
                22 + 12 * place,
                f"{name} {value:.2f}",
                anchor="end" if late else "start",
            )
        )
    parts.append(_text(WIDTH - 8, height - 4, across, anchor="end", kind="small"))
    return _svg(title, height, parts)


def ticks(most: float, *, whole: bool = False) -> list[float]:
    """Give round places on an axis from 0 to `most`, three to six of them.

    >>> ticks(1.0), ticks(7, whole=True), ticks(1)[-1]
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 2.0, 4.0, 6.0], 1.0)
    """
    size = 10.0 ** math.floor(math.log10(most))
    step = next(size * part for part in (0.1, 0.2, 0.5, 1, 2, 5, 10) if most / (size * part) <= 5.0001)
    if whole:
        step = max(1.0, step)
    return [round(step * place, 10) for place in range(int(most / step + 1e-9) + 1)]


def _tick(value: float) -> str:
    return f"{value:,.10g}"


def _grid(x: float, top: float, bottom: float, label: str) -> str:
    return _line("grid", x, top, x, bottom) + _text(x, bottom + 16, label, anchor="middle")


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "label") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escaped(text)}</text>'


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<figure><figcaption>{escaped(title)}</figcaption><svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escaped(title)}">{"".join(parts)}</svg></figure>\n'
    )
