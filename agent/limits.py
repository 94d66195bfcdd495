"""The bounds of a turn, a session and the house; enforced in code, each one a setting."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Everything that is bounded; a value past its bound is cut or refused with a sentence."""

    message_chars: int = 1000
    plan_tokens: int = 160
    answer_tokens: int = 110
    prompt_tokens: int = 1500
    model_calls: int = 2
    tool_calls: int = 4
    turn_seconds: float = 12.0
    session_turns: int = 200
    sessions: int = 64
    list_length: int = 5
    item_chars: int = 70
    cart_items: int = 100
    cart_quantity: int = 99
    memories: int = 100
    adult_age: int = 21  # years, from which age-restricted goods are shown to who tells an age
    free_words: bool = False  # let the model word its answers as it likes; they still say only what the record says
