"""The words of a shop and of a shopper: filler dropped, plurals folded, typos put right."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from retrieval.wish import stem, stems

# What people say around the thing they want.
FILLER = frozenset(
    stem(word)
    for word in """
    a an the some any this that these those it its them they their there here and or but so as at by be is are am was were do does did
    i im i'm i'd i'll i've ive id ill me my mine we our us you your he she his her who what what's whats which where how when why
    need needs want wants wanted like would love looking look for find get got getting buy buying purchase have has had having give show
    tell see shop shopping search please pls plz thanks thank hi hello hey ok okay yes no not can could may might will should shall let lets
    something anything stuff thing things item items product products kind kinds sort sorts type types one ones option options other
    others else another more most much many lot lots bit few little really very just also too only maybe about around ish kinda sorta
    cheap cheaper cheapest inexpensive affordable budget price prices priced cost costs costing dollar dollars buck bucks
    cent cents under below over above less than max maximum least expensive pricey dear dearest
    good best great nice better decent favorite favourite usual popular recommend recommendation suggest suggestion idea ideas
    of on in into with from to up out off if then now today tonight tomorrow week weekend day again new try make making go goes going
    sell carry stock available instead rather im dont don't doesn't isn't isnt aint wanna gimme gotta cuz because
    hungry thirsty hurry run running eat eating put use using used love loves person people surprise
    same always already before never ever nothing everything each every usually last time times after all both such own than
    until while during again further once am been being having doing ought against between through very just over still anyway
    two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty hundred
    basically actually maybe probably uh um hmm lol btw af smth sth gonna asap plus well oh so said says asked ask
    """.split()
)
# Filler that still says what is wanted when nothing else does ("my cat is hungry"), so that it is embedded.
_TELLING = frozenset(["hungry", "thirsty", "eat", "eating", "make", "use", "love", "new", "run"])
# What a thing comes in; says little about which thing it is.
CONTAINERS = frozenset(
    stem(word)
    for word in (
        "bag box can bottle pack package packet carton jar case loaf bunch tub roll pouch tin tube pair piece slice cup head bar jug container"
    ).split()
)
_BREAKS = frozenset(
    [
        "for",
        "with",
        "to",
        "in",
        "on",
        "from",
        "that",
        "which",
        "who",
        "when",
        "because",
        "against",
        "like",
        "so",
        "if",
        "but",
    ]
)
_AMOUNT = (
    r"(?:\$\s?\d+(?:[.,]\d+)?|(?:\d+(?:[.,]\d+)?|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty|fifty|a)"
    r"\s?(?:dollars?|bucks?|cents?|usd|\$))"
)
_BOUND = (
    r"(?:under|below|less than|cheaper than|over|above|more than|up to|at most|max(?:imum)?|around|about|for|between)"
)
_PRICE = re.compile(
    rf"(?:{_BOUND}\s+)?(?:(?:\d+|one|two|three|four|five|six|seven|eight|nine|ten)\s+(?:and|to|or)\s+)?{_AMOUNT}"
    r"(?:\s+(?:or less|or under|or so|max|tops|each))*|"
    r"(?:under|below|less than|cheaper than|up to|at most)\s+\d+(?:[.,]\d+)?(?!\s*[a-z%])",
)
_SIZE = re.compile(
    r"\b(?:\d+\s*(?:x|pk|pack|ct|count)\s*)?(?:\d+(?:[.,]\d+)?(?:\s*/\s*\d+)?|half(?: a)?|one|two|three|four|six|eight|twelve|a)[\s-]*"
    r"(?:fl\.? ?oz|oz|ounces?|lbs?|pounds?|kg|kilos?|g|grams?|ml|lit(?:er|re)s?|ltr|l|gal|gallons?|quarts?|qt|pints?|pt|ct|count|pk|packs?|dozen|"
    r"sq ft|sheets?|loads?|inch(?:es)?|rolls)\b",
)
_NEGATION = re.compile(
    r"\b(?:without|no|not|hold the|minus|except|other than|instead of|don't want|dont want)\s+(?:any\s+|the\s+)?([a-z0-9%']+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The words of a query that say which thing is wanted.

    `words` are folded and in order; those before `head_end` stand before "for", "with", …, so that the thing
    itself is among them ("sauce for steak": head_end 1); 0 where the query names only what it is for.
    `tokens` are all folded words, the dropped ones too, and `places` where `words` stand among them: "washing up
    liquid" is a name, "up" and all.
    `text` is the query for embedding: typos put right, filler, prices and sizes left out. `sentence` says that the
    words tell something ("my cat is hungry") and name no thing. `size` is a size that was said, `unwanted` the
    words after "no" or "without".
    """

    words: tuple[str, ...]
    head_end: int
    tokens: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    text: str = ""
    sentence: bool = False
    size: str = ""
    unwanted: tuple[str, ...] = ()


