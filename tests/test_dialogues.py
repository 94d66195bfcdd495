"""Conversations made from histories: repeatable, true to the tools, and with every way on from where it starts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from agent.conversation import Conversation, Message, read_conversations, to_json
from agent.plan import check_call
from finetune.dialogues import REPEATS, SHARES, Talk, _option, dialogues, folded, read_shares, write_dialogues
from finetune.phrasebook import Spoken, load_phrases
from retrieval.deals import Deals, Offer
from retrieval.records import ShopError
from tests.shops import DAY, START, twelve_items
from tests.small_shop import small_shop

if TYPE_CHECKING:
    from retrieval.shop import Shop

BASKETS = {"u0": [["i00", "i02", "i06"]], "u1": [["i01", "i03", "i07"], ["i05"]]}


def made(out: Path, **options: Any) -> tuple[dict[str, Any], list[Conversation]]:
    counted = write_dialogues(small_shop(), BASKETS, out=out, **{"count": 6, "seed": 3, **options})
    return counted, list(read_conversations(out))


def test_the_same_seed_makes_the_same_conversations_and_more_only_add(tmp_path: Path) -> None:
    """Number n depends on the seed and n alone."""
    made(tmp_path / "a.jsonl", branches=2, openers=5)
    made(tmp_path / "b.jsonl", branches=2, openers=5)
    made(tmp_path / "c.jsonl", branches=2, openers=8, count=8)
    first, second, more = ((tmp_path / name).read_text().splitlines() for name in ("a.jsonl", "b.jsonl", "c.jsonl"))
    assert first == second
    assert [line for line in first if line in more] == first
    assert made(tmp_path / "d.jsonl", seed=4)[1] != made(tmp_path / "e.jsonl", seed=5)[1]


def test_a_branch_goes_on_from_its_talk_and_only_it_is_learned(tmp_path: Path) -> None:
    """What comes before a branch is the talk's own, message by message."""
    counted, conversations = made(tmp_path / "out.jsonl", branches=4)
    talks = {one.conversation_id: one for one in conversations if one.metadata["source"] == "dialogues"}
    branches = [one for one in conversations if one.metadata["source"] == "branches"]
    assert counted["branches"] == len(branches) > 10
    for branch in branches:
        before = branch.metadata["train_from"]
        talk = talks[branch.metadata["branch_of"]]
        assert branch.messages[:before] == talk.messages[:before]
        assert [message.role for message in branch.messages[before : before + 2]] == ["user", "assistant"]
        assert branch.messages[before + 1].tool_calls


def test_what_is_graded_is_not_trained_on(tmp_path: Path) -> None:
    """Messages of a set that is kept apart are never said, however they are written; "thanks" is everybody's."""
    _, before = made(tmp_path / "a.jsonl", branches=4, openers=60)
    said = [m.content for one in before for m in one.messages if m.role == "user"]
    long = [text for text in said if len(folded(text).split()) >= 3]
    kept = Conversation(conversation_id="x", messages=(Message(role="user", content=long[0].upper() + "!"),))
    (tmp_path / "set.jsonl").write_text(json.dumps(to_json(kept)) + "\n")
    _, after = made(tmp_path / "b.jsonl", branches=4, openers=60, apart=[tmp_path / "set.jsonl"])
    heard = {folded(m.content) for one in after for m in one.messages if m.role == "user"}
    assert folded(long[0]) not in heard and len(heard) > 60


def test_every_gold_call_is_one_that_serving_would_let_pass(tmp_path: Path) -> None:
    """A plan that code repairs at serving time would teach the model what is then undone."""
    _, conversations = made(tmp_path / "out.jsonl", branches=4, openers=40)
    for conversation in conversations:
        said: list[str] = []
        for message in conversation.messages:
            if message.role == "user":
                said.append(message.content)
            for call in message.tool_calls if message.role == "assistant" and not message.content else ():
                _, dropped = check_call(call, message=said[-1], said=tuple(said[:-1]))
                assert not dropped, said


def test_no_words_are_used_often(tmp_path: Path) -> None:
    """Variety is what a small model learns from; still, "hi" may be said more than once."""
    _, conversations = made(tmp_path / "out.jsonl", openers=200, count=1)
    said = [one.messages[0].content for one in conversations if one.metadata["source"] == "openers"]
    assert len(said) == 200
    assert max(map(said.count, said)) <= REPEATS
    assert len(set(said)) > 180


def test_shares_choose_the_kinds(tmp_path: Path) -> None:
    """A kind with no share is left out."""
    only = dict.fromkeys(("search", "why"), 1.0)
    from finetune.phrasebook import load_phrases

    shares = {kind: only.get(kind, 0.0) for kind in load_phrases().kinds}
    counted, _ = made(tmp_path / "out.jsonl", shares=shares, branches=3)
    assert set(counted["kinds"]) == {"search", "why"}


