"""Simulated shoppers give the same figures twice, leak nothing, and prefer what is good over what is bad."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from agent.assistant import Assistant
from agent.conversation import Conversation, Message, read_conversations
from agent.limits import Limits
from agent.store import Store
from eval import outcomes
from eval.floors import floors, open_floor
from eval.shopper import Need, Shopper, need_to_json
from eval.simulate import draw_shoppers, results, run_simulation, simulate, talk_with
from retrieval.embedder import Embedder
from retrieval.held_out import HeldOut, baskets_after, hold_out
from retrieval.records import Item, ShopError
from retrieval.shop import Shop
from tests.shops import history, twelve_items

ITEMS = {item.item_id: item for item in twelve_items()}
SECONDS = {"first_list_seconds_p50", "turn_seconds_p50"}
LENGTH = 2  # of twelve items: five would make a good assistant of a random one


@dataclass(frozen=True)
class Earlier:
    """The small shop as it was a week before its log ends, and what was bought in that week."""

    shop: Shop
    held: HeldOut


@pytest.fixture(scope="module")
def earlier(small_shop: Shop, embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Earlier]:
    folder = tmp_path_factory.mktemp("earlier") / "shop"
    held = hold_out(small_shop, folder=folder, weeks=1.0)
    with Shop.open(folder, embedder=embedder) as shop:
        yield Earlier(shop=shop, held=held)


@contextlib.contextmanager
def assistant_of(name: str, shop: Shop, folder: Path) -> Iterator[Any]:
    """Open an assistant by its name, its lists short."""
    if name in floors():
        yield open_floor(name, shop=shop, length=LENGTH)
        return
    with contextlib.closing(Store(folder / "store.sqlite")) as store:
        yield Assistant(shop=shop, model=None, store=store, limits=Limits(list_length=LENGTH))


def run(name: str, earlier: Earlier, folder: Path, *, shoppers: int = 30, **more: Any) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    with assistant_of(name, earlier.shop, folder) as assistant:
        return run_simulation(
            assistant=assistant,
            shop=earlier.shop,
            held=earlier.held,
            shoppers=shoppers,
            output=folder / "out",
            config={"assistant": name},
            **more,
        )


def timeless(record: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what no seed decides: seconds, date."""
    found = {name: value for name, value in record["results"].items() if name.removesuffix("_stderr") not in SECONDS}
    return {**{key: record[key] for key in ("n", "slices", "violations", "failures")}, "results": found}


def test_the_good_are_preferred_over_the_floor(earlier: Earlier, tmp_path: Path) -> None:
    """Promise: a simulator that cannot tell a search from random, popular or bad items is rejected here."""
    found = {
        name: run(name, earlier, tmp_path / name, shoppers=40)["results"]
        for name in ("search", "no-model", "random", "popularity", "bad")
    }
    for good in ("search", "no-model"):
        for floor in ("random", "popularity", "bad"):
            assert found[good]["success@1"] > found[floor]["success@1"] + 0.3, (good, floor)
            assert found[good]["violation_rate"] < found[floor]["violation_rate"] - 0.2, (good, floor)
        for floor in ("random", "bad"):  # five pages of the popular items are nearly the whole of this shop
            assert found[good]["success@5"] > found[floor]["success@5"] + 0.1, (good, floor)
    assert found["bad"]["success@5"] < 0.1 < found["random"]["success@5"]
    assert found["bad"]["needless_question_rate"] == 1.0
    assert found["bad"]["repeat_rate"] > found["popularity"]["repeat_rate"] == 0.0
    assert all(one["leaks"] == 0 for one in found.values())
    assert found["search"]["llm_calls_per_turn"] == 0


def test_the_same_seed_gives_the_same_numbers_twice(earlier: Earlier, tmp_path: Path) -> None:
    """Promise: talks and figures depend on the seed only; another seed gives other shoppers."""
    for name in ("no-model", "random"):
        one = run(name, earlier, tmp_path / f"{name}-1", seed=7, shoppers=12)
        two = run(name, earlier, tmp_path / f"{name}-2", seed=7, shoppers=12)
        assert timeless(one) == timeless(two)
    other = run("random", earlier, tmp_path / "other", seed=8, shoppers=12)
    assert timeless(other) != timeless(one)


def test_a_longer_run_begins_with_the_shorter_one() -> None:
    """Promise: shopper n does not depend on how many there are."""
    baskets = {"u0": ("i00", "i06"), "u1": ("i07", "i11"), "u2": ("i11", "gone")}
    few = draw_shoppers(baskets, items=ITEMS, count=5, seed=1)
    assert draw_shoppers(baskets, items=ITEMS, count=20, seed=1)[:5] == few
    assert "beer" not in {one.need.kind for one in draw_shoppers(baskets, items=ITEMS, count=50)}
    with pytest.raises(ShopError, match="No next basket"):
        draw_shoppers({"u2": ("i11", "gone")}, items=ITEMS, count=1)


