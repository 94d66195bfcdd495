"""What the simulated shopper says: a small bank of its own wordings, none of them from the training conversations.

`{thing}` is what is wanted, `{detail}` a clause of `clauses`, `{said}` every clause said before (with a comma, or
nothing). A size or a tier never stands right behind the thing: those words in a row would be an item's whole title.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

OPENERS: Sequence[str] = (
    "my list for today says {thing}{said}",
    "what could you show me in {thing}{said}",
    "would there be {thing} on your shelves{said}",
    "{thing} is what I came in for{said}",
    "I have to bring home {thing}{said}",
    "let me have a look at your {thing}{said}",
    "today it has to be {thing}{said}",
    "is {thing} something you stock{said}",
    "{thing} for me today{said}",
    "we finished our {thing} yesterday{said}",
    "hello there, {thing} if you please{said}",
    "hey, {thing} today{said}",
)
BROAD_OPENERS: Sequence[str] = (
    "I am after something out of {thing}{said}",
    "let me see a bit of everything under {thing}{said}",
    "what is there in the way of {thing} today{said}",
    "take me to the {thing} shelf{said}",
)
WRONG_THING: Sequence[str] = (
    "that is not quite it, I mean {thing}{said}",
    "no, {thing} is what I had in mind{said}",
    "wrong shelf, I think: {thing} is what I am after{said}",
    "what I really mean is {thing}{said}",
)
REFINEMENTS: Mapping[str, Sequence[str]] = {
    "max_price": (
        "too dear for me, {detail}",
        "these cost more than I like: {thing}, {detail}",
        "might it be {thing} {detail}",
        "I should have mentioned my limit, {detail}",
    ),
    "tier": (
        "I would rather have it {detail}",
        "would that exist {detail}",
        "in that case {thing} {detail} instead",
        "what about one {detail}",
    ),
    "size": (
        "the size is not right, I need {thing} {detail}",
        "have you got it {detail}",
        "{thing} again, but {detail}",
        "close, though I want it {detail}",
    ),
    "without": (
        "{thing}, {detail}",
        "not that sort, {detail}",
        "the same sort of thing, {detail}",
        "show me other {thing}, {detail}",
    ),
}
REMINDERS: Sequence[str] = (
    "as I said before, {thing} {detail}",
    "I did mention it already: {thing}, {detail}",
    "again, {thing} {detail} and nothing else",
)
OTHERS: Sequence[str] = (
    "none of those will do, have you other {thing}{said}",
    "what else is there in {thing}{said}",
)
REWORDED: Sequence[str] = (
    "let me put it differently: {thing}{said}",
    "then try {thing}{said}",
    "put simply, {thing}{said}",
)
CLAUSES: Mapping[str, Sequence[str]] = {
    "max_price": (
        "for {value} at the very most",
        "costing {value} or less",
        "with {value} as my limit",
        "as long as it stays within {value}",
    ),
    "store brand": ("from the store brand", "in the store brand", "of your own brand"),
    "name brand": ("from a name brand", "of a big name brand", "in a name brand"),
    "size": ("in its {value} size", "sized {value}", "that comes in {value}"),
    "without": ("though nothing {value}", "{value} is out of the question", "as long as it is not {value}"),
}
ANSWERS: Mapping[str, Sequence[str]] = {
    "thing": ("it comes down to {thing}{said}", "{thing} would be the one{said}", "I would say {thing}{said}"),
    "max_price": ("{thing} {detail}", "let us say {detail}"),
    "tier": ("{thing} {detail}", "make it one {detail}"),
    "size": ("{thing} {detail}", "make it one {detail}"),
    "without": ("{thing}, {detail}", "yes: {detail}"),
}
NONE_OF_THEM: Sequence[str] = ("none of those, {thing} is the one{said}", "neither: {thing}{said}")
NO_MATTER: Mapping[str, Sequence[str]] = {
    "max_price": ("the price does not matter, just {thing}{said}",),
    "tier": ("any brand of {thing} is fine{said}",),
    "size": ("any size of {thing} will do{said}",),
    "without": ("no, there is nothing to avoid, just {thing}{said}",),
}
