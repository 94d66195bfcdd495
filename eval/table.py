"""A table as HTML and as Markdown; whatever is in its cells stays text in both."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A titled table of text; the first column is words, the others are figures unless `words` names them."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""
    words: tuple[int, ...] = (0,)

    def html(self) -> str:
        """Write it as HTML."""
        head = "".join(f"<th{self._kind(place)}>{escaped(name)}</th>" for place, name in enumerate(self.head))
        body = "\n".join(
            "<tr>" + "".join(f"<td{self._kind(place)}>{escaped(cell)}</td>" for place, cell in enumerate(row)) + "</tr>"
            for row in self.rows
        )
        note = f'<p class="note">{escaped(self.note)}</p>\n' if self.note else ""
        return (
            f"<h2>{escaped(self.title)}</h2>\n{note}"
            f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>\n'
        )

    def markdown(self) -> str:
        """Write it as Markdown."""
        lines = [
            f"## {marked(self.title)}",
            "",
            *([marked(self.note), ""] if self.note else []),
            f"| {' | '.join(map(marked, self.head))} |",
            f"|{'|'.join('---' if place in self.words else '---:' for place in range(len(self.head)))}|",
            *(f"| {' | '.join(map(marked, row))} |" for row in self.rows),
        ]
        return "\n".join(lines) + "\n"

    def _kind(self, place: int) -> str:
        return "" if place in self.words else ' class="figure"'


def readable(text: object, *, kept: str = "\n\t") -> str:
    r"""Drop what a reader cannot see: control characters, escape codes, text-direction tricks, lone surrogates.

    The characters in `kept` stay, though they are of these.

    >>> readable("milk\x1b[31m\u202e!\ud800")
    'milk[31m!'
    """
    return "".join(
        letter
        for letter in str(text)
        if letter in kept or unicodedata.category(letter) not in {"Cc", "Cf", "Cs", "Co", "Cn"}
    )


def escaped(text: object) -> str:
    """Write text so that HTML shows it and does nothing else with it.

    >>> escaped('<img src="x">')
    '&lt;img src=&quot;x&quot;&gt;'
    """
    return html.escape(readable(text), quote=True)


def marked(text: object) -> str:
    r"""Write text on one line so that Markdown shows it and does nothing else with it.

    >>> marked("a|b\n![x](http://y) <b> act_accuracy")
    'a\\|b \\!\\[x\\](http://y) &lt;b&gt; act_accuracy'
    """
    line = " ".join(readable(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|!~])", r"\\\1", line)
