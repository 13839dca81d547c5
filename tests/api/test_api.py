"""The Python API: the examples in its docstrings, objects where a user has them, and messages where they are wrong."""

import doctest
import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import SMALL, arguments, environment, run_main

import simplerl
from simplerl import api
from simplerl.config.resolve import flatten
from simplerl.core.errors import ConfigError, RunError, SimpleRLError
from simplerl.runs.files import json_line

#: The settings of a run of about a second, with dots.
QUICK = flatten(SMALL)
ROWS = [{"question": f"What is {a}+{b}?", "answer": str(a + b)} for a in range(8) for b in range(4)]


def short(prompts, completions, **columns):
    """Return 1 for a response of few characters; nothing for an empty one."""
    return [float(len(text) < 30) if text else None for text in completions]


def long_enough(limit):
    """Return a reward; all that this makes have one name."""

    def long(prompts, completions, **columns):
        return [float(len(text) > limit) for text in completions]

    return long


def train(path: Path, **options) -> simplerl.Run:
    settings = {**QUICK, **options.pop("settings", {})}
    return simplerl.train("cub", output_dir=path, settings=settings, quiet=True, **options)


@pytest.mark.parametrize("name", [name for name in simplerl.__all__ if (getattr(api, name, None) is not None)])
def test_examples_of_the_docstrings(name: str, tmp_path: Path, monkeypatch) -> None:
    """Every function of the API has an example, and it says what happens."""
    function = getattr(api, name)
    if name == "Run":
        return
    monkeypatch.chdir(tmp_path)
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:4]))
    tests = doctest.DocTestFinder(recurse=False).find(function, name, globs={"simplerl": simplerl})
    assert tests[0].examples
    runner = doctest.DocTestRunner()
    said: list[str] = []
    runner.run(tests[0], out=said.append)
    assert not runner.failures, "".join(said)


def test_importing_is_quick_and_light() -> None:
    script = (
        "import sys, time\nbegan = time.perf_counter()\nimport simplerl\nseconds = time.perf_counter() - began\n"
        "assert dir(simplerl)\n@simplerl.register('reward', 'x')\ndef x(prompts, completions): return [0.0]\n"
        "heavy = sorted({'torch', 'transformers', 'pyarrow', 'pydantic', 'sympy'} & set(sys.modules))\n"
        "assert not heavy, heavy\nprint(seconds)"
    )
    times = []
    for _ in range(3):  # Best of three: the machine may be busy, the import may not.
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        times.append(float(done.stdout))
    assert min(times) <= 0.3


