"""Write `agent/wordings.txt`: the word sequences of all wordings that the model is taught (`python -m finetune.wordings`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from agent.plain import CLAUSES
from agent.wordings import AMOUNT, FILE, ITEM, NAME, NUMBER, shape, threes
from finetune.phrasebook import expansions, load_replies
from retrieval.records import Fact

# What a slot is filled with; where it may be either, both are taught.
SIGNS = {
    "item": (ITEM,),
    "other": (ITEM, NAME),
    "position": (ITEM,),
    "count": (NUMBER,),
    "of": (NUMBER,),
    **dict.fromkeys(("amount", "limit", "price", "price2", "total", "bound"), (AMOUNT,)),
    **dict.fromkeys(("words", "name", "value", "label", "anchor", "category", "size"), (NAME,)),
}
TOLD = ("compare.", "details.", "explain.", "fact.", "list.")  # the others are code's own


def sequences() -> list[str]:
    """Collect every three neighbouring words of the wordings, sorted."""
    found: set[str] = set()
    for kind, wordings in load_replies().wordings.items():
        if kind.startswith(TOLD):
            for wording in wordings:
                for text in expansions(wording):
                    for filled in _filled(text):
                        found.update(threes(shape(filled, ())))
    return sorted(found)


def _filled(text: str) -> Iterator[str]:
    """Put every sign that may stand there in place of each slot."""
    slots = list(dict.fromkeys(re.findall(r"\{(\w+)\}", text)))
    choices = [_clauses() if slot == "clause" else SIGNS.get(slot, (NAME,)) for slot in slots]
    for signs in product(*choices):
        held = dict(zip(slots, (f" {sign} " for sign in signs), strict=True))
        yield text.format_map(held)


def _clauses() -> tuple[str, ...]:
    """Shape every plain clause: names, numbers and amounts become signs."""
    out = []
    for kind, word in CLAUSES.items():
        words = ("size", "xname") if kind == "attribute" else ("xname",)
        for amount, count in ((1.5, 7), (0, 1), (1.5, 2)):
            fact = Fact(kind=kind, count=count, of=10, amount=amount, limit=5.0, words=words)  # type: ignore[arg-type]
            out.append(" ".join(shape(word(fact), ["xname", "store brand", "name brand"])))
    return tuple(dict.fromkeys(out))


if __name__ == "__main__":
    FILE.write_text("\n".join(sequences()) + "\n", encoding="utf-8")
