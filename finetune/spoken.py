"""Say amounts, sizes, brands and positions as people type them, and roughen text as people do."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from random import Random

_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_ONES = f"zero one two three four five six seven eight nine {_TEENS}".split()
_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split()

# Heads that take "some", not "a", in the singular.
_MASS = frozenset(
    """milk bread cheese butter margarine water juice coffee tea soda pop beer wine rice pasta flour sugar salt pepper oil
    vinegar honey syrup jam jelly ketchup mustard mayo mayonnaise sauce salsa soup cereal oatmeal granola yogurt cream
    creamer ham bacon beef pork chicken turkey steak sausage fish salmon tuna shrimp seafood meat lunchmeat salami
    pepperoni lettuce spinach broccoli cauliflower celery cabbage corn garlic ginger parsley cilantro basil fruit salad
    dressing candy chocolate gum popcorn ice dessert gelatin pudding dough food litter detergent soap shampoo conditioner
    deodorant toothpaste mouthwash floss lotion sunscreen makeup paper foil wrap bleach cleaner softener starch medicine
    aspirin ibuprofen charcoal fluid spray gel formula seasoning spice cinnamon vanilla cocoa mix powder stuff hummus dip
    guacamole asparagus zucchini kale tofu jerky lemonade cider bouillon broth stock gravy stuffing kraut sauerkraut
    relish shortening lard fabric ribbon tape mulch soil seed wood whiskey vodka rum tobacco bologna ravioli spaghetti
    macaroni linguine couscous quinoa caviar sushi bedding polish remover tissue wax cottage half-and-half oj tp gatorade
    pepsi coke sprite kleenex windex tylenol advil""".split()
)


def with_article(thing: str) -> str:
    """Put "a", "an" or "some" before a thing.

    >>> with_article("frozen pizza"), with_article("milk"), with_article("eggs"), with_article("onion")
    ('a frozen pizza', 'some milk', 'some eggs', 'an onion')
    """
    head = _head(thing)
    if head in _MASS or (head.endswith("s") and not head.endswith("ss")):
        return f"some {thing}"
    return f"{'an' if thing[:1].lower() in 'aeiou' else 'a'} {thing}"


def plural(thing: str) -> str:
    """Put a thing in the plural where it has one.

    >>> plural("frozen pizza"), plural("milk"), plural("eggs"), plural("candy bar"), plural("peach")
    ('frozen pizzas', 'milk', 'eggs', 'candy bars', 'peaches')
    """
    head = _head(thing)
    if head in _MASS or (head.endswith("s") and not head.endswith("ss")) or not head.isalpha():
        return thing
    if head.endswith("y") and head[-2:-1] not in tuple("aeiou"):
        return thing[:-1] + "ies"
    if head.endswith(("ch", "sh", "x", "ss")) or head in ("potato", "tomato"):
        return thing + "es"
    return thing + "s"


def _head(thing: str) -> str:
    # "bottle of water" is a bottle.
    words = re.split(r" (?:of|for|with|in) ", thing.lower())[0].split()
    return words[-1] if words else ""


def number_words(number: int) -> str:
    """Spell a whole number below 1,000.

    >>> number_words(7), number_words(45), number_words(100), number_words(250)
    ('seven', 'forty five', 'one hundred', 'two hundred fifty')
    """
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f" {_ONES[ones]}" if ones else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{_ONES[hundreds]} hundred" + (f" {number_words(rest)}" if rest else "")
    return str(number)


def price_forms(amount: float) -> tuple[str, ...]:
    """List the ways to say an amount of dollars, the commonest first.

    >>> price_forms(5)[:5]
    ('$5', '5 dollars', '5', '$5.00', '5 bucks')
    >>> "a fiver" in price_forms(5), "four fifty" in price_forms(4.5), "99 cents" in price_forms(0.99)
    (True, True, True)
    """
    cents = round(amount * 100)
    dollars, rest = divmod(cents, 100)
    two = f"{dollars}.{rest:02d}"
    if rest == 0:
        word = number_words(dollars)
        unit = "dollar" if dollars == 1 else "dollars"
        buck = "buck" if dollars == 1 else "bucks"
        forms = [f"${dollars}", f"{dollars} {unit}", str(dollars), f"${two}", f"{dollars} {buck}", f"{word} {unit}"]
        forms += [
            f"{word} {buck}",
            two,
            f"{dollars}$",
            f"{word}",
            f"{dollars} usd",
            f"{dollars} dollar",
            f"$ {dollars}",
        ]
        forms += {1: ["a dollar", "a buck"], 5: ["a fiver", "a five dollar bill"], 10: ["a tenner"]}.get(dollars, [])
        return tuple(dict.fromkeys(forms))
    if dollars == 0:
        forms = [f"{rest} cents", f"${two}", f"{rest}c", f".{rest:02d}", two, f"{number_words(rest)} cents", f"{rest}¢"]
        return (*forms, "half a dollar", "half a buck") if rest == 50 else tuple(forms)
    word, few = number_words(dollars), number_words(rest) if rest >= 10 else f"oh {number_words(rest)}"
    unit = "dollar" if dollars == 1 else "dollars"
    forms = [f"${two}", two, f"{two} dollars", f"{word} {few}", f"{dollars} {unit} {rest:02d}", f"{two}$"]
    forms += [f"{word} {unit} and {number_words(rest)} cents", f"{two} bucks", f"{dollars} {unit} and {rest} cents"]
    if dollars == 1 and rest >= 10:
        forms += [f"a dollar {few}", f"a buck {few}"]
    if rest == 50:
        forms += [f"{dollars}.5", f"{word} and a half dollars", f"{dollars} and a half bucks", f"${dollars}.5"]
    return tuple(forms)


def speak_price(amount: float, rng: Random) -> str:
    """Say an amount of dollars, commoner forms more often.

    >>> speak_price(5, Random(1)) in price_forms(5)
    True
    """
    return _lean(price_forms(amount), rng)


_BRANDS = {
    "store brand": (
        ("store brand", 6), ("store-brand", 1), ("generic", 3), ("own brand", 2), ("house brand", 2), ("off brand", 1),
        ("private label", 1), ("storebrand", 1), ("store label", 1), ("private brand", 1), ("own-brand", 1), ("no name", 1),
    ),
    "name brand": (
        ("name brand", 6), ("name-brand", 1), ("brand name", 3), ("national brand", 2), ("big brand", 1), ("branded", 1),
        ("big name", 1), ("namebrand", 1), ("well known brand", 1), ("known brand", 1),
    ),
}  # fmt: skip


def speak_brand(brand: str, rng: Random) -> str:
    """Say a brand tier ("store brand", "name brand") in one of its forms; any other brand as it is.

    >>> speak_brand("Heinz", Random(0))
    'Heinz'
    """
    forms = _BRANDS.get(brand.lower())
    return brand if forms is None else rng.choices([form for form, _ in forms], [weight for _, weight in forms])[0]


_UNITS = {
    "oz": ("{n} oz", "{n}oz", "{n} ounce", "{n}-ounce", "{n} ounces", "{n} oz."),
    "fl oz": ("{n} fl oz", "{n} oz", "{n}oz", "{n} ounce", "{n} fluid ounce", "{n} ounces"),
    "lb": ("{n} lb", "{n}lb", "{n} pound", "{n} lbs", "{n}-pound", "{n} pounds"),
    "gal": ("{n} gallon", "{n} gal", "{n}-gallon", "{n}gal", "{n} gallons"),
    "l": ("{n} liter", "{n}l", "{n} l", "{n} litre", "{n}-liter", "{n} liters"),
    "ml": ("{n} ml", "{n}ml", "{n} milliliter"),
    "ct": ("{n} ct", "{n} count", "{n}ct", "{n} pack", "{n}-pack", "{n}-count", "{n}pk", "pack of {n}"),
    "pk": ("{n} pack", "{n}pk", "{n}-pack", "{n} pk", "pack of {n}"),
    "qt": ("{n} quart", "{n} qt", "{n}qt"),
    "pt": ("{n} pint", "{n} pt"),
    "in": ("{n} inch", "{n} in", "{n}-inch"),
    "sq ft": ("{n} sq ft", "{n} square feet", "{n} square foot"),
}
_UNIT_WORDS = {
    "oz": "ounce", "fl oz": "ounce", "lb": "pound", "gal": "gallon", "l": "liter", "ct": "pack", "pk": "pack",
    "qt": "quart", "pt": "pint", "in": "inch",
}  # fmt: skip
_WHOLE = {
    "1 gal": ("gallon", "full gallon", "whole gallon", "1 gallon", "one gallon"),
    "0.5 gal": ("half gallon", "1/2 gallon", "half-gallon", "half gal"),
    "12 ct": ("dozen", "12 count", "12 pack", "12 ct", "12ct"),
    "24 ct": ("24 pack", "24 count", "24pk", "pack of 24"),
    "1 lb": ("one pound", "1 pound", "1 lb", "1lb", "pound"),
    "1 pt": ("pint", "one pint"),
    "1 qt": ("quart", "one quart"),
}


def size_forms(size: str) -> tuple[str, ...]:
    """List the ways to say a size, the commonest first; a size of another form is said as it is.

    >>> size_forms("2 l")[:3], size_forms("1 gal")[0], size_forms("jumbo")
    (('2 liter', '2l', '2 l'), 'gallon', ('jumbo',))
    """
    match = re.fullmatch(r"([\d.]+) ?([a-z ]+)", size.strip().lower().replace("1/2 gal", "0.5 gal"))
    if match is None or match[2].strip() not in _UNITS:
        return (size,)
    amount = f"{float(match[1]):g}"
    unit = match[2].strip()
    if whole := _WHOLE.get(f"{amount} {unit}"):
        return whole
    forms = [form.format(n=amount) for form in _UNITS[unit]]
    if amount.isdigit() and int(amount) <= 12 and unit in _UNIT_WORDS:
        forms.append(f"{_ONES[int(amount)]} {_UNIT_WORDS[unit]}")
    return tuple(forms)


def speak_size(size: str, rng: Random) -> str:
    """Say a size, commoner forms more often; usable as "a {size} {thing}" and "{thing}, {size}".

    >>> speak_size("64 oz", Random(3)) in size_forms("64 oz")
    True
    """
    return _lean(size_forms(size), rng)


def quantity_forms(quantity: int) -> tuple[str, ...]:
    """List the ways to say how many.

    >>> quantity_forms(2), quantity_forms(12)
    (('2', 'two', 'a couple', '2x'), ('12', 'twelve', 'a dozen', '12x'))
    """
    extra = {2: ("a couple",), 12: ("a dozen",)}.get(quantity, ())
    return (str(quantity), number_words(quantity), *extra, f"{quantity}x")


def speak_quantity(quantity: int, rng: Random) -> str:
    """Say how many, as in "{quantity} of them" and "{quantity} {things}".

    >>> speak_quantity(3, Random(0)) in quantity_forms(3)
    True
    """
    return _lean(quantity_forms(quantity), rng)


def position_forms(position: int, count: int | None = None) -> tuple[str, ...]:
    """List the ways to point at one shown item, the commonest first.

    >>> position_forms(2)[:4], "the last one" in position_forms(5, 5)
    (('the second one', '#2', 'number 2', 'the 2nd one'), True)
    """
    word, short = _ORDINALS[position - 1], _short(position)
    forms = [f"the {word} one", f"#{position}", f"number {position}", f"the {short} one", f"the {word}"]
    forms += [f"number {_ONES[position]}", f"{word} one", f"option {position}", f"no. {position}", f"the {short}"]
    forms += [f"nr {position}", f"item {position}", f"no {position}", f"the {word} item", f"the one at {position}"]
    if position == 1:
        forms += ["the top one", "the one on top", "your first pick"]
    if count is not None and position == count and count > 1:
        forms[2:2] = ["the last one", "the last", "the bottom one", "last one"]
    if count is not None and position == count - 1 and count > 3:
        forms += ["the second to last", "the second last one"]
    if count is not None and count % 2 and position == count // 2 + 1 and count > 1:
        forms += ["the middle one", "the one in the middle"]
    return tuple(forms)


def speak_position(position: int, count: int | None, rng: Random) -> str:
    """Point at one of `count` shown items, as a noun: "the second one".

    >>> speak_position(3, 5, Random(0)) in position_forms(3, 5)
    True
    """
    return _lean(position_forms(position, count), rng)


def speak_ordinal(position: int, count: int | None, rng: Random) -> str:
    """Point at one of `count` shown items, as an adjective: "second", "2nd", "last".

    >>> speak_ordinal(2, 5, Random(0)) in ("second", "2nd")
    True
    """
    forms = [_ORDINALS[position - 1], _ORDINALS[position - 1], _short(position)]
    if count is not None and position == count and count > 1:
        forms.append("last")
    return rng.choice(forms)


def positions_forms(positions: Sequence[int], count: int | None = None) -> tuple[str, ...]:
    """List the ways to point at several shown items.

    >>> positions_forms([1, 2])[:3], positions_forms([1, 2], 2)[0], positions_forms([1, 3])[:2]
    (('the first two', 'the first two', 'the top two'), 'both', ('1 and 3', 'the first and the third'))
    """
    held = list(positions)
    run = held == list(range(1, len(held) + 1))
    forms: list[str] = []
    if count is not None and run and len(held) == count:
        forms += (
            ["both", "both of them", "these two"] if count == 2 else ["all of them", f"all {_ONES[count]}", "them all"]
        )
    elif run and len(held) > 1:
        few = _ONES[len(held)]
        forms += [f"the first {few}", f"the first {few}", f"the top {few}", f"the first {len(held)}"]
    elif count is not None and len(held) > 1 and held == list(range(count - len(held) + 1, count + 1)):
        forms += [f"the last {_ONES[len(held)]}", f"the last {len(held)}"]
    forms += [
        _and([str(at) for at in held]),
        _and([f"the {_ORDINALS[at - 1]}" for at in held]),
        _and([f"#{at}" for at in held]),
        _and([_ORDINALS[at - 1] for at in held]),
        "numbers " + _and([str(at) for at in held]),
        _and([f"number {_ONES[at]}" for at in held]),
        "items " + _and([str(at) for at in held]),
        _and([f"the {_ORDINALS[at - 1]}" for at in held]) + (" one" if held[-1] <= len(_ORDINALS) else ""),
        _and([f"the {_short(at)}" for at in held]),
    ]
    if len(held) == 2:
        forms += [f"{held[0]} & {held[1]}", f"{held[0]}, {held[1]}", f"{held[0]}+{held[1]}"]
    return tuple(forms)


def speak_positions(positions: Sequence[int], count: int | None, rng: Random) -> str:
    """Point at several of `count` shown items, as a noun.

    >>> speak_positions([1, 3], 5, Random(0)) in positions_forms([1, 3], 5)
    True
    """
    return _lean(positions_forms(positions, count), rng)


def speak_name(title: str, rng: Random) -> str:
    """Call an item by part of its title, as a shopper would.

    >>> speak_name("Shredded cheese, 8 oz, store brand", Random(0))
    'shredded cheese'
    """
    short = re.split(r"[,(]", title)[0].strip()
    words = short.split()
    if len(words) > 3 and rng.random() < 0.4:
        short = " ".join(words[:3] if words[2].lower() not in ("of", "and", "with", "for", "in", "&") else words[:2])
    return short if rng.random() < 0.15 else short.lower()


def _short(number: int) -> str:
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number, 'th') }"


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + f" and {parts[-1]}"


def _lean(forms: Sequence[str], rng: Random) -> str:
    return rng.choices(forms, [1 / (rank + 2) for rank in range(len(forms))])[0]


_KEYS = (  # a letter and the keys around it
    "qwa wqes ewrd retf tryg ytuh uyij iuok oipl pol aqsz sawdx dsefc fdrgv gfthb hgyjn jhukm kjil lkop zaxs xzcd "
    "cxvf vcbg bvnh nbmj mnk"
)
_NEIGHBOURS = {keys[0]: keys[1:] for keys in _KEYS.split()}
_OPENERS = (
    "hey", "hi", "um", "ok", "so", "hello", "umm", "ok so", "well", "yo", "hey there", "hiya", "uh", "hmm", "alright",
    "good morning", "ok now", "right", "excuse me", "quick one", "hi there", "oh and", "also",
)  # fmt: skip
_TAILS = (
    "pls", "please", "thx", "thanks", "lol", "plz", "ty", "haha", "thank you", "asap", "if you can", "if possible",
    "cheers", "ok?", "tia", "...", "!!", "??", "!", ":)", "pretty please", "thanks a lot",
)  # fmt: skip
_SHORT = {
    "you": "u", "are": "r", "your": "ur", "please": "pls", "with": "w/", "without": "w/o", "thanks": "thx", "and": "&",
    "because": "cuz", "something": "smth", "really": "rly", "people": "ppl", "tomorrow": "tmrw", "tonight": "2nite",
    "okay": "ok", "though": "tho", "about": "abt", "probably": "prolly", "want to": "wanna", "going to": "gonna",
    "give me": "gimme", "let me": "lemme", "got to": "gotta", "do not": "dont", "kind of": "kinda", "don't know": "dunno",
}  # fmt: skip
_MONEY = "cent cents dollar dollars buck bucks fiver tenner".split()
_COUNTS = "hundred dozen couple both last middle half number option".split()
_NUMBERS = frozenset([*_ONES, *_TENS, *_ORDINALS, *_MONEY, *_COUNTS])


def roughen(
    text: str,
    rng: Random,
    *,
    typo: float = 0.025,
    apostrophe: float = 0.4,
    lower: float = 0.55,
    upper: float = 0.015,
    bare: float = 0.45,
    short: float = 0.06,
    opener: float = 0.05,
    tail: float = 0.06,
    keep: Collection[str] = (),
) -> str:
    """Type a text as people do: slips of the keyboard, dropped letters, no capitals, no punctuation.

    `typo` is the chance of a slip in a word of four letters or more; the others are chances for the whole text:
    `apostrophe` leaves them out, `lower` and `upper` change the case, `bare` drops the marks at the end and the commas,
    `short` writes "u" for "you", `opener` and `tail` add a word before or after. Numbers, amounts, number words and
    the words in `keep` are never changed, so that what was meant can still be read.

    >>> calm = dict(typo=0, apostrophe=0, lower=0, upper=0, bare=0, short=0, opener=0, tail=0)
    >>> roughen("I don't like it.", Random(0), **calm)
    "I don't like it."
    >>> roughen("I don't like it, ok?", Random(0), **(calm | {"apostrophe": 1, "lower": 1, "bare": 1}))
    'i dont like it ok'
    """
    kept = {word.lower() for phrase in keep for word in phrase.split()}
    if rng.random() < apostrophe:
        text = re.sub(r"(?<=\w)['’](?=\w)", "", text)
    if rng.random() < short:
        for long, brief in _SHORT.items():
            if rng.random() < 0.7 and not kept & set(long.split()):
                text = re.sub(rf"\b{re.escape(long)}\b", brief, text, flags=re.IGNORECASE)
    text = re.sub(r"\S+", lambda match: _slip(match[0], rng, typo, kept), text)
    if rng.random() < bare:
        text = re.sub(r",(?=\s)", "", re.sub(r"[.!?,;]+$", "", text.strip()))
    if rng.random() < opener:
        start = text[:1].lower() + text[1:] if not re.match(r"I\b|[A-Z]{2}", text) else text
        text = rng.choice(_OPENERS) + rng.choice((" ", " ", ", ")) + start
    if rng.random() < tail:
        end = rng.choice(_TAILS)
        text = re.sub(r"[.!?]+$", "", text) + ("" if end[0] in ".!?" else rng.choice((" ", " ", ", "))) + end
    shade = rng.random()
    if shade < upper:
        return text.upper()
    return text.lower() if shade < upper + lower else text


def _slip(word: str, rng: Random, typo: float, kept: Collection[str]) -> str:
    plain = word.strip(".,!?;:").lower()
    if len(plain) < 4 or plain in kept or plain in _NUMBERS or not plain.isalpha() or rng.random() >= typo:
        return word
    at = rng.randrange(1, len(plain))
    letter = word[at]
    match rng.randrange(5):
        case 0:  # two letters swapped
            return word[: at - 1] + letter + word[at - 1] + word[at + 1 :] if at > 1 else word[:at] + word[at + 1 :]
        case 1:  # a letter left out
            return word[:at] + word[at + 1 :]
        case 2:  # a letter twice
            return word[:at] + letter + word[at:]
        case 3:  # the key beside it
            return word[:at] + rng.choice(_NEIGHBOURS.get(letter.lower(), letter)) + word[at + 1 :]
    return word[:at] + rng.choice(_NEIGHBOURS.get(letter.lower(), letter)) + word[at:]
