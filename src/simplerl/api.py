"""simplerl from Python: what the commands do, with objects where you have them. `import simplerl` is this.

    run = simplerl.train("cub", steps=20, reward=[("correctness", 1.0), (short, 0.2)], output_dir="runs/mine")
    run.metrics.to_pandas().plot(x="step", y="accuracy/mean")

A run made here is as complete as one made by the command, with the same directory and configuration. Objects stand in
the configuration by a name that says what they were; to resume such a run, pass them again. A mistake is a
`SimpleRLError`, with the message that the command prints.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simplerl.core.errors import ConfigError
from simplerl.core.registry import canonical, remember
from simplerl.core.types import Problem, Verdict
from simplerl.runs.run import Run

if TYPE_CHECKING:
    from simplerl.algorithms import Algorithm
    from simplerl.data.problems import ProblemSet
    from simplerl.rewards import Reward
    from simplerl.train.components import Inputs
    from simplerl.train.run import Callback

    AnyReward = str | Callable[..., Any] | Reward
    Rows = Iterable[Mapping[str, Any]] | Sequence[Problem]


def train(
    recipe: str | None = None,
    *,
    output_dir: str | Path,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    plugins: Sequence[str | Path] = (),
    reward: "AnyReward | Sequence[AnyReward | tuple[AnyReward, float]] | None" = None,
    model: str | Path | tuple[Any, Any] | None = None,
    data: "str | Path | Rows | None" = None,
    algorithm: "str | Algorithm | None" = None,
    environment: Any = None,
    quiet: bool = False,
    callbacks: "Sequence[Callback]" = (),
    **top_level: Any,
) -> Run:
    """Train a model by reinforcement learning, as `simplerl train` does, and return its run.

    `recipe` is a shipped recipe or a .toml file; without one, `cub` for the cubs and `generic` for other models, or
    with `resume` the run's own configuration. `settings` has dotted keys (`{"sampling.temperature": 1.2}`), and keys
    without a dot may be given by name (`steps=20, seed=1`): docs/configuration.md has them all.

    `reward`: a name, `file.py:function`, a function of TRL's signature or ours, a `Reward`, or a list of these, each
    alone or with its weight. `model`: a name or directory, or (model, tokenizer), which is trained in place. `data`:
    a name or file, rows with a question and an answer, a `datasets.Dataset`, or problems. `algorithm`: a name or an
    instance. `environment`: a name, an instance, a class, also one of TRL's form, or an agent's function. `quiet` shows
    nothing; `callbacks` are told of every step.

    After Ctrl-C, or a finding of the doctor under `doctor.action = "stop"`, the run is returned unfinished
    (`run.finished`) with a checkpoint to resume from.

    >>> run = simplerl.train("cub", steps=2, output_dir="runs/first", quiet=True,
    ...                      settings={"sampling.prompts_per_step": 2, "evaluation.size": 4})
    >>> run.finished, run.metrics.column("step").to_pylist()
    (True, [0, 1, 2])
    """
    objects = {"reward": reward, "model": model, "data": data, "algorithm": algorithm, "environment": environment}
    overrides, inputs = _objects(settings, top_level, **objects)
    return _run("train", recipe, overrides, inputs, output_dir, plugins, resume, quiet, callbacks)


def sft(
    recipe: str | None = None,
    *,
    output_dir: str | Path,
    demonstrations: "str | Path | Iterable[Mapping[str, Any]] | None" = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    plugins: Sequence[str | Path] = (),
    model: str | Path | tuple[Any, Any] | None = None,
    data: "str | Path | Rows | None" = None,
    quiet: bool = False,
    callbacks: "Sequence[Callback]" = (),
    **top_level: Any,
) -> Run:
    """Fine-tune a model on responses to imitate, as `simplerl sft` does, and return its run.

    `demonstrations`: a name or file, or rows with a question and a response; else `sft.data`. `data` holds the problems
    for the held-out evaluation. The rest is as in `train`.

    >>> rows = [{"question": f"What is {a}+{a}?", "response": f" {a}+{a}={2*a}. \\\\boxed{{{2*a}}}"} for a in range(8)]
    >>> run = simplerl.sft("cub", demonstrations=rows, output_dir="runs/cold", quiet=True,
    ...                    settings={"sft.steps": 2, "sft.batch_size": 4, "evaluation.size": 4})
    >>> run.stage, run.finished
    ('sft', True)
    """
    overrides, inputs = _objects(settings, top_level, model=model, data=data)
    if demonstrations is not None:
        if not isinstance(demonstrations, str | Path):
            rows = _rows(demonstrations, "demonstrations")
            demonstrations = remember(rows, f"{len(rows)} demonstrations, sha256 {_digest(rows)}")
        _lay(overrides, "sft", {"data": str(demonstrations)})
    return _run("sft", recipe, overrides, inputs, output_dir, plugins, resume, quiet, callbacks)


def star(
    recipe: str | None = None,
    *,
    output_dir: str | Path,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    plugins: Sequence[str | Path] = (),
    model: str | Path | tuple[Any, Any] | None = None,
    data: "str | Path | Rows | None" = None,
    reward: Any = None,
    quiet: bool = False,
    callbacks: "Sequence[Callback]" = (),
    **top_level: Any,
) -> Run:
    """Train by self-training, as `simplerl star` does, and return the run; its steps are the iterations.

    >>> run = simplerl.star("cub-b-star", output_dir="runs/star", steps=1, quiet=True,
    ...                     settings={"sampling.prompts_per_step": 8, "star.subset": 4, "star.updates": 2,
    ...                               "star.temperatures": [0.8, 1.0], "evaluation.size": 4})
    >>> run.stage, run.finished
    ('star', True)
    """
    overrides, inputs = _objects(settings, top_level, reward=reward, model=model, data=data)
    return _run("star", recipe, overrides, inputs, output_dir, plugins, resume, quiet, callbacks)


def sample(
    recipe: str | None = None,
    *,
    output: str | Path,
    everything: bool = False,
    settings: Mapping[str, Any] | None = None,
    plugins: Sequence[str | Path] = (),
    model: str | Path | tuple[Any, Any] | None = None,
    data: "str | Path | Rows | None" = None,
    quiet: bool = False,
    **top_level: Any,
) -> list[dict[str, Any]]:
    """Sample responses into a JSONL file for `sft`, as `simplerl sample` does, and return them as rows.

    Only the right and complete ones are kept, or all of them with `everything`.

    >>> rows = simplerl.sample("cub", output="right.jsonl", settings={"dataset.size": 4}, quiet=True)
    >>> {row["verdict"] for row in rows}
    {'correct'}
    """
    overrides, inputs = _objects(settings, top_level, model=model, data=data)
    from simplerl.config.resolve import merge, resolve
    from simplerl.selftraining.star import WITHOUT_LEARNING
    from simplerl.selftraining.star import sample as write_samples

    say: Callable[[str], None] = (lambda line: None) if quiet else print
    named = merge(merge(overrides, {"plugins": [*map(str, _several(plugins))]}), WITHOUT_LEARNING)
    config = resolve(recipe, named, say)
    write_samples(config, Path(output), everything=everything, say=say, inputs=inputs)
    return [json.loads(line) for line in Path(output).read_bytes().splitlines()]  # Text would part at U+2028 too.


def evaluate(
    models: str | Path | Run | Sequence[str | Path | Run],
    benchmarks: str | Path | Sequence[str | Path],
    *,
    output_dir: str | Path = "evaluations",
    steps: str = "",
    data_dir: str | Path | None = None,
    overwrite: bool = False,
    plugins: Sequence[str | Path] = (),
    quiet: bool = False,
    **settings: Any,
) -> list[Run]:
    """Evaluate models, runs or checkpoints on benchmarks or files, as `simplerl eval` does; return the results.

    `steps` chooses checkpoints of a run: `all`, `last`, or `0,20,40`; empty: 0 and the last. `settings` are those of
    the protocol: samples, temperature, top_p, max_tokens, template, policy, seed, limit, ks, device …

    >>> (result,) = simplerl.evaluate("cub-qwen", "problems.jsonl", max_tokens=40, quiet=True)
    >>> sorted(result.evaluations[0].figures["acc"])
    ['high', 'low', 'problems', 'value']
    """
    from simplerl.cli import before_torch

    before_torch()
    from simplerl.cli.console import Bar
    from simplerl.core.registry import load_plugins
    from simplerl.core.settings import filled
    from simplerl.evaluate.run import Settings, load_benchmarks, models_of
    from simplerl.evaluate.run import evaluate as run_evaluations

    load_plugins(map(str, _several(plugins)))
    rules = filled(Settings, settings)
    names = [str(each.path) if isinstance(each, Run) else each for each in _several(models)]
    questions = _several(benchmarks)
    for what, given in (("models", names), ("benchmarks", questions)):
        if not given or not all(isinstance(each, str | Path) for each in given):
            shown = ", ".join(type(each).__name__ for each in given) or "nothing"
            raise ConfigError(f"{what}: give names, directories or files, one or a list, not {shown}")
    names, questions = [*map(str, names)], [*map(str, questions)]
    with Bar(quiet=quiet) as bar:
        targets = models_of(names, steps, bar.say)
        problems = load_benchmarks(questions, rules, Path(data_dir) if data_dir else None, bar.say)
        paths = run_evaluations(targets, problems, rules, Path(output_dir), bar, overwrite=overwrite)
        return [Run(path) for path in paths]


def verify(response: str, answer: str, *, question: str | None = None, policy: str = "boxed") -> Verdict:
    """Judge a response against the gold answer, as `simplerl verify` does.

    With the question, an answer that only restates an expression of it is wrong.

    >>> simplerl.verify("Half of it, so \\\\boxed{0.5}.", "1/2").correct
    True
    >>> simplerl.verify("I do not know.", "1/2").status
    'no_answer'
    >>> simplerl.verify(r"\\boxed{7+6}", "13", question="What is 7+6?").rule
    'restates'
    """
    from simplerl.verify import verify as judge

    return judge(response, answer, question=question, policy=policy)


def load_problems(name: str | Path, split: str = "train", *, size: int = 0, seed: int = 0) -> list[Problem]:
    """Return the problems of a data set, a file or a hub data set.

    >>> [problem.question for problem in simplerl.load_problems("arithmetic", size=1)]
    ['What is 9-8?']
    """
    from simplerl.data import load

    return load(str(name), split, size=size, seed=seed)


def _run(
    stage: str,
    recipe: str | None,
    overrides: dict[str, Any],
    inputs: "Inputs",
    output_dir: str | Path,
    plugins: Sequence[str | Path],
    resume: bool,
    quiet: bool,
    callbacks: "Sequence[Callback]",
) -> Run:
    """Make a configuration, and a run of it."""
    from simplerl.cli.train import execute
    from simplerl.config.resolve import configure, merge
    from simplerl.train.run import Callback

    named = {"plugins": [*map(str, _several(plugins))], "output_dir": str(output_dir or "")}
    say: Callable[[str], None] = (lambda line: None) if quiet else print
    config, path = configure(recipe, merge(overrides, named), resume=resume, stage=stage, say=say)
    watched = _several(callbacks)
    watchers = [Callback() for _ in watched]
    for watcher, callback in zip(watchers, watched, strict=True):
        if isinstance(callback, type) or not callable(getattr(callback, "on_step", None)):
            raise ConfigError(f"a callback has a method on_step(step, metrics, groups), not {callback!r}")
        for name in ("say", "on_phase", "on_response", "on_step"):  # Those that it does not have do nothing.
            setattr(watcher, name, getattr(callback, name, getattr(watcher, name)))
    execute(stage, config, path, resume=resume, quiet=quiet, callbacks=watchers, inputs=inputs)
    return Run(path)


def _several(values: Any) -> list[Any]:
    return list(values) if isinstance(values, list | tuple) else [values]


def _objects(
    settings: Mapping[str, Any] | None,
    top_level: Mapping[str, Any],
    *,
    reward: Any = None,
    model: Any = None,
    data: Any = None,
    algorithm: Any = None,
    environment: Any = None,
) -> "tuple[dict[str, Any], Inputs]":
    """Return the settings as tables, in them by its name what was passed, and the objects that a run is built from."""
    from simplerl.cli import before_torch

    before_torch()  # Which is imported here; where the user has done so it is late.
    from simplerl.config.resolve import nested
    from simplerl.train.components import Inputs

    settings = {} if settings is None else settings
    if not isinstance(settings, Mapping) or not all(isinstance(key, str) for key in settings):
        raise ConfigError(f"settings: give a table of names and values, not {settings!r}")
    overrides = nested([*settings.items(), *top_level.items()], "settings[{!r}]")
    policy = problems = None
    for kind, passed in {"reward": reward, "algorithm": algorithm, "environment": environment}.items():
        if passed is not None:
            several = kind == "reward" and isinstance(passed, list | tuple)
            _lay(overrides, kind, _mixture(passed) if several else _section(kind, passed))
    if isinstance(model, str | Path):
        overrides["model"] = str(model)
    elif model is not None:
        policy = _policy(model)
        overrides["model"] = policy.name
    if isinstance(data, str | Path):
        overrides["data"] = str(data)
    elif data is not None:
        problems = _problems(data)
        content = [(problem.id, problem.question, problem.answer) for problem in problems.problems]
        overrides["data"] = remember(problems, f"{len(content)} problems, sha256 {_digest(content)}")
    return overrides, Inputs(policy=policy, problems=problems)


def _lay(overrides: dict[str, Any], key: str, passed: dict[str, Any]) -> None:
    """Put what was passed into its section of the settings: its name (or data) holds, else what the settings say."""
    section, first = overrides.get(key, {}), next(iter(passed))
    if not isinstance(section, Mapping):
        raise ConfigError(f"settings[{key!r}] = {section!r}: {key} is a section, and {key}.{first} was passed already")
    overrides[key] = {**passed, **section, first: passed[first]}


def _policy(model: Any) -> Any:
    from simplerl.models.load import check_weights, policy_of, weights_hash

    try:
        network, tokenizer = model
        parameters = sum(each.numel() for each in network.parameters())
        tokenizer.encode("1")
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"model: give a name, a directory, or (model, tokenizer), not {type(model).__name__} ({error})"
        ) from error
    check_weights(f"model={type(network).__name__}", network)
    if not any(each.requires_grad for each in network.parameters()):
        raise ConfigError("model: none of its weights takes a gradient; call requires_grad_(True) on it first")
    digest = weights_hash(network)[:12]
    name = remember(model, f"{type(network).__name__} of {parameters:,} parameters, sha256 {digest}")
    return policy_of(network.float(), tokenizer, name=name)


def _problems(data: Any) -> "ProblemSet":
    """Return rows, a `datasets.Dataset` or problems as a set of problems. Raises DataError for a row without one."""
    from simplerl.data.problems import ProblemSet, problem_set
    from simplerl.data.rows import Row

    if isinstance(data, ProblemSet):
        return data
    data = data if isinstance(data, Mapping) or not isinstance(data, Iterable) else list(data)
    if isinstance(data, list) and data and all(isinstance(item, Problem) for item in data):
        return ProblemSet(problems=data)
    rows = _rows(data, "data")
    return problem_set((Row(row, f"data[{index}]") for index, row in enumerate(rows)), source="data")


def _rows(value: Any, what: str) -> list[dict[str, Any]]:
    """Return rows of fields as a list. Raises ConfigError for anything else."""
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise ConfigError(f"{what}: give a name, a file or a list of rows, not {type(value).__name__}")
    rows = list(value)
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise ConfigError(f"{what}[{index}]: a row has fields such as question, not {type(row).__name__}")
    # Of NumPy or torch, as `datasets` gives them where it is asked to.
    return [{name: each.tolist() if hasattr(each, "tolist") else each for name, each in row.items()} for row in rows]


def _section(kind: str, passed: Any) -> dict[str, Any]:
    """Return the section of a reward, algorithm or environment that was passed: its name, and its own keys."""
    from simplerl.config.resolve import named_table
    from simplerl.rewards import Reward

    if isinstance(passed, str):
        return {"name": canonical(passed)}
    is_instance = dataclasses.is_dataclass(passed) and not isinstance(passed, type)
    if isinstance(passed, Reward) if kind == "reward" else is_instance:
        return named_table(kind, passed)
    if kind == "algorithm":
        raise ConfigError(f"algorithm: give a name, or an instance such as GRPO(), not {passed!r}")
    if kind == "reward" and not callable(passed):
        raise ConfigError(f"reward: give a name, a function, a Reward, or a list of these, not {passed!r}")
    return {"name": remember(passed)}


def _mixture(rewards: Sequence[Any]) -> dict[str, Any]:
    """Return the section of several rewards, each alone or with its weight."""
    parts = []
    for entry in rewards:
        one, weight = entry if isinstance(entry, tuple) and len(entry) == 2 else (entry, 1.0)
        params = _section("reward", one)
        name = params.pop("name")
        parts.append({"name": name, **({"params": params} if params else {}), "weight": weight})
    return {"name": "mixture", "rewards": parts}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]
