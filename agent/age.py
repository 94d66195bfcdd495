"""The age that shoppers give as theirs, for goods that the law keeps from the young."""

from __future__ import annotations

import re

from agent.amounts import as_digits

_HEDGES = r"(?:only |just |still |like |about |almost |nearly |turning )*"
_AGE = re.compile(
    rf"\b(?:i'?m|i am|my age is|i (?:just )?turned|i turn|i'?ll be|i will be) {_HEDGES}(?P<age>\d{{1,2}})"
    r"(?: ?(?:years?|yrs?)(?: old| of age)?\b| ?y/?o\b)?"
    # What follows an age, and no other number: "I'm 15 minutes away", "I'm 5 dollars short".
    r"(?=$|[.,!?;:)]| (?:and|but|so|can|is|btw|lol|tho|though|with|want|wanna|need|looking|may|do|does|get|u|you|i|i'?m|today|this|next)\b)"
)
_YOUNG = re.compile(
    rf"\b(?:i'?m|i am) {_HEDGES}(?:a |an )?(?:minor|under ?aged?|teen(?:ager)?|in (?:high|middle) school)\b"
)
YOUNG = 17  # what "a minor" is taken for


def age_said(message: str) -> int | None:
    """Read the age that shoppers give as theirs; None where they give none.

    >>> age_said("im 15 can i get some beer"), age_said("I'm nineteen, any wine?"), age_said("i'm a minor lol")
    (15, 19, 17)
    >>> age_said("i'm 5 dollars short"), age_said("I am 15 minutes away"), age_said("whisky, 12 years old")
    (None, None, None)
    """
    text = as_digits(" ".join(message.lower().replace("’", "'").split()))
    if _YOUNG.search(text):
        return YOUNG
    found = _AGE.search(text)
    return int(found["age"]) if found else None
