"""The report of a run: one page that needs nothing else, whose words stay words, with the same tables as Markdown."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from agent.conversation import Conversation, Message
from eval import plot
from eval.report import command, figures, report, worst
from eval.run import read_run
from eval.table import Table
from retrieval.records import ShopError
from tests.test_eval_compare import GROUNDS, save, talk

HOSTILE = '<script>alert(1)</script> ![x](http://e.vil/a.png) | `code` \x1b[31m\u202e\ud800 </style> & "quoted"'


class Page(HTMLParser):
    """Collect the tags, what they may load, and the words of a page; see that it is well formed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [name for name, _ in attrs if name in ("src", "href", "srcset", "data") or name.startswith("on")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words += data


def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    return page


def test_the_page_holds_figures_plots_worst_talks_configuration_and_limits(tmp_path: Path) -> None:
    folder = save(tmp_path / "out", [talk(f"c{n}", good=n % 3 > 0, seconds=1 + n) for n in range(6)], limit=6)
    html, markdown = report(folder, grounds=GROUNDS)
    page, text = read(html), markdown.read_text(encoding="utf-8")
    assert (html.name, markdown.name) == ("report.html", "report.md")
    assert page.tags >= {"table", "svg", "figure", "rect", "circle", "polyline"}
    assert page.loads == []
    assert not page.tags & {"script", "img", "link", "iframe", "object"}
    for words in (
        *("All metrics", "By what the message wanted", "By place in the conversation", "Worst conversations"),
        *("What these numbers do not show", "Configuration", "shoptalk eval set.jsonl --output out --limit 6 --seed 0"),
        *("Not measured, because no message of this run asks for it", "cart_accuracy", "hardware: cores", "adapter"),
        *(
            "c0, a new shopper: 1 of 2 messages failed",
            "failed: act, answered",
            "items: Dry cat food, 16 oz, name brand",
        ),
    ):
        assert words in page.words, words
    tables = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert tables[0] == "All metrics" and tables[-2:] == ["What these numbers do not show", "Configuration"]
    for row in figures(read_run(folder, grounds=GROUNDS)).rows:
        assert row[0] in text and row[1] in text and row[2] in page.words


def test_each_metric_stands_with_its_interval_its_n_and_the_seed(tmp_path: Path) -> None:
    folder = save(tmp_path / "out", [talk(f"c{n}", good=n > 1) for n in range(5)], seed=7)
    table = figures(read_run(folder, grounds=GROUNDS))
    rows = {row[0]: row for row in table.rows}
    assert "Seed 7" in table.note
    assert rows["act_accuracy"][1:] == (
        *("0.800", rows["act_accuracy"][2], "10", "5", rows["act_accuracy"][5], "higher"),
        "Share of user messages with `act` whose reply did (one of) it.",
    )
    low, high = map(float, rows["act_accuracy"][2].split(" to "))
    assert 0.5 <= low < 0.8 < high <= 1.0
    assert rows["unsupported_claim_rate"][2] == "0.000 to 0.522"  # exact: none of five
    assert rows["errors"][1:5] == ("0", "0 to 3.69", "10", "5")
    assert table == figures(read_run(folder, grounds=GROUNDS))


def test_whatever_was_said_stays_words(tmp_path: Path) -> None:
    """Promise: a message, an answer, a setting or a kind can put nothing into the page but text."""
    one = talk("<i>c0</i>", good=False, said=HOSTILE)
    bad = Message(role="assistant", content=HOSTILE, items=("<b>",), acts=("recommend",))
    hostile = Conversation(
        conversation_id=one.conversation_id,
        messages=(one.messages[0], bad),
        user_id="<u>",
        metadata={"kinds": [HOSTILE]},
    )
    # A lone surrogate cannot be saved as UTF-8, but JSON can bring one.
    folder = tmp_path / "out"
    save(folder, [talk("c1")], adapter=HOSTILE.replace("\ud800", ""))
    from agent.conversation import to_json

    record = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    record["n"]["conversations"] = 2
    (folder / "results.json").write_text(json.dumps(record), encoding="utf-8")
    with (folder / "conversations.jsonl").open("a", encoding="utf-8") as out:
        out.write(json.dumps(to_json(hostile)) + "\n")
    html, markdown = report(folder, grounds=GROUNDS)
    page = read(html)
    assert not page.tags & {"script", "img", "i", "u", "a", "svg:script"}
    assert page.loads == []
    assert page.words.count('<script>alert(1)</script> ![x](http://e.vil/a.png) | `code` [31m </style> & "quoted"') >= 3
    assert "<b> (not in this shop)" in page.words
    text = markdown.read_text(encoding="utf-8")
    assert "<" not in text and "![" not in text
    assert all(line.count("|") - line.count("\\|") == 3 for line in text.splitlines() if line.startswith("| adapter"))
    assert not re.search("[\x00-\x08\x1b\u202e]", html.read_text(encoding="utf-8") + text)


def test_the_worst_come_first_and_those_without_a_failure_not_at_all(tmp_path: Path) -> None:
    bad = talk("bad", good=False)
    worse = Conversation(conversation_id="worse", messages=bad.messages[:2] * 2)
    long = Conversation(conversation_id="long", messages=(*bad.messages, *talk("", good=True).messages))
    run = read_run(save(tmp_path / "out", [talk("fine"), long, bad, worse]), grounds=GROUNDS)
    assert worst(run) == ["worse", "bad", "long"]
    assert worst(run, limit=1) == ["worse"]


def test_a_run_where_nothing_failed_says_so(tmp_path: Path) -> None:
    html, _ = report(save(tmp_path / "out", [talk("c0")]), grounds=GROUNDS)
    assert "No message failed anything." in read(html).words


def test_a_run_without_usage_or_expectations_is_still_reported(tmp_path: Path) -> None:
    bare = Conversation(
        conversation_id="c0", messages=(Message(role="user", content="hi"), Message(role="assistant", content="Hello."))
    )
    html, markdown = report(save(tmp_path / "out", [bare]), grounds=GROUNDS)
    assert "turn_seconds_p50" not in {
        row.split("|")[1].strip() for row in markdown.read_text().splitlines() if "|" in row
    }
    assert "Not measured" in read(html).words


def test_figures_that_the_grader_now_finds_otherwise_are_named(tmp_path: Path) -> None:
    folder = save(tmp_path / "out", [talk("c0")])
    record = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    record["results"]["act_accuracy"] = 0.25
    (folder / "results.json").write_text(json.dumps(record), encoding="utf-8")
    html, _ = report(folder, grounds=GROUNDS)
    assert "finds other figures than the run's results.json for: act_accuracy." in read(html).words


def test_a_missing_or_unfinished_run_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ShopError, match="No run at"):
        report(tmp_path / "none", grounds=GROUNDS)
    folder = save(tmp_path / "out", [talk("c0")])
    (folder / "results.json").unlink()
    with pytest.raises(ShopError, match="is not finished: 1 conversations"):
        report(folder, grounds=GROUNDS)
    assert not (folder / "report.html").exists()


