"""Cognitive behaviours in responses: who sees them (keywords, or a model that judges), one call, and what it comes to.

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
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simplerl.core.seeds import derive
from simplerl.judge import AnswerCache, Endpoint, Reply, ask, content_address, estimate_tokens, read_object
from simplerl.ops.statistics import cohen_kappa, kappa_interval, ratio_figures
from simplerl.runs.directory import BehaviourDirectory
from simplerl.runs.files import slug
from simplerl.runs.run import ANSWERS, BEHAVIOURS, FOLDER, Evaluation, Judgement, read_behaviours, read_series

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

    def judgement(self, detail: str = "", **given: Any) -> Judgement:
        """Return a judgement of this response; with a `detail` it is undecided, and that is why."""
        flags = ("addresses_judge",) if _ADDRESSES_JUDGE.search(self.response) else ()
        where = {name: getattr(self, name) for name in ("step", "problem_id", "sample")}
        return Judgement(**where, status="undecided" if detail else "judged", flags=flags, detail=detail, **given)


def by_keywords(item: Item) -> Judgement:
    """Return what the keywords say."""
    key = content_address(KEYWORDS, PATTERNS_VERSION, item.question, item.response)
    return item.judgement(judge=KEYWORDS, settings=PATTERNS_VERSION, behaviours=detect(item.response), key=key)


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
        given = {"judge": self.model, "settings": self.settings, "key": self.address(item)}
        try:
            behaviours, unfounded = read_reply(reply.text, item.response)
        except ValueError as error:
            return item.judgement(f"{error} (the answer ended by: {reply.finish_reason})", behaviours={}, **given)
        return item.judgement(behaviours=behaviours, unfounded=unfounded, **given)


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
            abridged = [part.strip() for part in candidate.replace("...", "…").split("…") if part.strip()]
            if any(len("".join(parts)) >= SHORTEST and _in_order(parts, haystack) for parts in (abridged, [candidate])):
                return candidate
    return None


def _in_order(parts: list[str], haystack: str) -> bool:
    for part in parts:
        _, part_there, haystack = haystack.partition(part)
        if not part_there:
            return False
    return True


# -- one call of `simplerl behaviours`: what is looked at, what has to be asked, asking, recording -------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What is shown together: a run, or one series of results."""

    name: str
    items: tuple[Item, ...]
    folders: Mapping[Path, Path]  # Run or result directory → the folder of its record
    output: Path  # The folder that table and plot go to
    ending: str  # What their names end with, so that those of several series are different
    left_out: tuple[str, ...]  # Evaluations that could not be read, each with its reason


def parts(
    path: Path,
    *,
    steps: str,
    responses: int,
    seed: int,
    output: Path | None,
    warn: Callable[[str], None],
    on_done: Callable[[], None] = lambda: None,
) -> list[Part]:
    """Return what there is to look at in a run or a directory of results, `responses` of each step.

    Records go beside what they are of, or into `output/NAME`. `warn` hears of a damaged file, which is left out. Raises
    RunError where nothing can be read.
    """
    base = output / slug(path.resolve().name) if output else path
    result = []
    for one in read_series(path, steps, lambda e: select(e, responses, seed=seed), warn=warn, on_done=on_done):
        items = tuple(item for chosen in one.values for item in chosen)
        folders = {item.home: base / item.home.relative_to(path) / FOLDER for item in items}
        where: Any = {"folders": folders, "output": base / FOLDER, "ending": one.ending}
        result.append(Part(name=one.name, items=items, left_out=tuple(one.left_out), **where))
    return result


