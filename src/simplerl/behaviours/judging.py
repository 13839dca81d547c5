"""What a response is said to show: by keywords, or by a model, whose answer counts as far as it can be believed.

The behaviours are SimpleRL-Zoo's (arXiv 2503.18892, section 3 and appendix), in the framework of Gandhi et al. (arXiv
2503.01307); definitions.toml has their meaning, the request (the wording is ours) and the phrases.

Keywords are an offline substitute for a judge, and a weaker one: "first" opens a subgoal and also a sentence like "the
first number"; a check that is not called one is missed. They are always labelled `keywords`.
"""

import hashlib
import itertools
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simplerl.judge.asking import content_address, read_object
from simplerl.judge.endpoint import Reply
from simplerl.runs.run import BEHAVIOURS, Judgement

_TABLE = tomllib.loads(Path(__file__).with_name("definitions.toml").read_text(encoding="utf-8"))
PROMPT_VERSION: int = _TABLE["prompt_version"]
KEYWORDS, PATTERNS_VERSION = "keywords", f"patterns {_TABLE['patterns_version']}"
#: Behaviour → phrases; a space stands for any white space.
PHRASES: dict[str, list[str]] = {name: _TABLE["behaviours"][name]["phrases"] for name in BEHAVIOURS}

#: Phrases kept of one behaviour in one response.
MOST = 5
#: Characters of a quotation: shorter ones stand in any text, longer ones are cut in the record of what was not found.
SHORTEST, LONGEST = 4, 500

_PATTERNS: dict[str, re.Pattern[str]] = {}
for _name, _phrases in PHRASES.items():
    _escaped = (re.escape(phrase) for phrase in sorted(_phrases, key=len, reverse=True))
    _either = "|".join(_escaped).replace(r"\ ", r"\s+").replace("'", "['’]")
    # Whole words, whatever their case: "await" is not "wait".
    _PATTERNS[_name] = re.compile(rf"(?<!\w)(?:{_either})(?!\w)", re.IGNORECASE)
