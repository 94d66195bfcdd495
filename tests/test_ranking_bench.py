"""The benchmark beside public libraries: what passes between the two environments, the data sets, and what is reported."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from eval import ranking_bench
from eval.library_peers.environment import REQUIREMENTS
from eval.library_peers.fit import MODELS, places
from eval.library_peers.purchases import Purchases
from eval.library_peers.settings import GRID
from eval.library_peers.system import LibraryModel, ordered, write_past
from eval.ranking_data import movielens, movielens_random, questions
from eval.ranking_tasks import Ask, Exam, draw
from retrieval.history import History
from retrieval.records import Item, ShopError
from tests.shops import history, twelve_items

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".shoptalk" / "peers" / "bin" / "python"
# Stands in for the peers' Python: orders items by purchases, or the other way round, and counts how often it ran.
PROGRAM = """#!{python}
import json, sys
import numpy as np
given = dict(zip(sys.argv[3::2], sys.argv[4::2]))
settings, held = json.loads(given["--settings"]), np.load(given["--past"])
with open({calls!r}, "a") as out:
    out.write(given["--settings"] + "\\n")
if settings.get("broken"):
    sys.exit("ValueError: it is broken")
bought = np.bincount(held["item"], minlength=int(held["items"])) * (1 if settings["liked"] else -1)
order = np.argsort(-bought, kind="stable")
table = np.empty((int(held["users"]), len(order)), np.uint16)
table[:, order] = np.arange(len(order))
np.save(given["--output"], table)
print(json.dumps({{"library": "none", "version": "0", "seconds": 0.0}}))
"""


@pytest.fixture(scope="module")
def past() -> History:
    return History.from_interactions(history(), item_ids=[item.item_id for item in twelve_items()])


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "python"
    file.write_text(PROGRAM.format(python=sys.executable, calls=str(tmp_path / "calls")), encoding="utf-8")
    file.chmod(0o755)
    return file


def calls(folder: Path) -> list[str]:
    file = folder / "calls"
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def test_a_library_is_told_every_purchase_once_and_in_order(past: History, tmp_path: Path) -> None:
    """Promise: what passes to the other environment is the log itself: users, items, trips, times."""
    write_past(past, tmp_path / "past.npz")
    told = Purchases.load(tmp_path / "past.npz")
    assert (told.users, told.items) == (len(past.users), len(past.item_ids))
    for row, user_id in enumerate(past.users):
        mine = told.user == row
        baskets = past.baskets(user_id)
        assert [
            frozenset(past.item_ids[i] for i in told.item[mine & (told.trip == at)]) for at in range(len(baskets))
        ] == [items for _, items in baskets]
        assert sorted(set(told.time[mine])) == [time for time, _ in baskets]
        assert (np.diff(told.time[mine]) >= 0).all()


def test_what_models_learn_from_says_nothing_untrue(past: History, tmp_path: Path) -> None:
    """Promise: zeros are pairs that never were; counts are trips; a sequence ends with the newest line."""
    write_past(past, tmp_path / "past.npz")
    told = Purchases.load(tmp_path / "past.npz")
    bought = set(zip(told.user.tolist(), told.item.tolist(), strict=True))
    user, item, rating = told.ratings(counted=True, zeros=2, rng=np.random.default_rng(3))
    pairs = list(zip(user.tolist(), item.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert {pair for pair, value in zip(pairs, rating, strict=True) if value > 0} == bought
    assert (rating == 0).any()
    always = pairs.index((past.user_rows["u0"], past.item_rows["i00"]))
    assert rating[always] == pytest.approx(np.log2(1 + 6)), "i00 was in all six trips of u0"
    for row, items in told.sequences(last=5):
        assert items == told.item[told.user == row][-5:].tolist()


def test_places_of_a_file_keep_to_the_mask() -> None:
    """Promise: a list holds allowed items that the model knows, in its order; nobody unknown gets one."""
    items = [Item(item_id=f"i{row}", title="x") for row in range(4)]
    known = History.from_interactions(history().assign(item_id="i0").head(1), item_ids=[item.item_id for item in items])
    table = places(np.array([[3.0, 9.0, np.nan, 9.0]], np.float32))
    asked = Ask(ask_id="a", task="new", user_id=known.users[0], at=0.0, targets=(1,))
    everything = np.ones(4, bool)
    assert ordered(table, asked, past=known, allowed=everything, most=9).tolist() == [1, 3, 0]
    assert ordered(table, asked, past=known, allowed=np.array([True, False, True, True]), most=1).tolist() == [3]
    stranger = Ask(ask_id="b", task="new", user_id="nobody", at=0.0, targets=(1,))
    assert ordered(table, stranger, past=known, allowed=everything, most=9).tolist() == []


def test_settings_are_chosen_on_validation_by_task_and_kept(past: History, program: Path, tmp_path: Path) -> None:
    """Promise: every setting is tried once, the best of each task is used, and a second run does not fit again."""
    items = twelve_items()
    exam = draw(past, items=items, tasks=("again", "next_basket"))[0]
    validation = draw(exam.past, items=items, tasks=("again", "next_basket"))[0]
    grid = [{"liked": False}, {"liked": True}, {"broken": True}]

    def run() -> tuple[LibraryModel, dict[str, object]]:
        model = LibraryModel(name="recbole-item-knn", python=program, folder=tmp_path / "fits", grid=grid)
        tuned = model.tune(validation, items=items)
        model.fit(exam.past, items=items)
        return model, tuned

    model, tuned = run()
    assert tuned["chosen"] == {"again": {"liked": True}, "next_basket": {"liked": True}}
    trials = tuned["trials"]
    assert isinstance(trials, list)
    assert [trial["settings"] for trial in trials] == grid
    assert trials[2]["failed"] == "The fit failed: ValueError: it is broken"
    assert trials[1]["ndcg@10"]["again"] > trials[0]["ndcg@10"]["again"]
    assert len(calls(tmp_path)) == 4, "three trials and one fit, which serves all tasks"
    ask = exam.of("next_basket")[0]
    best = model.rank(ask, allowed=np.ones(12, bool), most=2)
    counts = np.bincount(exam.past.basket_items, minlength=12)
    assert best.tolist() == np.argsort(-counts, kind="stable")[:2].tolist()
    again, retuned = run()
    assert retuned == tuned
    assert calls(tmp_path)[4:] == ['{"broken": true}'], "only what has no result is tried again"
    assert again.rank(ask, allowed=np.ones(12, bool), most=2).tolist() == best.tolist()


def test_another_past_or_seed_is_another_fit(past: History, program: Path, tmp_path: Path) -> None:
    """Promise: a fit that is kept is never taken for another one's."""
    items = twelve_items()
    for held, seed in ((past, 0), (past, 0), (past.without_last()[0], 0), (past, 1)):
        model = LibraryModel(
            name="recbole-item-knn", python=program, folder=tmp_path / "fits", seed=seed, grid=[{"liked": True}]
        )
        model.fit(held, items=items)
    assert len(calls(tmp_path)) == 3


