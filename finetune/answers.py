"""Gold answers: what a reply should say, drawn from all that may be said of what is shown."""

from __future__ import annotations

from random import Random

from agent.grounding import supported
from agent.turn import Work, plain_sentences, spoken_of, topics
from agent.wordings import drawn, wordings


def gold_answer(work: Work, rng: Random) -> list[str]:
    """Draw a reply of one to three sentences, each true of the record; plain ones where no wording is."""
    spoken = spoken_of(work)
    said = drawn(wordings(topics(work), spoken=spoken, rng=rng), rng)
    return said or [sentence for sentence in plain_sentences(work) if supported(sentence, spoken)][:2]