class Vocabulary:
    """The words that a shop's items use, and how often; puts typed words right by them.

    Args:
        counts: Folded word to the number of items that use it.
        pairs: Pairs of folded words that follow each other in names.
        knows: Says whether a word is ordinary English; such a word is never "put right".
    """

    def __init__(
        self,
        counts: Mapping[str, int],
        *,
        pairs: Iterable[tuple[str, str]] = (),
        knows: Callable[[str], bool] | None = None,
    ) -> None:
        self.counts = counts
        self._knows = knows or (lambda _: False)
        pairs = frozenset(pairs)
        self._pairs = pairs
        self._joined = {first + second: (first, second) for first, second in pairs if len(first) + len(second) > 4}
        # Every misspelling by one dropped letter leads back to its word (SymSpell, Garbe 2012).
        self._drops: dict[str, set[str]] = defaultdict(set)
        for word in counts:
            if len(word) >= 4 and word.isalpha():
                for key in _drops(word):
                    self._drops[key].add(word)
        for word in FILLER:  # "somthing" is no thing
            if len(word) >= 6 and word not in counts:
                for key in _drops(word):
                    self._drops[key].add(word)
        self._seen: dict[tuple[str, str], tuple[str, ...]] = {}

    def right(self, word: str, *, typed: str = "") -> tuple[str, ...]:
        """Give the shop's own spelling of a folded word, or the word itself; two words where it joins two.

        >>> vocabulary = Vocabulary({"cheese": 9, "cat": 3, "food": 5, "lettuce": 2}, pairs=[("cat", "food")])
        >>> [vocabulary.right(word) for word in ("chese", "catfood", "zebra")], vocabulary.right("lettu", typed="lettus")
        ([('cheese',), ('cat', 'food'), ('zebra',)], ('lettuce',))
        """
        key = (word, typed)
        if key not in self._seen:
            if len(self._seen) > 20_000:
                self._seen.clear()
            self._seen[key] = self._right(word, typed or word)
        return self._seen[key]

    def _right(self, word: str, typed: str) -> tuple[str, ...]:
        if word in self.counts or not word.isalpha():
            return (word,)
        if word in self._joined:
            return self._joined[word]
        if self._knows(word) or self._knows(typed) or len(word) < 4:
            return (word,)
        found = []
        for form in dict.fromkeys((word, typed)):  # "lettus" is no plural
            for other in set().union(*(self._drops.get(key, ()) for key in _drops(form))):
                distance = _distance(form, other)
                if distance <= _allowed(form):
                    found.append((distance, -self.counts.get(other, 0), other))
        return (min(found)[2],) if found else (word,)

    def ordinary(self, word: str) -> bool:
        """Say whether a folded word is ordinary English that no item of the shop uses."""
        return word not in self.counts and self._knows(word)

    def read(self, query: str) -> Asked:
        """Take a query apart into the words that say which thing is wanted.

        >>> vocabulary = Vocabulary({"sauce": 3, "steak": 2})
        >>> vocabulary.read("I need some sauces for steak under $5").words
        ('sauce', 'steak')
        """
        text = query.lower().replace("\u2019", "'")
        text = _PRICE.sub(" ", text)
        size = ""
        if found := _SIZE.search(text):
            size = found[0]
            text = text[: found.start()] + " " + text[found.end() :]
        unwanted: list[str] = []
        for negation in _NEGATION.finditer(text):
            if stem(negation[1]) not in FILLER:
                unwanted.append(stem(negation[1]))
        text = _NEGATION.sub(lambda match: match[0] if stem(match[1]) in FILLER else " ", text)
        tokens: list[str] = []  # folded, filler too
        spelled: list[str] = []
        end: int | None = None  # where the thing itself ends, among the tokens
        raw = [word for word in re.findall(r"[a-z0-9%&']+", text) if stem(word)]  # a lone apostrophe is no word
        for at, token in enumerate(raw):
            folded = stem(token)
            told = [word for word in tokens if word not in FILLER]
            if token in _BREAKS and end is None and (told or any(stem(before) in _VAGUE for before in raw[:at])):
                # "something for tacos": nothing before "for" names a thing; "something like a pizza" names one after.
                end = len(tokens) if told or token != "like" else None
            put_right = (folded,) if folded in FILLER else self.right(folded, typed=token)
            tokens.extend(put_right)
            if put_right[0] not in FILLER or token in _TELLING:
                spelled.extend([token] if put_right == (folded,) else put_right)
        tokens, end = self._join(tokens, end)
        places = [at for at, token in enumerate(tokens) if token not in FILLER]
        return Asked(
            words=tuple(tokens[at] for at in places),
            head_end=len(places) if end is None else sum(at < end for at in places),
            tokens=tuple(tokens),
            places=tuple(places),
            sentence=_tells(raw),
            text=" ".join(spelled) or " ".join(raw),
            size=size.strip(),
            unwanted=tuple(unwanted),
        )

    def _join(self, tokens: list[str], end: int | None) -> tuple[list[str], int | None]:
        """Join two words that the shop writes as one: "tooth paste"."""
        out: list[str] = []
        for at, token in enumerate(tokens):
            if out and out[-1] + token in self.counts and (out[-1], token) not in self._pairs and at != end:
                out[-1] += token
                end = None if end is None else end - (1 if at < end else 0)
            else:
                out.append(token)
        return out, end