@pytest.mark.parametrize(
    "call",
    [
        "train(nonsense=1, output_dir='x')",
        "sample('cub', nonsense=1, output='x')",
        "evaluate('nowhere', benchmarks='gsm8k', output_dir='x')",
    ],
)
def test_what_torch_reads_when_it_is_loaded_is_set_before(call: str) -> None:
    script = f"""
import importlib.abc, os, sys, simplerl
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY"))
sys.meta_path.insert(0, Watch())
try:
    simplerl.{call}
except simplerl.SimpleRLError:
    pass
"""
    own = {name: value for name, value in environment().items() if not name.startswith(("OMP_WAIT", "ONEDNN"))}
    done = subprocess.run([sys.executable, "-c", script], env=own, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[:1] == ["PASSIVE 32"], done.stdout + done.stderr


def test_everything_public_is_there_and_rooms_stay_callable(monkeypatch) -> None:
    import importlib
    import inspect

    for name in simplerl.__all__:
        assert getattr(simplerl, name) is not None
        assert name in dir(simplerl)
    for name in ("train", "evaluate", "verify"):
        importlib.import_module(f"simplerl.{name}")
        assert inspect.signature(getattr(simplerl, name)) == inspect.signature(getattr(api, name))
    assert simplerl.verify("so \\boxed{0.5}", "1/2").correct
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        simplerl.trian  # noqa: B018


def test_a_run_from_python_is_as_complete_as_one_by_the_command(tmp_path: Path, capsys) -> None:
    run = train(tmp_path / "python")
    code, _, error = run_main(capsys, "train", "cub", *arguments(SMALL), "--output-dir", str(tmp_path / "command"))
    assert code == 0, error
    other = simplerl.Run(tmp_path / "command")
    assert run.finished
    assert other.finished
    assert sorted(path.name for path in run.path.iterdir()) == sorted(path.name for path in other.path.iterdir())
    assert {**run.config, "output_dir": ""} == {**other.config, "output_dir": ""}
    assert run.responses().drop_columns([]).equals(other.responses())
    assert run.summary["final_accuracy"] == other.summary["final_accuracy"]


def test_callbacks_are_told_and_quiet_is_quiet(tmp_path: Path, capsys) -> None:
    class Watch:
        def __init__(self):
            self.steps = []

        def on_step(self, step, metrics, groups):
            self.steps.append((step, len(groups), "eval/accuracy" in metrics))

    watch = Watch()
    train(tmp_path / "run", callbacks=[watch])
    assert watch.steps == [(0, 0, True), (1, 2, False), (2, 2, True), (3, 2, True)]
    assert capsys.readouterr().out == ""
    with pytest.raises(ConfigError, match="a callback has a method on_step"):
        train(tmp_path / "other", callbacks=[print])


def test_a_run_says_what_happens_unless_it_is_quiet(tmp_path: Path, capsys) -> None:
    simplerl.train("cub", output_dir=tmp_path / "run", settings=QUICK)
    assert "step 3/3" in capsys.readouterr().out


def test_rewards_as_functions_with_weights(tmp_path: Path) -> None:
    run = train(tmp_path / "run", reward=[("correctness", 1.0), (short, 0.2)])
    named = run.config["reward"]["rewards"]
    assert named[0] == {"name": "correctness", "weight": 1.0}
    assert named[1]["name"].startswith(f"<object: short at {__file__}:")
    assert "sha256" in named[1]["name"]
    rows = run.responses(columns=["reward", "reward_parts", "response"]).to_pylist()
    for row in rows:
        parts = dict(row["reward_parts"])
        expected = parts["correctness"] + 0.2 * parts.get("short", 0.0)
        assert row["reward"] == pytest.approx(expected)
        assert ("short" in parts) == bool(row["response"])


def test_a_reward_that_raises_leaves_its_responses_out_and_says_where(tmp_path: Path) -> None:
    def broken(prompts, completions, answer, **columns):
        raise ZeroDivisionError("of mine")

    run = train(tmp_path / "run", reward=broken, settings={"steps": 1})
    line = broken.__code__.co_firstlineno + 1
    rows = run.responses(columns=["verdict", "detail", "reward"]).to_pylist()
    assert {row["verdict"] for row in rows} == {"error"}
    assert all(f"ZeroDivisionError: of mine ({__file__}:{line})" in row["detail"] for row in rows)
    assert all(row["reward"] is None or row["reward"] != row["reward"] for row in rows), "never reward 0"
    assert run.metrics.column("verdict/error").to_pylist()[-1] == len(rows)
    assert run.evaluations[0].figures["acc"]["value"] is not None, "whether an answer is right is another matter"


def test_a_function_cannot_be_made_from_the_configuration_and_says_so(tmp_path: Path) -> None:
    train(tmp_path / "run", reward=short, settings={"steps": 2})
    forget_objects()
    with pytest.raises(SimpleRLError, match=r"reward is <object: short at .*Pass it again: simplerl\.train\("):
        simplerl.train(output_dir=tmp_path / "run", resume=True, quiet=True, steps=3)
    run = simplerl.train(output_dir=tmp_path / "run", resume=True, quiet=True, steps=3, reward=short)
    assert run.finished
    assert run.last_step == 3


def test_another_function_of_that_name_is_said_on_resume(tmp_path: Path, capsys) -> None:
    train(tmp_path / "run", reward=short, settings={"steps": 2})

    def changed(prompts, completions, **columns):
        return [0.5 for _ in completions]

    changed.__name__ = "short"
    run = simplerl.train(output_dir=tmp_path / "run", resume=True, steps=3, reward=changed)
    said = " ".join(capsys.readouterr().out.split())
    assert "WARNING: reward.name was <object: short at" in said
    assert run.responses(3, columns=["reward"]).column("reward").to_pylist() == [0.5] * 8
    with pytest.raises(RunError, match=r"cannot resume .* with another configuration: .*reward.name was"):
        simplerl.train(output_dir=tmp_path / "run", resume=True, steps=4, reward="correctness", quiet=True)


def forget_objects() -> None:
    from simplerl.core import registry

    registry._OBJECTS.clear()


def test_an_algorithm_as_an_instance(tmp_path: Path) -> None:
    from dataclasses import dataclass

    from simplerl.algorithms import GRPO

    run = train(tmp_path / "one", algorithm=GRPO(clip_low=0.1), settings={"steps": 1})
    assert run.config["algorithm"]["name"] == "grpo"
    assert run.config["algorithm"]["clip_low"] == 0.1

    @dataclass(frozen=True, kw_only=True)
    class Mine(GRPO):
        """GRPO under a name of one's own."""

        fuss: float = 0.5

    run = train(tmp_path / "two", algorithm=Mine(fuss=0.25), settings={"steps": 1})
    assert run.config["algorithm"]["name"].startswith("<object: Mine at ")
    assert run.config["algorithm"]["fuss"] == 0.25
    with pytest.raises(ConfigError, match=r"algorithm: give a name, or an instance"):
        train(tmp_path / "three", algorithm=Mine)


def test_rows_as_data(tmp_path: Path) -> None:
    settings = {"dataset.levels": [], "dataset.size": 0, "evaluation.holdout": 4, "steps": 2}
    run = train(tmp_path / "run", data=ROWS, settings=settings)
    assert run.config["data"].startswith("<object: 32 problems, sha256 ")
    asked = set(run.responses(columns=["question"]).column("question").to_pylist())
    assert asked <= {row["question"] for row in ROWS}
    forget_objects()
    with pytest.raises(SimpleRLError, match=r"data is <object: 32 problems"):
        simplerl.train(output_dir=tmp_path / "run", resume=True, quiet=True, steps=3)
    with pytest.raises(RunError, match="with another configuration: data was"):
        simplerl.train(output_dir=tmp_path / "run", resume=True, quiet=True, steps=3, data=ROWS[:30])
    assert simplerl.train(output_dir=tmp_path / "run", resume=True, quiet=True, steps=3, data=ROWS).finished


def test_a_dataset_and_problems_as_data(tmp_path: Path) -> None:
    class Dataset:
        """What a `datasets.Dataset` is to who iterates over it."""

        def __iter__(self):
            return iter(ROWS)

    settings = {"dataset.levels": [], "dataset.size": 0, "evaluation.holdout": 4, "steps": 1}
    first = train(tmp_path / "one", data=Dataset(), settings=settings)
    second = train(tmp_path / "two", data=ROWS, settings=settings)
    assert first.config["data"] == second.config["data"]
    problems = simplerl.load_problems("arithmetic", size=20)
    assert train(tmp_path / "three", data=problems, settings={**settings, "dataset.size": 16}).finished


def test_a_loaded_model_as_model(tmp_path: Path, cub) -> None:
    policy = cub("cub-qwen")
    run = train(tmp_path / "run", model=(policy.model, policy.tokenizer), settings={"steps": 1})
    assert run.config["model"].startswith("<object: Qwen2ForCausalLM of ")
    (tmp_path / "problems.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    options = {"output_dir": tmp_path / "results", "max_tokens": 4, "quiet": True}
    (result,) = simplerl.evaluate(run, tmp_path / "problems.jsonl", **options)
    assert result.evaluations[0].step == 1, "the model that it began from is nowhere to be read"
    reference = train(tmp_path / "other", settings={"steps": 1})
    assert run.responses(1, columns=["response"]).equals(reference.responses(1, columns=["response"]))
    with pytest.raises(RunError, match=r"configuration: model was|the model has changed"):
        simplerl.train(
            output_dir=tmp_path / "run", resume=True, quiet=True, steps=2, model=(policy.model, policy.tokenizer)
        )


def test_a_section_by_name_and_dotted_keys_of_it_add_up(tmp_path: Path) -> None:
    run = train(
        tmp_path / "run", settings={"sampling.max_prompt_tokens": 99, "steps": 1}, sampling={"temperature": 1.5}
    )
    wanted = {"max_prompt_tokens": 99, "temperature": 1.5, "prompts_per_step": SMALL["sampling"]["prompts_per_step"]}
    assert {key: run.config["sampling"][key] for key in wanted} == wanted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings": {"sampling.temprature": 1.2}}, r"unknown key 'sampling\.temprature'; did you mean 'temperature'"),
        ({"stesp": 3}, r"unknown key 'stesp'; did you mean 'steps'"),
        ({"learning_rate": 1e-3}, r"unknown key 'learning_rate'; it is called 'optimizer\.lr' here"),
        ({"top_k": 3}, r"unknown key 'top_k'; did you mean 'sampling\.top_k'"),
        ({"settings": {"steps": 0}}, r"steps must be positive, got 0"),
        ({"settings": {"steps.more": 1, "steps": 2}}, r"settings\['steps'\] = 2: steps is a section"),
        ({"settings": {"steps": 2, "steps.more": 1}}, r"steps has been given a value already"),
        ({"reward": 3}, r"reward: give a name, a function"),
        ({"reward": "corectness"}, r"unknown reward 'corectness'; did you mean 'correctness'"),
        ({"reward": [("correctness", "much")]}, r"reward.rewards.weight = 'much': .* number"),
        ({"data": 3}, r"data: give a name, a file or a list of rows, not int"),
        ({"data": {"question": ["1+1?"]}}, r"data: give a name, a file or a list of rows, not dict"),
        ({"data": [{"question": "1+1? \ud800", "answer": 2}]}, r"half of a character"),
        ({"settings": "steps=2"}, r"settings: give a table of names and values"),
        ({"settings": {1: 2}}, r"settings: give a table of names and values"),
        ({"algorithm": "grpo", "settings": {"algorithm": "grpo"}}, r"algorithm is a section, and algorithm.name was"),
        ({"reward": max}, r"does not say what it takes"),
        ({"reward": [(long_enough(3), 1.0), (long_enough(9), 1.0)]}, r"twice: give each function a __name__"),
        ({"callbacks": print}, r"a callback has a method on_step"),
        ({"callbacks": [simplerl.Callback]}, r"a callback has a method on_step"),
        ({"data": [3]}, r"data\[0\]: a row has fields"),
        ({"data": [{"question": "1+1?"}]}, r"data\[0\]: no final answer"),
        ({"data": []}, r"no rows"),
        ({"model": 3}, r"model: give a name, a directory, or \(model, tokenizer\)"),
        ({"model": ("a", "b")}, r"model: give a name, a directory, or \(model, tokenizer\)"),
        ({"plugins": ["nowhere.py"]}, r"plug-in .*nowhere\.py does not exist"),
        ({"algorithm": "gpro"}, r"unknown algorithm 'gpro'; did you mean 'gspo' or 'grpo'"),
    ],
)
def test_mistakes_are_errors_with_a_message(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(SimpleRLError, match=message):
        simplerl.train("cub", output_dir=tmp_path / "run", quiet=True, **options)
    assert not (tmp_path / "run").exists()


def test_a_model_that_cannot_be_trained_is_said_to_be_so(tmp_path: Path, cub) -> None:
    policy = cub("cub-qwen")
    with pytest.raises(ConfigError, match="none of its weights takes a gradient"):
        train(tmp_path / "run", model=(policy.model.requires_grad_(False), policy.tokenizer))
    policy.model.requires_grad_(True).get_input_embeddings().weight.data[0, 0] = float("nan")
    with pytest.raises(SimpleRLError, match=r"weights of .* are not numbers \(NaN or infinite\) in 1 tensors"):
        train(tmp_path / "run", model=(policy.model, policy.tokenizer))


def test_what_is_passed_and_what_is_set_are_laid_together(tmp_path: Path) -> None:
    from simplerl.algorithms import GRPO

    (tmp_path / "mine.toml").write_text('extends = "cub"\nseed = 5\n')
    more = {"settings": {**QUICK, "sampling.temperature": 1.25, "reward.correct": 2.5, "algorithm.clip_high": 0.5}}
    options = {"sampling": {"top_p": 0.9}, "reward": "simplerl-v0", "algorithm": GRPO(clip_low=0.1), "steps": 1}
    run = simplerl.train(tmp_path / "mine.toml", output_dir=tmp_path / "run", quiet=True, **more, **options)
    assert [run.setting(f"sampling.{name}") for name in ("temperature", "top_p")] == [1.25, 0.9]
    assert [run.setting(f"algorithm.{name}") for name in ("name", "clip_low", "clip_high")] == ["grpo", 0.1, 0.5]
    assert [run.setting(f"reward.{name}") for name in ("name", "correct")] == ["simplerl-v0", 2.5]
    assert run.setting("seed") == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": []}, r"models: give names, directories or files, one or a list, not nothing"),
        ({"benchmarks": []}, r"benchmarks: give names, .*, not nothing"),
        ({"models": [3]}, r"models: give names, .*, not int"),
        ({"samples": "many"}, r"samples = 'many': "),
        ({"stop": [7]}, r"stop = \[7\]: "),
        ({"ks": "four"}, r"ks = 'four': "),
        ({"limit": -1}, r"--limit must be at least 0"),
    ],
)
def test_mistakes_of_an_evaluation_are_errors_with_a_message(options: dict, message: str, tmp_path: Path) -> None:
    given = {"models": "cub-qwen", "benchmarks": "arithmetic", **options}
    with pytest.raises(SimpleRLError, match=message):
        simplerl.evaluate(**given, output_dir=tmp_path / "results", quiet=True)


