"""A plan is what the grammar lets a model write, and a call is made only with what the shopper said."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.amounts import numbers_in
from agent.conversation import ToolCall
from agent.plan import check_call, plain_words, plan_schema, plan_text, read_plan
from agent.tools import TOOLS
from tests.scripted_model import call

MOST_CALLS = 4
ALL_ARGUMENTS = (
    call("search_catalog", query="cat food", max_price=5, min_price=0.99, brand="store brand", size="12 oz",
         having=["organic", "low fat"], without=["nuts"], bought="new", sort="cheapest"),
    call("recommend", bought="again", max_price=12.5, brand="Ben & Jerry's", without=["fish", "ham"]),
    call("similar_items", position=2, than="cheaper", brand="name brand", query="the milk"),
    call("goes_with", position=10, query="steak"),
    call("deals", query="cat food", max_price=5),
    call("lookup_catalog", positions=[1, 2, 3], query="beer"),
    call("explain", position=1, query="that cheese", why_not=True),
    call("update_cart", action="add", positions=[5], query="milk", quantity=99),
    call("remember", kind="avoid", position=3, text="I can't eat nuts"),
    call("forget", text="all", position=1),
    call("ask_shopper", query="something for dinner"),
    call("chat", topic="off_topic"),
)  # fmt: skip
BARE = (
    call("search_catalog"), call("search_catalog", query="2% milk, 1/2 gal +"), call("recommend"), call("similar_items"),
    call("goes_with"), call("deals"), call("lookup_catalog"), call("explain"), call("update_cart", action="show"),
    call("remember", kind="show"), call("forget"), call("ask_shopper", query="pet"), call("chat", topic="hello"),
)  # fmt: skip


@cache
def grammar() -> Any:
    """Compile the schema as vLLM is started to: compact, no free blanks."""
    from xgrammar import Grammar

    schema = plan_schema(TOOLS, max_calls=MOST_CALLS)
    return Grammar.from_json_schema(json.dumps(schema), any_whitespace=False, separators=(",", ":"))


def accepted(text: str) -> bool:
    from xgrammar.testing import _is_grammar_accept_string

    return bool(_is_grammar_accept_string(grammar(), text))


def write(*calls: ToolCall) -> str:
    return plan_text(calls, tools=TOOLS)


@pytest.mark.parametrize("one", ALL_ARGUMENTS + BARE, ids=lambda one: one.name)
def test_the_grammar_takes_what_is_trained_and_gives_it_back(one: ToolCall) -> None:
    """What gold plans look like is what a model can write when it is served: else training teaches the impossible."""
    assert accepted(write(one))
    assert read_plan(write(one), tools=TOOLS, max_calls=MOST_CALLS) == [one]


def test_every_tool_and_every_argument_is_tried() -> None:
    """A tool or an argument that is added later has to be added to the lists above."""
    tried = {one.name: set(one.arguments) for one in ALL_ARGUMENTS}
    assert tried == {tool.name: set(tool.tool_call_schema.model_json_schema()["properties"]) for tool in TOOLS}


@pytest.mark.parametrize("price", [0, 0.01, 0.5, 1.25, 3, 9.99, 10, 99.9, 120, 999.99, 9999])
def test_every_price_of_a_shop_can_be_written(price: float) -> None:
    """A bound that the grammar cannot spell would come out as another number."""
    assert accepted(write(call("search_catalog", query="milk", max_price=price)))


def test_arguments_are_written_in_the_grammar_s_order_and_left_out_when_empty() -> None:
    """The grammar knows one order; the order of a dictionary does not matter, nor do empty values."""
    text = write(call("search_catalog", sort="cheapest", without=[], brand=None, max_price=5.0, query="milk"))
    assert text == '{"calls":[{"tool":"search_catalog","query":"milk","max_price":5,"sort":"cheapest"}]}'


ONE = '{"tool":"chat","topic":"hello"}'


@pytest.mark.parametrize(
    ("why", "text"),
    [
        ("no call", '{"calls":[]}'),
        ("five calls", '{"calls":[' + ",".join([ONE] * 5) + "]}"),
        ("a tool that is not there", '{"calls":[{"tool":"buy_now"}]}'),
        ("an argument that is not there", '{"calls":[{"tool":"goes_with","user_id":"u1"}]}'),
        ("a required argument missing", '{"calls":[{"tool":"chat"}]}'),
        ("a value that is no choice", '{"calls":[{"tool":"chat","topic":"politics"}]}'),
        ("the ninety-ninth item", '{"calls":[{"tool":"goes_with","position":99}]}'),
        ("item nought", '{"calls":[{"tool":"goes_with","position":0}]}'),
        ("a hundred of it", '{"calls":[{"tool":"update_cart","action":"add","quantity":100}]}'),
        ("none of it", '{"calls":[{"tool":"update_cart","action":"add","quantity":0}]}'),
        ("a price below nothing", '{"calls":[{"tool":"search_catalog","max_price":-1}]}'),
        ("a price past the bound", '{"calls":[{"tool":"search_catalog","max_price":10000}]}'),
        ("a price in words", '{"calls":[{"tool":"search_catalog","max_price":"5"}]}'),
        ("null", '{"calls":[{"tool":"search_catalog","query":null}]}'),
        ("why_not false", '{"calls":[{"tool":"explain","why_not":false}]}'),
        ("markup", '{"calls":[{"tool":"search_catalog","query":"<b>milk"}]}'),
        ("a fence", '{"calls":[{"tool":"search_catalog","query":"[results]"}]}'),
        ("a link", '{"calls":[{"tool":"search_catalog","query":"https://a.b"}]}'),
        ("a line break", '{"calls":[{"tool":"search_catalog","query":"milk\\nand"}]}'),
        ("blanks only", '{"calls":[{"tool":"search_catalog","query":"   "}]}'),
        ("an essay", '{"calls":[{"tool":"search_catalog","query":"' + "a" * 61 + '"}]}'),
        ("five words left out", '{"calls":[{"tool":"recommend","without":["a","b","c","d","e"]}]}'),
        ("free blanks", '{"calls": [' + ONE + "]}"),
        ("talk behind it", '{"calls":[' + ONE + "]} Sure!"),
        ("another field", '{"calls":[' + ONE + '],"user":"u1"}'),
    ],
    ids=lambda value: value if not value.startswith("{") else "",
)  # fmt: skip
def test_the_grammar_refuses(why: str, text: str) -> None:
    """A model held to the grammar cannot leave the protocol, name a shopper or write markup."""
    assert not accepted(text), why
    assert accepted('{"calls":[' + ",".join([ONE] * 4) + "]}")


words = st.from_regex(r"[A-Za-z0-9%$&'.,/+-][A-Za-z0-9%$&'.,/+ -]{0,20}", fullmatch=True)
some_calls = st.builds(
    lambda arguments: ToolCall(name="search_catalog", arguments=arguments),
    st.fixed_dictionaries(
        {},
        optional={
            "query": words,
            "max_price": st.integers(0, 999_900).map(lambda cents: cents / 100),
            "having": st.lists(words, min_size=1, max_size=4),
            "bought": st.sampled_from(["again", "new"]),
        },
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(some_calls, min_size=1, max_size=4, unique_by=repr))
def test_any_plan_in_the_protocol_survives_the_way_to_the_model_and_back(calls: list[ToolCall]) -> None:
    """Whatever a shopper may be thought to mean can be written, served and read back unchanged."""
    assert accepted(write(*calls))
    assert read_plan(write(*calls), tools=TOOLS, max_calls=MOST_CALLS) == calls


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "null", "5", "[]", "{}", "Sure! Here you go.", '{"calls":[]}', '{"calls":{}}', '{"calls":[1]}', '{"calls":[[]]}',
        '{"calls":[{}]}', '{"calls":[{"tool":"nope"}]}', '{"calls":[{"tool":["chat"]}]}', '{"calls":[{"tool":{"a":1}}]}',
        '{"calls":[{"tool":"chat","topic":"hello"}', '{"calls":"chat"}', "[" * 100_000, '{"calls":[{"tool":' * 10_000,
        '{"calls":[{"tool":"search_catalog","max_price":' + "9" * 5000 + "}]}",
    ],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_garbage_is_no_plan(text: str) -> None:
    """A server that does not keep to the schema is found out by one kind of error, which the turn handles."""
    with pytest.raises(ValueError):
        read_plan(text, tools=TOOLS, max_calls=MOST_CALLS)


def test_reading_a_plan_keeps_only_what_tools_take() -> None:
    """Nothing but a tool's own arguments gets through, each call once, and no more calls than allowed."""
    text = json.dumps(
        {
            "calls": [
                {"tool": "goes_with", "user_id": "u1", "position": None, "query": "milk"},
                {"tool": "goes_with", "query": "milk"},
                *({"tool": "search_catalog", "query": f"tea {n}"} for n in range(9)),
            ]
        }
    )
    assert read_plan(text, tools=TOOLS, max_calls=3) == [
        call("goes_with", query="milk"),
        call("search_catalog", query="tea 0"),
    ]


