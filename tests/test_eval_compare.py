"""Two saved runs set side by side: what is called better, worse or neither, and what is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.conversation import Conversation, Message, to_json
from eval import compare as comparing
from eval import meanings, metrics
from eval.compare import Comparison, compare, text
from eval.grounds import Grounds, read_grounds
from eval.replay import results
from retrieval.generation import ITEMS as ITEMS_FILE
from retrieval.generation import Manifest, point_to, write_items, write_manifest
from retrieval.records import ShopError
from tests.shops import twelve_items

ITEMS = {item.item_id: item for item in twelve_items()}
GROUNDS = Grounds(items=ITEMS, bought=lambda user_id, item_id: False, generation="g-abc-1")
CONFIG = {
    "model": "m",
    "adapter": "one",
    "base": "b",
    "shop": "s",
    "shop_generation": "g-abc-1",
    "set": "set.jsonl",
    "set_hash": "1234",
    "history": "live",
    "seed": 0,
    "limit": None,
    "versions": {"python": "3.11"},
    "hardware": {"cores": 2},
}


def talk(
    name: str, *, good: bool = True, said: str = "cat food", answer: str = "Here.", seconds: float = 1.0
) -> Conversation:
    """Make a talk of two messages: a search that shows cat food, or soda where it is not `good`; then a greeting."""
    usage = {"llm_calls": 2, "prompt_tokens": 500, "completion_tokens": 20, "turn_seconds": seconds}
    return Conversation(
        conversation_id=name,
        messages=(
            Message(
                role="user",
                content=said,
                expect={"act": "recommend", "where": {"attributes": {"category": ["CAT FOOD"]}}, "items": ["i01"]},
            ),
            Message(
                role="assistant",
                content=answer if good else "What do you mean?",
                items=("i01",) if good else (),
                acts=("recommend",) if good else ("ask",),
                usage={**usage, "first_list_seconds": seconds / 2} if good else usage,
            ),
            Message(role="user", content="thanks", expect={"act": "chat"}),
            Message(role="assistant", content="You're welcome.", acts=("chat",), usage=usage),
        ),
    )


def save(folder: Path, talks: Iterable[Conversation], **config: Any) -> Path:
    """Write a run as `shoptalk eval` does."""
    talks = list(talks)
    folder.mkdir(parents=True)
    lines = [json.dumps(to_json(one), ensure_ascii=False) for one in talks]
    (folder / "conversations.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    record = results(talks, items=ITEMS, bought=lambda user_id, item_id: False, config={**CONFIG, **config})
    (folder / "results.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def verdicts(found: Comparison) -> dict[str, str]:
    return {row.metric: row.verdict for row in found.rows}


def test_a_run_beside_itself_cannot_be_told_apart(tmp_path: Path) -> None:
    talks = [talk(f"c{n}", good=n % 3 > 0) for n in range(6)]
    found = compare(save(tmp_path / "a", talks), save(tmp_path / "b", talks), grounds=GROUNDS)
    assert set(verdicts(found).values()) == {"cannot tell"}
    assert (found.worse, found.changed, found.apart) == ((), (), ())
    assert (found.conversations, found.turns) == (6, 12)
    assert "No message fared differently" in text(found, items=ITEMS)


def test_a_clear_difference_is_worse_one_way_and_better_the_other(tmp_path: Path) -> None:
    good = save(tmp_path / "a", [talk(f"c{n}") for n in range(14)])
    bad = save(tmp_path / "b", [talk(f"c{n}", good=n < 2) for n in range(14)], adapter="two")
    there, back = compare(good, bad, grounds=GROUNDS), compare(bad, good, grounds=GROUNDS)
    assert {row.metric for row in there.worse} == {"act_accuracy", "recall@10", "ndcg@10", "answered_rate"}
    assert back.worse == ()
    assert verdicts(back)["act_accuracy"] == "better"
    row = next(row for row in there.rows if row.metric == "act_accuracy")
    assert (row.a, row.b, row.conversations) == (1.0, pytest.approx(16 / 28), 14)
    assert row.low is not None and row.high is not None and row.low < row.difference < row.high < 0
    by_act = {(row.part, row.metric): row.verdict for row in there.slices}
    assert by_act["recommend", "act_accuracy"] == "worse"
    assert by_act["chat", "act_accuracy"] == "cannot tell"
    assert there.apart == ("adapter: one → two",)
    assert len(there.changed) == 12
    assert there.changed[0].broke == ("act", "answered")
    written = text(there, items=ITEMS, limit=1)
    assert "wanted   act: recommend · where: attributes category CAT FOOD · items: Dry cat food, 16 oz" in written
    assert "B        [ask] What do you mean?" in written
    assert written.endswith("B is worse than A in act_accuracy, recall@10, ndcg@10, answered_rate")
    assert "and 11 more" in written


def test_two_bad_turns_of_six_cannot_be_told_from_luck(tmp_path: Path) -> None:
    a = save(tmp_path / "a", [talk(f"c{n}") for n in range(6)])
    b = save(tmp_path / "b", [talk(f"c{n}", good=n > 1) for n in range(6)])
    found = compare(a, b, grounds=GROUNDS)
    assert found.worse == ()
    row = next(row for row in found.rows if row.metric == "act_accuracy")
    assert row.detectable is not None and row.detectable > abs(row.difference)


def test_one_item_that_the_shop_does_not_have_is_enough(tmp_path: Path) -> None:
    """Promise: what must never happen is counted, not tested."""
    a = save(tmp_path / "a", [talk(f"c{n}") for n in range(4)])
    b = save(tmp_path / "b", [talk(f"c{n}", answer='Try "Golden Zzz".' if n == 2 else "Here.") for n in range(4)])
    assert [row.metric for row in compare(a, b, grounds=GROUNDS).worse] == ["off_catalogue_items"]


def test_cost_and_time_are_told_but_decide_only_when_asked(tmp_path: Path) -> None:
    a = save(tmp_path / "a", [talk(f"c{n}", seconds=1 + n / 50) for n in range(14)])
    b = save(tmp_path / "b", [talk(f"c{n}", seconds=2 + n / 50) for n in range(14)])
    found = compare(a, b, grounds=GROUNDS)
    assert verdicts(found)["turn_seconds_p50"] == "worse"
    assert found.worse == ()
    asked = compare(a, b, grounds=GROUNDS, chosen=["turn_seconds_p50"])
    assert [row.metric for row in asked.worse] == ["turn_seconds_p50"]
    other = save(tmp_path / "c", [talk(f"c{n}", seconds=2 + n / 50) for n in range(14)], hardware={"cores": 64})
    assert compare(a, other, grounds=GROUNDS, chosen=["turn_seconds_p50"]).worse == ()


def test_only_shared_conversations_are_compared(tmp_path: Path) -> None:
    a = save(tmp_path / "a", [talk(f"c{n}") for n in range(5)])
    b = save(tmp_path / "b", [talk(f"c{n}") for n in range(2, 6)], limit=4)
    found = compare(a, b, grounds=GROUNDS)
    assert (found.conversations, found.alone) == (3, (2, 1))
    assert "left out: 2 only in A, 1 only in B" in text(found, items=ITEMS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"set_hash": "5678"}, "made with another set, set.jsonl (1234) and set.jsonl (5678). Replay both alike"),
        ({"history": "given"}, "another way of replaying (--history)"),
        ({"shop_generation": "g-def-1"}, "made on different shops, g-abc-1 and g-def-1"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, change: dict[str, str], words: str) -> None:
    a, b = save(tmp_path / "a", [talk("c0")]), save(tmp_path / "b", [talk("c0")], **change)
    with pytest.raises(ShopError) as refused:
        compare(a, b, grounds=GROUNDS)
    assert words in str(refused.value)


def test_a_shop_built_again_from_the_same_source_is_the_same_shop(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a", [talk("c0")]), save(tmp_path / "b", [talk("c0")], shop_generation="g-abc-2")
    assert compare(a, b, grounds=replace(GROUNDS, generation="g-abc-3")).conversations == 1
    with pytest.raises(ShopError, match=r"made on another shop .* Name its shop with --shop"):
        compare(a, b, grounds=replace(GROUNDS, generation="g-def-1"))


def test_conversations_that_are_not_shared_or_not_the_same_are_refused(tmp_path: Path) -> None:
    a = save(tmp_path / "a", [talk("c0")])
    with pytest.raises(ShopError, match="share no conversations"):
        compare(a, save(tmp_path / "b", [talk("c1")]), grounds=GROUNDS)
    with pytest.raises(ShopError, match="conversation c0 is not the same in both"):
        compare(a, save(tmp_path / "c", [talk("c0", said="dog food")]), grounds=GROUNDS)


def test_an_unknown_metric_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    a = save(tmp_path / "a", [talk("c0")])
    with pytest.raises(ShopError, match=r"no metric 'act_acuracy'\. Did you mean act_accuracy\?"):
        compare(a, a, grounds=GROUNDS, chosen=["act_acuracy"])


def _break(folder: Path, name: str, how: str) -> None:
    path = folder / name
    whole = path.read_text(encoding="utf-8")
    if how == "gone":
        path.unlink()
    elif how == "half":
        path.write_text(whole[: len(whole) // 2], encoding="utf-8")
    elif how == "bytes":
        path.write_bytes(b"\xff\xfe\x00" + whole.encode())
    elif how == "list":
        path.write_text("[1, 2]", encoding="utf-8")
    elif how == "last line":
        path.write_text("\n".join(whole.splitlines()[:-1]) + "\n", encoding="utf-8")
    else:
        path.write_text(whole.replace(*how.split(" -> ")), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "how", "words"),
    [
        ("results.json", "gone", "is not finished: 3 conversations are there"),
        ("results.json", "half", "is damaged"),
        ("results.json", "bytes", "is damaged"),
        ("results.json", "list", "does not hold results of a replay"),
        ("results.json", '"n": { -> "m": {', 'lacks an object "config", "results" or "n"'),
        ("conversations.jsonl", "gone", "No conversations at"),
        ("conversations.jsonl", "half", "not JSON"),
        ("conversations.jsonl", "bytes", "is damaged"),
        ("conversations.jsonl", "last line", "graded on 3 conversations, 2 are there"),
        ("conversations.jsonl", '"usage": { -> "usage": [1], "was": {', '"evidence" or "usage" is no object'),
        ("conversations.jsonl", '"acts": ["chat"] -> "acts": 7', "is damaged"),
        ("conversations.jsonl", '"act": "chat" -> "akt": "chat"', 'unknown expectation "akt"'),
    ],
)
def test_a_damaged_run_is_a_sentence(tmp_path: Path, name: str, how: str, words: str) -> None:
    a = save(tmp_path / "a", [talk(f"c{n}") for n in range(3)])
    b = save(tmp_path / "b", [talk(f"c{n}") for n in range(3)])
    _break(b, name, how)
    with pytest.raises(ShopError) as refused:
        compare(a, b, grounds=GROUNDS)
    assert words in str(refused.value) and str(b) in str(refused.value)


def test_a_missing_run_says_how_to_make_one(tmp_path: Path) -> None:
    a = save(tmp_path / "a", [talk("c0")])
    with pytest.raises(ShopError, match=r"No run at .*none\. Make one with: shoptalk eval"):
        compare(a, tmp_path / "none", grounds=GROUNDS)


def test_a_shop_is_read_without_its_search(tmp_path: Path) -> None:
    """Promise: items and purchases are enough to grade; a shop that lacks them is a sentence."""
    with pytest.raises(ShopError, match="No shop at"):
        read_grounds(tmp_path / "none")
    folder = tmp_path / "g-abc-1"
    folder.mkdir()
    point_to(tmp_path, folder.name)
    with pytest.raises(ShopError, match="only half built"):
        read_grounds(tmp_path)
    write_manifest(folder, Manifest(generation=folder.name, key="abc", source="test"))
    (folder / ITEMS_FILE).write_bytes(b"PAR1 cut short")
    with pytest.raises(ShopError, match=r"is damaged: items\.parquet cannot be read"):
        read_grounds(tmp_path)
    write_items(folder / ITEMS_FILE, twelve_items())
    with pytest.raises(ShopError, match="purchase history"):
        read_grounds(tmp_path)


def test_every_metric_has_a_meaning_and_a_good_direction() -> None:
    assert set(meanings.BETTER) == set(metrics.METRICS)
    assert set(meanings.DECIDING) <= set(metrics.METRICS)
    assert all(meanings.meaning(name).endswith((".", ")")) for name in metrics.METRICS)


def test_four_hundred_messages_are_compared_in_five_seconds(tmp_path: Path) -> None:
    a = save(tmp_path / "a", [talk(f"c{n}", good=n % 7 > 0) for n in range(200)])
    b = save(tmp_path / "b", [talk(f"c{n}", good=n % 6 > 0) for n in range(200)])
    started = time.thread_time()
    compare(a, b, grounds=GROUNDS)
    assert time.thread_time() - started < 5


def test_figures_are_those_of_the_metrics(tmp_path: Path) -> None:
    """Promise: what is compared is what `shoptalk eval` reported."""
    talks = [talk(f"c{n}", good=n % 3 > 0, seconds=1 + n / 7) for n in range(7)]
    folder = save(tmp_path / "a", talks)
    reported = json.loads((folder / "results.json").read_text(encoding="utf-8"))["results"]
    found = {row.metric: row.a for row in comparing.compare(folder, folder, grounds=GROUNDS).rows}
    assert found == {name: pytest.approx(reported[name]) for name in found}
    assert {name for name in metrics.METRICS if reported[name] is not None} == set(found)
