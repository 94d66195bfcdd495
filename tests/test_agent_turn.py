"""A turn: a list before any words, the same list whatever the model does, and kept whole or not at all."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent.conversation import ToolCall
from agent.events import Called, Finished, Listed, Notice, Said
from agent.model import ModelFailure
from agent.turn import QUICK
from tests.scripted_model import Queued, call, planned
from tests.small_shop import Talk, Told

CHEESE = call("search_catalog", query="shredded cheese")
GOOD = "Here are 2 for shredded cheese. [1] costs $2."


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path, user_id="u0")


def test_a_turn_is_the_list_then_the_words_then_its_record(talk: Talk) -> None:
    """The shopper has the list while the model still words the answer."""
    told = talk.say("shredded cheese", CHEESE, answer=GOOD)
    assert [type(event) for event in told.events] == [Called, Listed, Said, Said, Finished]
    assert told.sentences == ["Here are 2 for shredded cheese.", "Shredded cheese (#1) costs $2."]
    assert told.sources == {"model"}


def test_the_message_is_read_while_the_model_plans(talk: Talk) -> None:
    """The embedder does not wait for the plan; what it read is there when the plan comes."""
    words, catalog = "some shredded cheese for tonight", talk.assistant.shop.catalog
    seen: list[bool] = []

    def plan() -> str:
        for _ in range(500):
            if words in catalog._understood:
                break
            time.sleep(0.01)
        seen.append(words in catalog._understood)
        return planned(CHEESE)

    talk.model.plans.append(plan)
    events = list(talk.assistant.reply(words, session_id=talk.session))
    assert seen == [True]
    assert any(isinstance(event, Listed) for event in events)


@pytest.mark.parametrize(
    ("message", "items"),
    [
        ("shredded cheese under $3", {"i06"}),
        ("shredded cheese, at least 3 dollars", {"i07"}),
        ("generic shredded cheese", {"i06"}),
        ("shredded cheese", {"i06", "i07"}),
    ],
)
def test_a_plain_search_keeps_to_what_was_said_plainly(talk: Talk, message: str, items: set[str]) -> None:
    """As in "snacks under 3 dollars" while the model was slow: $3.49 was shown."""
    talk.model.plans.append(ModelFailure("away"))
    events = list(talk.assistant.reply(message, session_id=talk.session))
    listed = [card for event in events if isinstance(event, Listed) for card in event.cards]
    assert {card.recommendation.item.item_id for card in listed} == items


def test_a_comparison_tells_of_every_item_compared(talk: Talk) -> None:
    """As in "compare 1 and 2", answered with "Taco shells (#2) is store brand." alone."""
    talk.say("shredded cheese", CHEESE, answer=GOOD)
    both = call("lookup_catalog", positions=[1, 2])
    told = talk.say("compare 1 and 2", both, answer="[1] costs $2.")
    assert told.sentences == [
        "Shredded cheese (#1) costs $2.",
        "Shredded cheese (#1) is the cheapest at $2, $1.10 less than Shredded cheese (#2).",
        "Shredded cheese (#2): 4 shoppers buy it.",
    ]
    assert len(talk.say("compare 1 and 2", both, answer="[1] costs $2. [2] costs $3.10.").sentences) == 2


def test_a_question_for_the_size_is_answered(talk: Talk) -> None:
    """As in "how big is it", answered with the price and how often it was bought."""
    talk.say("shredded cheese", CHEESE, answer=GOOD)
    look = call("lookup_catalog", positions=[1])
    told = talk.say("how big is it", look, answer="[1] costs $2.")
    assert told.sentences == ["Shredded cheese (#1) costs $2.", "Shredded cheese (#1) is 8 oz."]
    assert talk.say("what does it cost", look, answer="[1] costs $2.").sentences == ["Shredded cheese (#1) costs $2."]


def test_what_the_cart_comes_to_is_said_once(talk: Talk) -> None:
    """As in "add it and show my cart": the total stood there twice."""
    talk.say("shredded cheese", CHEESE, answer=GOOD)
    told = talk.say(
        "add 1, what's in it?", call("update_cart", action="add", positions=[1]), call("update_cart", action="show")
    )
    assert told.sentences.count("Your cart holds one item, $2 in all.") == 1


def test_the_list_is_given_before_the_model_is_asked_for_words(talk: Talk) -> None:
    """Not one token of the answer is waited for."""
    talk.model.plans.append('{"calls":[{"tool":"search_catalog","query":"shredded cheese"}]}')
    events = talk.assistant.reply("shredded cheese", session_id=talk.session)
    for event in events:
        if isinstance(event, Listed):
            break
    assert len(talk.model.prompts) == 1
    events.close()  # type: ignore[attr-defined]


def test_a_turn_makes_at_most_two_model_calls(talk: Talk) -> None:
    """Whatever the plan holds; and none at all for what code says by itself."""
    told = talk.say(
        "milk, popcorn, why, cart",
        call("search_catalog", query="whole milk"), call("search_catalog", query="popcorn"),
        call("explain", position=1), call("update_cart", action="show"),
        answer=GOOD,
    )  # fmt: skip
    assert told.reply.usage["llm_calls"] == len(talk.model.prompts) == 2
    talk.model.prompts.clear()
    assert talk.say("show my cart", call("update_cart", action="show")).reply.usage["llm_calls"] == 1
    assert len(talk.model.prompts) == 1


def test_the_model_reads_rows_not_the_pool(talk: Talk) -> None:
    """It is shown the few rows that the shopper sees, and of the shop nothing else."""
    talk.say("my usual", call("recommend", bought="again"), answer="")
    rows = talk.model.prompts[-1][-1]["content"]
    assert rows.startswith("[results]\n5 for your usual shop\n1. ")
    assert len(rows.splitlines()) == 7


# when the model fails


FAILING_PLANS: dict[str, Queued] = {
    "refuses": ModelFailure("ConnectError: connection refused"),
    "is slow": ModelFailure("the model took more than 7 s"),
    "says nothing": "",
    "answers in words": "Sure! I would love to help you find cheese.",
    "stops in the middle": '{"calls":[{"tool":"search_cat',
    "names no tool": '{"calls":[{"tool":"order_pizza"}]}',
    "answers another JSON": '{"error":"overloaded"}',
}


@pytest.mark.parametrize("how", FAILING_PLANS)
def test_without_a_plan_the_shopper_gets_a_plain_search_marked_as_such(talk: Talk, how: str) -> None:
    """The same list as the plan would have given, with plain reasons, and a notice before it."""
    expected = talk.say("shredded cheese", CHEESE)
    talk.model.plans.append(FAILING_PLANS[how])
    talk.model.answers.append(GOOD)
    told = Told(tuple(talk.assistant.reply("shredded cheese", session_id=talk.session)))
    assert told.cards == expected.cards
    assert isinstance(told.events[0], Notice)
    assert told.notices == ["The model is not answering, so this is a plain search with plain reasons."]
    assert told.sources == {"plain"}
    assert told.reply.evidence["model_away"] is True
    assert told.reply.usage["llm_calls"] == 1  # a model that is away is not asked again in this turn


def test_a_house_without_a_model_works_the_same_way(tmp_path: Path) -> None:
    """No model at all is a setting, not an error."""
    told = Talk(tmp_path, model=False).say("shredded cheese")
    assert set(told.items) == {"i06", "i07"}
    assert (told.sources, told.reply.evidence["model_away"], len(told.notices)) == ({"plain"}, True, 1)


FAILING_ANSWERS: dict[str, list[Queued]] = {
    "refuses": [ModelFailure("APIConnectionError")],
    "stops in the middle": ["Here are 2 for shred", ModelFailure("the model stopped in mid-sentence")],
    "is slow": ["Here", ModelFailure("the model took more than 7 s")],
}


@pytest.mark.parametrize("how", FAILING_ANSWERS)
def test_when_the_words_fail_the_list_stays_and_plain_reasons_come(talk: Talk, how: str) -> None:
    """Not one half sentence is shown."""
    expected = talk.say("shredded cheese", CHEESE)
    told = talk.say("shredded cheese", CHEESE, answer=FAILING_ANSWERS[how])
    assert told.cards == expected.cards
    assert told.notices == ["The model stopped, so the reasons below are plain ones."]
    assert told.sentences == expected.sentences
    assert told.sources == {"plain"}


def test_a_whole_sentence_before_the_failure_is_kept(talk: Talk) -> None:
    """It was checked and read; only what came after it is missing."""
    told = talk.say("shredded cheese", CHEESE, answer=["Here are 2 for shredded cheese. [1] co", ModelFailure("gone")])
    assert told.sentences == ["Here are 2 for shredded cheese."]
    assert (told.sources, len(told.notices)) == ({"model"}, 1)


@pytest.mark.parametrize("answer", ["", " ", "\n\n", "Here are 2 for shredded che", "!", "🧀"])
def test_an_answer_of_nothing_gets_plain_reasons(talk: Talk, answer: str) -> None:
    """What the token limit cut off is no sentence; a list is never left without a word."""
    told = talk.say("shredded cheese", CHEESE, answer=answer)
    assert told.sentences[0] == "Here are 2 items for shredded cheese."
    assert told.sources == {"plain"}


def test_a_sentence_that_says_more_than_the_record_is_replaced(talk: Talk) -> None:
    """The shopper reads a plain one in its place, and the record counts it."""
    told = talk.say("shredded cheese", CHEESE, answer="[1] is organic and healthy. [1] costs $2. [2] costs $1.")
    assert told.sentences[0] == "Shredded cheese (#1) costs $2."
    assert told.reply.evidence["replaced"] == 2
    assert told.reply.evidence["refused"] == ["[1] is organic and healthy.", "[2] costs $1."]
    assert not any("organic" in sentence or "$1" in sentence for sentence in told.sentences)


def test_a_model_that_rambles_is_heard_for_three_sentences(talk: Talk) -> None:
    """And one sentence said over and over is said once."""
    told = talk.say(
        "shredded cheese",
        CHEESE,
        answer="[1] costs $2. " * 9 + "Here are 2 for shredded cheese. [2] costs $3.10. Here are 2.",
    )
    assert told.sentences == [
        "Shredded cheese (#1) costs $2.",
        "Here are 2 for shredded cheese.",
        "Shredded cheese (#2) costs $3.10.",
    ]


def test_calls_of_the_wrong_types_are_refused_and_the_talk_goes_on(talk: Talk) -> None:
    """A server that does not keep to the schema: one sentence, no crash, and nothing of it in later prompts."""
    for arguments in (
        {"max_price": "five"}, {"max_price": [1]}, {"max_price": {}}, {"max_price": float("nan")}, {"max_price": -3}, {"without": "nuts"},
        {"without": [1, 2]}, {"having": [["x"]]}, {"size": 5}, {"query": ["milk"]}, {"query": "x" * 500}, {"bought": "maybe"}, {"sort": 1},
    ):  # fmt: skip
        told = talk.say("milk under 5 without nuts", call("search_catalog", **arguments))
        assert (arguments, told.sentences) == (arguments, ["I did not get that. Could you say it another way?"])
        assert told.calls == [("search_catalog", {})]
    for one in (
        call("update_cart", action="add", positions=["x"]), call("update_cart", action="steal"), call("update_cart"),
        call("lookup_catalog", positions=[0]), call("explain", position=10**30), call("chat"), call("ask_shopper"),
        call("ask_shopper", query="<>"), call("remember", kind="hate", text="milk"),
    ):  # fmt: skip
        assert talk.say("add 5", one).sentences == ["I did not get that. Could you say it another way?"]
    assert talk.say("shredded cheese", CHEESE).items


def test_one_call_that_fails_does_not_take_the_others_with_it(talk: Talk) -> None:
    """Something of a message is better than nothing of it."""
    told = talk.say("cheese and the 9th", call("lookup_catalog", positions=[9]), CHEESE)
    assert set(told.items) == {"i06", "i07"}
    assert "I have not shown you a list yet. Tell me what you are looking for." in told.sentences


# kept whole or not at all


def everything(talk: Talk) -> object:
    return (
        talk.cart,
        talk.memory,
        talk.assistant.conversation(talk.session),
        talk.store.export(talk.assistant.owner(talk.session)),
    )


CHANGES = (
    call("update_cart", action="add", query="whole milk"),
    call("remember", kind="avoid", text="popcorn"),
    CHEESE,
)


def test_a_turn_that_is_left_in_the_middle_leaves_no_trace(talk: Talk) -> None:
    """Whenever the reader goes away (a closed page, Stop), cart, memory and talk are as they were."""
    talk.say("shredded cheese", CHEESE, answer=GOOD)
    before = everything(talk)
    count = len(talk.say("add milk, never popcorn, and cheese", *CHANGES, answer=GOOD).events)
    assert everything(talk) != before
    talk.assistant.undo(session_id=talk.session)
    assert everything(talk) == before
    for upto in range(count - 1):
        talk.model.plans.clear()
        talk.model.answers.clear()
        talk.model.plans.append(planned(*CHANGES))
        talk.model.answers.append(GOOD)
        events = talk.assistant.reply("add milk, never popcorn, and cheese", session_id=talk.session)
        for _ in range(upto):
            next(events)
        events.close()  # type: ignore[attr-defined]
        assert everything(talk) == before, upto
    assert talk.say("shredded cheese", CHEESE, answer=GOOD).items  # and the session is free again


def test_a_bug_in_the_middle_leaves_no_trace_and_is_not_hidden(talk: Talk) -> None:
    """An error nobody foresaw is raised, and nothing of the turn is kept."""
    before = everything(talk)
    with pytest.raises(ZeroDivisionError):
        talk.say("add milk", *CHANGES, answer=ZeroDivisionError("a bug"))
    assert everything(talk) == before
    assert talk.say("shredded cheese", CHEESE).items


def test_the_record_of_a_turn_holds_what_was_shown_and_said(talk: Talk) -> None:
    """What is logged is what the shopper read, item by item and word by word."""
    told = talk.say(
        "shredded cheese under $5", call("search_catalog", query="shredded cheese", max_price=5), answer=GOOD
    )
    messages = told.finished.messages
    assert [message.role for message in messages] == ["user", "assistant", "tool", "assistant"]
    assert messages[1].tool_calls == (
        ToolCall(name="search_catalog", arguments={"query": "shredded cheese", "max_price": 5.0}),
    )
    assert told.reply.content == told.text
    assert list(told.reply.items) == told.items == [row["item_id"] for row in told.reply.evidence["items"]]
    assert [row["reason"] for row in told.reply.evidence["items"]] == [card.reason for card in told.cards]
    assert told.reply.evidence["wish"] == {"query": "shredded cheese", "max_price": 5.0}
    assert told.reply.evidence["raw"] == GOOD
    assert set(told.reply.usage) == {
        "llm_calls", "prompt_tokens", "completion_tokens", "model_seconds", "turn_seconds", "first_list_seconds",
    }  # fmt: skip
    for row, card in zip(told.reply.evidence["items"], told.cards, strict=True):
        assert row["score"] == pytest.approx(sum(row["parts"].values()))
        assert row["score"] == card.recommendation.score


# buttons


@pytest.mark.parametrize("label", QUICK)
def test_a_quick_reply_that_was_offered_needs_no_planning(talk: Talk, label: str) -> None:
    """Its call is known; and typed when it was not offered, it is a message like any other."""
    talk.say("shredded cheese", CHEESE, answer=GOOD)
    talk.model.prompts.clear()
    offered = label in talk.say("shredded cheese", CHEESE, answer=GOOD).finished.quick_replies
    before = len(talk.model.schemas)
    told = talk.say(label, call("chat", topic="hello"), answer=GOOD)
    assert len(talk.model.schemas) - before == (0 if offered else 1)
    assert told.calls == [(QUICK[label].name, QUICK[label].arguments)] if offered else [("chat", {"topic": "hello"})]


def test_a_button_needs_no_planning(talk: Talk) -> None:
    """One model call for the words where there are any, none for the cart."""
    talk.say("shredded cheese", CHEESE, answer=GOOD)
    before = len(talk.model.schemas)
    why = talk.press(call("explain", position=2), said="Why?")
    assert (why.reply.acts, why.reply.usage["llm_calls"], why.finished.messages[0].content) == (("explain",), 1, "Why?")
    cart = talk.press(call("update_cart", action="add", positions=[1]), said="Add")
    assert (cart.cart, cart.reply.usage["llm_calls"]) == (talk.cart, 0)
    assert len(talk.model.schemas) == before


def test_every_quick_reply_that_is_offered_is_a_call_or_an_answer(talk: Talk) -> None:
    """No button does nothing."""
    for asked in (CHEESE, call("update_cart", action="add", query="milk"), call("chat", topic="hello")):
        told = talk.say("cheese", asked)
        assert told.finished.quick_replies
        assert set(told.finished.quick_replies) <= set(QUICK)


def test_quick_replies_do_what_they_say(talk: Talk) -> None:
    """Each in a talk where it makes sense."""
    talk.say("shredded cheese", CHEESE)
    assert talk.press(QUICK["Store brand"], said="Store brand").items == ["i06"]
    assert talk.press(QUICK["Why the first one?"], said="Why").reply.evidence["about"] == ["i06"]
    talk.press(call("update_cart", action="add", query="soda"), said="Add")
    assert "i00" not in talk.press(QUICK["Goes with my cart"], said="Goes").items
    assert talk.press(QUICK["Show my cart"], said="Cart").sentences[0].startswith("Your cart holds one item")
    assert "i00" in talk.press(QUICK["My usual shop"], said="Usual").items or talk.cart == (("i00", 1),)
    assert talk.press(QUICK["Something new"], said="New").items


def test_a_look_back_beside_a_new_list_speaks_of_its_own_item(talk: Talk) -> None:
    """As in "why the second, and show me cheese": number 2 of the old list is not number 2 of the new one."""
    shown = talk.say("my usual", call("recommend", bought="again"))
    second = shown.cards[1].recommendation.item
    for asked in (call("explain", position=2), call("lookup_catalog", positions=[2])):
        told = talk.say("and that, and cheese", asked, CHEESE)
        assert set(told.items) == {"i06", "i07"}
        assert told.reply.evidence["about"] == [second.item_id]
        place = told.items.index(second.item_id) + 1 if second.item_id in told.items else 0
        name = f"{second.title.split(',')[0]} (#{place})" if place else second.title.split(",")[0].lower()
        assert name in told.text
        assert "[" not in told.text
        talk.assistant.undo(session_id=talk.session)
    told = talk.say(
        "compare 1 and 2, and cat food",
        call("lookup_catalog", positions=[1, 2]),
        call("search_catalog", query="dry cat food"),
    )
    assert told.items == ["i01"]
    assert "(#1) is the cheapest" not in told.text
