"""Score responses that were made elsewhere, through the same verifier and figures.

A line of the file speaks of one problem: its `id` (`gsm8k-17`, the source's own id, or the index `idx`), or its
`question`; and of one or several responses: `response`, `responses`, `completion(s)`, `output(s)`, `generation(s)` or
the original's `code`, each a text or a list. `finish_reason` (a text or a list) and `sample` may be given.
"""

import hashlib
import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from simplerl.core.errors import DataError, nearest
from simplerl.core.types import Problem, Verdict
from simplerl.data.rows import read_rows
from simplerl.environments import own_verdict
from simplerl.evaluate.benchmarks import Loaded, first_field
from simplerl.evaluate.figures import check_ks, figures
from simplerl.evaluate.run import Settings
from simplerl.runs.directory import ResultDirectory, key_of
from simplerl.runs.files import slug
from simplerl.runs.responses import ResponseFile, response_columns, write_rows
from simplerl.runs.run import RESPONSES
from simplerl.verify import VerifierPool

TEXTS = ("response", "responses", "completion", "completions", "output", "outputs", "generation", "generations", "code")
IDS = ("problem_id", "id", "unique_id", "task_id", "question_id", "idx", "index", "question", "problem")
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
    problems = loaded.problems
    known = {str(index): problem for index, problem in enumerate(problems)}
    known |= {str(p.meta["original_id"]): p for p in problems if "original_id" in p.meta and p.source not in known}
    known |= {problem.question.strip(): problem for problem in problems} | {problem.id: problem for problem in problems}
    by_problem = defaultdict[str, dict[int, Given]](dict)
    seen: dict[tuple[str, ...], str] = {}
    for row in read_rows(path):
        name = str(first_field(row, IDS, f"no problem is named; wanted one of {', '.join(IDS)}")[1]).strip()
        problem = known.get(name)
        if problem is None:
            near = nearest(name[:80], [p.id for p in problems][:5000])[:200]
            raise DataError(f"{row.place}: {loaded.benchmark.name} has no problem {name[:80]!r}; {near}")
        field, value = first_field(row, TEXTS, f"no response; wanted one of {', '.join(TEXTS)}")
        texts = value if isinstance(value, list) else [value]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise DataError(f"{row.place}: field {field!r} must be a text or a list of texts, not empty")
        reasons = row.fields.get("finish_reason", row.fields.get("stop_reason"))
        reasons = reasons if isinstance(reasons, list) else [reasons] * (reasons is not None)
        if len(reasons) not in (0, len(texts)):
            raise DataError(f"{row.place}: {len(texts)} responses but {len(reasons)} finish reasons")
        members = by_problem[problem.id]
        start = row.fields.get("sample", len(members))
        if type(start) is not int or not 0 <= start < MOST_SAMPLES:
            raise DataError(f"{row.place}: sample must be a number from 0 to {MOST_SAMPLES - 1:,}, got {start!r}")
        # Two equal rows are a mistake unless they say which samples they are: a file that was joined with itself.
        before = seen.setdefault((problem.id, *texts), row.place)
        if before != row.place and "sample" not in row.fields:
            raise DataError(
                f"{row.place}: the same row stands at {before}; remove one, or number the rows of a problem with "
                "'sample' if both were really drawn"
            )
        for sample, (text, reason) in enumerate(itertools.zip_longest(texts, reasons), start):
            if sample in members:
                raise DataError(f"{row.place}: sample {sample} of {problem.id} is there twice; remove one of the rows")
            stop_reason = REASONS.get(reason) if isinstance(reason, str) else None
            members[sample] = Given(problem=problem, sample=sample, response=text, stop_reason=stop_reason)
    if not by_problem:
        raise DataError(f"{path} holds no responses")
    if missing := [problem.id for problem in problems if problem.id not in by_problem]:
        named = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        raise DataError(
            f"{path} has no response to {len(missing)} of {len(problems)} problems of {loaded.benchmark.name}: "
            f"{named}; an accuracy over the others would not be the benchmark's. Add them (an empty response counts as "
            "no answer), or give --limit N if only the first N were answered"
        )
    return [given for problem in problems for _, given in sorted(by_problem[problem.id].items())]


def score(
    given: Sequence[Given],
    loaded: Loaded,
    source: Path,
    *,
    settings: Settings,
    tokenizer: PreTrainedTokenizerBase | None,
    output: Path,
    on_done: Callable[[], None],
) -> ResultDirectory:
    """Judge the responses of the file `source`; write them and their figures. Only a tokenizer tells lengths."""
    name, policy = loaded.benchmark.name, settings.policy or loaded.benchmark.policy
    samples = max(Counter(item.problem.id for item in given).values())
    check_ks(settings.ks, samples, name)
    texts = "".join(f"{item.problem.id}\x1f{item.sample}\x1f{item.response}\x1e" for item in given)
    record = {
        "label": source.stem,
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
        "responses_sha256": hashlib.sha256(texts.encode("utf-8", "surrogatepass")).hexdigest(),
    }
    with ResultDirectory(output / slug(source.stem) / slug(name) / key_of("responses", record)) as directory:
        directory.begin(record, overwrite=True)
        write_rows(directory.path / RESPONSES, _rows(given, policy, tokenizer, on_done))
        directory.finish(figures(ResponseFile(directory.path / RESPONSES).answers(), ks=settings.ks), {})
    return directory


def _rows(
    given: Sequence[Given],
    policy: str,
    tokenizer: PreTrainedTokenizerBase | None,
    on_done: Callable[[], None],
) -> list[dict[str, Any]]:
    verdicts: dict[int, Verdict] = {}
    waiting: dict[Future[Verdict], int] = {}
    with (
        VerifierPool(policy, workers=1, lenient=("unfinished",)) as pool,
        ThreadPoolExecutor(os.cpu_count()) as threads,
    ):
        judged = threads.map(lambda item: own_verdict(item.problem, item.response, policy), given)
        for index, (item, verdict) in enumerate(zip(given, judged, strict=True)):
            if verdict is None:
                waiting[pool.submit(item.response, item.problem.answer, item.problem.question)] = index
            else:
                verdicts[index] = verdict
                on_done()
        for judgement in as_completed(waiting):
            verdicts[waiting[judgement]] = judgement.result()
            on_done()
    rows = [
        response_columns(item.problem, item.sample, item.response, item.stop_reason, verdicts[index])
        for index, item in enumerate(given)
    ]
    if tokenizer:
        for row in rows:
            row["token_ids"] = tokenizer.encode(row["response"], add_special_tokens=False)
    return rows