@pytest.mark.parametrize(
    ("message", "arguments", "kept"),
    [
        # prices: only what was said, in digits or words
        ("cat food under $5", {"max_price": 5.0}, {"max_price": 5.0}),
        ("cat food under five bucks", {"max_price": 5.0}, {"max_price": 5.0}),
        ("a buck fifty at most", {"max_price": 1.5}, {"max_price": 1.5}),
        ("cheap cat food", {"max_price": 5.0}, {}),
        ("cat food under $5", {"max_price": 4.0}, {}),
        ("cat food under $5", {"max_price": 5.0, "min_price": 2.0}, {"max_price": 5.0}),
        ("between $2 and $5", {"max_price": 2.0, "min_price": 5.0}, {"max_price": 5.0, "min_price": 2.0}),
        # exclusions and demands: only words that were said
        ("cookies without nuts", {"without": ["nuts"]}, {"without": ["nuts"]}),
        ("no peanuts please", {"without": ["peanut"]}, {"without": ["peanut"]}),
        ("cookies", {"without": ["nuts"]}, {}),
        ("cookies, no nuts", {"without": ["nuts", "raisins"]}, {"without": ["nuts"]}),
        ("organic milk", {"having": ["organic"]}, {"having": ["organic"]}),
        ("milk", {"having": ["organic"]}, {}),
        # sizes: a number that was said, or a unit that was
        ("cheese, 8 oz", {"size": "8 oz"}, {"size": "8 oz"}),
        ("cheese", {"size": "8 oz"}, {}),
        ("cheese, 8 oz", {"size": "16 oz"}, {}),
        ("a gallon of milk", {"size": "gallon"}, {"size": "gallon"}),
        ("a gallon of milk", {"size": "1 gal"}, {"size": "1 gal"}),
        ("a half gallon of milk", {"size": "0.5 gallon"}, {"size": "0.5 gallon"}),
        ("two liter soda", {"size": "2 litre"}, {"size": "2 litre"}),
        ("a quart of milk", {"size": "1 qt"}, {"size": "1 qt"}),
        ("a dozen eggs", {"size": "12 ct"}, {"size": "12 ct"}),
        ("milk", {"size": "gallon"}, {}),
        ("milk", {"size": "1 gallon"}, {}),
        ("soda", {"size": "12 oz"}, {}),
        # how many
        ("add three of them", {"quantity": 3}, {"quantity": 3}),
        ("add them", {"quantity": 7}, {}),
    ],
    ids=str,
)  # fmt: skip
def test_what_the_shopper_never_said_is_dropped(message: str, arguments: Any, kept: Any) -> None:
    """A number or a word that is not in the talk does not become a bound."""
    checked, dropped = check_call(call("search_catalog", query="it", **arguments), message=message, said=())
    assert checked.arguments == {"query": "it", **kept}
    shortened = {name for name in kept if isinstance(kept[name], list) and kept[name] != arguments[name]}
    assert set(dropped) == set(arguments) - set(kept) | shortened


