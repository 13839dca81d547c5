"""`simplerl eval`: protocols, resume, what a run says of its models; responses that were made elsewhere."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from support import Crash, command, crash_before_write, environment, kills_before, run_main, run_small

from simplerl.core.errors import ConfigError, DataError, RunError
from simplerl.core.types import Problem
from simplerl.environments import sandbox
from simplerl.evaluate import benchmarks
from simplerl.evaluate.benchmarks import BENCHMARKS, Loaded, load
from simplerl.evaluate.figures import check_ks
from simplerl.evaluate.run import (
    Settings,
    Target,
    evaluate,
    load_benchmarks,
    protocol_for,
    read_responses,
    split_name,
    targets,
)
from simplerl.runs.responses import ResponseFile
from simplerl.runs.run import FIGURES, RESPONSES, results

RECIPE = {"template": "plain", "model": "cub-qwen"}


class Silent:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.done = 0

    def say(self, message: str) -> None:
        self.lines.append(message)

    def phase(self, name: str, total: int, done: int) -> None:
        self.lines.append(f"{name}: {done} of {total}")

    def advance(self) -> None:
        self.done += 1


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    rows = [
        {"question": f"What is {a}+{b}?", "answer": str(a + b), "level": a}
        for a, b in itertools.product(*[range(1, 4)] * 2)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(problems: Path, output: Path, *, models=None, names=None, overwrite=False, **settings):
    chosen = Settings(**{"max_tokens": 24, "backend": "fake", "part": 4, **settings})
    listener = Silent()
    loaded = load_benchmarks(names or [str(problems)], chosen, None, listener.say)
    found = models or targets("cub-qwen", recipe=RECIPE)
    return evaluate(found, loaded, chosen, output, listener, overwrite=overwrite), listener


def content(path: Path) -> tuple[bytes, bytes]:
    return (path / RESPONSES).read_bytes(), (path / FIGURES).read_bytes()


def test_wherever_it_dies_it_ends_the_same(problems: Path, tmp_path: Path) -> None:
    with kills_before(tmp_path / "whole", ".") as killed:
        (reference,), _ = run(problems, tmp_path / "whole", samples=2)
    assert len(killed) > 10
    for output in killed:
        (path,), _ = run(problems, output, samples=2)
        assert content(path) == content(reference), output
        assert not list((path / "parts").iterdir()) if (path / "parts").is_dir() else True


@pytest.mark.parametrize("after", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_killed_and_continued_on_the_command_line(problems: Path, tmp_path: Path, after: int, capsys) -> None:
    """SIGKILL with some parts saved, by the real backend; what it is compared with, and its end, in this process."""
    limits = ("--max-tokens", "48", "--part", "4", "--samples", "2")
    whole, killed = (
        ["eval", "cub-qwen", "--benchmarks", str(problems), *limits, "--output-dir", str(tmp_path / name)]
        for name in ("whole", "killed")
    )
    assert run_main(capsys, *whole)[0] == 0
    process = subprocess.Popen(
        command(*killed),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "killed").rglob("part_*.parquet"))) < after and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert run_main(capsys, *killed)[0] == 0
    (first,), (second,) = (list(results(tmp_path / name)) for name in ("whole", "killed"))
    assert content(second.home) == content(first.home)


def test_damaged_part_is_made_again(problems: Path, tmp_path: Path) -> None:
    (reference,), _ = run(problems, tmp_path / "whole")
    with pytest.raises(Crash), crash_before_write(tmp_path / "out", 14):
        run(problems, tmp_path / "out")
    (part,) = list((tmp_path / "out").rglob("part_00000.parquet"))
    part.write_bytes(part.read_bytes()[:100])
    (path,), _ = run(problems, tmp_path / "out")
    assert content(path) == content(reference)


def test_what_is_done_is_not_done_again(problems: Path, tmp_path: Path) -> None:
    run(problems, tmp_path)
    _, listener = run(problems, tmp_path)
    assert listener.done == 0
    assert "done already" in listener.lines[0]
    _, listener = run(problems, tmp_path, overwrite=True)
    assert listener.done == 9


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"samples": 2}, {"max_tokens": 25}, {"template": "simple"}, {"limit": 5}]
)
def test_another_protocol_is_another_result(problems: Path, tmp_path: Path, change: dict) -> None:
    (first,), _ = run(problems, tmp_path)
    (second,), listener = run(problems, tmp_path, **change)
    assert first != second
    assert listener.done > 0
    assert len(list(results(tmp_path))) == 2


def test_an_environment_whose_file_has_changed_is_another_protocol(problems: Path, tmp_path: Path) -> None:
    file, paths = tmp_path / "mine.py", []
    text = "from simplerl.environments.base import Environment\n\n\nclass Mine(Environment):\n    'One turn.'\n"
    for source in (text, f"{text}\n    max_turns = 2\n"):
        file.write_text(source)
        (path,), listener = run(problems, tmp_path / "out", environment=f"{file}:Mine")
        paths.append(path)
        assert listener.done == 9
    assert paths[0] != paths[1]


def test_samples_after_one_sample_are_not_skipped(problems: Path, tmp_path: Path) -> None:
    """The original's file names leave the number of samples out, so avg@32 after pass@1 was never run."""
    name = str(problems)
    paths, listener = run(problems, tmp_path, names=[name, f"{name}@4"])
    assert listener.done == 9 + 36
    assert [len(ResponseFile(path / RESPONSES).answers()) for path in paths] == [9, 36]


