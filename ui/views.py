"""What a turn looks like so far: a value folded from the turn's events, for the page and the terminal alike."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from agent.events import Asked, Called, CartChanged, Event, Finished, Listed, Notice, Said, Shown
from ui.bars import Scored, looked_at


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One turn as a reader sees it; `state` is running, kept, said (answered, but not worth keeping), stopped or failed.

    `notices` come before the sentences, `ending` (why a turn was not kept) after them; `looked` are the scores of what
    was explained or compared, for a picture beside the words.
    """

    said: str
    steps: tuple[Called, ...] = ()
    cards: tuple[Shown, ...] = ()
    sentences: tuple[str, ...] = ()
    looked: tuple[Scored, ...] = ()
    notices: tuple[str, ...] = ()
    ending: str = ""
    quick_replies: tuple[str, ...] = field(default=())
    state: str = "running"

    @property
    def reply(self) -> str:
        """Join the sentences."""
        return " ".join(self.sentences)


def fold(view: View, event: Event) -> View:
    """Take one more event into the view."""
    match event:
        case Called():
            return replace(view, steps=(*view.steps, event))
        case Listed(cards=cards):
            return replace(view, cards=cards)
        case Said(sentence=sentence):
            return replace(view, sentences=(*view.sentences, sentence))
        case Asked(question=question, options=options):
            return replace(view, sentences=(*view.sentences, question), quick_replies=options)
        case Notice(text=text):
            return replace(view, notices=(*view.notices, text))
        case Finished(quick_replies=quick_replies, reply=reply):
            pictured = {"explain", "compare"} & set(reply.acts)
            return replace(
                view,
                looked=looked_at(reply.evidence) if pictured else (),
                quick_replies=quick_replies or view.quick_replies,
                state="kept",
            )
        case CartChanged():
            return view
