"""What is learned is exactly what the assistant writes, after exactly what serving sends; and batches keep it so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.conversation import Conversation, Message
from finetune.batches import Pass, TokenSequence, encode, passes, plan_steps, shared_starts, step_cost, step_tokens
from retrieval.records import ShopError
from tests.tiny_models import ARCHITECTURES, CHATML, render, talk, write_tiny_model


@pytest.fixture(scope="module", params=ARCHITECTURES)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(write_tiny_model(tmp_path_factory.mktemp("tiny"), request.param))


def _encode(conversation: Conversation, tokenizer: Any, **options: Any) -> tuple[TokenSequence, ...]:
    return encode(conversation, **{"tokenizer": tokenizer, "render": render, "limit": 4096, **options}).sequences


def test_learned_tokens_are_the_assistants_words_and_its_end_of_turn(tokenizer: Any) -> None:
    conversation = talk(2)
    (sequence,) = _encode(conversation, tokenizer)
    end = "<end_of_turn>" if "<end_of_turn>" in tokenizer.get_vocab() else "<|im_end|>"
    written = [message["content"] for message in render(conversation.messages) if message["role"] == "assistant"]
    assert [tokenizer.decode(sequence.ids[span.start : span.end]) for span in sequence.spans] == [
        text + end for text in written
    ]
    assert [span.plan for span in sequence.spans] == [True, False] * 3


def test_each_learned_message_follows_the_tokens_that_serving_sends(tokenizer: Any) -> None:
    conversation = talk(2)
    (sequence,) = _encode(conversation, tokenizer)
    asked = [index for index, message in enumerate(conversation.messages) if message.role == "assistant"]
    for index, span in zip(asked, sequence.spans, strict=True):
        sent = tokenizer.apply_chat_template(
            render(conversation.messages[:index]), add_generation_prompt=True, return_dict=False
        )
        assert list(sequence.ids[: span.start]) == list(sent)


def test_a_prompt_that_forgets_its_past_starts_a_new_sequence(tokenizer: Any) -> None:
    conversation = talk(2)
    whole = _encode(conversation, tokenizer)[0]
    sequences = _encode(conversation, tokenizer, render=lambda messages: render(messages[-4:]))
    assert len(sequences) > 1
    assert sum(sequence.learned for sequence in sequences) == whole.learned


def test_marked_messages_are_read_but_not_learned(tokenizer: Any) -> None:
    conversation = talk(2)
    (whole,) = _encode(conversation, tokenizer)
    later = Conversation(conversation_id="x", messages=conversation.messages, metadata={"train_from": 4})
    some = Conversation(conversation_id="x", messages=conversation.messages, metadata={"untrained": [1, 5]})
    assert _encode(later, tokenizer)[0].spans == whole.spans[2:]
    assert _encode(later, tokenizer)[0].ids == whole.ids
    assert _encode(some, tokenizer)[0].spans == (whole.spans[1], whole.spans[3], *whole.spans[4:])


def test_a_message_that_does_not_fit_is_counted(tokenizer: Any) -> None:
    (whole,) = _encode(talk(2), tokenizer)
    short = encode(talk(2), tokenizer=tokenizer, render=render, limit=whole.spans[2].end)
    assert short.cut_messages == 3
    assert short.sequences[0].spans == whole.spans[:3]


def test_templates_whose_answers_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(write_tiny_model(tmp_path))
    tokenizer.chat_template = CHATML.replace("{% for", "{{ messages | length }}{% for", 1)
    with pytest.raises(ShopError, match="right after its own prompt"):
        _encode(talk(0), tokenizer)
    tokenizer.chat_template = CHATML.replace("<|im_end|>", "").replace("<|im_start|>", "")
    with pytest.raises(ShopError, match="never learn to stop"):
        _encode(talk(0), tokenizer)


def test_two_assistant_messages_in_a_row_are_refused(tokenizer: Any) -> None:
    twice = Conversation(
        conversation_id="twice",
        messages=(
            Message(role="user", content="hi"),
            Message(role="assistant", content="Hello"),
            Message(role="assistant", content="there"),
        ),
    )
    with pytest.raises(ShopError, match="twice: message 3"):
        _encode(twice, tokenizer)


def _sequence(ids: str, learned_from: int) -> TokenSequence:
    from finetune.batches import Span

    return TokenSequence(
        conversation_id="x",
        ids=tuple(map(ord, ids)),
        spans=(Span(start=learned_from, end=len(ids), plan=True),),
    )


def test_shared_starts_end_where_sequences_part_or_before_the_first_prediction() -> None:
    rules = "abcdefghijklmnopqrst"
    apart = [_sequence(rules + "one", 21), _sequence(rules + "two", 21)]
    assert shared_starts(apart) == [20, 20]
    learned = [_sequence(rules + "one", 18), _sequence(rules + "two", 21)]
    assert shared_starts(learned) == [17, 17]
    strangers = [_sequence("short", 3), _sequence("other", 3), *apart]
    assert shared_starts(strangers) == [0, 0, 20, 20]


def test_a_plan_uses_every_sequence_once_an_epoch_with_little_padding_and_is_repeatable(tokenizer: Any) -> None:
    sequences = [sequence for number in range(60) for sequence in _encode(talk(number), tokenizer)]
    plan = plan_steps(sequences, epochs=2, max_tokens=None, batch_tokens=1500, passes_per_step=2, seed=1)
    used = [index for step in plan for one in step for index in one.members]
    assert sorted(used) == sorted([*range(60), *range(60)])
    assert plan == plan_steps(sequences, epochs=2, max_tokens=None, batch_tokens=1500, passes_per_step=2, seed=1)
    assert plan != plan_steps(sequences, epochs=2, max_tokens=None, batch_tokens=1500, passes_per_step=2, seed=2)
    read = sum(step_cost(step, sequences) for step in plan)
    assert read < 0.9 * sum(step_tokens(step, sequences) for step in plan)
    own = [len(sequences[index].ids) - one.shared for step in plan for one in step for index in one.members]
    true = sum(own) + sum(step[0].shared for step in plan)
    assert read <= 1.05 * true


def test_a_plan_ends_at_its_token_budget(tokenizer: Any) -> None:
    sequences = [sequence for number in range(30) for sequence in _encode(talk(number), tokenizer)]
    longest = max(len(sequence.ids) for sequence in sequences)
    plan = plan_steps(sequences, epochs=9, max_tokens=5000, batch_tokens=800, passes_per_step=1, seed=1)
    tokens = sum(len(sequences[index].ids) for step in plan for one in step for index in one.members)
    assert 5000 <= tokens < 5000 + longest


def test_sequences_of_other_families_do_not_share_a_pass() -> None:
    sequences = [_sequence("a" * 20 + "x", 20), _sequence("b" * 20 + "x", 20), _sequence("a" * 20 + "y", 20)]
    assert passes(sequences, range(3), starts=shared_starts(sequences), tokens=1000) == [
        Pass(members=(0, 2), shared=19),
        Pass(members=(1,), shared=19),
    ]