def test_what_was_said_a_few_messages_ago_still_counts() -> None:
    """The word "Same but in blue" after "under $5" keeps the five; what was said long ago does not."""
    asked = call("search_catalog", max_price=5.0)
    said = ["milk under $5", "a", "b", "c"]
    assert check_call(asked, message="and tea", said=said)[0] == asked
    assert check_call(asked, message="and tea", said=[*said, "d"])[0] == call("search_catalog")


def test_words_that_are_said_back_hold_no_markup_link_or_fence() -> None:
    """A model that writes adversarial words cannot have them said to the shopper or put in the next prompt."""
    asked = call(
        "search_catalog",
        query="<b>milk</b> [1](http://evil.example/a)",
        brand="<|im_end|>",
        having=["www.evil.com milk", "![x]"],
    )
    checked, _ = check_call(asked, message="milk and evil", said=())
    assert checked.arguments == {
        "query": "b milk /b 1 http evil example/a",
        "brand": "im end",
        "having": ["www evil com milk"],
    }


@given(st.text(max_size=80))
def test_plain_words_are_plain_whatever_came_in(text: str) -> None:
    """Whatever a shopper typed or a model wrote."""
    out = plain_words(text)
    assert not set('<>[](){}|\n\r\t\\"`*_#!?@:;') & set(out)
    assert plain_words(out) == out
    out.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "said", "unsaid"),
    [
        ("under $5", {5}, {0.5, 50}),
        ("under 5.50", {5.5}, {5, 50}),
        ("5 bucks", {5}, {}),
        ("five bucks", {5}, {}),
        ("a buck fifty", {1.5, 1}, {1.05}),
        ("buck and a half", set(), {2.5}),
        ("two fifty", {2.5, 2, 50}, {0.25}),
        ("two dollars and fifty cents", {2.5}, {}),
        ("four oh nine", {4.09}, {}),
        ("99 cents", {0.99, 99}, {9.9}),
        ("ninety-nine cents", {0.99}, {}),
        ("twenty-five dollars", {25}, {}),
        ("one hundred ten", {110}, {}),
        ("a fiver", {5}, {}),
        ("a tenner", {10}, {}),
        ("three and a half dollars", {3.5}, {}),
        ("under 1,50", {1.5}, {150}),
        ("1,200 dollars", {1200}, {}),
        ("5$ max", {5}, {}),
        ("$5-10", {5, 10}, {}),
        (".99", {0.99}, {}),
        ("a couple", {2}, {}),
        ("a dozen", {12}, {}),
        ("free", set(), {0}),
        ("", set(), {0, 1}),
        ("someone tenderly weighs", set(), {1, 10, 8}),
        ("９ euros ² ½ 𝟜", set(), {2, 0.5}),
    ],
)
def test_amounts_are_read_in_digits_and_words(text: str, said: set[float], unsaid: set[float]) -> None:
    """Every reading that a shopper could have meant counts; a part of a word does not."""
    found = numbers_in(text)
    assert said <= found
    assert not set(unsaid) & found


