"""Make training data: part problems by a figure, build tiers, and write them as a data file with a report beside it.

The file is one that `read` takes back; it is written completely or not at all.

A row has id, question, answer, source and level, and where they are known the file's own prompt (as messages), the
measured pass rate and the number of samples behind it, and the further columns that rewards and environments read.
"""

import dataclasses
import json
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from simplerl import __version__
from simplerl.core.errors import ConfigError, DataError
from simplerl.core.types import Problem
from simplerl.data.audit import KINDS, audit
from simplerl.data.decontaminate import exact
from simplerl.data.problems import TAKEN, ProblemSet, Reading, choices_of, part, question_of
from simplerl.runs.files import make_directory, write_atomic, write_json

#: What a row does not repeat of `Problem.meta`: it has fields of its own for it, or it is of this reading alone.
_OWN = TAKEN - {"solution", "tests", "pass_rate", "pass_rate_samples"} | {"stem"}


def check_output(path: Path, *, overwrite: bool) -> Path:
    """Return the path of a data file that may be written; else raise DataError or RunError, before any work is done."""
    if path.suffix != ".jsonl":
        raise DataError(f"output {path}: the ending must be .jsonl, got {path.suffix!r}")
    for taken in (path, report_path(path)):
        if taken.is_dir():
            raise DataError(f"output {taken} is a directory; give a file")
        if taken.exists() and not overwrite:
            raise DataError(f"output {taken} exists already; give another --output, or --overwrite to replace it")
    make_directory(path.parent)
    return path


def report_path(path: Path) -> Path:
    """Return where the report of a data file stands: `easy.jsonl` has `easy.report.json`."""
    return path.with_name(f"{path.stem}.report.json")


def as_row(problem: Problem) -> dict[str, Any]:
    """Return a problem as a row. Its id and source are those that it had where it first came from."""
    meta = problem.meta
    row: dict[str, Any] = {
        "id": str(meta.get("original_id", problem.id)),
        "question": problem.question,
        "answer": problem.answer,
        "source": str(meta.get("origin", problem.source)),
        "level": problem.level,
    }
    if meta.get("messages"):
        row["prompt"] = [{"role": role, "content": content} for role, content in meta["messages"]]
    row |= {name: value for name, value in meta.items() if name not in _OWN and value is not None and value == value}
    if meta.get("options"):  # Unless the labels that the question shows are not those of a list.
        asked = {**row, "options": list(meta["options"])}
        told = choices_of(asked, problem.answer)
        same = question_of(asked) == problem.question and all(meta[name] == value for name, value in told.items())
        row = asked if same else row
    return row


def write(path: Path, problems: Sequence[Problem], report: Mapping[str, Any]) -> None:
    """Write the data file and its report. Raises DataError for no problem, RunError where it cannot be written."""
    if not problems:
        raise DataError(f"nothing is left to write to {path}: every problem was removed")
    write_atomic(path, "".join(_line(as_row(problem)) for problem in problems))
    write_json(report_path(path), report)


def _line(row: dict[str, Any]) -> str:
    try:
        line = json.dumps(row, ensure_ascii=False) + "\n"
    except TypeError as error:
        raise DataError(f"a column of {row['id']} cannot be stored as JSON ({error}); leave it out") from error
    # Half a surrogate pair is no character, but JSON can write it with an escape.
    return line if line.isascii() or not any("\ud800" <= c <= "\udfff" for c in line) else json.dumps(row) + "\n"


def report_of(command: str, problem_set: ProblemSet, settings: Mapping[str, Any], **figures: Any) -> dict[str, Any]:
    """Return a report: what was read, from where, with which settings, and what came of it."""
    return {
        "command": f"simplerl data {command}",
        "simplerl": __version__,
        "input": dict(problem_set.origin),
        "settings": dict(settings),
        "read": len(problem_set.problems) + len(problem_set.left_out),
        "no_gold": [{"id": item.id, "place": item.place, "why": item.why} for item in problem_set.left_out],
        "decisions": dict(problem_set.decisions),
        **figures,
    }


class Filtered(NamedTuple):
    """What a filter makes of problems."""

    kept: list[Problem]
    removed: list[dict[str, Any]]  # Each by its name, with what is said of it
    why: str  # Key of `removed` that says why
    title: str
    rows: Sequence[tuple[str, int]]  # Counts to show, between those read and those kept
    report: Mapping[str, Any]  # What the report holds besides


def by_prompt_tokens(problems: Sequence[Problem], count: Callable[[Problem], int], limit: int) -> Filtered:
    """Keep the problems whose prompt has at most `limit` tokens."""
    counts = {item.id: count(item) for item in problems}
    kept, removed = part(problems, lambda item: {"tokens": counts[item.id]} if counts[item.id] > limit else None)
    tokens = sorted(counts.values())
    p95 = tokens[round(0.95 * (len(tokens) - 1))]
    figures = {"min": tokens[0], "median": statistics.median(tokens), "p95": p95, "max": tokens[-1]}
    title = f"prompts of at most {limit:,} tokens (longest: {tokens[-1]:,})"
    return Filtered(kept, removed, "tokens", title, [("longer prompts", len(removed))], {"prompt_tokens": figures})


