"""`simplerl experiment` and `simplerl race`, whole: children train, results are made, and the same command goes on.

Plug-ins and rewards of one's own by the command: what works, and one message with exit code 2 for what does not.
"""

import json
import shutil
from pathlib import Path

import pytest
from support import SMALL, arguments, deep, run_main

from simplerl import Run
from simplerl.config.resolve import resolve
from simplerl.core.registry import forget
from simplerl.runs.directory import read_metrics
from simplerl.studies import experiment as module
from simplerl.studies.experiment import Bars, Curve, Experiment, Variant
from simplerl.train.loop import train

TINY = Experiment(
    name="tiny",
    question="Does it run?",
    claim="It does.",
    figures="No figure.",
    source="us",
    remarks="too short to learn anything",
    overrides=deep(SMALL, {"steps": 2, "checkpoint": {"every": 1}}),
    variants=(
        Variant(label="true"),
        Variant(label="shuffled", overrides={"shuffle_rewards": True}, against="true"),
    ),
    measures=("accuracy", "gain"),
    panels=(Curve(metric="accuracy/mean", label="accuracy"), Bars(measure="accuracy")),
)


@pytest.fixture(autouse=True)
def _registered(monkeypatch) -> None:
    monkeypatch.setitem(module.EXPERIMENTS, "tiny", TINY)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiment")


def tiny(capsys, directory: Path, *more: str) -> tuple[int, str, str]:
    words = ("--seeds", "1", "--jobs", "2", "--output-dir", str(directory))
    return run_main(capsys, "experiment", "tiny", *words, *more)


def test_it_runs_goes_on_and_survives_a_failure(capsys, made: Path) -> None:
    """One story with few children, because each takes seconds to start: one goes on, one begins, one fails."""
    table = deep(dict(TINY.overrides), {"seed": 0})
    half, new = made / "runs" / "true_seed0", made / "runs" / "shuffled_seed0"
    train(resolve(TINY.recipe, table), half)  # A run that is interrupted before its last checkpoint.
    reached = read_metrics(half)[-1]["eval/accuracy"]
    shutil.rmtree(half / "checkpoints" / "step_000002")
    (half / "summary.json").unlink()
    code, out, _ = tiny(capsys, made)
    assert code == 0
    assert "[2/2]" in out
    assert "true, seed 0: done" in out
    assert "resuming" in (made / "logs" / "true_seed0.log").read_text()
    assert "It does. No figure. (us)" in out
    results = json.loads((made / "results.json").read_text())
    assert results["variants"]["true"]["measures"]["accuracy after"]["seeds"]["0"] == reached
    for label, path in (("true", half), ("shuffled", new)):
        last = read_metrics(path)[-1]
        assert last["step"] == 2
        assert results["variants"][label]["measures"]["accuracy after"]["seeds"]["0"] == last["eval/accuracy"]
        assert json.loads((path / "environment.json").read_text())["sessions"][-1]["cpu_threads"] == 1
        assert json.loads((path / "config.json").read_text())["shuffle_rewards"] is (label == "shuffled")
    assert (made / "plot.png").exists()

    # A child that fails is shown with its message; the other counts, and the exit code says that something is missing.
    for file in (new / "checkpoints").glob("*/model.safetensors"):
        file.unlink()
    (new / "summary.json").unlink()
    code, out, _ = tiny(capsys, made)
    assert code == 1
    assert "shuffled, seed 0: failed" in out
    assert "every checkpoint is damaged" in out
    again = json.loads((made / "results.json").read_text())
    assert again["variants"]["true"]["measures"] == results["variants"]["true"]["measures"]
    assert list(again["variants"]) == ["true"]
    assert list(again["failed"]) == ["shuffled, seed 0"]

    # What is complete is left alone: nothing runs, the results are made again from the directories.
    shutil.rmtree(new)
    shutil.copytree(half, new)
    config = json.loads((new / "config.json").read_text())
    (new / "config.json").write_text(json.dumps({**config, "shuffle_rewards": True}))
    (made / "results.json").unlink()
    code, out, _ = tiny(capsys, made)
    assert code == 0
    assert "2 runs, 2 of them done already" in out
    difference = json.loads((made / "results.json").read_text())["variants"]["shuffled"]["difference"]
    assert (difference["value"], difference["n"]) == (0.0, 1)


