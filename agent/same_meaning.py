"""Say a sentence in the plain words that the checker reads: what a model words in other ways and means the same.

Each rule turns one way of saying a thing into the one that `agent.grounding` knows how to hold against the record; none
may make a sentence say less than it did. What no rule knows stays as it is, and is then refused for its words.
"""

from __future__ import annotations

import re

_ITEM = r"(\[\d{1,2}\])"
_MONEY = r"(\$\d+(?:\.\d+)?)"
_NAME = r"([^\[\]$.;:]+?)"
_N = r"(\d+|one|two|three|four|five|six|seven|eight|nine|ten)"

# What a sentence may begin with before it says anything.
_OPENING = (
    r"also|and|(?:well|now|so|here|in short|in fact)(?=[,:])|note that|(?:as|just so) you (?:can see|know)|by the way|one reason|"
    r"i picked this (?:since|because|as)|(?:as|and) the record shows|the record shows that|for your information|one thing to know|"
    r"another thing|another point|i see that|keep in mind that|it is worth knowing that|to be clear|as for this one"
)
_RULES: tuple[tuple[str, str], ...] = (
    (rf"^(?:{_OPENING})[,:]? (?=\[|\$|\w)", ""),
    # which item
    (rf"\b(?:the )?(?:item|option|pick|choice) (?:at )?(?:(?:number|no\.) )?{_ITEM}", r"\1"),
    (rf"\bthe one at {_ITEM}", r"\1"),
    (r"\b(?:number|item|option) (\d{1,2}), \[\1\](?:, |,?(?= |[.]?$))", r"[\1] "),
    # bought
    (r"\bpurchased\b", "bought"),
    (r"\bpicked up\b", "picked"),
    (r"\bshopping trips\b", "trips"),
    (r"\b(\d+) most recent trips\b", r"last \1 trips"),
    (rf"\b(?:looking at|out of|over|in) your ((?:last|past) \d+) (?:trips|baskets),? {_N}(?: of them)? (?:had|included|held) ", r"\2 of your \1 trips had "),
    (rf"\b(?:in|on) {_N} of your ((?:last|past) \d+) baskets\b", r"on \1 of your \2 trips"),
    (r"\b(trips) (?:included|contained|held)\b", r"\1 had"),
    (r"\b(?:has been|was) (?:a )?part of (?=\d|\w+ (?:out )?of)", "was on "),
    (r"\b(?:appears|appeared|shows up|showed up) (?:in|on) (?=\d|\w+ (?:out )?of)", "was on "),
    (r"\bwas on your list (?:for|on) (?=\d|\w+ (?:out )?of)", "was on "),
    (rf"\b(?:your (?:history|record) (?:shows|has)|you have) {_N} (?:past )?purchases? of {_ITEM}(?: on (?:your )?record)?", r"you bought \2 \1 times"),
    (rf"\bthere (?:is|are) {_N} (?:past )?purchases? of {_ITEM} (?:on|in) your (?:record|history)", r"you bought \2 \1 times"),
    (rf"{_ITEM} has been in your baskets? ({_N} times|once|twice|before)", r"you bought \1 \2"),
    (rf"{_ITEM} has been in your baskets?", r"you bought \1"),
    (rf"{_ITEM} has never been in your baskets?", r"you have never bought \1"),
    (r"\bone times?\b", "once"),
    (r"\b(?:over time|in total|all in all|so far),? (?=you )", ""),
    (r"\b(bought|picked|had|got|tried) (\S+ (?:\d+ times|once|twice)) (?:so far|in total|in all|over time)\b", r"\1 \2"),
    # never bought
    (rf"\bi see no (?:past )?purchases? of {_ITEM}", r"you have never bought \1"),
    (rf"\bthere (?:is|are) no (?:past )?purchases? of {_ITEM} (?:on|in) your (?:record|history)", r"you have never bought \1"),
    (rf"{_ITEM} does(?: not|n't) (?:appear|show up) in your (?:history|record|past trips)", r"you have never bought \1"),
    (rf"\bthis would be your first time (?:buying|with|trying) {_ITEM}", r"you have never bought \1"),
    (rf"{_ITEM} is(?: not|n't) something you(?: have|'ve) (?:ever )?(bought|tried)(?: before)?", r"you have never bought \1"),
    (r"\b((?:never|not|haven't) (?:bought|tried|had)) (\S+) (?:before|so far|until now)\b", r"\1 \2"),
    (r"\byou(?: have|'ve) (?:not|never) (?:yet )?(bought|tried)\b", r"you have never \1"),
    (r"\b(is|would be|will be) something new (?:for|to) you\b", r"\1 new to you"),
    # the wish's bounds
    (r"\byour (?:minimum|lower limit|floor) of\b", "the"),
    (r"\b(?:maximum|cap|ceiling)\b", "limit"),
    (r"\bexactly\b", "just"),
    (r"\b(?:that|which) (?:you|i) set\b|\byou set\b", "you said"),
    (rf"\bwhat you said: {_MONEY}", r"\1, just what you said"),
    (r"\buses up(?: all of)?(?: just)? your\b", "takes all of your"),
    (rf"\bwould have {_MONEY} left(?: over)? (?:from|of) your {_MONEY} (?:after|with) {_ITEM}", r"save \1 of your \2 with \3"),
    (rf"\byou save {_MONEY} of your {_MONEY} with {_ITEM}", r"\3 leaves \1 of your \2"),
    (rf"\byour {_MONEY}(?: limit| budget)? covers {_ITEM},? (?:and|with) {_MONEY}(?: is)? left(?: over)?", r"\2 leaves \3 of your \1"),
    (rf"\b(leaves|leaving)(?: you)?(?: with)? {_MONEY} (?:from|out of) your\b", r"\1 \2 of your"),
    (rf"\bwith {_MONEY} left(?: over)?\b", r"with \1 to spare"),
    (rf"\b(under|below) (your )?{_MONEY} by {_MONEY}", r"\4 \1 \2\3"),
    (rf"\b(more|less) than the {_MONEY} you said\b", r"\1 than your \2"),
    (rf"\bcosts {_MONEY}, (above|over|under|below) the {_MONEY} you (?:wanted|said|asked for)", r"costs \1, \2 your \3"),
    # the wish's words
    (rf"{_ITEM} is (?:a match for )?(?:what you (?:searched|looked) for|your search): ", r"\1 matches "),
    (rf"{_ITEM} is what you (?:searched|looked) for: ", r"\1 matches "),
    (r"\b(match|matches) your search(?: for|:)? ", r"\1 "),
    (rf"\byour search for {_NAME} (?:brought up|found|gave) {_ITEM}", r"\2 matches \1"),
    (rf"{_ITEM} (?:has|contains)(?: the words?)? {_NAME} (?:in|on) (?:the|its) (?:title|name|label)", r"\1 matches \2"),
    (rf"\bthe words? {_NAME} (?:appears?|stands?) in the (?:record|title|name) of {_ITEM}", r"\2 matches \1"),
    (rf"\b(?:when|as|since) you (?:said|asked for|searched for) {_NAME}, {_ITEM} came up as a match", r"\2 matches \1"),
    (rf"\b(?:as|since) you (?:searched|looked) for {_NAME}, here is {_ITEM}", r"\2 matches \1"),
    # what it goes with
    (r"\b(?:often )?bought together with\b", "bought with"),
    (r"\b(?:bought|came|come|comes|taken) along with\b", "bought with"),
    (rf"\b(?:shoppers|people|households) bought {_ITEM} (?:bought )?(?:along )?with {_NAME} in (\d+) baskets", r"\1 was bought with \2 in \3 baskets"),
    (rf"\bin (\d+) baskets, {_NAME} bought with {_ITEM}", r"\3 was in \1 baskets with \2"),
    (rf"{_ITEM} and {_NAME} (?:share|were bought together in|were together in|came together in) (\d+) baskets", r"\1 was in \3 baskets with \2"),
    (rf"^{_NAME} and {_ITEM} (?:share|were bought together in|were together in) (\d+) baskets", r"\2 was in \3 baskets with \1"),
    (rf"{_ITEM} (?:shares|shared) (\d+) baskets with ", r"\1 was in \2 baskets with "),
    (rf"\b(?:there (?:are|were) )?(\d+) baskets (?:with|contained|held|had|have) both {_NAME} and {_ITEM}", r"\3 was in \1 baskets with \2"),
    (rf"\b(?:there (?:are|were) )?(\d+) baskets (?:with|contained|held|had|have) both {_ITEM} and ", r"\2 was in \1 baskets with "),
    (r"\bhas been in (\d+) baskets together with\b", r"was in \1 baskets with"),
    (r"\b(\d+) baskets had (?:both|the two|them both)\b", r"in \1 baskets"),
    # what speaks for it
    (rf"\bi (?:suggest|chose|picked|put in) {_ITEM}", r"\1 is here"),
    (rf"{_ITEM} (?:is|was) (?:suggested|recommended|picked|chosen) (because|since)", r"\1 is here \2"),
    (r"\b(?:thanks to|because of|based on|going by) your (?:past )?purchases? of (?=\w)", "because you bought "),
    (rf"^your (?:past )?purchases? of {_NAME} (?:points?|leads?|led) to {_ITEM}", r"\2 is here because you bought \1"),
    (rf"^(?:based on|going by) {_NAME}, which you (bought|chose)(?: before)?, ", r"because you \2 \1, "),
    (rf"\bbecause of {_NAME}, which you (bought|chose|picked)(?: before)?", r"because you \2 \1"),
    (rf"\byou bought {_NAME}(?: in the past| before)?, which is why {_ITEM} is here", r"\2 is here because you bought \1"),
    (r"\b(?:ties in with|is related to|is tied to)\b", "is close to"),
    # others
    (r"\b(?:a total of|in total,?) (?=\d+ (?:other )?(?:shoppers|people|households|customers))", ""),
    (r"\bamong (shoppers|households|customers),? (\d+) (?:have )?bought", r"\2 \1 bought"),
    (r"\b(shoppers|people|households|customers) buying it\b", r"\1 buy it"),
    (rf"\b(\d+ (?:shoppers|people|households|customers)) have {_ITEM} in their (?:history|record|baskets)", r"\1 bought \2"),
    (r"\bso far,? (?=\d)", ""),
    # brand and size
    (r"\b(?:products?|article)\b", "item"),
    (r"\bversion\b", "one"),
    (r"\bis (?:sold|listed) (as|in|at)\b", r"comes \1"),
    (r"\bfrom the (store brand|name brand)\b", r"\1"),
    (r"\bcarries the\b", "has the"),
    (r"\bpackages?\b", "pack"),
    (r"\b(?:in a|with a) size of\b", "in"),
    (rf"{_ITEM} (?:contains|holds) (?=\d)", r"\1 is "),
    # prices
    (r"\b(?:sells|goes) for\b", "costs"),
    (r"\b(?:will|would) cost you\b", "costs"),
    (r"\bis (?:available|on offer here|on the list) (?:at|for)\b", "costs"),
    (r"\bhas a price of\b", "costs"),
    (rf"\b(?:you can get|you get|you (?:would|will) pay {_MONEY} for) {_ITEM}(?: for)?$", r"\2 costs \1"),
    (rf"\byou can get {_ITEM} for {_MONEY}", r"\1 costs \2"),
    (rf"\byou (?:would|will) pay {_MONEY} for {_ITEM}", r"\2 costs \1"),
    (rf"\bit costs {_MONEY} to get {_ITEM}", r"\2 costs \1"),
    (rf"\bat {_MONEY} there is {_ITEM}", r"\2 costs \1"),
    (r"\bis on the list at\b", "costs"),
    (r"\bin this shop\b", "here"),
    (r"\bwhereas\b", "while"),
    (r"\bif price matters,", "on price,"),
    # one beside another
    (r"\bcompared (?:to|with)\b", "against"),
    (r"\bless expensive than\b", "cheaper than"),
    (r"\bless expensive\b(?= (?:one|option|by))", "cheaper"),
    (rf"\bundercuts {_NAME} by {_MONEY}", r"is \2 cheaper than \1"),
    (rf"{_ITEM} beats (\[\d+\]|{_NAME}) on price by {_MONEY}", r"\1 is \4 cheaper than \2"),
    (rf"\b(?:by )?(?:choosing|picking|taking|if you (?:take|choose|pick)) {_ITEM} (?:over|instead of) (\[\d+\]|(?:the )?[^\[\]$.,;:]+?),? (?:saves?(?: you)?|you save|will save you) {_MONEY}", r"\1 is \3 cheaper than \2"),
    (rf"\bagainst (\[\d+\]), {_ITEM} (?:saves(?: you)?|will save you) {_MONEY}", r"\2 is \3 cheaper than \1"),
    (rf"\bagainst (\[\d+\]), {_ITEM} is (?:the |a )?(bigger|larger|smaller|cheaper|dearer)(?: one| pack| size)?", r"\2 is \3 than \1"),
    (rf"{_ITEM} is (?:the |a )?cheaper (?:option|one|choice) against {_NAME}, by {_MONEY}", r"\1 is \3 cheaper than \2"),
    (r"\bis (?:the |a )?(bigger|larger|smaller) (?:one|size|pack)? ?(?:against|than)\b", r"is \1 than"),
    (r"\b(?:a|the) (bigger|larger|smaller) one than\b", r"\1 than"),
    (rf"\b(?:if you want )(more|less) than {_NAME}, {_ITEM} is (bigger|larger|smaller)", r"\3 is \4 than \2"),
    (rf"{_ITEM} is (bigger|larger|smaller), and (\[\d+\]) is (?:bigger|larger|smaller)$", r"\1 is \2 than \3"),
    (r"(\$[\d.]+) above (?!your|the limit|\$|the \$|my)", r"\1 dearer than "),
    (rf"{_ITEM} (?:costs|is) {_MONEY}, so {_ITEM} is {_MONEY} (cheaper|dearer)", r"\1 costs \2; \3 is \4 \5 than \1"),
    (rf"\bthere is no price difference between {_ITEM} and {_ITEM}", r"\1 costs the same as \2"),
    (rf"\bprice difference between {_ITEM} and {_ITEM}", r"difference of \1 and \2"),
    (rf"\bare the same price at {_MONEY}", r"cost the same, \1"),
    (rf"{_ITEM} is (?:the )?(cheaper|dearer|pricier) one at {_MONEY}, (?:while|and) {_ITEM} is {_MONEY}", r"\1 at \3 is \2 than \4 at \5"),
    (rf"{_ITEM} is (cheaper|dearer|pricier|more expensive) than {_ITEM} by {_MONEY}", r"\1 is \4 \2 than \3"),
    # the list
    (r"\b(?:the )?lowest[- ]priced\b", "the cheapest"),
    (rf"\bnothing (?:on this list|here|on the list) is cheaper than {_ITEM}", r"\1 is the cheapest here"),
    (r"\b(?:of|among) the items (?:shown|here|listed)\b", "of these"),
    (r"\bi put together (?=\d+ items| \d)", "i found "),
    (r"^below are (?=\d)", "here are "),
    (r"\b(?:comes|came) in at number\b", "is number"),
    (r"\byou can choose from (?=\d)", "here are "),
    # likes
    (rf"\byou marked {_ITEM} as liked", r"you liked \1"),
    (rf"\byou(?:'ve| have) liked {_ITEM}(?: before)?", r"you liked \1"),
    (r"\btold me that you like\b", "told me you like"),
    (r"\bis among your likes\b", "is one of your likes"),
    (r"\bis one of the items you liked\b|\bis something you said you like\b", "is one you liked"),
    (rf"\bi know you like {_ITEM}", r"you like \1"),
    (r"\bbecause you liked (\[\d+\]), i put it in\b", r"\1 is here because you liked it"),
)  # fmt: skip
_COMPILED = tuple((re.compile(pattern, re.IGNORECASE), text) for pattern, text in _RULES)


def plainly(sentence: str) -> str:
    """Say a sentence plainly, items as [1].

    >>> plainly("Note that item [2] will cost you $3, whereas [1] sells for $2.")
    '[2] costs $3, while [1] costs $2.'
    """
    out = " ".join(sentence.replace("’", "'").split())
    end = out[-1:] if out[-1:] in ".!" else ""
    out = out.removesuffix(end) if end else out
    for pattern, text in _COMPILED:
        out = pattern.sub(text, out)
    return " ".join(out.split()) + end