_ADDRESSES_JUDGE = re.compile("|".join(_TABLE["addresses_judge"]), re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A response to be judged, and where it stands."""

    step: int | None
    home: Path  # The run or result directory that it is of
    problem_id: str
    sample: int
    question: str
    response: str

    def judgement(self, **given: Any) -> Judgement:
        """Return a judgement of this response."""
        flags = ("addresses_judge",) if _ADDRESSES_JUDGE.search(self.response) else ()
        return Judgement(step=self.step, problem_id=self.problem_id, sample=self.sample, flags=flags, **given)


def by_keywords(item: Item) -> Judgement:
    """Return what the keywords say."""
    return item.judgement(
        judge=KEYWORDS,
        settings=PATTERNS_VERSION,
        status="judged",
        behaviours=detect(item.response),
        key=content_address(KEYWORDS, PATTERNS_VERSION, item.question, item.response),
    )


def detect(response: str) -> dict[str, tuple[str, ...]]:
    """Return behaviour → the phrases in a response, as they stand there, at most `MOST` of each."""
    return {
        name: tuple(hit.group() for hit in itertools.islice(pattern.finditer(response), MOST))
        for name, pattern in _PATTERNS.items()
    }


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A model that judges, with everything that its answers depend on."""

    model: str
    parameters: Mapping[str, Any]

    @property
    def settings(self) -> str:
        """Prompt version and parameters as one line."""
        parameters = sorted(self.parameters.items())
        shown = [f"{name} {json.dumps(value, ensure_ascii=False, sort_keys=True)}" for name, value in parameters]
        return ", ".join([f"prompt {PROMPT_VERSION}", *shown])

    def address(self, item: Item) -> str:
        """Return the content address of the answer about a response."""
        return content_address(self.model, dict(self.parameters), PROMPT_VERSION, item.question, item.response)

    def judgement(self, item: Item, reply: Reply) -> Judgement:
        """Return what an answer says of a response; undecided, with the reason, where it cannot be read."""
        behaviours: dict[str, tuple[str, ...]] = {}
        unfounded, detail = dict(behaviours), ""
        try:
            behaviours, unfounded = read_reply(reply.text, item.response)
        except ValueError as error:
            detail = f"{error} (the answer ended by: {reply.finish_reason})"
        return item.judgement(
            judge=self.model,
            settings=self.settings,
            status="undecided" if detail else "judged",
            behaviours=behaviours,
            unfounded=unfounded,
            detail=detail,
            key=self.address(item),
        )


def messages(question: str, response: str) -> list[dict[str, str]]:
    """Return the chat messages that ask about one response.

    The marks around question and response carry a hash of both: no response can hold its own, so none can end its
    part early.
    """
    mark = hashlib.sha256(f"{question}\x1f{response}".encode("utf-8", "replace")).hexdigest()[:16]
    definitions = [f"- {name}: {entry['is']} {entry['is_not']}" for name, entry in _TABLE["behaviours"].items()]
    shape = "{" + ", ".join(f'"{name}": []' for name in BEHAVIOURS) + "}"
    data = (
        f"<question {mark}>\n{question}\n</question {mark}>\n\n<response {mark}>\n{response}\n</response {mark}>\n\n"
        "Which of the behaviours does the response show? Answer with the JSON object."
    )
    instructions = _TABLE["instructions"].format(definitions="\n".join(definitions), shape=shape)
    return [{"role": "system", "content": instructions}, {"role": "user", "content": data}]


#: What JSON makes of LaTeX that was not escaped: "\times" begins with a tab.
_CONTROL = str.maketrans({"\b": "\\b", "\f": "\\f", "\r": "\\r", "\t": "\\t"})


def read_reply(text: str | None, response: str) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Return (behaviour → examples that stand in the response, behaviour → examples that do not).

    Every behaviour is a key of the first, those with such examples of the second. Raises ValueError, with one line why,
    for what holds no JSON object of lists of strings for exactly the behaviours.
    """
    value = read_object(text)
    given = {name.strip().lower().replace(" ", "_").replace("-", "_"): items for name, items in value.items()}
    if missing := [name for name in BEHAVIOURS if name not in given]:
        raise ValueError(f"the answer says nothing of {', '.join(missing)}")
    if unknown := [name for name in given if name not in BEHAVIOURS]:
        raise ValueError(f"the answer speaks of {', '.join(map(repr, unknown))[:100]}, which nobody asked for")
    haystack = " ".join(response.split())
    founded, unfounded = {}, {}
    for name in BEHAVIOURS:
        if not isinstance(given[name], list) or not all(isinstance(example, str) for example in given[name]):
            raise ValueError(f"{name} is not a list of strings")
        quoted = [(example, quotation(example, haystack)) for example in given[name] if example.strip()]
        founded[name] = tuple(dict.fromkeys(quote for _, quote in quoted if quote is not None))
        if wrong := tuple(example[:LONGEST] for example, quote in quoted if quote is None):
            unfounded[name] = wrong
    return founded, unfounded


def quotation(example: str, haystack: str) -> str | None:
    """Return an example as it stands in a text whose white space is single spaces; None where it does not.

    White space does not matter, nor quotation marks around the example. One that is abridged by … or ... stands there
    if its parts do, in their order.
    """
    latex = example.translate(_CONTROL)
    for variant in (latex, latex.replace("\n", "\\n"), example):
        text = " ".join(variant.split())
        for candidate in (text, text.strip("\"'“”‘’ ")):
            parts = [part.strip() for part in candidate.replace("...", "…").split("…") if part.strip()]
            if len("".join(parts)) >= SHORTEST and _in_order(parts, haystack):
                return candidate
            if len(candidate) >= SHORTEST and candidate in haystack:
                return candidate
    return None


def _in_order(parts: list[str], haystack: str) -> bool:
    end = 0
    for part in parts:
        start = haystack.find(part, end)
        if start < 0:
            return False
        end = start + len(part)
    return True