_VAGUE = frozenset(["something", "anything", "stuff", "thing", "idea", "what", "need", "item", "some"])


_SUBJECTS = frozenset(["i", "we", "he", "she", "they"])
_VERBS = frozenset("is are am was were isn't need needs has have had got want wants keeps likes loves feels".split())


def _tells(tokens: list[str]) -> bool:
    """Say whether the words are a sentence about something: a subject, and a verb of its own.

    >>> [_tells(text.split()) for text in ("my cat is hungry", "i spilled wine", "i need dry cat food", "cat food")]
    [True, True, False, False]
    """
    told = [at for at, token in enumerate(tokens) if stem(token) not in FILLER or token in _TELLING]
    if not told:
        return False
    after_subject = any(at and tokens[at - 1] in _SUBJECTS for at in told)
    return after_subject or any(token in _VERBS and told[0] < at < told[-1] for at, token in enumerate(tokens))


def _drops(word: str) -> set[str]:
    one = {word[:at] + word[at + 1 :] for at in range(len(word))}
    if len(word) < 7:
        return one | {word}
    return one | {word} | {other[:at] + other[at + 1 :] for other in one for at in range(len(other))}


def _allowed(word: str) -> float:
    return 0.5 if len(word) < 5 else 1.0 if len(word) < 8 else 1.5


_VOWELS = frozenset("aeiouy")
_ALIKE = frozenset({"cs", "sc", "ck", "kc", "sz", "zs", "gj", "jg"})


def _distance(left: str, right: str) -> float:
    """Count edits between what was typed and a word, those that people make by ear or by slip counting less.

    A swap of neighbours, a wrong, missing or needless vowel, a letter doubled or not, and c for s
    or k are half of one; a wrong first letter costs one more (Damerau 1964, weights chosen by hand).

    >>> _distance("chese", "cheese"), _distance("mikl", "milk"), _distance("tires", "wires"), _distance("sosage", "sausage")
    (0.5, 0.5, 2.0, 1.0)
    """
    rows = [[0.0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in range(1, len(left) + 1):
        rows[i][0] = rows[i - 1][0] + _one(left, i - 1)
    for j in range(1, len(right) + 1):
        rows[0][j] = rows[0][j - 1] + _one(right, j - 1)
    for i in range(1, len(left) + 1):
        for j in range(1, len(right) + 1):
            same = left[i - 1] == right[j - 1]
            alike = left[i - 1] + right[j - 1] in _ALIKE or (left[i - 1] in _VOWELS and right[j - 1] in _VOWELS)
            rows[i][j] = min(
                rows[i - 1][j] + _one(left, i - 1),
                rows[i][j - 1] + _one(right, j - 1),
                rows[i - 1][j - 1] + (0 if same else 0.5 if alike else 1),
            )
            if i > 1 and j > 1 and left[i - 1] == right[j - 2] and left[i - 2] == right[j - 1]:
                rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 0.5)
    first = left[:1] != right[:1] and sorted(left[:2]) != sorted(right[:2])
    return rows[-1][-1] + (1 if first else 0)


def _one(word: str, at: int) -> float:
    """Give the cost of one letter too many or too few."""
    doubled = (at > 0 and word[at - 1] == word[at]) or (at + 1 < len(word) and word[at + 1] == word[at])
    return 0.5 if doubled or (word[at] in _VOWELS and at > 0) else 1.0


def fold(text: str) -> tuple[str, ...]:
    """Fold a phrase to the tuple of its words.

    >>> fold("Cat foods")
    ('cat', 'food')
    """
    return tuple(stems(text))
