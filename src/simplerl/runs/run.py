"""A run directory, or results of `simplerl eval`, as they are found on disk: the only reader of both.

    run = Run("runs/default")
    run.metrics.to_pandas().plot(x="step", y="accuracy/mean")     # Arrow tables; pandas where it is installed
    run.responses(20, columns=["question", "response", "verdict"]).to_pylist()
    run.evaluations[-1].figures["acc"]                            # {"value": …, "low": …, "high": …, "problems": …}

A run may still be written, copied half, damaged, or of an older version: what can be read is read, and `damage` says
what cannot, and why. Everything is read when it is asked for, and kept.
"""

import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow
from pydantic import ConfigDict, TypeAdapter, ValidationError, create_model

from simplerl.core.errors import ConfigError, RunError
from simplerl.runs.files import MANIFEST, JsonLines, flatten, slug
from simplerl.runs.metrics import as_number, scan_metrics
from simplerl.runs.responses import LEDGER, Answer, ResponseFile

#: Folders of a run. Beside one of them config.json is a run's, and not that of a model.
FOLDERS = ("trajectories", "evaluations", "checkpoints")

#: File that says what a run is doing at this moment.
STATUS = "status.json"

#: Files of a result of `simplerl eval`.
RESPONSES, FIGURES, PROTOCOL, TIMING = "responses.parquet", "figures.json", "protocol.json", "timing.json"

#: How far down `find_runs` looks and at how many directories, and the largest JSON file that is read (bytes).
DEEPEST, MOST_DIRECTORIES, LARGEST_JSON = 8, 20_000, 50_000_000

#: What a run's own evaluations are called where others have the name of a benchmark.
HELD_OUT = "held-out"

_STRICT: Any = {"__config__": ConfigDict(strict=True)}
_NAMED: Any = create_model("_NAMED", **_STRICT, name=(str, ...))
_FIGURE: Any = create_model("_FIGURE", **_STRICT, value=(float | None, ...))
_AT_K: Any = {"pass@k": (dict[str, _FIGURE], ...)}
#: What everybody relies on in the files of a result, as every version has written it.
_FORMS = {
    PROTOCOL: create_model(
        PROTOCOL, **_STRICT, label=(str, ...), benchmark=(str, ...), samples=(int, ...), problems=(int, ...),
        template=(_NAMED, ...), sampling=(dict[str, Any], ...), seed=(int | None, ...),
        policy=(str | None, None), environment=(_NAMED | None, None),
    ),
    FIGURES: create_model(
        FIGURES, **_STRICT, problems=(int, ...), samples=(int, ...), verdicts=(dict[str, int], ...),
        acc=(_FIGURE, ...), boxed_acc=(_FIGURE, ...), tokens=(_FIGURE, ...), **_AT_K,
    ),
}  # fmt: skip

#: The behaviours of SimpleRL-Zoo (arXiv 2503.18892); `simplerl.behaviours.judging` says what they are.
BEHAVIOURS = ("backtracking", "verification", "subgoal_setting", "enumeration")

#: Folder, files and name of the table of what a judge saw.
FOLDER, JUDGEMENTS, ANSWERS, TABLE = "behaviours", "judgements.jsonl", "answers.jsonl", "table"

#: What decides how a model is measured, as far as a protocol says it: evaluations that differ here are not alike.
HOW = ("template", "sampling", "samples", "seed", "policy", "environment")