@pytest.mark.parametrize(
    ("python", "why"),
    [
        ("ERROR: No matching distribution found for cornac==3.0.1", "No matching distribution"),
        (Path(sys.executable), "No module named 'recbole'"),
    ],
)
def test_a_library_that_is_not_there_is_said_to_be(past: History, tmp_path: Path, python: Path | str, why: str) -> None:
    """Promise: what could not be installed or run is a reason in the results, not a stop."""
    model = LibraryModel(name="recbole-item-knn", python=python, folder=tmp_path)
    with pytest.raises(ShopError, match=why):
        model.fit(past, items=twelve_items())


def test_every_model_has_the_same_number_of_settings() -> None:
    """Promise: all are tuned with the same budget, and pinned."""
    assert set(GRID) == set(MODELS)
    assert {len(grid) for grid in GRID.values()} == {4}
    assert all(len({json.dumps(settings) for settings in grid}) == 4 for grid in GRID.values())
    lines = [line for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert all(line.count("==") == 1 for line in lines)
    assert {library for library, _ in MODELS.values()} <= {line.split("==")[0] for line in lines}


def write_movielens(folder: Path, *, users: int = 3, films: int = 20) -> Path:
    """Write films and ratings in RecBole's form; user n rates all films but one, all at the same second but the first."""
    lines = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"]
    lines += [f"{film}\tFilm {film}\t{1980 + film}\tComedy Drama" for film in range(films)]
    (folder / "ml-100k.item").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for user in range(users):
        rated = [film for film in range(films) if film != user]
        lines += [f"{user}\t{film}\t3\t{880_000_000 + bool(place)}" for place, film in enumerate(reversed(rated))]
    (folder / "ml-100k.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def asked(exam: Exam) -> dict[str, Sequence[str]]:
    return {ask.user_id or "": [exam.past.item_ids[row] for row in ask.targets] for ask in exam.asks}


def test_movielens_leaves_the_last_rating_out_by_a_stable_order(tmp_path: Path) -> None:
    """Promise: of ratings of one second the last of the file is asked for, the one before is validation."""
    data = movielens(write_movielens(tmp_path), seed=0)
    assert asked(data.exam) == {"0": ["1"], "1": ["0"], "2": ["0"]}
    assert data.validation is not None
    assert asked(data.validation) == {"0": ["2"], "1": ["2"], "2": ["1"]}
    assert data.items[3] == Item(
        item_id="3",
        title="Film 3 (1983)",
        categories=("Comedy",),
        attributes={"genres": ("Comedy", "Drama"), "year": "1983"},
    )


def test_movielens_at_random_shares_nothing_between_its_parts(tmp_path: Path) -> None:
    """Promise: 8:1:1 of each user, disjoint, the same for the same seed."""
    folder = write_movielens(tmp_path, films=21)
    data, same, other = (
        movielens_random(folder, seed=4),
        movielens_random(folder, seed=4),
        movielens_random(folder, seed=5),
    )
    assert asked(data.exam) == asked(same.exam) != asked(other.exam)
    assert data.validation is not None
    assert data.validation.past is data.exam.past
    for user_id, test in asked(data.exam).items():
        validation = asked(data.validation)[user_id]
        learnt = set(data.exam.past.items(user_id))
        assert (len(learnt), len(validation), len(test)) == (16, 2, 2)
        assert len(learnt | set(validation) | set(test)) == 20


def test_a_question_is_asked_of_the_log_that_is_its_history(tmp_path: Path) -> None:
    """Promise: no answer of a question is learnt from; what the user bought already is not asked as new."""
    with (tmp_path / "items.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps({"item_id": f"i{row}", "title": f"Pen {row}"}) + "\n" for row in range(6))
    rows = [f"{user},i{row},2020-01-{1 + row:02d}" for user in "ab" for row in range(5)]
    (tmp_path / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n", encoding="utf-8")
    told = [("a", "i5"), ("a", "i0"), ("b", "i2"), ("stranger", "i1")]
    with (tmp_path / "next_item_test.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps({"user_id": user, "history": [], "target": item}) + "\n" for user, item in told)
    data = questions(tmp_path, seed=0)
    assert [(ask.task, ask.user_id, ask.targets) for ask in data.exam.asks] == [
        ("next_basket", "a", (5,)),
        ("new", "a", (5,)),
        ("next_basket", "b", (2,)),
    ]
    assert len(data.exam.past.basket_items) == 10
    assert data.validation is not None
    assert {ask.targets for ask in data.validation.asks} == {(4,)}


def test_a_bench_is_written_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise: one command gives figures, what failed and a report; a second adds what is new and keeps the rest."""
    write_movielens(tmp_path, users=8)
    monkeypatch.setattr(ranking_bench, "fetch_movielens", lambda folder, tell: tmp_path)
    monkeypatch.setattr(ranking_bench, "make_environment", lambda folder, tell: Path(sys.executable))
    given = ["--output", str(tmp_path / "out"), "--data", "movielens", "--peers", "none", "--models"]
    assert ranking_bench.main([*given, "none"]) == 0
    record = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    held = record["data"]["movielens"]
    assert set(held["results"]["new"]) == {"shoptalk", "popularity"}
    assert held["n"] == {"new": 8}
    first = (tmp_path / "out" / "movielens" / "runs" / "new.popularity.txt").stat().st_mtime_ns
    assert ranking_bench.main([*given, "recbole-item-knn"]) == 0
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "| **shoptalk** |" in text
    assert "movielens, recbole-item-knn: The fit failed: ModuleNotFoundError: No module named 'recbole'" in text
    assert (tmp_path / "out" / "movielens" / "runs" / "new.popularity.txt").stat().st_mtime_ns == first


def test_a_bench_of_other_settings_is_refused_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Promise: results are never overwritten by those of another seed; what is missing is said."""
    write_movielens(tmp_path)
    monkeypatch.setattr(ranking_bench, "fetch_movielens", lambda folder, tell: tmp_path)
    given = ["--output", str(tmp_path / "out"), "--data", "movielens", "--peers", "none", "--models", "none"]
    assert ranking_bench.main(given) == 0
    file = tmp_path / "out" / "movielens" / "results.json"
    before = file.read_bytes()
    assert ranking_bench.main([*given, "--seed", "1"]) == 1
    assert "differs in seed" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert ranking_bench.main(["--output", str(tmp_path), "--data", "office", "--models", "none"]) == 1
    assert "--office DIR" in capsys.readouterr().err


@pytest.mark.skipif(not PEERS.is_file(), reason="the peers' environment is made by: make bench-ranking")
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("recbole-item-knn", {"k": 5, "shrink": 0.0}),
        ("cornac-svd", {"counted": False, "zeros": 20, "k": 4, "max_iter": 400, "learning_rate": 0.05}),
        ("surprise-svd++", {"counted": False, "zeros": 20, "n_factors": 4, "n_epochs": 200}),
    ],
)
def test_a_library_finds_the_checkerboard(
    past: History, tmp_path: Path, name: str, settings: dict[str, object]
) -> None:
    """Promise: each library's scores come back on the right rows: everyone's six own items stand first."""
    model = LibraryModel(name=name, python=PEERS, folder=tmp_path, grid=[settings])
    model.fit(past, items=twelve_items())
    for user_id in past.users:
        asking = Ask(ask_id=user_id, task="next_basket", user_id=user_id, at=past.now, targets=(0,))
        six = model.rank(asking, allowed=np.ones(12, bool), most=6)
        assert set(six.tolist()) == set(past.bought_rows(user_id)[0].tolist())