def test_results_hold_every_metric_and_the_conversations(earlier: Earlier, tmp_path: Path) -> None:
    """Promise: `results.json` has the simulation's metrics with errors, the config, and what is recomputed is the same."""
    record = run("search", earlier, tmp_path, shoppers=8)
    written = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(record))
    errors = {f"{name}_stderr" for name in outcomes.METRICS if name != "leaks"}
    assert set(record["results"]) == {*outcomes.METRICS, *errors}
    assert set(record["config"]) >= {"assistant", "shoppers", "seed", "simulator", "cut", "versions", "hardware"}
    talks = list(read_conversations(tmp_path / "out" / "conversations.jsonl"))
    assert len(talks) == 8
    assert {talk.metadata["outcome"] for talk in talks} <= {"accepted", "left"}
    again = results(talks, items=earlier.shop.catalog.items, bought=earlier.shop.history.bought, config={})
    assert again["results"] == record["results"]


def test_a_stopped_run_goes_on_where_it_was(earlier: Earlier, tmp_path: Path) -> None:
    """Promise: finished talks are kept, and a run that was taken up again ends like one that was not stopped."""
    whole = run("random", earlier, tmp_path / "whole", shoppers=6)
    run("random", earlier, tmp_path / "cut", shoppers=6)
    out = tmp_path / "cut" / "out"
    lines = (out / "conversations.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (out / "conversations.jsonl").write_text("".join(lines[:3]) + lines[3][:40], encoding="utf-8")
    assert timeless(run("random", earlier, tmp_path / "cut", shoppers=6)) == timeless(whole)
    with pytest.raises(ShopError, match="another run"):
        run("random", earlier, tmp_path / "cut", shoppers=7)


def test_a_planted_leak_is_counted(tmp_path: Path, earlier: Earlier) -> None:
    """Promise: a shopper who knows an id or a whole title before it was shown is counted as a leak."""
    people = [
        Shopper(shopper_id="id", need=Need(kind="popcorn", name="i02")),
        Shopper(shopper_id="title", need=Need(kind="popcorn microwave 10 oz store brand", name="popcorn")),
        Shopper(shopper_id="fair", need=Need(kind="popcorn", name="popcorn", size="10 oz", tier="store brand")),
    ]
    record = simulate(people, assistant=open_floor("bad", shop=earlier.shop), items=ITEMS, output=tmp_path / "out")
    assert set(record["leaked"]) == {"id", "title"}
    assert record["results"]["leaks"] >= 3  # in the wish, and each time it is said


def test_a_title_that_was_shown_may_be_said() -> None:
    """Promise: only what was not shown before counts; a title of one piece is a kind's name."""
    tea = {"i7": Item(item_id="i7", title="Green tea, 20 count"), "12": Item(item_id="12", title="Tofu")}
    secret = outcomes.secrets(tea)
    told = Message(role="user", content="green tea, 20 count and tofu for 12 dollars")
    shown = Message(role="assistant", content="Here.", items=("i7",))
    opening = Message(role="user", content="tea")
    after = Conversation(conversation_id="c", messages=(opening, shown, told))
    before = Conversation(conversation_id="c", messages=(told, shown))
    assert outcomes.leaks(after, secret=secret) == []
    assert outcomes.leaks(before, secret=secret) == ["i7"]


def test_a_shop_that_knows_the_future_is_refused(small_shop: Shop, earlier: Earlier, tmp_path: Path) -> None:
    """Promise: the assistant's shop is prepared from before the cut, or there are no figures."""
    with pytest.raises(ShopError, match="knows what the shoppers"):
        run_simulation(
            assistant=open_floor("search", shop=small_shop),
            shop=small_shop,
            held=earlier.held,
            shoppers=1,
            output=tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()
    assert earlier.shop.history.now < earlier.held.cut


def test_baskets_are_those_after_the_cut() -> None:
    """Promise: a wish comes from a shopper's first basket after the cut; without basket ids a day is one."""
    log = history()
    held = baskets_after(log, item_ids=tuple(ITEMS), weeks=2.0)
    first = log[(log["user_id"] == "u3") & (log["timestamp"] >= held.cut)]
    first = first[first["basket_id"] == first["basket_id"].iloc[0]]
    assert held.baskets["u3"][0] == tuple(sorted(first["item_id"]))
    assert baskets_after(log.drop(columns="basket_id"), item_ids=tuple(ITEMS), weeks=2.0) == held
    with pytest.raises(ShopError, match="choose fewer"):
        baskets_after(log, item_ids=tuple(ITEMS), weeks=99)


# Metrics on hand-made talks


def talk(
    number: int, *replies: tuple[Sequence[str], str, Mapping[str, Any]], accepted: bool, need: Need
) -> Conversation:
    """Make a talk: of each turn the items shown, the words, and the step as it is kept."""
    messages: list[Message] = []
    for items, words, _ in replies:
        usage = {"llm_calls": 2.0, "prompt_tokens": 100.0, "completion_tokens": 10.0, "turn_seconds": 1.0}
        messages += [
            Message(role="user", content="hm"),
            Message(role="assistant", content=words, items=tuple(items), acts=("recommend",), usage=usage),
        ]
    metadata = {
        "need": need_to_json(need),
        "steps": [step for _, _, step in replies],
        "outcome": "accepted" if accepted else "left",
        "kinds": ["made by hand"],
    }
    return Conversation(conversation_id=f"h{number}", messages=tuple(messages), metadata=metadata)


def test_metrics_of_hand_made_talks() -> None:
    """Promise: each figure is what its docstring says, on talks whose figures can be counted by hand."""
    cheese = Need(kind="shredded cheese", name="cheese", max_price=2.5)
    popcorn = Need(kind="popcorn", name="popcorn")
    talks = [
        # Taken at once.
        talk(0, (["i02"], "Here.", {"said": ["thing"]}), accepted=True, need=popcorn),
        # Two of three items break what was said; then one of two is shown again, and one is taken.
        talk(
            1,
            (["i07", "i06", "i00"], "Here.", {"said": ["thing", "max_price"]}),
            (["i07", "i06"], "Here.", {"said": ["thing", "max_price"]}),
            accepted=True,
            need=cheese,
        ),
        # Asked twice, once for nothing; left.
        talk(
            2,
            ([], "What kind of cheese: a or b?", {"said": [], "question": "thing", "needless": False}),
            ([], "What kind?", {"said": ["thing"], "question": "thing", "needless": True}),
            (["i07"], "Here.", {"said": ["thing"]}),
            accepted=False,
            need=cheese,
        ),
    ]
    record = results(talks, items=ITEMS, config={})
    found = record["results"]
    assert [round(found[f"success@{turn}"], 3) for turn in outcomes.TURNS] == [0.333, 0.667, 0.667, 0.667, 0.667]
    assert round(found["success@1_stderr"], 3) == 0.333
    assert found["turns_to_success"] == 1.5
    assert round(found["abandon_rate"], 3) == 0.333
    assert found["needless_question_rate"] == 0.5
    assert found["questions_per_turn"] == 2 / 6
    assert found["repeat_rate"] == 2 / 3
    # i07 costs 3.10, which breaks the bound where it was said; i00 is soda.
    assert record["violations"] == {"max_price": 2, "thing": 1}
    assert found["violation_rate"] == 3 / 7
    assert found["satisfied_wishes"] == (1 + 1 + 0.5) / 3
    assert (found["llm_calls_per_turn"], found["prompt_tokens_per_turn"]) == (2.0, 100.0)
    assert found["turn_seconds_p50"] == 1.0
    assert found["leaks"] == found["errors"] == 0
    assert record["n"] == {"conversations": 3, "turns": 6, "items_shown": 7, "questions": 2}
    assert record["slices"]["made by hand"]["n"] == 3
    assert [one["conversation_id"] for one in record["failures"]] == ["h2"]


def test_a_turn_that_fails_is_counted_and_the_shopper_goes_on(earlier: Earlier) -> None:
    """Promise: an assistant's error is a figure of the run, not its end."""

    class Failing:
        def __init__(self) -> None:
            self.inner = open_floor("search", shop=earlier.shop)
            self.replies = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def reply(self, message: str, *, session_id: str) -> Iterator[Any]:
            self.replies += 1
            if self.replies == 1:
                raise ValueError("no such thing")
            yield from self.inner.reply(message, session_id=session_id)

    shopper = Shopper(shopper_id="s", need=Need(kind="popcorn", name="popcorn"))
    went = talk_with(shopper, assistant=Failing(), items=ITEMS)  # type: ignore[arg-type]
    found = results([went], items=ITEMS, config={})["results"]
    assert (found["errors"], found["success@1"], found["success@2"]) == (1, 0.0, 1.0)


def test_the_shopper_is_shown_titles_prices_and_words_only(earlier: Earlier) -> None:
    """Promise: nothing but the words that the shopper said reaches the assistant, and no id reaches the shopper."""
    shopper = Shopper(shopper_id="s", need=Need(kind="shredded cheese", name="shredded cheese", tier="name brand"))
    heard: list[str] = []
    floor = open_floor("search", shop=earlier.shop)

    class Listening:
        start, cart, end, given = floor.start, floor.cart, floor.end, floor.given

        def reply(self, message: str, *, session_id: str) -> Iterator[Any]:
            heard.append(message)
            return floor.reply(message, session_id=session_id)

    went = talk_with(shopper, assistant=Listening(), items=ITEMS)  # type: ignore[arg-type]
    said = [message.content for message in went.messages if message.role == "user"]
    assert said == heard
    # What a card does not show makes no difference to what the shopper does.
    bare = {item_id: replace(item, description="", categories=(), attributes={}) for item_id, item in ITEMS.items()}
    again = talk_with(shopper, assistant=Listening(), items=bare)  # type: ignore[arg-type]
    assert [message.content for message in again.messages if message.role == "user"] == said
    assert again.metadata == went.metadata
    assert went.metadata["accepted"] == "i07"
