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
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simplerl.core.errors import ConfigError, nearest
from simplerl.core.registry import remember
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
            rows = [dict(row) for row in demonstrations]
            demonstrations = remember(rows, f"{len(rows)} demonstrations, sha256 {_digest(rows)}")
        overrides["sft"] = {**overrides.get("sft", {}), "data": str(demonstrations)}
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
    from simplerl.config.resolve import merge, resolve
    from simplerl.selftraining.star import WITHOUT_LEARNING
    from simplerl.selftraining.star import sample as write_samples

    overrides, inputs = _objects(settings, top_level, model=model, data=data)
    say: Callable[[str], None] = (lambda line: None) if quiet else print
    named = merge(merge(overrides, {"plugins": [str(name) for name in plugins]}), WITHOUT_LEARNING)
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
    from simplerl.cli.console import Bar
    from simplerl.core.registry import load_plugins
    from simplerl.evaluate.run import Settings, load_benchmarks, models_of, plan
    from simplerl.evaluate.run import evaluate as run_evaluations

    known = [field.name for field in dataclasses.fields(Settings)]
    for name in settings:
        if name not in known:
            raise ConfigError(f"unknown setting {name!r} of an evaluation; {nearest(name, known)}")
    load_plugins(map(str, plugins))
    names = [str(each.path if isinstance(each, Run) else each) for each in _several(models)]
    rules = Settings(**settings)
    questions = [str(name) for name in _several(benchmarks)]
    with Bar(quiet=quiet) as bar:
        targets = models_of(names, steps, bar.say)
        problems = load_benchmarks(questions, rules, Path(data_dir) if data_dir else None, bar.say)
        jobs = plan(targets, problems, rules, Path(output_dir), bar)
        return [Run(path) for path in run_evaluations(jobs, rules, bar, overwrite=overwrite)]


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
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # As the command does; where torch is there already it is late.
    from simplerl.cli.train import execute
    from simplerl.config.resolve import configure, merge
    from simplerl.train.run import Callback

    named = {"plugins": [str(name) for name in plugins], "output_dir": str(output_dir)}
    say: Callable[[str], None] = (lambda line: None) if quiet else print
    config, path = configure(recipe, merge(overrides, named), resume=resume, stage=stage, say=say)
    watchers = [Callback() for _ in callbacks]
    for watcher, callback in zip(watchers, callbacks, strict=True):
        if not callable(getattr(callback, "on_step", None)):
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
    from simplerl.config.resolve import named_table, nested
    from simplerl.train.components import Inputs

    overrides = nested([*(settings or {}).items(), *top_level.items()], "settings[{!r}]")
    policy = problems = None
    if reward is not None:
        overrides["reward"] = _reward_table(reward)
    if isinstance(algorithm, str):
        overrides["algorithm"] = {**overrides.get("algorithm", {}), "name": algorithm}
    elif algorithm is not None:
        if isinstance(algorithm, type) or not dataclasses.is_dataclass(algorithm):
            raise ConfigError(f"algorithm: give a name, or an instance such as GRPO(), not {algorithm!r}")
        overrides["algorithm"] = named_table("algorithm", algorithm)
    if dataclasses.is_dataclass(environment) and not isinstance(environment, type):
        overrides["environment"] = named_table("environment", environment)
    elif environment is not None:
        name = environment if isinstance(environment, str) else remember(environment)
        overrides["environment"] = {**overrides.get("environment", {}), "name": name}
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


def _policy(model: Any) -> Any:
    from simplerl.models.load import policy_of, weights_hash

    try:
        network, tokenizer = model
        parameters = sum(each.numel() for each in network.parameters())
        tokenizer.encode("1")
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"model: give a name, a directory, or (model, tokenizer), not {type(model).__name__} ({error})"
        ) from error
    digest = weights_hash(network)[:12]
    name = remember(model, f"{type(network).__name__} of {parameters:,} parameters, sha256 {digest}")
    return policy_of(network.float(), tokenizer, name=name)


def _problems(data: Any) -> "ProblemSet":
    """Return rows, a `datasets.Dataset` or problems as a set of problems. Raises DataError for a row without one."""
    from simplerl.data.problems import ProblemSet, problem_set
    from simplerl.data.rows import Row

    if isinstance(data, ProblemSet):
        return data
    try:
        items = list(data)
    except TypeError:
        raise ConfigError(f"data: give a name, a file, rows or problems, not {type(data).__name__}") from None
    if items and all(isinstance(item, Problem) for item in items):
        return ProblemSet(problems=items)
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise ConfigError(f"data[{index}]: a row has fields such as question and answer, not {type(item).__name__}")
    return problem_set((Row(dict(item), f"data[{index}]") for index, item in enumerate(items)), source="data")


def _reward_table(reward: Any) -> dict[str, Any]:
    if not isinstance(reward, list | tuple):
        part = _reward_part(reward)
        return {"name": part["name"], **part.get("params", {})}
    parts = []
    for entry in reward:
        one, weight = entry if isinstance(entry, tuple) and len(entry) == 2 else (entry, 1.0)
        parts.append({**_reward_part(one), "weight": weight})
    return {"name": "mixture", "rewards": parts}


def _reward_part(reward: Any) -> dict[str, Any]:
    from simplerl.config.resolve import named_table
    from simplerl.core.registry import canonical
    from simplerl.rewards import Reward

    if isinstance(reward, str):
        return {"name": canonical(reward)}
    if isinstance(reward, Reward):
        table = named_table("reward", reward)
        name = table.pop("name")
        return {"name": name, "params": table} if table else {"name": name}
    if not callable(reward):
        raise ConfigError(f"reward: give a name, a function, a Reward, or a list of these, not {reward!r}")
    return {"name": remember(reward)}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]
