"""Plug-ins and rewards of one's own by the command: what works, and one message with exit code 2 for what does not."""

from pathlib import Path

import pytest
from support import SMALL, arguments, run_main

from simplerl import Run
from simplerl.core.registry import forget

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


def train(capsys, *given: str, steps: int = 1) -> tuple[int, str, str]:
    table = {**SMALL, "steps": steps, "output_dir": "run"}
    return run_main(capsys, "train", "cub", *arguments(table), *given)


def test_a_plugin_is_in_the_help_in_the_configuration_and_loaded_again(ideas: Path, capsys) -> None:
    code, out, _ = run_main(capsys, "train", "--plugin", "ideas.py", "--help")
    assert code == 0
    assert ", shortness" in " ".join(out.split())
    code, _, error = train(capsys, "--plugin", "ideas.py", "--reward", "correctness", "--reward", "shortness=0.2")
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
    code, _, error = train(capsys, "--reward", "ideas.py:half")
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
    code, out, error = train(capsys, "--reward", f"ideas.py:{name}")
    assert code == 0, error
    said = " ".join(out.split())
    assert "8 responses could not be judged and were left out of the update" in said
    assert message in said
    assert f"{ideas}:{LINE[name]}" in said, "file and line"
    rows = Run("run").responses(columns=["verdict", "rule", "reward"]).to_pylist()
    assert [(row["verdict"], row["rule"]) for row in rows] == [("error", "reward")] * 8
    assert not any(row["reward"] == 0 for row in rows)


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
        (["--reward", "shortnes"], "", ["unknown reward 'shortnes'", "file.py:function"]),
        (["--plugins", "7,8"], "", ["there is no module '7'"]),
    ],
)
def test_mistakes(given: list[str], text: str, messages: list[str], tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text(text)
    code, _, error = train(capsys, *given)
    assert code == 2, error
    assert error.startswith("error: ")
    assert "Traceback" not in error
    for message in messages:
        assert message in error, error
    assert not (tmp_path / "run").exists()


def test_the_children_of_a_study_load_the_plugin_of_what_they_name(ideas: Path, tmp_path: Path) -> None:
    from simplerl.core.registry import load_plugin
    from simplerl.studies.plan import _job

    load_plugin(str(ideas))
    job = _job("train", "cub", {"reward": {"name": "shortness"}}, "label", tmp_path)
    assert " ".join(job.command).count(f"--plugin {ideas}") == 1
    assert "--plugin" not in _job("train", "cub", {}, "label", tmp_path).command
