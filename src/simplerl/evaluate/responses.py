"""Score responses that were made elsewhere, through the same verifier and figures.

A line of the file speaks of one problem: its `id` (`gsm8k-17`, the source's own id, or the index `idx`), or its
`question`; and of one or several responses: `response`, `responses`, `completion(s)`, `output(s)`, `generation(s)` or
the original's `code`, each a text or a list. `finish_reason` (a text or a list) and `sample` may be given.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from simplerl.data.rows import Row, read_rows
from simplerl.errors import DataError, nearest
from simplerl.evaluate.benchmarks import Loaded
from simplerl.evaluate.metrics import figures
from simplerl.evaluate.protocol import check_ks
from simplerl.runs.answers import read_answers
from simplerl.runs.results import RESPONSES, ResultDirectory, key_of, slug
from simplerl.runs.trajectories import problem_columns, verdict_columns, whole_characters, write_rows
from simplerl.types import Problem
from simplerl.verify import VerifierPool

TEXTS = ("response", "responses", "completion", "completions", "output", "outputs", "generation", "generations", "code")
IDS = ("problem_id", "id", "unique_id", "idx", "index")
#: More samples of a problem than anybody draws; the number must fit its column.
MOST_SAMPLES = 1_000_000_000
REASONS = {"stop": "stop", "eos": "eos", "length": "length", "eos_token": "eos", "max_tokens": "length"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """One response made elsewhere."""

    problem: Problem
    sample: int
    response: str
    stop_reason: str | None


def read_responses(path: Path, loaded: Loaded) -> list[Given]:
    """Return the responses in a file, by problem and sample, for a benchmark's problems.

    Raises DataError for a line without response, an unknown id, a duplicated row, and problems without any response.
    """
    known = _index(loaded.problems)
    found: dict[str, dict[int, Given]] = {}
    seen: dict[tuple[str, str], str] = {}
    for row in read_rows(path):
        problem = _problem(row, known, loaded)
        texts, reasons = _texts(row), _reasons(row)
        if len(reasons) not in (0, len(texts)):
            raise DataError(f"{row.place}: {len(texts)} responses but {len(reasons)} finish reasons")
        members = found.setdefault(problem.id, {})
        start = row.fields.get("sample", len(members))
        if not isinstance(start, int) or isinstance(start, bool) or not 0 <= start < MOST_SAMPLES:
            raise DataError(f"{row.place}: sample must be a number from 0 to {MOST_SAMPLES - 1:,}, got {start!r}")
        _refuse_duplicate(row, problem, texts, seen)
        for offset, text in enumerate(texts):
            if start + offset in members:
                raise DataError(
                    f"{row.place}: sample {start + offset} of {problem.id} is there twice; remove one of the rows"
                )
            members[start + offset] = Given(
                problem=problem,
                sample=start + offset,
                response=text,
                stop_reason=reasons[offset] if reasons else None,
            )
    if not found:
        raise DataError(f"{path} holds no responses")
    _refuse_missing(path, loaded, found)
    return [
        members[sample] for problem in loaded.problems for members in [found[problem.id]] for sample in sorted(members)
    ]


def _index(problems: Sequence[Problem]) -> dict[str, Problem]:
    """Return every name under which a problem may be given."""
    index = {str(place): problem for place, problem in enumerate(problems)}
    index |= {str(p.meta["original_id"]): p for p in problems if "original_id" in p.meta and p.source not in index}
    index |= {problem.question.strip(): problem for problem in problems}
    return index | {problem.id: problem for problem in problems}


def _problem(row: Row, known: Mapping[str, Problem], loaded: Loaded) -> Problem:
    name = next((row.fields[field] for field in IDS if row.fields.get(field) is not None), None)
    if name is None:
        name = next((row.fields[f] for f in ("question", "problem") if isinstance(row.fields.get(f), str)), None)
        if name is None:
            there = ", ".join(map(repr, row.fields)) or "none"
            raise DataError(
                f"{row.place}: no problem is named; wanted one of {', '.join(IDS)} or question. Fields there: {there}"
            )
        name = name.strip()
    problem = known.get(str(name))
    if problem is None:
        raise DataError(
            f"{row.place}: {loaded.benchmark.name} has no problem {str(name)[:80]!r}; "
            f"{nearest(str(name)[:80], [p.id for p in loaded.problems][:5000])[:200]}"
        )
    return problem


def _texts(row: Row) -> list[str]:
    name = next((name for name in TEXTS if row.fields.get(name) is not None), None)
    if name is None:
        there = ", ".join(map(repr, row.fields)) or "none"
        raise DataError(f"{row.place}: no response; wanted one of {', '.join(TEXTS)}. Fields there: {there}")
    value = row.fields[name]
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{row.place}: field {name!r} must be a text or a list of texts, not empty")
    return texts


def _reasons(row: Row) -> list[str | None]:
    value = row.fields.get("finish_reason", row.fields.get("stop_reason"))
    if value is None:
        return []
    return [REASONS.get(reason) if isinstance(reason, str) else None for reason in _as_list(value)]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _refuse_duplicate(row: Row, problem: Problem, texts: list[str], seen: dict[tuple[str, str], str]) -> None:
    """Two equal rows are a mistake unless they say which samples they are: a file that was joined with itself."""
    if "sample" in row.fields:
        return
    key = (problem.id, "\x1f".join(texts))
    if key in seen:
        raise DataError(
            f"{row.place}: the same row stands at {seen[key]}; remove one, or number the rows of a problem with "
            "'sample' if both were really drawn"
        )
    seen[key] = row.place


def _refuse_missing(path: Path, loaded: Loaded, found: Mapping[str, Any]) -> None:
    missing = [problem.id for problem in loaded.problems if problem.id not in found]
    if missing:
        named = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        raise DataError(
            f"{path} has no response to {len(missing)} of {len(loaded.problems)} problems of {loaded.benchmark.name}: "
            f"{named}; an accuracy over the others would not be the benchmark's. Add them (an empty response counts as "
            "no answer), or give --limit N if only the first N were answered"
        )


def score(
    given: Sequence[Given],
    loaded: Loaded,
    *,
    name: str,
    label: str,
    source: Path,
    policy: str,
    tokenizer: PreTrainedTokenizerBase | None,
    output: Path,
    on_done: Callable[[], None],
    ks: Sequence[int] = (),
) -> ResultDirectory:
    """Judge responses and write them and their figures. Lengths are known only with a tokenizer."""
    samples = max(Counter(g.problem.id for g in given).values())
    check_ks(ks, samples, name)
    record = {
        "label": label,
        "model": str(source),
        "step": None,
        "benchmark": name,
        "problems": len(loaded.problems),
        "data_sha256": loaded.sha256,
        "template": {"name": "unknown", "text": None},
        "sampling": {"made": "elsewhere"},
        "samples": samples,
        "policy": policy,
        "seed": None,
        "responses_sha256": _digest(given),
    }
    directory = ResultDirectory(output / slug(label) / slug(name) / key_of("responses", record))
    try:
        directory.begin(record, overwrite=True)
        write_rows(directory.path / RESPONSES, _rows(given, policy, tokenizer, on_done))
        directory.finish(figures(read_answers(directory.path / RESPONSES), ks=ks), {})
    finally:
        directory.end()
    return directory


def _digest(given: Iterable[Given]) -> str:
    digest = hashlib.sha256()
    for item in given:
        digest.update(f"{item.problem.id}\x1f{item.sample}\x1f{item.response}\x1e".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _rows(
    given: Sequence[Given], policy: str, tokenizer: PreTrainedTokenizerBase | None, on_done: Callable[[], None]
) -> list[dict[str, Any]]:
    with VerifierPool(policy, workers=1, lenient=("unfinished",)) as pool:
        for index, item in enumerate(given):
            pool.submit(index, item.response, item.problem.answer, item.problem.question)
        verdicts = {}
        for index, verdict in pool.results():
            verdicts[index] = verdict
            on_done()
    return [
        {
            **problem_columns(item.problem),
            **verdict_columns(verdicts[index]),
            "sample": item.sample,
            "response": whole_characters(item.response),
            "stop_reason": item.stop_reason,
            "token_ids": None
            if tokenizer is None
            else tokenizer.encode(whole_characters(item.response), add_special_tokens=False),
        }
        for index, item in enumerate(given)
    ]