@pytest.mark.parametrize("rows", [3, [3], ["What is 1+1?"]])
def test_what_is_not_demonstrations(rows: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"demonstrations(\[0\])?: "):
        simplerl.sft("cub", demonstrations=rows, output_dir=tmp_path / "run", quiet=True)


def test_an_evaluation_of_a_run(tmp_path: Path) -> None:
    run = train(tmp_path / "run", settings={"steps": 1})
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:4]))
    results = simplerl.evaluate(
        run, tmp_path / "problems.jsonl", output_dir=tmp_path / "results", max_tokens=16, steps="last", quiet=True
    )
    assert [result.evaluations[0].step for result in results] == [1]
    with pytest.raises(ConfigError, match="unknown key 'sample'; did you mean 'samples'"):
        simplerl.evaluate(run, "gsm8k", sample=2)


def test_sampled_text_is_read_as_it_was_written(tmp_path: Path, monkeypatch) -> None:
    row = {"response": "a\u2028b\x85c\r\nd"}
    wrote = lambda config, output, **more: output.write_text(json_line(row) * 2, encoding="utf-8")  # noqa: E731
    monkeypatch.setattr("simplerl.selftraining.star.sample", wrote)
    assert simplerl.sample("cub", output=tmp_path / "all.jsonl", everything=True, quiet=True) == [row, row]