def test_prompt_longer_than_the_context_counts_as_unsolved(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    rows = [{"question": "7" * 5000, "answer": "7"}, {"question": "What is 0+0?", "answer": "0"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (result,), _ = run(path, tmp_path / "out")
    answers = ResponseFile(result / RESPONSES).answers()
    assert [a.status for a in answers] == ["no_answer", "correct"]
    figures = json.loads((result / FIGURES).read_text())
    assert figures["acc"]["value"] == 0.5
    assert figures["problems"] == 2


def test_eight_checkpoints_read_the_data_once(problems: Path, tmp_path: Path, monkeypatch) -> None:
    run_small(tmp_path / "run", {"steps": 8, "checkpoint": {"every": 1, "keep": 0}, "evaluation": {"every": 0}})
    reads = []
    original = benchmarks.data.read
    monkeypatch.setattr(benchmarks.data, "read", lambda *a, **k: reads.append(a) or original(*a, **k))
    models = targets(str(tmp_path / "run"), "all", recipe={})
    assert [target.step for target in models] == list(range(9))
    paths, _ = run(problems, tmp_path / "out", models=models, names=[str(problems), f"{problems}@2"])
    assert len(paths) == 18
    assert len(reads) == 1


# -- protocols -----------------------------------------------------------------------------------------------------


def rules(step: int | None, name: str = "aime24", **settings):
    target = Target(label="m", source="m", step=step, config=RECIPE)
    loaded = benchmarks.Loaded(benchmark=benchmarks.BENCHMARKS["aime24"], problems=[], sha256="")
    hashes = {"sha256": "", "tokenizer_sha256": ""}
    return protocol_for(target, name, loaded, Settings(**settings), hashes=hashes, precision="fp32")


@pytest.mark.parametrize(
    ("step", "name", "settings", "temperature", "top_p", "samples"),
    [
        (None, "aime24", {}, 0.0, 1.0, 1),
        (0, "aime24", {}, 0.0, 1.0, 1),
        (20, "aime24", {}, 1.0, 0.95, 1),
        (None, "aime24@32", {}, 1.0, 0.95, 32),
        (None, "aime24@32", {"temperature": 0.0}, 1.0, 0.95, 32),
        (None, "aime24", {"samples": 8}, 1.0, 0.95, 8),
        (20, "aime24", {"temperature": 0.6, "top_p": 1.0}, 0.6, 1.0, 1),
        (20, "aime24", {"temperature": 0.0}, 0.0, 1.0, 1),
    ],
)
def test_the_papers_protocol(step, name, settings, temperature, top_p, samples) -> None:
    found = rules(step, name, **settings)
    sampling = found["sampling"]
    assert (sampling["temperature"], sampling["top_p"], found["samples"]) == (temperature, top_p, samples)
    assert sampling["max_new_tokens"] == 16_000
    assert found["template"]["name"] == "plain"


def test_the_begin_of_text_token_may_be_chosen() -> None:
    chosen = [rules(20, special_tokens=each)["template"]["special_tokens"] for each in (None, "bos")]
    assert chosen == ["none", "bos"], "of a configuration from before there was a choice it is none"


def test_nonsense_settings_are_explained() -> None:
    with pytest.raises(ConfigError, match="same response 4 times"):
        Settings(samples=4, temperature=0.0)
    with pytest.raises(ConfigError, match="--k 8 needs at least 8 samples"):
        check_ks((8,), 4, "aime24")
    with pytest.raises(ConfigError, match="aime24@32"):
        split_name("aime24@x")
    with pytest.raises(ConfigError, match="for files of your own give --data-dir DIR"):
        split_name("gsm8k@files/of-mine")
    with pytest.raises(ConfigError, match="must be at least 1"):
        Settings(samples=0)


# -- targets -------------------------------------------------------------------------------------------------------


def test_steps_of_a_run(tmp_path: Path) -> None:
    run_small(tmp_path / "run")
    path = str(tmp_path / "run")
    assert [t.label for t in targets(path, recipe={})] == ["run@0", "run@3"]
    assert [t.step for t in targets(path, "all", recipe={})] == [0, 2, 3]
    assert [t.step for t in targets(path, "last", recipe={})] == [3]
    assert targets(path, "0", recipe={})[0].source == "cub-qwen"
    (checkpoint,) = targets(f"{path}/checkpoints/step_000002", recipe={})
    assert (checkpoint.label, checkpoint.config["template"]) == ("run@2", "plain")
    with pytest.raises(ConfigError, match=r"no checkpoint of step 1; it has 0, 2, 3"):
        targets(path, "1", recipe={})
    with pytest.raises(ConfigError, match="all, first, last or numbers"):
        targets(path, "some", recipe={})
    with pytest.raises(ConfigError, match="not a run directory"):
        targets("cub-qwen", "all", recipe={})
    with pytest.raises(ConfigError, match="not a run directory"):
        targets(f"{path}/checkpoints/step_000002", "all", recipe={})


def test_run_without_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text('{"model": "cub-qwen"}')
    with pytest.raises(RunError, match="no checkpoints yet; evaluate its base model by name"):
        targets(str(tmp_path), recipe={})


def test_other_template_than_in_training_is_said(problems: Path, tmp_path: Path) -> None:
    run_small(tmp_path / "run")
    models = targets(str(tmp_path / "run"), "last", recipe={})
    _, listener = run(problems, tmp_path / "out", models=models, template="simple")
    assert "trained with template 'plain' and is evaluated with 'simple'" in listener.lines[0]


# -- what must not be mixed ----------------------------------------------------------------------------------------


def test_two_models_of_one_name_are_two_models(problems: Path, tmp_path: Path, tiny_models) -> None:
    """Labels are the last part of a path; the second model's figures must not be the first one's."""
    for name, architecture in (("a", "llama"), ("b", "gpt2")):
        shutil.copytree(tiny_models(architecture), tmp_path / name / "final")
    sources = [str(tmp_path / name / "final") for name in ("a", "b")]
    together = [target for source in sources for target in targets(source, recipe=RECIPE)]
    paths, _ = run(problems, tmp_path / "both", models=together, backend="native")
    for source, path in zip(sources, paths, strict=True):
        (alone,), _ = run(
            problems, tmp_path / f"alone-{Path(source).parent.name}", models=targets(source, recipe=RECIPE),
            backend="native",
        )  # fmt: skip
        assert [a.response for a in ResponseFile(path / RESPONSES).answers()] == [
            a.response for a in ResponseFile(alone / RESPONSES).answers()
        ]
    assert content(paths[0])[0] != content(paths[1])[0]


def test_a_model_named_twice_is_evaluated_once(problems: Path, tmp_path: Path) -> None:
    paths, listener = run(problems, tmp_path, models=targets("cub-qwen", recipe=RECIPE) * 2, overwrite=True)
    assert listener.done == 9
    assert len(paths) == 1


def test_other_k_of_a_whole_evaluation_are_computed(problems: Path, tmp_path: Path) -> None:
    (path,), _ = run(problems, tmp_path, samples=4, ks=(1, 4))
    before = content(path)
    _, listener = run(problems, tmp_path, samples=4, ks=(1, 3))
    assert list(json.loads((path / FIGURES).read_text())["pass@k"]) == ["1", "3"]
    assert listener.done == 0
    run(problems, tmp_path, samples=4, ks=(1, 4))
    assert content(path) == before


def test_k_is_checked_for_every_benchmark_before_anything_is_sampled(problems: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--k 4 needs at least 4 samples per problem, but sums has 1"):
        run(problems, tmp_path, names=[str(problems), f"{problems}@4"], ks=(1, 4))
    with pytest.raises(ConfigError, match="--k must be numbers from 1, got 0"):
        Settings(ks=(0, 1))
    paths, _ = run(problems, tmp_path, names=[f"{problems}@4"], ks=(1, 4))
    assert len(ResponseFile(paths[0] / RESPONSES).answers()) == 36


def test_samples_behind_a_name(tmp_path: Path) -> None:
    assert split_name("aime24@32") == ("aime24", 32)
    assert split_name("own@home.jsonl") == ("own@home.jsonl", None)
    assert split_name("own@home.jsonl@2") == ("own@home.jsonl", 2)
    with pytest.raises(ConfigError, match="aime24@32"):
        split_name("aime24@²")


# -- damaged and foreign results -----------------------------------------------------------------------------------


def test_part_with_damage_in_the_middle_is_made_again(problems: Path, tmp_path: Path) -> None:
    """Its last bytes, which say what is in it, are sound."""
    (reference,), _ = run(problems, tmp_path / "whole")
    with pytest.raises(Crash), crash_before_write(tmp_path / "out", 14):
        run(problems, tmp_path / "out")
    (part,) = list((tmp_path / "out").rglob("part_00000.parquet"))
    sound = part.read_bytes()
    part.write_bytes(sound[:4] + b"\0" * 2000 + sound[2004:])
    (path,), _ = run(problems, tmp_path / "out")
    assert content(path) == content(reference)


def test_part_of_an_older_version_is_made_again(problems: Path, tmp_path: Path) -> None:
    (reference,), _ = run(problems, tmp_path / "whole")
    with pytest.raises(Crash), crash_before_write(tmp_path / "out", 14):
        run(problems, tmp_path / "out")
    (part,) = list((tmp_path / "out").rglob("part_00000.parquet"))
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(part).drop_columns(["rule", "score"]), part)
    (path,), _ = run(problems, tmp_path / "out")
    assert content(path) == content(reference)


@pytest.mark.parametrize("foreign", ["[]", "{}", '{"label": 1}'])
@pytest.mark.parametrize("name", [FIGURES, "protocol.json"])
def test_foreign_result_is_a_message(problems: Path, tmp_path: Path, name: str, foreign: str) -> None:
    (path,), _ = run(problems, tmp_path / "out")
    (path / name).write_text(foreign)
    with pytest.raises(RunError, match=r"(is not of an evaluation by this version|is not a JSON object).*--overwrite"):
        list(results(tmp_path / "out"))


def test_overwrite_that_ends_early_leaves_no_old_figures(problems: Path, tmp_path: Path) -> None:
    (path,), _ = run(problems, tmp_path)
    seen = []
    for number in range(8):
        with pytest.raises(Crash), crash_before_write(path, number):
            run(problems, tmp_path, overwrite=True)
        seen.append(((path / FIGURES).exists(), (path / RESPONSES).exists()))
    assert set(seen) == {(True, True), (False, True), (False, False)}


def test_other_columns_are_a_message(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"problem_id": ["p"]}), tmp_path / RESPONSES)
    with pytest.raises(RunError, match=r"not a record of judged responses: it has no column sample, response, verdict"):
        ResponseFile(tmp_path / RESPONSES).answers()


@pytest.mark.parametrize("temperature", [float("nan"), float("inf"), -1.0])
def test_temperature_must_be_a_number(temperature: float) -> None:
    with pytest.raises(ConfigError, match=r"temperature must be 0 \(greedy\) or positive"):
        rules(None, temperature=temperature)


def test_label_that_looks_like_markup_is_shown_as_it_is(problems: Path, tmp_path: Path, tiny_models, capsys) -> None:
    shutil.copytree(tiny_models("llama"), tmp_path / "m[" / "v2[" / "x[bold]y")
    model = str(tmp_path / "m[" / "v2[" / "x[bold]y")
    common = ["--max-tokens", "4", "--output-dir", str(tmp_path / "out"), "--template", "plain", "--backend", "fake"]
    code, shown, message = run_main(capsys, "eval", model, "--benchmarks", str(problems), *common)
    assert (code, message) == (0, "")
    assert "x[bold]y" in shown
    code, _, message = run_main(capsys, "eval", model, "--benchmarks", " ,", *common)
    assert (code, "--benchmarks names no benchmark" in message) == (2, True)


def test_interruption_says_how_to_go_on(problems: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("simplerl.evaluate.run.Rollout.sample_groups", stop)
    given = ["eval", "cub-qwen", "--benchmarks", str(problems), "--output-dir", str(tmp_path / "out"), "--overwrite"]
    code, _, message = run_main(capsys, *given, "--max-tokens", "4")
    assert code == 130
    assert "the same command without --overwrite goes on there" in message


def test_another_configuration_of_the_same_weights_is_another_result(problems: Path, tmp_path: Path) -> None:
    import shutil

    from simplerl.models.cub import path

    shutil.copytree(path("cub-qwen"), tmp_path / "model")
    models = targets(str(tmp_path / "model"), recipe=RECIPE)
    run(problems, tmp_path / "out", models=models)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "rope_theta": 20000.0}))
    _, listener = run(problems, tmp_path / "out", models=models)
    assert listener.done == 9


