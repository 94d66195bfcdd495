"""The parts of a score as a small picture of bars, for the page and for a terminal; its numbers add up to the score."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.plain import PARTS
from retrieval.records import Recommendation
from ui.words import short, visible

LAST_PART = "part "  # begins what a fact `last_shown` tells of a part's value


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One item's title, and its parts in hundredths, the largest first; their sum is the score that is shown."""

    title: str
    parts: tuple[tuple[str, int], ...]

    @property
    def score(self) -> int:
        """Add the parts up, in hundredths."""
        return sum(value for _, value in self.parts)


def scored(title: str, parts: Mapping[str, float]) -> Scored:
    """Round the recorded parts to hundredths so that what is shown adds up to the rounded score.

    >>> scored("Milk", {"match": 0.334, "taste": -0.1, "popularity": 0.333, "asked": 0.0}).parts
    (('match', 34), ('popularity', 33), ('taste', -10))
    """
    floors = {name: int(value * 100 // 1) for name, value in parts.items()}
    left = round(sum(parts.values()) * 100) - sum(floors.values())
    for name in sorted(parts, key=lambda name: floors[name] - parts[name] * 100)[:left]:
        floors[name] += 1
    kept = [(name, value) for name, value in floors.items() if value]
    return Scored(title=title, parts=tuple(sorted(kept, key=lambda pair: -abs(pair[1]))))


def of_recommendation(recommendation: Recommendation) -> Scored:
    """Take a recommendation's parts."""
    return scored(recommendation.item.title, {part.name: part.value for part in recommendation.parts})


def looked_at(evidence: Mapping[str, Any]) -> tuple[Scored, ...]:
    """Read what a reply explained or compared from its record; beside what was not shown, the item shown last."""
    out = []
    for row in evidence.get("looked") or ():
        out.append(scored(row["title"], row["parts"]))
        told = [
            fact for fact in row["facts"] if fact["kind"] == "last_shown" and fact["words"][0].startswith(LAST_PART)
        ]
        if told:
            parts = {fact["words"][0].removeprefix(LAST_PART): fact["amount"] for fact in told}
            out.append(scored(f"Shown last: {told[0]['words'][1]}", parts))
    return tuple(out)


def picture(items: Sequence[Scored]) -> str:
    """Draw items under each other on one scale: what speaks against them to the left of the line, what speaks for them to the right."""
    low, high = _ends(items)
    span = (high - low) or 1
    figures = []
    for item in items:
        rows = []
        for name, value in _rows(item, items):
            left, width = 100 * (min(value, 0) - low) / span, 100 * abs(value) / span
            against = " st-against" if value < 0 else ""
            rows.append(
                f'<li><span class="st-part">{_plain(part_name(name))}</span>'
                f'<span class="st-track" aria-hidden="true"><span class="st-zero" style="left:{-100 * low / span:.1f}%"></span>'
                f'<span class="st-bar{against}" style="left:{left:.1f}%;width:{width:.1f}%"></span></span>'
                f'<span class="st-value">{number(value)}</span></li>'
            )
        figures.append(
            f'<figure class="st-bars"><figcaption><span>{_plain(item.title)}</span>'
            f'<span class="st-value">score {number(item.score, signed=False)}</span></figcaption><ul>{"".join(rows)}</ul></figure>'
        )
    return "".join(figures)


def lines(items: Sequence[Scored], *, width: int = 24) -> list[str]:
    """Draw the same in text, one line a part.

    >>> print(chr(10).join(lines([Scored(title="Milk", parts=(("match", 60), ("taste", -30)))], width=9)))
    Milk, score 0.30
               your words    |###### +0.60
                    taste ###|       −0.30
    """
    low, high = _ends(items)
    span = (high - low) or 1
    before = round(width * -low / span)
    out = []
    for item in items:
        out.append(f"{short(visible(item.title))}, score {number(item.score, signed=False)}")
        for name, value in _rows(item, items):
            bar = "#" * max(value != 0, round(width * abs(value) / span))
            against, speaks = (bar, "") if value < 0 else ("", bar)
            left, right = f"{against:>{before}}", f"{speaks:<{width - before}}"
            out.append(f"{short(visible(part_name(name)), limit=21):>21} {left}|{right} {number(value)}")
    return out


def part_name(name: str) -> str:
    """Name a part of a score in plain words.

    >>> part_name("match"), part_name("cold_start")
    ('your words', 'cold start')
    """
    return PARTS.get(name, name.replace("_", " "))


def number(hundredths: int, *, signed: bool = True) -> str:
    """Write hundredths, with a true minus.

    >>> number(34), number(-10), number(34, signed=False)
    ('+0.34', '−0.10', '0.34')
    """
    sign = "−" if hundredths < 0 else "+" if signed and hundredths else ""
    return f"{sign}{abs(hundredths) / 100:.2f}"


def _rows(item: Scored, items: Sequence[Scored]) -> list[tuple[str, int]]:
    """Give an item's parts in the order that all of them share, with 0 for what only another has."""
    most: dict[str, int] = {}
    for name, value in (pair for one in items for pair in one.parts):
        most[name] = max(most.get(name, 0), abs(value))
    own = dict(item.parts)
    return [(name, own.get(name, 0)) for name in sorted(most, key=lambda name: (-most[name], name))]


def _ends(items: Sequence[Scored]) -> tuple[int, int]:
    values = [value for item in items for _, value in item.parts]
    return min([0, *values]), max([0, *values])


def _plain(text: str) -> str:
    return html.escape(visible(text), quote=True)