#: What a run calls what it has of a step.
STEP = re.compile(r"step_(\d{1,12})(\.json|\.parquet)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Every response of one model to one set of problems, and the figures that they come to."""

    label: str  # Name of the model: `RUN@STEP`, or as the result has it
    step: int | None  # Step of its run, 0 is the base model; None for a model that is not of a run
    benchmark: str  # `held-out` for a run's own evaluations
    figures: Mapping[str, Any]
    """`acc`, `pass@k`, `tokens` … (docs/evaluation.md), those of older versions mapped. Empty where there are none."""
    protocol: Mapping[str, Any]
    """How it was made: all of protocol.json for a result; sampling, samples and problems for a run's own."""
    path: Path  # The Parquet file of its responses
    home: Path  # The run or result directory that it is of

    @property
    def records(self) -> ResponseFile:
        """The responses as a file, for who reads them in batches."""
        return ResponseFile(self.path)

    def responses(self, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """Return columns of every response (None: all). Raises RunError where they cannot be read."""
        return self.records.read(columns)

    def answers(self) -> list[Answer]:
        """Return every response without its tokens. Raises RunError where they cannot be read."""
        return self.records.answers()


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A model directory that a run saved."""

    step: int
    path: Path
    complete: bool  # Whether every file of its manifest is there. `files.damage` also compares their content.


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What one judge says of one response."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    step: int | None  # Step of the run that the response was sampled after; None for a model that is of no run
    problem_id: str
    sample: int
    judge: str  # `keywords`, or the name of the model that judged
    settings: str
    """What else the judgement depends on: version of the patterns, or of the prompt with the request's parameters."""
    status: Literal["judged", "undecided"]
    """`undecided`: the judge gave no answer that could be read. That is not "no behaviour"."""
    behaviours: Mapping[str, tuple[str, ...]]
    """Behaviour → its examples, quotations from the response. Every behaviour where judged, none where undecided."""
    unfounded: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Behaviour → examples that the judge gave and that do not stand in the response; they count for nothing."""
    flags: tuple[str, ...] = ()  # What a reader should know of the response, e.g. `addresses_judge`.
    detail: str = ""  # One line: why it is undecided
    key: str  # Content address of response, question and judge; the answer's key in answers.jsonl

    def shows(self, behaviour: str) -> bool | None:
        """Return whether the response shows a behaviour; None where the judge gave no readable answer, or examples
        of which none stands in the response."""
        if self.status != "judged":
            return None
        if self.behaviours[behaviour]:
            return True
        return None if self.unfounded.get(behaviour) else False

    @property
    def identity(self) -> tuple[Any, ...]:
        """Response and judge: a later line with the same identity replaces this one."""
        return (self.step, self.problem_id, self.sample, self.judge, self.settings)


def read_behaviours(path: Path) -> list[Judgement]:
    """Return the judgements of a run, a result or a folder of judgements; none where nothing was judged yet.

    Of several lines about the same response by the same judge the last holds. A last line that is still being written
    is left out; raises RunError where another is damaged.
    """
    inside = path / FOLDER / JUDGEMENTS
    file = inside if inside.is_file() else path / JUDGEMENTS
    judgements, checked = dict[tuple[Any, ...], Judgement](), TypeAdapter(Judgement)
    for number, line in JsonLines(file).read():
        where = f"{file}:{number}"
        if line is None:
            raise RunError(f"{where} is damaged; move the file away and give the command again: answers are kept apart")
        try:
            judgement = checked.validate_json(json.dumps(line), strict=True)
            if judgement.status == "judged" and not judgement.behaviours.keys() >= set(BEHAVIOURS):
                raise ValueError("a behaviour is missing")
        except ValueError:
            raise RunError(f"{where} is not a judgement of this version; move the file away and judge again") from None
        judgements.pop(judgement.identity, None)
        judgements[judgement.identity] = judgement
    return list(judgements.values())


def is_run(path: Path | str) -> bool:
    """Return whether a directory is that of a run, finished or not (a result of `simplerl eval` is not)."""
    path = Path(path).expanduser()
    return (path / "metrics.jsonl").is_file() or (
        (path / "config.json").is_file() and any((path / name).is_dir() for name in FOLDERS)
    )


def is_result(path: Path | str) -> bool:
    """Return whether a directory is that of a result of `simplerl eval`, finished or not."""
    path = Path(path).expanduser()
    return (path / PROTOCOL).is_file() and any((path / name).exists() for name in (FIGURES, RESPONSES, "parts"))


def find_runs(directory: Path | str, warn: Callable[[str], None] = lambda message: None) -> list["Run"]:
    """Return the runs and results in a directory, itself among them, however deep, by path.

    Links to directories are not followed. `warn` gets what could not be looked at. Raises RunError where there is no
    directory.
    """
    root = Path(directory).expanduser()
    if not root.is_dir():
        raise RunError(f"{directory} {'is a file' if root.exists() else 'does not exist'}; give a directory with runs")
    runs = []
    walk = os.walk(root, onerror=lambda error: warn(f"{error.filename} cannot be read ({error.strerror}): left out"))
    for number, (name, below, _) in enumerate(walk):
        if number == MOST_DIRECTORIES:
            warn(f"only the first {MOST_DIRECTORIES:,} directories were looked at; give one further down")
            break
        path, skipped = Path(name), set[str]()
        if is_run(path) or is_result(path):
            runs.append(Run(path))
            skipped = {"checkpoints", "trajectories", "behaviours", "parts"}
        deep = len(path.relative_to(root).parts) >= DEEPEST
        below[:] = [] if deep else sorted(n for n in below if n not in skipped and not n.startswith("."))
    return runs


class Run:
    """A run, or one result of `simplerl eval`.

    Raises RunError where a directory is missing or holds neither. `warn` gets each sentence of `damage` as it is
    found.
    """

    def __init__(self, path: Path | str, *, warn: Callable[[str], None] = lambda sentence: None):
        self.path = Path(path).expanduser()
        self._warn = warn
        self._said: dict[str, None] = {}
        self.is_result = not is_run(self.path) and is_result(self.path)
        """Whether it is a result of `simplerl eval`: one evaluation and no training."""
        if not self.is_result and not is_run(self.path):
            raise RunError(f"{path} {why_not(self.path)}")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def name(self) -> str:
        """Name of the directory."""
        return self.path.resolve().name

    @cached_property
    def stage(self) -> str:
        """The command that made it: `train`, `sft` …, or `eval`."""
        if self.is_result:
            return "eval"
        table = self._table("stage.json")
        return str(table.get("stage") or table.get("command") or "train")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration as it was resolved, in tables; empty for a result."""
        return {} if self.is_result else self._table("config.json", required=True)

    def setting(self, key: str, default: Any = None) -> Any:
        """Return a value of the configuration by its dotted key, e.g. `sampling.temperature`."""
        return flatten(self.config).get(key, default)

    @cached_property
    def environment(self) -> list[dict[str, Any]]:
        """Versions, machine and data of each session: the start, and every resumption."""
        sessions = self._table("environment.json").get("sessions")
        return [session for session in sessions if isinstance(session, dict)] if isinstance(sessions, list) else []

    @cached_property
    def summary(self) -> dict[str, Any] | None:
        """What was written when the run ended; None before."""
        table = self._table("summary.json")
        table |= {name: unified(table[name]) for name in ("base", "final") if isinstance(table.get(name), dict)}
        return table or None

    @property
    def status(self) -> dict[str, Any]:
        """What it was doing when it last said so (`StatusFile`); empty where it has not."""
        return self._table(STATUS)

    @property
    def last_step(self) -> int:
        """The last step that is recorded; 0 where none is."""
        return max(self.lines, default=0)

    @property
    def written(self) -> float:
        """When metrics were last recorded, in seconds since 1970. Raises OSError where metrics.jsonl is not there."""
        return (self.path / "metrics.jsonl").stat().st_mtime

    @property
    def planned(self) -> tuple[float, float]:
        """Steps and sampled tokens at which it ends; 0 tokens are no end, NaN is what nobody has said."""
        if self.stage == "sft":
            return as_number(self.setting("sft.steps")), 0
        return as_number(self.setting("steps")), as_number(self.setting("token_budget"))

    @property
    def finished(self) -> bool:
        """Whether it came to its end: by its steps or its token budget; a result, whether it has its figures."""
        if self.is_result:
            return not self._lacking
        # A summary of fewer steps was written before the run was resumed with more.
        if not self.summary or not self.lines or as_number(self.summary.get("steps")) < self.last_step:
            return False
        steps, budget = self.planned
        return not self.last_step < steps or 0 < budget <= self.total("tokens/sampled")

    @cached_property
    def lines(self) -> dict[int, dict[str, Any]]:
        """Step → its line of metrics.jsonl as it was written, by step; of a step that was done again the last."""
        if self.is_result:
            return {}
        file = JsonLines(self.path / "metrics.jsonl")
        if not file.path.exists():
            self._damaged(f"{file.path} is missing: nothing is known of its metrics")
        try:
            by_step, damaged = scan_metrics(file)
        except RunError as error:
            self._damaged(f"{error}: left out")
            return {}
        for number in damaged:
            self._damaged(f"{file.path}:{number} is damaged: this line is left out")
        if file.unfinished:
            self._damaged(f"{file.path}: the last line is cut short or is still being written: left out")
        return dict(sorted(by_step.items()))

    @cached_property
    def metrics(self) -> pyarrow.Table:
        """A row per step, from 0, with a column per metric, by step.

        Null where a step did not record a metric, NaN where what it recorded was not a finite number.
        """
        columns = {"step": pyarrow.array(list(self.lines), pyarrow.int64())}
        for name in sorted({name for line in self.lines.values() for name in line} - {"step"}):
            values = {step: _finite(line[name]) for step, line in self.lines.items() if name in line}
            column = name.encode("utf-8", "replace").decode("utf-8")  # Arrow refuses lone surrogates.
            kind = pyarrow.int64() if all(isinstance(value, int) for value in values.values()) else pyarrow.float64()
            columns[column] = pyarrow.array([values.get(step) for step in self.lines], kind)
            if bad := [step for step, value in values.items() if value != value and self.lines[step][name] is not None]:
                file = self.path / "metrics.jsonl"
                self._damaged(f"{file}, step {bad[0]}: {column[:100]} is not a number: left out")
        return pyarrow.table(columns)

    def history(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return (steps int64, values float64) of a metric wherever it is a number; empty where it never is."""
        points = [(step, as_number(line.get(name))) for step, line in self.lines.items()]
        points = [(step, value) for step, value in points if not math.isnan(value)]
        return np.array([step for step, _ in points], np.int64), np.array([value for _, value in points], np.float64)

    def total(self, name: str) -> float:
        """Return the sum of a metric over the steps of training; what is not a number adds nothing."""
        steps, values = self.history(name)
        return float(values[steps > 0].sum())

    @cached_property
    def _training(self) -> dict[int, ResponseFile]:
        return {step: ResponseFile(path) for step, path in self._steps("trajectories", ".parquet").items()}

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps that have training responses."""
        return tuple(self._training)

    def records(self, step: int) -> ResponseFile:
        """Return the training responses of a step as a file. Raises RunError where the step has none."""
        if step not in self._training:
            there = f"steps {self.steps[0]} to {self.steps[-1]}" if self.steps else "no training responses"
            raise RunError(f"{self.path} has no training responses of step {step}; it has {there}")
        return self._training[step]

    def responses(self, step: int | Sequence[int] | None = None, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """Return training responses of a step, of several or of all (None), with some columns or all (None).

        Columns that an older version did not write are null. A step that is asked for by its number raises RunError
        where it cannot be read; of several, a damaged one is left out and named in `damage`.
        """
        if isinstance(step, int):
            return self.records(step).read(columns)
        tables = []
        for number in self.steps if step is None else step:
            try:
                tables.append(self.records(number).read(columns))
            except RunError as error:
                self._damaged(f"{error}: the responses of step {number} are left out")
        if not tables:
            raise RunError(f"{self.path} has no training responses that can be read")
        return pyarrow.concat_tables(tables, promote_options="default")

    @cached_property
    def ledger(self) -> pyarrow.Table:
        """A row per problem and step in which it was sampled for training, by step (`responses.Visit` has the columns).

        Prompts with a prefix are not among them. A damaged step is left out and named in `damage`.
        """
        rows: list[dict[str, Any]] = []
        for step in self.steps:
            try:
                visits = self.records(step).visits(step)
            except RunError as error:
                self._damaged(f"{error}: step {step} is not in the ledger")
                continue
            rows += [{"problem_id": n, **asdict(v), "undecided": v.undecided} for n, v in visits.items()]
        return pyarrow.Table.from_pylist(rows, schema=LEDGER)

    @cached_property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """What was evaluated, by step; of a result the one evaluation, if it is finished."""
        if self.is_result:
            return self._result()
        responses, figures = self._steps("evaluations", ".parquet"), self._steps("evaluations", ".json")
        evaluations = []
        for step in sorted(responses.keys() | figures.keys()):
            path = responses.get(step) or figures[step].with_suffix(".parquet")
            if step not in responses:
                self._damaged(f"{path} is missing: step {step} has figures, no responses")
            elif step not in figures:
                self._damaged(f"{path} has no figures beside it: it is still being written, or was copied half")
            table = unified(self._table(f"evaluations/{figures[step].name}") if step in figures else {})
            acc = table.get("acc")
            if table and not (isinstance(acc, dict) and isinstance(acc.get("value", ""), int | float | None)):
                self._damaged(f"{figures[step]} does not hold the figures of an evaluation: left out")
                table = {}
            sampling = {name: table[name] for name in ("temperature", "top_p", "max_new_tokens") if name in table}
            evaluations.append(
                Evaluation(
                    label=f"{self.name}@{step}",
                    step=step,
                    benchmark=HELD_OUT,
                    figures=table,
                    protocol={"sampling": sampling, **{k: table[k] for k in ("samples", "problems") if k in table}},
                    path=path,
                    home=self.path,
                )
            )
        return tuple(evaluations)

    def figures_at(self, step: int) -> Mapping[str, Any]:
        """Return the figures of the evaluation after a step. Raises RunError where there are none."""
        figures = next((one.figures for one in self.evaluations if one.step == step), {})
        if not figures:
            raise RunError(f"{self.path} lacks the evaluation of step {step}")
        return figures

    @property
    def _lacking(self) -> list[str]:
        return [name for name in (FIGURES, RESPONSES) if not (self.path / name).is_file()]

    def _result(self) -> tuple[Evaluation, ...]:
        if self._lacking:
            lacking = " and no ".join(self._lacking)
            self._damaged(f"{self.path} is not finished (no {lacking}); evaluate again to go on with it")
            return ()
        protocol, figures = self._table(PROTOCOL, required=True), unified(self._table(FIGURES, required=True))
        for name, table in ((PROTOCOL, protocol), (FIGURES, figures)):
            try:
                _FORMS[name].model_validate(table)
            except ValidationError as error:
                first = error.errors()[0]
                wrong = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
                if not any(str(self.path / name) in sentence for sentence in self._said):
                    self._damaged(f"{self.path / name} is not of an evaluation by this version ({wrong})")
                return ()
        step, names = protocol.get("step"), {name: str(protocol[name]) for name in ("label", "benchmark")}
        step = step if isinstance(step, int) else None
        path = self.path / RESPONSES
        return (Evaluation(**names, step=step, figures=figures, protocol=protocol, path=path, home=self.path),)

    @cached_property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """The model directories that are there, by step."""
        paths = self._steps("checkpoints", "")
        return tuple(Checkpoint(step=step, path=path, complete=_complete(path)) for step, path in paths.items())

    @cached_property
    def searches(self) -> list[dict[str, Any]]:
        """What each search for a temperature saw, by step: `step`, the `chosen` point, and all `points` at the most
        samples."""
        found = []
        for step, file in self._steps("star", ".json").items():
            table = self._table(f"star/{file.name}")
            try:
                points = table["surface"][max(table["surface"], key=int)]
                names = ("temperature", "threshold", "query_effect")
                checked = [{name: as_number(point[name]) for name in names} for point in [table["chosen"], *points]]
                checked[1:].index(checked[0])  # What was chosen is one of the points; NaN is equal to none.
                if any(math.isnan(point["query_effect"]) for point in checked):
                    raise ValueError("a point without a query effect")
            except (KeyError, TypeError, ValueError, AttributeError):
                self._damaged(f"{file} does not hold the surface of a search: left out")
                continue
            found.append({"step": step, "chosen": checked[0], "points": checked[1:]})
        return found

    def behaviours(self) -> list[Judgement]:
        """Return what `simplerl behaviours` found. Raises RunError where its record is damaged."""
        return read_behaviours(self.path)

    @property
    def damage(self) -> list[str]:
        """What could not be read, and why, in sentences. Asking looks at every file as far as its end tells."""
        _ = self.stage, self.config, self.environment, self.summary, self.metrics, self.checkpoints
        evaluated = [evaluation.records for evaluation in self.evaluations if evaluation.path.exists()]
        for records in (*self._training.values(), *evaluated):
            try:
                records.check()
            except RunError as error:
                self._damaged(f"{error}: left out")
        return list(self._said)

    def _damaged(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said[sentence] = None
            self._warn(sentence)

    def _table(self, name: str, *, required: bool = False) -> dict[str, Any]:
        """Return the table in a JSON file; empty where there is none, or where it is damaged, which is said."""
        file = self.path / name
        if not file.exists() and not required:
            return {}
        try:
            return _read_table(file)
        except (OSError, ValueError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._damaged(f"{file} cannot be read ({reason}): left out")
            return {}

    def _steps(self, folder: str, ending: str) -> dict[int, Path]:
        """Return step → what a folder holds of it under names that end so, by step; other names are said."""
        steps: dict[int, Path] = {}
        try:
            entries = sorted(os.scandir(self.path / folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._damaged(f"{self.path / folder} cannot be read ({error.strerror}): left out")
            return {}
        for entry in entries:
            match = STEP.fullmatch(entry.name)
            good = match is not None and (entry.is_file() if match[2] else entry.is_dir())
            if match and good and (match[2] or "") == ending:
                steps[int(match[1])] = Path(entry.path)
            elif not good and not entry.name.startswith("."):
                self._damaged(f"{entry.path} is not a record of a step: left out")
        return dict(sorted(steps.items()))


def why_not(path: Path) -> str:
    """Return what is wrong with a path that is neither run nor result, and what to give instead."""
    wanted = "give the directory of a run, or of a result of `simplerl eval`"
    if not path.is_dir():
        return f"{'is a file' if path.exists() else 'does not exist'}; {wanted}"
    try:
        entries = sorted(entry for entry in path.iterdir() if entry.name != ".lock")
        empty = all(entry.name in FOLDERS and entry.is_dir() and not any(entry.iterdir()) for entry in entries)
        inside = [entry.name for entry in entries if is_run(entry) or is_result(entry)]
    except OSError as error:
        return f"cannot be read ({error.strerror}); {wanted}"
    if empty:
        return f"is empty; {wanted}"
    if inside:
        names = ", ".join(inside[:8]) + (" …" if len(inside) > 8 else "")
        return f"is not a run, but holds {len(inside)}; give one of them: {names}"
    return f"is not a run (no metrics.jsonl, no config.json beside trajectories/) and not a result; {wanted}"


def _read_table(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises OSError, ValueError or RecursionError where it holds something else."""
    if not file.is_file():  # A pipe would never end.
        raise ValueError("it is not a file" if file.exists() else "it is missing")
    if file.stat().st_size > LARGEST_JSON:
        raise ValueError(f"it is larger than {LARGEST_JSON:,} bytes")
    table = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(table, dict):
        raise ValueError("it is not a JSON object")
    return table


def _complete(checkpoint: Path) -> bool:
    try:
        names = _read_table(checkpoint / MANIFEST)
    except (OSError, ValueError, RecursionError):
        return False
    return bool(names) and all((checkpoint / name).is_file() for name in names)


def _finite(value: Any) -> int | float:
    """Return a value of a metric: an integer as it is where a float could hold it, NaN where it is not a number."""
    return value if type(value) is int and abs(value) < 2**53 else as_number(value)


def greedy_figures(figures: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the figures of an evaluation in training at temperature 0: its own, further ones, or None."""
    return next((one for one in (figures, *figures.get("further", ())) if one.get("temperature") == 0), None)


#: Figures of a run's evaluations as versions before 0.2 named them → what they are called.
_RENAMED = {"accuracy": "acc", "pass_at": "pass@k", "length": "tokens", "mean_stopped": "stop_tokens"}
_RENAMED["boxed"] = "answer_ratio"


def unified(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of an evaluation by the names and in the form of docs/evaluation.md, whoever wrote them.

    Before 0.2 a run's own evaluations had other names, and their means over responses had no intervals.
    """
    table = {_RENAMED.get(name, name): value for name, value in figures.items() if name not in ("min", "max")}
    for name in ("tokens", "stop_tokens", "answer_ratio", "clip_ratio"):
        if name in table and not isinstance(table[name], dict):
            table[name] = {"value": table[name], "low": None, "high": None, "problems": table.get("problems")}
    if "further" in table:
        others = table["further"] if isinstance(table["further"], list) else ()
        table["further"] = [unified(other) for other in others if isinstance(other, dict)]
    return table


# --- evaluations in series -------------------------------------------------------------------------------------------


def how(protocol: Mapping[str, Any]) -> str:
    """Return in words how a model was measured, as far as the protocol says it (not of responses made elsewhere)."""
    s, p = protocol["sampling"], protocol
    said = [p["template"]["name"], f"t {s.get('temperature')}", f"n {p['samples']}", f"max {s.get('max_new_tokens')}"]
    environment = p.get("environment") or {}
    said += [f"{p['problems']} problems", f"seed {p['seed']}", p.get("policy"), environment.get("name")]
    return ", ".join(word for word in said if word and not word.endswith("None"))


def evaluations_in(path: Path, warn: Callable[[str], None] | None = None) -> list[Evaluation]:
    """Return the evaluations of a run, by step, or the finished results in a directory, by path (`results`).

    Files that are still being written are not seen. `warn` as in `results`. Raises RunError where there are none.
    """
    if is_run(path):
        run = Run(path, warn=warn or (lambda sentence: None))
        evaluations = [one for one in run.evaluations if one.path.exists()]
        lacking = "has no evaluation yet; the first is made before the first step"
    else:
        evaluations = results(path, warn)
        lacking = "holds neither a run nor a finished result of `simplerl eval`" if path.is_dir() else why_not(path)
    if not evaluations:
        raise RunError(f"{path} {lacking}")
    return evaluations


def series(path: Path, warn: Callable[[str], None]) -> list[tuple[str, list[Evaluation]]]:
    """Return (name, evaluations that differ in the weights alone, by step): of a run directory one series, of a
    directory of results one for each run, benchmark and protocol in it. `warn` and errors as in `evaluations_in`.
    """
    evaluations = evaluations_in(path, warn)
    if is_run(path):
        return [(Run(path).name, evaluations)]
    groups = defaultdict[tuple[str, ...], list[Evaluation]](list)
    for one in evaluations:
        model = one.label.rpartition("@")[0] if one.step is not None else one.label
        same = (one.protocol.get(key) for key in (*HOW, "data_sha256", "problems"))
        # Models that are not of a run make a series each: one label may stand for two sets of weights.
        home = str(one.home) if one.step is None else ""
        groups[(model, one.benchmark, *map(str, same), home)].append(one)
    return [(" ".join(key[:2]), sorted(group, key=lambda one: one.step or 0)) for key, group in groups.items()]


class Reading(NamedTuple):
    """What was made of the evaluations of a series."""

    name: str
    ending: str  # What the names of its files end with, so that those of several series are different
    values: list[Any]
    left_out: list[str]  # Evaluations that could not be read, each with its reason


def read_series(
    path: Path,
    steps: str,
    read: Callable[[Evaluation], Any],
    *,
    warn: Callable[[str], None] = lambda message: None,
    on_done: Callable[[], None] = lambda: None,
) -> list[Reading]:
    """Return what `read` makes of the evaluations that `steps` chooses, for each series in a run or in results.

    `warn` hears of a damaged file, which is left out. Raises RunError where nothing of a series can be read.
    """
    every, readings = series(path, warn), []
    for number, (name, evaluations) in enumerate(every, 1):
        ending = "" if len(every) == 1 else f"_{number}_{slug(name)}"
        readings.append(Reading(name, ending, [], []))
        for evaluation in choose(evaluations, steps):
            try:
                readings[-1].values.append(read(evaluation))
            except RunError as error:
                readings[-1].left_out.append(f"{error}: left out")
                warn(readings[-1].left_out[-1])
            on_done()
        if not readings[-1].values:
            raise RunError(f"{path}: no evaluation of {name} can be read; {'; '.join(readings[-1].left_out)}")
    return readings


def results(path: Path, warn: Callable[[str], None] | None = None) -> list[Evaluation]:
    """Return the finished evaluations of `simplerl eval` in a directory, however deep, by path.

    A damaged one is left out and passed to `warn`; without it, it raises RunError. None where there is no directory.
    """
    evaluations: list[Evaluation] = []
    for run in find_runs(path, warn or (lambda message: None)) if path.is_dir() else []:
        if run.is_result and run.finished:
            evaluations += run.evaluations
            for sentence in () if run.evaluations else run.damage:
                if warn is None:
                    raise RunError(
                        f"{sentence.removesuffix(': left out')}; evaluate again with --overwrite, move its directory "
                        "away, or choose another --output-dir"
                    )
                warn(f"left out: {sentence.removesuffix(': left out')}")
    return evaluations


def choose(
    items: Sequence[Any],
    steps: str,
    missing: Callable[[str, str], str] = lambda step, there: f"step {step} was not evaluated; there is {there}",
) -> list[Any]:
    """Return the items, each with a `step`, that `all`, `first`, `last` or numbers mean, several parted by commas.

    Raises ConfigError for anything else, and with the sentence of `missing` for a step that is not there.
    """
    every, chosen = range(len(items)), set[int]()
    named = {"all": every, "first": every[:1], "last": every[-1:]}
    for part in (part.strip() for part in steps.split(",")):
        if part not in named and not part.isdecimal():
            raise ConfigError(f"--steps must be all, first, last or numbers such as 0,50,100; got {steps!r}")
        indices = named[part] if part in named else [index for index in every if items[index].step == int(part)]
        if not indices:
            there = ", ".join(str(item.step) for item in items if item.step is not None) or "no steps"
            raise ConfigError(f"--steps: {missing(part, there)}")
        chosen |= {*indices}
    return [items[index] for index in sorted(chosen)]
