"""Behaviours by their wording: an offline substitute for a judge, and a weaker one.

It sees words, not what is done with them: "first" opens a subgoal and also a sentence like "the first number"; a check
that is not called one is missed. It is always labelled `keywords`, and where a model has judged too, their agreement is
shown. Whole words are matched ("await" is not "wait"), whatever their case.
"""

import re

from simplerl.runs.behaviours import BEHAVIOURS

JUDGE = "keywords"
VERSION = "patterns 1"

#: Examples kept of one behaviour in one response.
MOST = 5

#: Behaviour → phrases. A space stands for any white space.
PHRASES: dict[str, tuple[str, ...]] = {
    "backtracking": (
        "wait",
        "let me try again",
        "try again",
        "try another",
        "try a different",
        "another approach",
        "different approach",
        "start over",
        "go back",
        "going back",
        "scratch that",
        "on second thought",
        "rethink",
        "reconsider",
        "I made a mistake",
        "made an error",
        "that is wrong",
        "that's wrong",
        "this is wrong",
        "that is not right",
        "that's not right",
        "is incorrect",
        "does not work",
        "doesn't work",
    ),
    "verification": (
        "check",
        "checks",
        "checking",
        "recheck",
        "double-check",
        "verify",
        "verifies",
        "verifying",
        "verification",
        "confirm",
        "confirms",
        "make sure",
        "substitute back",
        "substituting back",
        "plug back",
        "plugging back",
        "plug it back",
        "plugging it back",
        "satisfies the",
    ),
    "subgoal_setting": (
        "firstly",
        "first we",
        "first, we",
        "first, let",
        "first find",
        "first, find",
        "the first step",
        "next step",
        "the goal is",
        "our goal",
        "break it down",
        "break this down",
        "break down the",
        "break the problem",
        "step by step",
        "step 1",
        "to do this, we",
        "we need to find",
        "we first need",
    ),
    "enumeration": (
        "case 1",
        "case 2",
        "case i",
        "case a",
        "in the first case",
        "all possible",
        "all possibilities",
        "possible cases",
        "possible values",
        "consider each",
        "consider all",
        "try each",
        "try all",
        "check each",
        "list all",
        "listing all",
        "list out",
        "enumerate",
        "enumerating",
        "one by one",
        "for each possible",
    ),
}

_PATTERNS: dict[str, re.Pattern[str]] = {
    name: re.compile(
        r"(?<!\w)(?:"
        + "|".join(
            re.escape(phrase).replace(r"\ ", r"\s+").replace("'", "['’]") for phrase in sorted(phrases, key=len)[::-1]
        )
        + r")(?!\w)",
        re.IGNORECASE,
    )
    for name, phrases in PHRASES.items()
}

assert tuple(PHRASES) == BEHAVIOURS


def detect(response: str) -> dict[str, tuple[str, ...]]:
    """Return behaviour → the phrases found, as they stand in the response, at most `MOST` of each."""
    found = {}
    for name, pattern in _PATTERNS.items():
        hits = []
        for hit in pattern.finditer(response):
            hits.append(hit.group())
            if len(hits) == MOST:
                break
        found[name] = tuple(hits)
    return found
