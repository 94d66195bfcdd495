"""A small model says only what is known to be true beforehand: it chooses among sentences, and writes none."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from agent.grounding import readable, supported
from agent.turn import keep, plain_sentences, spoken_of, topics
from agent.wordings import OPENING, Topic, Wording, drawn, grammar, load_replies, look_topics, wordings
from eval.claims import unsupported
from tests.scripted_model import call
from tests.small_shop import Talk, small_shop
from tests.test_agent_grounding import turns

CHEESE = call("search_catalog", query="shredded cheese")


def said(work: object, seed: int = 0) -> list[Wording]:
    return wordings(topics(work), spoken=spoken_of(work), rng=Random(seed))  # type: ignore[arg-type]


def test_whatever_may_be_said_is_true_of_the_record() -> None:
    """Promise: an explanation is the ranking; each sentence passes the same checker as a free model's."""
    count = 0
    for work in turns():
        for one in said(work):
            assert supported(one.text, spoken_of(work)), one.text
            count += 1
    assert count > 500


def test_whatever_may_be_said_is_true_to_the_grader_too() -> None:
    """Its checker is another one: what the two read differently is a wording to change, or a lie."""
    items = small_shop().catalog.items
    wrong: dict[str, str] = {}
    for work in turns():
        keep(work, lambda _event: None)
        evidence = work.kept["messages"][3].evidence
        shown = [one.item.item_id for one in work.turn.shown]
        for one in said(work):
            text = readable(one.text, spoken_of(work).rows)
            if unsupported(text, evidence, items=items, previous=shown, said=work.turn.message):
                wrong[one.text] = text
    assert not wrong


def test_every_list_and_look_can_be_told() -> None:
    """Where there is nothing to choose from, plain sentences stand in; that is the exception."""
    works = [work for work in turns() if work.looked is None or work.looked.kind != "why_not"]
    mute = [work for work in works if not any(one.topic.starts for one in said(work))]
    assert len(mute) < 0.05 * len(works)
    assert all(plain_sentences(work) for work in mute)


def test_what_is_drawn_keeps_to_the_grammar() -> None:
    """What the model is trained on is what it may write: at most three sentences, none of one group with another."""
    for number, work in enumerate(turns()):
        wordings_of = said(work)
        text = drawn(wordings_of, Random(number))
        chosen = [next(one for one in wordings_of if one.text == sentence) for sentence in text]
        assert len(text) <= 3
        assert len({one.topic.group for one in chosen}) == len(chosen)
        if chosen:
            assert chosen[0].topic.starts
            assert all(one.topic.follows for one in chosen[1:])
            assert all(f'"{sentence}"' in grammar(wordings_of) for sentence in text)


def test_a_grammar_offers_no_group_twice_and_no_opening_later() -> None:
    """Groups follow each other in any order, an opening only leads."""
    opening = Wording(text="Here are 2.", topic=Topic(group=OPENING, forms=(), follows=False))
    price = Wording(text="[1] is $2.", topic=Topic(group="price", forms=()))
    size = Wording(text='[1] is 9" wide.', topic=Topic(group="size", forms=(), starts=False))
    written = grammar([opening, price, size]).splitlines()
    assert written[0] == 'root ::= g0 (" " (f1 (" " (f2))? | f2 (" " (f1))?))? | g1 (" " (f2))?'
    assert 'f2 ::= "[1] is 9\\" wide."' in written
    with pytest.raises(ValueError, match="nothing to say"):
        grammar([size])


def test_the_grammar_compiles_and_takes_what_it_should() -> None:
    """The server's own library reads it: what may be said passes, anything else does not."""
    xgrammar = pytest.importorskip("xgrammar")
    info = xgrammar.TokenizerInfo([chr(code) for code in range(32, 127)] + ["</s>"], stop_token_ids=[95])
    compiler = xgrammar.GrammarCompiler(info)
    work = next(work for work in turns() if work.new_list and len(work.shown) > 2)
    matcher = xgrammar.GrammarMatcher(compiler.compile_grammar(grammar(said(work))))
    text = " ".join(drawn(said(work), Random(3)))
    assert matcher.accept_string(text)
    assert not xgrammar.GrammarMatcher(compiler.compile_grammar(grammar(said(work)))).accept_string("[1] is organic.")


def test_a_server_that_keeps_to_no_grammar_says_nothing_of_its_own(tmp_path: Path) -> None:
    """True or not, a sentence that was not offered is not shown, and is counted."""
    talk = Talk(tmp_path, free_words=False)
    told = talk.say("cheese", CHEESE, answer="For cheese there is [1]. [1] is organic.")
    assert "For cheese" not in told.text and "organic" not in told.text
    assert told.sentences and told.sources == {"plain"}
    assert told.reply.evidence["replaced"] == 2 == len(told.reply.evidence["refused"])


def test_a_sentence_that_was_offered_is_said(tmp_path: Path) -> None:
    """The grammar goes with the request, and what comes back is said as the model's."""
    talk = Talk(tmp_path, free_words=False)
    talk.say("cheese", CHEESE)
    offered = talk.model.grammars[-1]
    assert offered is not None
    first = re.search(r'^g0 ::= "(.*?\.)"', offered, re.MULTILINE)
    assert first is not None
    again = Talk(tmp_path / "again", free_words=False)
    told = again.say("cheese", CHEESE, answer=first[1])
    assert told.sources == {"model"}


def test_a_larger_model_may_speak_freely(tmp_path: Path) -> None:
    """With `free_words` no grammar binds it, and the check against the record does."""
    talk = Talk(tmp_path, free_words=True)
    told = talk.say("cheese", CHEESE, answer="For cheese there is [1]. [1] is organic.")
    assert "For cheese there is" in told.text and "organic" not in told.text
    assert talk.model.grammars == [None]


def test_a_comparison_of_sizes_is_answered_first() -> None:
    """Asked which is bigger, the reply says so before it speaks of money."""
    work = next(
        work
        for work in turns()
        if work.looked is not None and any(topic.group == "size" for topic in topics(work)) and not work.requests
    )
    assert work.looked is not None
    first = look_topics(work.looked, message="which of them is bigger")
    assert [topic.group for topic in first if topic.starts] == ["size"]
    told = wordings(first[:1], spoken=spoken_of(work), rng=Random(0), of_each=99)
    assert len(told) >= 5


def test_the_same_turn_has_the_same_words_and_another_has_others() -> None:
    """Replies vary, and a run can be repeated."""
    work = next(work for work in turns() if work.new_list and len(work.shown) > 2)
    texts = [[one.text for one in said(work, seed)] for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


def test_the_bank_is_read_by_what_it_tells() -> None:
    """Fifteen wordings of each, so that replies do not repeat themselves."""
    assert all(len(texts) >= 15 for texts in load_replies().values())