def select(evaluation: Evaluation, number: int, *, seed: int = 0) -> list[Item]:
    """Return `number` of an evaluation's responses (0: all), split over its problems as evenly as can be.

    The draw is addressed by problem and sample, not by step: the same problems and samples are chosen at every step,
    so that steps differ by the model alone. Raises RunError where the file cannot be read.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in evaluation.responses(["problem_id", "sample", "question", "response"]).to_pylist():
        groups.setdefault(row["problem_id"], []).append(row)
    ranked = [
        sorted(groups[problem], key=lambda row: derive(seed, "behaviours", row["problem_id"], row["sample"]))
        for problem in sorted(groups, key=lambda problem: derive(seed, "behaviours", problem))
    ]
    # Every problem's first, then every problem's second …
    turns = (row for turn in itertools.zip_longest(*ranked) for row in turn if row is not None)
    return [
        Item(
            step=evaluation.step,
            home=evaluation.home,
            problem_id=row["problem_id"],
            sample=row["sample"],
            question=row["question"] or "",
            response=row["response"] or "",
        )
        for row in itertools.islice(turns, number or None)
    ]


class Session:
    """Parts, who judges them (None: keywords alone), and the answers that are there already."""

    def __init__(self, shown: Sequence[Part], judge: Judge | None, warn: Callable[[str], None]):
        """Read every answer that was kept beside the parts; `warn` hears of damaged ones."""
        self.judge = judge
        self.items = [item for part in shown for item in part.items]
        self._folders = {home: folder for part in shown for home, folder in part.folders.items()}
        self.answers: dict[str, Reply] = {}
        """Address → answer."""
        for folder in dict.fromkeys(self._folders.values()):
            self.answers |= AnswerCache(folder / ANSWERS).read(warn)

    def judgements(self, items: Iterable[Item]) -> list[Judgement]:
        """Return what keywords say of responses, and the judge where it has answered."""
        items = list(items)
        answered = [(item, self.answers[key]) for key, item in self._addressed(items) if key in self.answers]
        judged = [self.judge.judgement(*pair) for pair in answered] if self.judge else []
        return [*map(by_keywords, items), *judged]

    def forget_undecided(self) -> None:
        """Forget the answers that could not be read, so that they are asked for again."""
        for judgement in self.judgements(self.items):
            if judgement.status == "undecided":
                self.answers.pop(judgement.key, None)

    def missing(self) -> dict[str, Item]:
        """Return what has to be asked: address → one of the responses that it is of, as equal ones are asked once."""
        requests: dict[str, Item] = {}
        for key, item in self._addressed(self.items):
            if key not in self.answers:
                requests.setdefault(key, item)
        return requests

    def _addressed(self, items: Iterable[Item]) -> list[tuple[str, Item]]:
        return [(self.judge.address(item), item) for item in items] if self.judge else []

    def ask_and_record(
        self,
        requests: Mapping[str, Item],
        endpoint: Endpoint | None,
        *,
        concurrency: int,
        say: Callable[[str], None],
        on_done: Callable[[], None],
    ) -> dict[str, str]:
        """Ask for what is missing and record every judgement; return address → why it has no answer.

        An answer is kept in every folder that it belongs into, the moment it is there. What was answered is recorded
        even where asking ends with an error, which then goes on.
        """
        homes = defaultdict[str, set[Path]](set)
        for key, item in self._addressed(self.items):
            homes[key].add(item.home)
        with ExitStack() as stack:
            records = {home: stack.enter_context(BehaviourDirectory(folder)) for home, folder in self._folders.items()}
            caches = {home: AnswerCache(folder / ANSWERS) for home, folder in self._folders.items()}

            def keep(key: str, reply: Reply) -> None:
                for home in homes[key]:
                    caches[home].keep(key, reply)
                self.answers[key] = reply

            try:
                if endpoint is None:
                    return {}
                asked = {key: messages(item.question, item.response) for key, item in requests.items()}
                return ask(endpoint, asked, keep=keep, concurrency=concurrency, say=say, on_done=on_done)
            finally:
                for home, record in records.items():
                    # New or different judgements, and the answers that another folder had.
                    new = self.judgements(item for item in self.items if item.home == home)
                    recorded = {judgement.identity: judgement for judgement in read_behaviours(record.path)}
                    record.record([judgement for judgement in new if recorded.get(judgement.identity) != judgement])
                    kept = caches[home].read(lambda message: None)
                    for key in dict.fromkeys(j.key for j in new if j.key in self.answers and j.key not in kept):
                        caches[home].keep(key, self.answers[key])


def estimate(requests: Iterable[Item]) -> tuple[int, int]:
    """Return about how many tokens go in and come out: the behaviours' names, and quotations of half a response."""
    tokens_in = tokens_out = 0
    for item in requests:
        tokens_in += sum(estimate_tokens(message["content"]) for message in messages(item.question, item.response))
        tokens_out += 40 + min(estimate_tokens(item.response) // 2, 300)
    return tokens_in, tokens_out


# -- what judgements come to: shares over steps with intervals, and how far two judges agree -------------------------

#: How behaviours are called in tables and plots.
TITLES = {name: name.replace("_", " ") for name in BEHAVIOURS}


def table(judgements: Iterable[Judgement]) -> dict[str, Any]:
    """Return, by judge and step, the share of responses that show each behaviour, with a 95% bootstrap interval over
    problems; and the agreement of the keywords with every other judge.

    Responses of which it is not known (`Judgement.shows`) are left out of the share and counted.
    """
    by_judge: defaultdict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        by_judge[judgement.judge, judgement.settings].append(judgement)
    keywords = [j for (judge, _), said in by_judge.items() if judge == KEYWORDS for j in said]
    judges, agreements = [], []
    # The keywords last: they are the substitute.
    for (judge, settings), said in sorted(by_judge.items(), key=lambda item: (item[0][0] == KEYWORDS, item[0])):
        steps = sorted({j.step for j in said}, key=lambda step: (step is None, step or 0))
        rows = [_step(step, [j for j in said if j.step == step]) for step in steps]
        judges.append({"judge": judge, "settings": settings, "steps": rows})
        if judge != KEYWORDS and keywords:
            names = {"judge": judge, "settings": settings, "with": KEYWORDS}
            agreements.append({**names, **agreement(said, keywords)})
    return {"judges": judges, "agreement": agreements}


def _shows(judgements: Sequence[Judgement]) -> np.ndarray:
    """Return float64 [J, B]: 1 where a response shows a behaviour, 0 where it does not, NaN where it is not known."""
    shown = [[judgement.shows(name) for name in BEHAVIOURS] for judgement in judgements]
    return np.array(shown, np.float64).reshape(-1, len(BEHAVIOURS))


def _by_problem(judgements: Sequence[Judgement], values_JM: np.ndarray) -> np.ndarray:
    """Return [P, M]: the sums over each problem's responses, problems in order of appearance; NaN adds nothing."""
    row_of = {problem: row for row, problem in enumerate(dict.fromkeys(j.problem_id for j in judgements))}
    sums_PM = np.zeros((len(row_of), values_JM.shape[1]))
    np.add.at(sums_PM, np.array([row_of[j.problem_id] for j in judgements], np.int64), np.nan_to_num(values_JM))
    return sums_PM


def _step(step: int | None, judgements: Sequence[Judgement]) -> dict[str, Any]:
    shows_JB = _shows(judgements)
    above_PB, below_PB = (_by_problem(judgements, values) for values in (shows_JB, ~np.isnan(shows_JB)))
    return {
        "step": step,
        "responses": len(judgements),
        "problems": len(above_PB),
        "undecided": sum(j.status == "undecided" for j in judgements),
        "unfounded": sum(len(texts) for j in judgements for texts in j.unfounded.values()),
        "flagged": sum(bool(j.flags) for j in judgements),
        "behaviours": ratio_figures(above_PB, below_PB, BEHAVIOURS, shares=BEHAVIOURS),
        "unknown": dict(zip(BEHAVIOURS, np.isnan(shows_JB).sum(0).tolist(), strict=True)),
    }


def agreement(first: Iterable[Judgement], second: Iterable[Judgement]) -> dict[str, Any]:
    """Return by behaviour how far two judges agree on the responses of which both know.

    `share` is the share on which they agree, `kappa` Cohen's κ, each with a 95% bootstrap interval over problems;
    `counts` those in which both see it, the first alone, the second alone, neither.
    """
    other = {(j.step, j.problem_id, j.sample): j for j in second}
    pairs = [(one, two) for one in first if (two := other.get((one.step, one.problem_id, one.sample))) is not None]
    sides, counted = [[pair[side] for pair in pairs] for side in (0, 1)], ("both", "first", "second", "neither")
    behaviours: dict[str, Any] = {}
    for name, a_J, b_J in zip(BEHAVIOURS, *(_shows(side).T for side in sides), strict=True):
        said_J4 = np.stack([a_J * b_J, a_J * (1 - b_J), (1 - a_J) * b_J, (1 - a_J) * (1 - b_J)], 1)
        counts_P4 = _by_problem(sides[0], said_J4)
        counts_P4 = counts_P4[counts_P4.sum(1) > 0]
        if not len(counts_P4):
            continue
        same_P1, all_P1 = counts_P4[:, [0, 3]].sum(1, keepdims=True), counts_P4.sum(1, keepdims=True)
        low, high = kappa_interval(counts_P4)
        behaviours[name] = {
            "responses": int(counts_P4.sum()),
            "share": ratio_figures(same_P1, all_P1, ["share"], shares={"share"})["share"],
            "kappa": {"value": cohen_kappa(counts_P4.sum(0)), "low": low, "high": high, "problems": len(counts_P4)},
            "counts": dict(zip(counted, counts_P4.sum(0).astype(int).tolist(), strict=True)),
        }
    return {"behaviours": behaviours}