def test_the_command_makes_the_run_again(tmp_path: Path) -> None:
    run = read_run(save(tmp_path / "my out", [talk("c0")], model=None, history="given"), grounds=GROUNDS)
    assert command(run) == "shoptalk eval set.jsonl --output 'my out' --history given --seed 0 --no-model"


def test_a_table_is_the_same_in_both_forms() -> None:
    table = Table(title="T", head=("a", "b"), rows=[("x|y", "<1>")], note="n")
    assert '<td>x|y</td><td class="figure">&lt;1&gt;</td>' in table.html()
    assert table.markdown() == "## T\n\nn\n\n| a | b |\n|---|---:|\n| x\\|y | &lt;1&gt; |\n"


def test_a_bar_is_as_long_as_its_figure() -> None:
    points = [plot.Point(label="half", value=0.5, low=0.4, high=0.6, n=3), plot.Point(label="none", value=0.0)]
    drawn = plot.bars(points, title="t", most=1.0)
    assert re.findall(r'class="bar" x="190" y="[\d.]+" width="([\d.]+)"', drawn) == ["160.0", "0.0"]
    assert drawn.count('class="whisker"') == 3
    counted = re.findall(r'height="([\d.]+)"/>', plot.histogram([1, 1, 4], title="t", across="s", bins=4))
    assert counted == ["0.0", "150.0", "0.0", "75.0"]


@pytest.mark.parametrize("values", [[], [0.0], [1e-12, 3e9]])
def test_any_values_can_be_drawn(values: list[float]) -> None:
    assert "nan" not in plot.histogram(values, title="t", across="s")
    assert "nan" not in plot.bars([plot.Point(label="x", value=value) for value in values], title="t")
    assert "nan" not in plot.curve([plot.Point(label="x", value=value) for value in values], title="t", across="s")