def test_a_damaged_result_does_not_hide_the_others(problems: Path, tmp_path: Path, capsys) -> None:
    (path,), _ = run(problems, tmp_path / "out")
    other = path.with_name("damaged")
    other.mkdir()
    for file in path.iterdir():
        if file.is_file():
            (other / file.name).write_bytes(file.read_bytes())
    (other / FIGURES).write_text("{")
    said: list[str] = []
    assert [result.home for result in results(tmp_path / "out", said.append)] == [path]
    assert "damaged" in said[0]
    with pytest.raises(RunError, match="damaged"):
        list(results(tmp_path / "out"))
    arguments = ["--benchmarks", str(problems), "--max-tokens", "24", "--part", "4", "--backend", "fake"]
    code, shown, _ = run_main(capsys, "eval", "cub-qwen", *arguments, "--output-dir", str(tmp_path / "out"))
    assert code == 0
    assert "left out: " in shown


@pytest.fixture
def loaded(tmp_path: Path):
    path = tmp_path / "own.jsonl"
    rows = [{"id": "x1", "question": "one?", "answer": "1"}, {"id": "x2", "question": "two?", "answer": "2"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load(str(path))


def given(tmp_path: Path, *rows: dict) -> Path:
    path = tmp_path / "responses.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"id": "own-0", "response": "a"}, {"id": "own-1", "response": "b"}),
        ({"id": "x2", "response": "b"}, {"id": "x1", "response": "a"}),
        ({"idx": 0, "code": ["a"]}, {"idx": 1, "code": ["b"]}),
        ({"question": "one?", "completion": "a"}, {"question": " two?\n", "output": "b"}),
    ],
)
def test_forms(first, second, loaded, tmp_path: Path) -> None:
    found = read_responses(given(tmp_path, first, second), loaded)
    assert [(g.problem.id, g.sample, g.response) for g in found] == [("own-0", 0, "a"), ("own-1", 0, "b")]