def by_pass_rate(problems: Sequence[Problem], *, least: float, most: float) -> Filtered:
    """Keep the problems whose `pass_rate` lies within bounds; one without it is removed."""
    if not 0 <= least <= most <= 1:
        raise ConfigError(f"pass rates lie between 0 and 1, the least first: got {least} and {most}")

    def why(item: Problem) -> dict[str, Any] | None:
        rate = item.meta.get("pass_rate")
        if rate is None:
            return {"pass_rate": None, "why": "no sample could be judged"}
        return None if least <= rate <= most else {"pass_rate": rate, "why": "pass rate"}

    kept, removed = part(problems, why)
    rates = histogram(problems)
    rows = [(f"pass rate {name}", count) for name, count in rates.items()]
    title = f"pass rates between {least} and {most}"
    return Filtered(kept, removed, "pass_rate", title, rows, {"pass_rates": rates})


def by_gold(problems: Sequence[Problem], *, workers: int, timeout_s: float) -> Filtered:
    """Keep the problems whose gold the verifier can judge."""
    readings = [Reading(id=item.id, place="", problem=item) for item in problems]
    findings = audit(readings, "", workers=workers, timeout_s=timeout_s).findings
    why = {finding.id: finding.why for kind in ("rejected", "unjudgeable") for finding in findings[kind]}
    kept, removed = part(problems, lambda item: {"gold": item.answer, "why": why[item.id]} if item.id in why else None)
    rows = [(KINDS[kind], len(findings[kind])) for kind in ("rejected", "unjudgeable", "literal")]
    report = {"same_text_only": [asdict(item) for item in findings["literal"]]}
    return Filtered(kept, removed, "why", "golds against themselves", rows, report)


def histogram(problems: Sequence[Problem]) -> dict[str, int]:
    """Return pass rate → problems: never, by quarters, always, not measured."""
    most = {"0": 0, "up to 1/4": 0.25, "up to 1/2": 0.5, "up to 3/4": 0.75, "below 1": 1 - 1e-12, "1": 1}
    counts = dict.fromkeys((*most, "not judged"), 0)
    for problem in problems:
        rate = problem.meta.get("pass_rate")
        counts["not judged" if rate is None else next(name for name, end in most.items() if rate <= end)] += 1
    return counts


#: SimpleRL-Zoo's tiers of difficulty (arXiv 2503.18892), made of GSM8K and MATH: name → (whether GSM8K is in it, levels
#: of MATH, how many problems the paper reports).
TIERS = {
    "easy": (True, ("1",), "about 8,000"),
    "medium": (False, ("1", "2", "3", "4"), "about 8,000"),
    "hard": (False, ("3", "4", "5"), "8,523"),
}


class Tiers(NamedTuple):
    """The tiers, and the problems that are in none."""

    problems: dict[str, list[Problem]]
    excluded: list[Problem]  # Asked by a benchmark that was to be kept out
    without_level: list[Problem]  # Rows of MATH whose level is not 1 to 5


def sourced(problems: Sequence[Problem], source: str, label: str) -> list[Problem]:
    """Return problems with a source and with ids that stay unique when sets are put together."""
    return [
        dataclasses.replace(
            item,
            id=f"{label}-{index}",
            source=source,
            meta={key: value for key, value in item.meta.items() if key not in ("origin", "original_id", "messages")},
        )
        for index, item in enumerate(problems)
    ]


def build_tiers(gsm8k: Sequence[Problem], math: Sequence[Problem], *, exclude: Collection[str] = ()) -> Tiers:
    """Return the tiers. `exclude` holds questions that must not be trained on. Raises DataError for an empty tier."""
    asked = {exact(question) for question in exclude}
    left: list[Problem] = []
    excluded: list[Problem] = []
    for item in [*gsm8k, *math]:
        (excluded if exact(item.question) in asked else left).append(item)
    levels = {item.level for item in left if item.source == "math"}
    tiers: dict[str, list[Problem]] = {}
    for name, (with_gsm8k, wanted, _) in TIERS.items():
        if not levels & {*wanted}:
            raise DataError(
                f"tier {name} has no problem of MATH: it needs levels {', '.join(wanted)}, and the levels there "
                f"are {', '.join(sorted(map(repr, levels))) or 'none'}"
            )
        tiers[name] = [p for p in left if (p.level in wanted if p.source == "math" else with_gsm8k)]
    without_level = [item for item in left if item.source == "math" and item.level not in tuple("12345")]
    return Tiers(tiers, excluded, without_level)


def counts(problems: Sequence[Problem]) -> dict[str, int]:
    """Return `gsm8k` and `math level N` → problems."""
    numbers = Counter(item.source if item.source == "gsm8k" else f"math level {item.level}" for item in problems)
    return dict(sorted(numbers.items()))