def test_deals_are_asked_for_and_told_in_checked_words(tmp_path: Path) -> None:
    """The plan is the tool's own, for all, one thing and a bound; gold answers say what the tools found, or that nothing is."""
    offers = [
        Offer(kind="promotion", starts=0, ends=4e9, item_ids=["i00", "i01", "i03", "i07"], note="in this week's ad"),
        Offer(kind="coupon", starts=0, ends=4e9, item_ids=["i02", "i06"], user_ids=["u0", "u1"]),
    ]
    ids = [item.item_id for item in twelve_items()]
    shop = replace(small_shop(), deals=Deals.from_offers(offers, item_ids=ids, now=small_shop().history.now))
    shares = {kind: 1.0 if kind == "deals" else 0.0 for kind in load_phrases().kinds}
    out = tmp_path / "out.jsonl"
    counted = write_dialogues(shop, BASKETS, out=out, count=30, seed=1, shares=shares, openers=30)
    assert set(counted["kinds"]) == {"deals"}
    told = list(read_conversations(out))
    calls = [call for one in told for message in one.messages for call in message.tool_calls]
    assert {call.name for call in calls} == {"deals"}
    assert {tuple(sorted(call.arguments)) for call in calls} == {
        (), ("query",), ("max_price",), ("max_price", "query"),
    }  # fmt: skip
    said = [message.content for one in told for message in one.messages if message.role == "assistant"]
    assert any("coupon" in text for text in said) and any("week's ad" in text for text in said)
    assert any("Nothing on offer here fits" in text for text in said)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["serch=2"], "Did you mean search"),
        (["zzz=2"], "There are: search, occasion"),
        (["ask=-1"], "as in ask=3; got ask=-1"),
        (["ask=much"], "got ask=much"),
        (["ask"], "got ask"),
        (["ask=inf"], "got ask=inf"),
        (["ask=nan"], "got ask=nan"),
        ([f"{kind}=0" for kind in SHARES], "Every kind of message is left out"),
    ],
)
def test_a_share_that_is_none_is_said_before_anything_is_made(texts: list[str], said: str) -> None:
    with pytest.raises(ShopError, match=said):
        read_shares(texts)


def test_without_a_basket_after_the_cut_nothing_is_written(tmp_path: Path) -> None:
    """Wishes come from real baskets or not at all."""
    with pytest.raises(ShopError, match="No shopper has a basket after the cut"):
        write_dialogues(small_shop(), {"u0": [[]]}, out=tmp_path / "out.jsonl", count=1)
    assert not (tmp_path / "out.jsonl").exists()


def test_what_is_written_is_the_one_record(tmp_path: Path) -> None:
    """The shape that is trained on is the shape that is logged and graded."""
    made(tmp_path / "out.jsonl", branches=1, openers=1)
    for line in (tmp_path / "out.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert set(record) <= {"conversation_id", "user_id", "messages", "metadata"}
        assert all(message["role"] in ("user", "assistant", "tool") for message in record["messages"])


def test_the_usual_at_the_start_is_said_at_the_start(tmp_path: Path) -> None:
    """Promise: after a list "the usual" is the usual one of it, so what means the whole shop is learned before any."""
    first = {folded(phrase.text) for phrase in load_phrases() if phrase.needs == "start"}
    later = {folded(phrase.text) for phrase in load_phrases() if phrase.needs not in ("start", "nothing")}
    _, conversations = made(tmp_path / "out.jsonl", count=12, branches=8, openers=400)
    said = [
        (folded(message.content), any(before.items for before in one.messages[:at]))
        for one in conversations
        for at, message in enumerate(one.messages)
        if message.role == "user"
    ]
    assert any(text in first - later for text, listed in said if not listed)
    assert not any(text in first - later for text, listed in said if listed)


def test_an_answer_is_one_of_those_offered() -> None:
    """Whole, or by the words that the others lack; the plan always has the whole."""
    from agent.outcome import Request
    from retrieval.wish import Wish

    request = Request(task="search", wish=Wish(query="cat"), label="cat")
    talk = Talk(user_id=None, options=("Dry cat food", "Cat litter"), request=request)
    seen = {_option(talk, Random(seed)) for seed in range(40)}
    spoken = {(one.text, one.value) for one in seen if isinstance(one, Spoken)}
    assert {one for one in seen if isinstance(one, str)} == {"dry cat food", "cat litter"}
    assert spoken == {("food", "dry cat food"), ("litter", "cat litter")}


def bare_shop(folder: Path, rows: list[dict[str, Any]]) -> Shop:
    """Prepare the twelve items without prices, categories or attributes, and this log."""
    import pandas as pd

    from retrieval.embedder import Embedder
    from retrieval.prepare import prepare
    from retrieval.shop import Shop
    from tests.shops import SmallSource

    embedder = Embedder()
    items = [replace(item, price=None, categories=(), attributes={}) for item in twelve_items()]
    log = pd.DataFrame(rows)
    prepare(
        SmallSource(items=items, interactions=log, counts={"lines_read": len(log)}),
        shop=folder,
        embedder=embedder,
    )
    return Shop.open(folder, embedder=embedder)


def event(user_id: str, item_id: str, day: int) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "item_id": item_id,
        "timestamp": START + day * DAY,
        "event": "purchase",
        "quantity": 1.0,
        "price": None,
        "basket_id": f"{user_id}-{day}",
    }


def test_a_log_with_one_event_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    """There is no time before the only event, so nothing could be held out."""
    with (
        bare_shop(tmp_path / "shop", [event("u0", "i00", 0)]) as shop,
        pytest.raises(ShopError, match="All purchases are in the last 4 weeks"),
    ):
        dialogues(shop, work=tmp_path / "earlier", out=tmp_path / "out.jsonl", count=1)
    assert not (tmp_path / "out.jsonl").exists() and not (tmp_path / "earlier").exists()


def test_items_without_price_or_category_and_a_shopper_without_past_make_conversations(tmp_path: Path) -> None:
    """An owner's catalogue may hold titles alone, and a basket may be its shopper's first."""
    rows = [event("u0", f"i{n:02d}", 0) for n in (0, 2, 4)] + [event("u1", f"i{n:02d}", 60) for n in (1, 3)]
    with bare_shop(tmp_path / "shop", rows) as shop:
        dialogues(
            shop, work=tmp_path / "earlier", out=tmp_path / "out.jsonl", count=4, branches=3, openers=10, new_share=0.0
        )
    conversations = list(read_conversations(tmp_path / "out.jsonl"))
    assert {one.user_id for one in conversations if one.metadata["source"] == "dialogues"} == {"u1"}
    assert len(conversations) > 15