def test_the_index_of_a_row_is_no_id_of_another(tmp_path: Path) -> None:
    """AMC23's ids leave numbers out, and the original's files name a problem by `idx`, its row."""
    problems = [
        Problem(id=f"amc23-{i}", question=f"{i}?", answer="1", source="amc23", meta={"original_id": own})
        for i, own in enumerate(("0", "2", "5"))
    ]
    loaded = Loaded(benchmark=BENCHMARKS["amc23"], problems=problems, sha256="")
    for key, names in (("idx", (0, 1, 2)), ("id", (0, 2, 5)), ("id", [p.id for p in problems])):
        rows = [{key: name, "response": f"r{i}"} for i, name in enumerate(names)]
        found = read_responses(given(tmp_path, *rows), loaded)
        assert [(g.problem.id, g.response) for g in found] == [(f"amc23-{i}", f"r{i}") for i in range(3)]


def test_samples_in_a_list_or_in_rows(loaded, tmp_path: Path) -> None:
    rows = [
        {"id": "own-0", "responses": ["a", "b"], "finish_reason": ["stop", "length"]},
        {"id": "own-1", "response": "c", "sample": 1},
        {"id": "own-1", "response": "c", "sample": 0},
    ]
    found = read_responses(given(tmp_path, *rows), loaded)
    assert [(g.problem.id, g.sample, g.stop_reason) for g in found] == [
        ("own-0", 0, "stop"),
        ("own-0", 1, "length"),
        ("own-1", 0, None),
        ("own-1", 1, None),
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "own-7", "response": "a"}], r":1: own has no problem 'own-7'; did you mean"),
        ([{"id": "own-0"}], r":1: no response; wanted one of response, .* Fields there: 'id'"),
        ([{"response": "a"}], r":1: no problem is named"),
        ([{"id": "own-0", "response": "a"}] * 2, r":2: the same row stands at .*:1; remove one"),
        ([{"id": "own-0", "response": x, "sample": 0} for x in "ab"], r":2: sample 0 of own-0 is there twice"),
        ([{"id": "own-0", "response": "a"}], r"no response to 1 of 2 problems of own: own-1"),
        ([{"id": "own-0", "responses": []}], r":1: field 'responses' must be a text or a list of texts"),
        ([{"id": "own-0", "responses": ["a"], "finish_reason": ["stop", "stop"]}], r"1 responses but 2 finish"),
        ([{"id": "own-0", "response": "a", "sample": -1}], r"sample must be a number from 0"),
        ([], r"holds no responses"),
    ],
)
def test_bad_files(rows, message: str, loaded, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_responses(given(tmp_path, *rows), loaded)


def test_scored_like_any_other(loaded, tmp_path: Path, capsys) -> None:
    rows = [
        {"id": "own-0", "responses": [r"\boxed{1}", r"\boxed{3}"], "finish_reason": ["stop", "length"]},
        {"id": "own-1", "responses": [r"the answer is 2.", "no"], "finish_reason": ["stop", "stop"]},
    ]
    path = given(tmp_path, *rows)
    own = str(tmp_path / "own.jsonl")
    arguments = ["--benchmarks", own, "--output-dir", str(tmp_path / "out"), "--tokenizer", "cub-qwen"]
    code, shown, _ = run_main(capsys, "eval", "--responses", str(path), *arguments)
    assert code == 0
    assert "50.0" in shown
    (result,) = results(tmp_path / "out")
    assert result.figures["acc"]["value"] == 0.5
    assert result.figures["boxed_acc"]["value"] == 0.25
    assert result.figures["pass@k"]["2"]["value"] == 1.0
    assert result.figures["clip_ratio"]["value"] == 0.25
    assert next(a.tokens for a in ResponseFile(result.path).answers()) > 3
    header = (tmp_path / "out" / "eval_results.csv").read_text().splitlines()[0].split(",")
    assert header[:4] == ["model", "own_acc", "own_pass_acc", "own_tokens"]


def test_command_line_explains_itself(tmp_path: Path, capsys) -> None:
    path = given(tmp_path, {"id": 1, "response": "a"})
    code, _, message = run_main(capsys, "eval", "--responses", str(path))
    assert (code, "--responses needs the one benchmark" in message) == (2, True)
    code, _, message = run_main(capsys, "eval")
    assert (code, "give models to evaluate" in message) == (2, True)


def test_odd_characters_many_samples_and_k(loaded, tmp_path: Path, capsys) -> None:
    """Lone surrogates and NUL are counted and kept; --k is checked against the samples that are there."""
    rows = [
        {"id": "own-0", "responses": ["\ud800 \\boxed{1}", "\0"], "sample": 1},
        {"id": "own-1", "responses": ["2", "x" * 1_000_000], "sample": 1},
    ]
    path = given(tmp_path, *rows)
    base = ["eval", "--responses", str(path), "--benchmarks", str(tmp_path / "own.jsonl")]
    out = ["--output-dir", str(tmp_path / "out"), "--tokenizer", "cub-qwen"]
    code, _, message = run_main(capsys, *base, *out, "--k", "1,4")
    assert (code, "--k 4 needs at least 4 samples per problem, but own has 2" in message) == (2, True)
    assert not list(results(tmp_path / "out"))
    code, _, message = run_main(capsys, *base, *out, "--k", "1,2")
    assert (code, message) == (0, "")
    (found,) = results(tmp_path / "out")
    assert found.protocol["samples"] == found.figures["samples"] == 2
    assert list(found.figures["pass@k"]) == ["1", "2"]
    assert next(a.status for a in ResponseFile(found.path).answers()) == "correct"


def test_a_sample_number_must_fit(loaded, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"responses.jsonl:1: sample must be a number from 0 to 999,999,999"):
        read_responses(given(tmp_path, {"id": "own-0", "response": "a", "sample": 10**12}), loaded)


def test_programs_are_scored_by_their_unit_tests(tmp_path: Path, capsys) -> None:
    try:
        sandbox.require()
    except sandbox.SandboxError as error:
        pytest.skip(str(error))
    test = "def check(candidate):\n    assert candidate() == 1\n"
    row = {"task_id": "HumanEval/0", "prompt": "def one():\n", "test": test, "entry_point": "one"}
    (tmp_path / "HumanEval.jsonl").write_text(json.dumps(row))
    texts = ("    return 1", "    return 2", "```python\ndef one():\n    return 1\n```", "no program")
    rows = [{"task_id": "HumanEval/0", "completion": text, "sample": i} for i, text in enumerate(texts)]
    benchmark, out = str(tmp_path / "HumanEval.jsonl"), str(tmp_path / "out")
    path = str(given(tmp_path, *rows))
    code, shown, message = run_main(capsys, "eval", "--responses", path, "--benchmarks", benchmark, "--output-dir", out)
    assert code == 0, (shown, message)
    (result,) = results(tmp_path / "out")
    assert [result.figures["pass@k"][k]["value"] for k in "12"] == pytest.approx([1 / 2, 5 / 6])
    table = ResponseFile(result.home / "responses.parquet").read(["verdict", "rule"])
    assert table["verdict"].to_pylist() == ["correct", "wrong", "correct", "wrong"]
    assert table["rule"].to_pylist() == ["tests"] * 4