def test_other_settings_are_refused(capsys, made: Path, monkeypatch) -> None:
    changed = {**dict(TINY), "overrides": deep(dict(TINY.overrides), {"optimizer": {"lr": 0.5}})}
    monkeypatch.setitem(module.EXPERIMENTS, "tiny", Experiment(**changed))
    code, _, error = tiny(capsys, made)
    assert code == 2
    assert "was made with other settings: optimizer.lr was 0.001, now 0.5" in error
    assert "--output-dir" in error


@pytest.mark.slow
def test_a_race_ends_by_its_budget(capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "EVALUATION", {"size": 10, "samples": 8, "every": 0})
    words = ("--seeds", "1", "--budget", "4000", "--output-dir", str(tmp_path / "race"))
    code, out, _ = run_main(capsys, "race", "grpo", *words)
    assert code == 0, out
    results = json.loads((tmp_path / "race" / "results.json").read_text())
    sampled = results["variants"]["grpo"]["measures"]["tokens sampled"]["value"]
    assert 4000 <= sampled < 4000 + 64 * 8 * 80
    assert set(results["variants"]["grpo"]["measures"]) >= {"accuracy after", "pass@8 after", "tokens useful"}
    assert (tmp_path / "race" / "plot.png").exists()


def test_without_a_name_the_experiments_are_listed(capsys) -> None:
    code, out, _ = run_main(capsys, "experiment", "--seeds", "2")
    assert code == 0
    for name, experiment in module.EXPERIMENTS.items():
        assert f"{name} " in out
        assert f"{experiment.question} ({2 * len(experiment.variants)} runs with 2 seeds)" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("experiment", "grup-size"), "unknown experiment 'grup-size'; did you mean 'group-size'"),
        (("experiment", "missing.toml"), "missing.toml cannot be read as an experiment"),
        (("experiment", "tiny", "--seeds", "0"), "must be at least 1, got 0"),
        (("experiment", "tiny", "--jobs", "x"), "--jobs"),
        (("race", "grop"), "unknown algorithm 'grop'; did you mean 'grpo'"),
        (("race", "grpo", "--budget", "-5"), "--budget"),
        (("race",), "ALGORITHM"),
    ],
)
def test_bad_input(words: tuple[str, ...], message: str, capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = run_main(capsys, *words)
    assert code == 2
    assert message in error
    assert not list(tmp_path.iterdir())


IDEAS = """
from simplerl import register

@register("reward", "shortness")
def shortness(prompts, completions, **columns):
    return [1.0 if len(text) < 80 else 0.0 for text in completions]

def wrong_length(prompts, completions):
    return [1.0]

def not_a_number(prompts, completions):
    return [float("nan") for _ in completions]

def text(prompts, completions):
    return ["0.5" for _ in completions]

def raises(problem, completion, verdict):
    return problem.nonesuch

def half(problem, completion, verdict):
    return 0.5
"""
LINE = {
    name: IDEAS.splitlines().index(f"def {name}(prompts, completions):") + 1
    for name in ("wrong_length", "not_a_number", "text")
}
LINE["raises"] = IDEAS.splitlines().index("    return problem.nonesuch") + 1


@pytest.fixture
def ideas(tmp_path: Path, monkeypatch):
    """Return a plug-in file in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "ideas.py"
    path.write_text(IDEAS)
    yield path
    forget(str(path))


def train_main(capsys, *given: str, steps: int = 1) -> tuple[int, str, str]:
    table = {**SMALL, "steps": steps, "output_dir": "run"}
    return run_main(capsys, "train", "cub", *arguments(table), *given)


def test_a_plugin_is_in_the_help_in_the_configuration_and_loaded_again(ideas: Path, capsys) -> None:
    code, out, _ = run_main(capsys, "train", "--plugin", "ideas.py", "--help")
    assert code == 0
    assert ", shortness" in " ".join(out.split())
    code, _, error = train_main(capsys, "--plugin", "ideas.py", "--reward", "correctness", "--reward", "shortness=0.2")
    assert code == 0, error
    run = Run("run")
    (recorded,) = run.config["plugins"]
    assert recorded["name"] == str(ideas)
    assert run.config["reward"]["rewards"] == [{"name": "correctness"}, {"name": "shortness", "weight": 0.2}]
    code, out, error = run_main(capsys, "train", "--output-dir", "run", "--resume", "--steps", "2")
    assert code == 0, error
    assert "WARNING" not in out, "nothing has changed"
    ideas.write_text(IDEAS.replace("< 80", "< 10"))
    code, out, error = run_main(capsys, "train", "--output-dir", "run", "--resume", "--steps", "3")
    assert code == 0, error
    assert f"WARNING: plug-in {ideas} has changed since the run began" in out
    assert Run("run").config["plugins"][0]["sha256"] != recorded["sha256"], "the new hash is recorded"
    ideas.unlink()
    code, _, error = run_main(capsys, "train", "--output-dir", "run", "--resume", "--steps", "4")
    assert code == 2
    assert f"error: plug-in {ideas} does not exist" in error


def test_a_function_by_its_file_from_another_directory(ideas: Path, capsys, monkeypatch) -> None:
    code, _, error = train_main(capsys, "--reward", "ideas.py:half")
    assert code == 0, error
    run = Run("run")
    assert run.config["reward"] == {"name": f"{ideas}:half"}
    assert [plugin["name"] for plugin in run.config["plugins"]] == [str(ideas)]
    assert run.responses(columns=["reward"]).column("reward").to_pylist() == [0.5] * 8
    (ideas.parent / "elsewhere").mkdir()
    monkeypatch.chdir(ideas.parent / "elsewhere")
    code, _, error = run_main(capsys, "train", "--output-dir", "../run", "--resume", "--steps", "2")
    assert code == 0, error
    assert Run("../run").last_step == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrong_length", "returned 1 values for 4 responses"),
        ("not_a_number", "gave 'nan' (float), not a finite number"),
        ("text", "gave '0.5' (str), not a finite number"),
        ("raises", "raised AttributeError: 'Problem' object has no attribute 'nonesuch'"),
    ],
)
def test_a_reward_that_fails_leaves_its_responses_out(name: str, message: str, ideas: Path, capsys) -> None:
    code, out, error = train_main(capsys, "--reward", f"ideas.py:{name}")
    assert code == 0, error
    said = " ".join(out.split())
    assert "8 responses could not be judged and were left out of the update" in said
    assert message in said
    assert f"{ideas}:{LINE[name]}" in said, "file and line"
    rows = Run("run").responses(columns=["verdict", "rule", "reward"]).to_pylist()
    assert [(row["verdict"], row["rule"]) for row in rows] == [("error", "reward")] * 8
    assert not any(row["reward"] == 0 for row in rows)


DATA = (
    "import simplerl\nfrom simplerl.core.types import Problem\n"
    "def problem(of): return Problem(id=of[:2], question=of, answer='1', source='')\n"
    "@simplerl.register('data', 'mine')\ndef load(split{}): {}\n"
)
ALGORITHM = """
from dataclasses import dataclass, replace
import simplerl, torch
from simplerl.algorithms import GRPO

@simplerl.register("algorithm", "mine")
@dataclass(frozen=True, kw_only=True)
class Mine(GRPO):
    \"\"\"GRPO with a flaw.\"\"\"

    def advantages(self, inputs):
        return {advantages}

    def loss(self, inputs):
        output = super().loss(inputs)
        return replace(output, metrics={{**output.metrics, "mine/number": {metric}}})
"""
TAKEN = 'import simplerl\n\n@simplerl.register("reward", "overlong")\ndef mine(prompts, completions): ...\n'


@pytest.mark.parametrize(
    ("given", "text", "messages"),
    [
        (["--plugin", "nowhere.py"], "", ["nowhere.py does not exist"]),
        (["--plugin", "nonesuch_module"], "", ["there is no module 'nonesuch_module'"]),
        (["--plugin", "bad.py"], "x = 1\nx.y\n", ["cannot be imported: AttributeError", "bad.py:2)"]),
        (["--plugin", "bad.py"], "def (:\n", ["cannot be imported: SyntaxError", "bad.py:1)"]),
        (["--plugin", "bad.py"], "import nonesuch_module\n", ["No module named 'nonesuch_module'", "bad.py:1)"]),
        (["--plugin=bad.py"], TAKEN, ["'overlong' of", "bad.py:3 is registered already, by", "builtin:Overlong"]),
        (["--reward", "bad.py:shrot"], "def short(prompts, completions): ...\n", ["did you mean 'short'"]),
        (["--reward", "bad.py:short"], "def short(prompts): ...\n", ["a reward is a function of (prompts"]),
        (["--reward", "bad.py:short=much"], "def short(prompts, completions): ...\n", ["after '=' must be a number"]),
        (["--reward", "overlong=nan"], "", ["must be a finite number"]),
        (["--reward", "shortnes"], "", ["unknown reward 'shortnes'", "file.py:NAME"]),
        (["--plugins", "7,8"], "", ["there is no module '7'"]),
        (["--plugin", "bad.py"], "raise SystemExit(5)\n", ["cannot be imported: SystemExit: 5", "bad.py:1)"]),
        (
            ["--plugin", "bad.py"],
            "import simplerl\nsimplerl.register('template', 'mine')('Q')\n",
            ["'mine' must be a text"],
        ),
        (
            ["--plugin", "bad.py"],
            "import simplerl\nsimplerl.register('algorithm', 'mine')(int)\n",
            ["must be a dataclass"],
        ),
        (
            ["--plugin", "bad.py"],
            "import simplerl\nsimplerl.register('backend', 'mine')(int)\n",
            ["must be a class with `exact`, `generate`"],
        ),
        (
            ["--plugin", "bad.py"],
            "import simplerl\nsimplerl.register('policy', 'mine')(lambda: '')\n",
            ["must be a function of a text"],
        ),
        (["--plugin", "bad.py", "--data", "mine"], DATA.format("", "..."), ["bad.py:4) cannot be loaded: "]),
        (
            ["--plugin", "bad.py", "--data", "mine"],
            DATA.format(", **of", "return [{}]"),
            ["problems, not dict objects"],
        ),
        (["--plugin", "bad.py", "--data", "mine"], DATA.format(", **of", "return []"), ["problems, not nothing"]),
        (
            ["--plugin", "bad.py", "--data", "mine"],
            DATA.format(", **of", "return [problem(split)] * (1 + (split == 'test'))"),
            ["2 held-out problems have the id 'te'"],
        ),
        (
            ["--plugin", "bad.py", "--data", "mine"],
            DATA.format(", **of", "1 / 0"),
            ["raised ZeroDivisionError", "bad.py:5)"],
        ),
    ],
)
def test_mistakes(given: list[str], text: str, messages: list[str], tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text(text)
    code, _, error = train_main(capsys, *given)
    assert code == 2, error
    assert error.startswith("error: ")
    assert "Traceback" not in error
    for message in messages:
        assert message in error, error
    assert not (tmp_path / "run").exists()
    forget(str(tmp_path / "bad.py"))


@pytest.mark.parametrize(
    ("advantages", "metric", "message"),
    [
        ("super().advantages(inputs)", "0.5", ""),
        ("super().advantages(inputs)", "torch.ones(3)", "metric 'mine/number' must be one number, not 3"),
        ("super().advantages(inputs)", "1 / 0", "plug-in {} raised ZeroDivisionError: division by zero ({}:16)"),
        ("[1.0]", "0.5", "Mine.advantages must return a tensor [B, T] = (8, "),
        ("super().advantages(inputs) * float('nan')", "0.5", "Mine.advantages of step 1 are not all finite numbers"),
    ],
)
def test_an_algorithm_of_a_plugin(advantages: str, metric: str, message: str, ideas: Path, capsys) -> None:
    ideas.write_text(ALGORITHM.format(advantages=advantages, metric=metric))
    code, _, error = train_main(capsys, "--plugin", "ideas.py", "--algorithm.name", "mine")
    assert code == (2 if message else 0), error
    assert message.format(ideas, ideas) in error
    if not message:
        assert Run("run").metrics.column("mine/number").to_pylist() == [None, 0.5]


def test_the_children_of_a_study_load_the_plugin_of_what_they_name(ideas: Path, tmp_path: Path) -> None:
    from simplerl.core.registry import load_plugin
    from simplerl.studies.experiment import Experiment
    from simplerl.studies.jobs import plan

    load_plugin(str(ideas))
    variants = [{"label": "mine", "overrides": {"reward": {"name": "shortness"}}}, {"label": "plain"}]
    table = {"name": "x", "question": "?", "measures": ["accuracy"], "variants": variants}
    mine, plain = plan(Experiment.model_validate(table), seeds=1, directory=tmp_path)
    assert " ".join(mine.command).count(f"--plugin {ideas}") == 1
    assert "--plugin" not in plain.command