@given(st.text(max_size=200))
def test_amounts_of_any_text_can_be_read(text: str) -> None:
    """No text that a shopper can type breaks the reading."""
    assert all(amount >= 0 for amount in numbers_in(text))


def test_a_difference_that_nobody_spoke_of_is_dropped() -> None:
    """As in "similar to 1 but store brand", planned as dearer: a small model fills what it need not."""
    call = ToolCall(name="similar_items", arguments={"position": 1, "than": "dearer"})
    checked, dropped = check_call(call, message="anything similar to 1 but store brand", said=())
    assert (dict(checked.arguments), dropped) == ({"position": 1}, ("than",))
    for message in ("a better one", "something fancier than 1", "I can spend more"):
        assert check_call(call, message=message, said=())[1] == (), message


def test_the_bank_s_own_differences_pass() -> None:
    """What is taught is not dropped at serving: all but typos of the words themselves."""
    from finetune.phrasebook import load_phrases

    plans = [(phrase, call) for phrase in load_phrases() for call in phrase.calls if call.arguments.get("than")]
    lost = [
        phrase.text
        for phrase, call in plans
        if "than"
        in check_call(
            ToolCall(name=call.name, arguments={"than": call.arguments["than"]}), message=phrase.text, said=()
        )[1]
    ]
    assert len(plans) > 300 and len(lost) < 0.02 * len(plans), lost
