"""What is read of a directory: runs of all kinds and in all states, and what is damaged."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from made_answers import result_of
from made_metrics import GOOD, texts_of, write_run

from simplerl.core.errors import ConfigError, RunError
from simplerl.doctor import LOOKS, RULES, diagnose, spread
from simplerl.runs.responses import write_trajectories


def test_not_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for path, word in (
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "file", "a file"),
        (tmp_path / "empty", "is empty"),
    ):
        with pytest.raises(RunError, match=word):
            diagnose(path)


def test_directory_of_runs_is_named_as_such(tmp_path: Path) -> None:
    write_run(tmp_path / "one", steps=2)
    with pytest.raises(RunError, match="is not a run, but holds 1; give one of them: one"):
        diagnose(tmp_path)


def test_unknown_threshold(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=2)
    with pytest.raises(ConfigError, match=r"clip-ratio\.share"):
        diagnose(run, {"clip-ratio.shares": 1})
    with pytest.raises(ConfigError, match="finite"):
        diagnose(run, {"clip-ratio.share": float("nan")})
    with pytest.raises(ConfigError, match="0 or more"):
        diagnose(run, {"clip-ratio.share": -0.1})
    assert diagnose(run, {"critic-useless.share": -0.3}), "variance explained may be negative"


def test_thresholds_move_a_finding(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"length/clip_ratio": 0.25})
    assert [f.rule for f in diagnose(run).findings] == ["clip-ratio"]
    assert diagnose(run, {"clip-ratio.share": 0.3}).findings == ()
    assert diagnose(run, {"clip-ratio.serious": 0.2}).findings[0].severity == "serious"


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_run_of_hardly_any_steps_is_not_judged(tmp_path: Path, steps: int) -> None:
    diagnosis = diagnose(write_run(tmp_path / "run", {"length/clip_ratio": 1.0}, steps=steps))
    assert diagnosis.findings == ()
    assert "clip-ratio" in diagnosis.unfit
    assert not diagnosis.healthy
    if steps:
        assert diagnosis.unfit["clip-ratio"].startswith("needs 6 values of length/clip_ratio, there")


def test_run_is_healthy_from_six_steps_on(tmp_path: Path) -> None:
    """Five steps leave most rules without a word: that they found nothing says nothing."""
    for steps, healthy in ((5, False), (6, True)):
        diagnosis = diagnose(write_run(tmp_path / str(steps), steps=steps, looked=(1, 2)))
        assert diagnosis.clean
        assert (diagnosis.findings, diagnosis.healthy, diagnosis.early) == ((), healthy, not healthy)


def test_responses_without_metrics_are_not_called_healthy(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "metrics.jsonl").unlink()
    diagnosis = diagnose(run)
    assert diagnosis.clean
    assert not diagnosis.healthy
    assert "metrics.jsonl is missing" in diagnosis.warnings[0]


def test_run_that_has_only_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "trajectories").mkdir()
    diagnosis = diagnose(tmp_path)
    assert not diagnosis.healthy
    assert set(diagnosis.unfit) == set(RULES)


def test_run_without_reference_or_critic_says_so(tmp_path: Path) -> None:
    figures = {"policy/kl": None, "critic/explained_variance": None, "optimizer/updates": 1}
    unfit = diagnose(write_run(tmp_path / "run", figures)).unfit
    assert "algorithm.kl_coef" in unfit["kl-blow-up"]
    assert unfit["critic-useless"] == "there is no critic"
    assert "one update a step" in unfit["ratio-blow-up"]


def test_evaluation_that_samples_otherwise_is_no_gap(tmp_path: Path) -> None:
    greedy = {"evaluation": {"temperature": 0.0, "top_p": 1.0, "data": ""}}
    diagnosis = diagnose(write_run(tmp_path / "run", evaluated={0: 0.3, 30: 0.32}, config=greedy))
    assert "evaluation.temperature = 0.0" in diagnosis.unfit["train-eval-gap"]
    elsewhere = {"evaluation": {"temperature": 1.0, "top_p": 1.0, "data": "other.jsonl"}}
    diagnosis = diagnose(write_run(tmp_path / "other", evaluated={0: 0.3, 30: 0.32}, config=elsewhere))
    assert "other.jsonl" in diagnosis.unfit["train-eval-gap"]


@pytest.mark.parametrize(
    "data", ["stack", "stack,levels=1", "stack:0.5+knights:0.5", "arithmetic", "my/stack_of_sums.jsonl"]
)
def test_a_program_needs_no_working(tmp_path: Path, data: str) -> None:
    unfit = diagnose(write_run(tmp_path / "run", config={"data": data})).unfit
    assert ("programs" in unfit.get("bare-box", "")) == (data.startswith("stack"))


def test_fine_tuning_is_judged_by_what_it_has(tmp_path: Path) -> None:
    """No rollouts: losses, evaluations and the evaluations' responses."""
    base = {"sft/loss": 0.5, "policy/entropy": 0.3, "optimizer/grad_norm": 0.2}
    run = write_run(tmp_path / "run", base=base, looked=(), stage="sft", evaluated={0: 0.5, 10: 0.4, 30: 0.3})
    for step in (0, 30):
        texts = ["\\boxed{14}" if step else GOOD] * 8
        write_trajectories(run / "evaluations" / f"step_{step:06d}.parquet", step, texts_of(texts))
    diagnosis = diagnose(run)
    assert diagnosis.stage == "sft"
    assert {f.rule for f in diagnosis.findings} == {"below-base", "bare-box"}
    assert diagnosis.looked == (0, 30)
    assert "accuracy/mean was not recorded" in diagnosis.unfit["accuracy-fell"]


def test_result_of_an_evaluation_is_judged_by_its_responses(tmp_path: Path) -> None:
    boxed = {"response": "\\boxed{14}", "rule": "number"}
    path = result_of(tmp_path / "result", {f"p{i}": [boxed] * 4 for i in range(3)})
    diagnosis = diagnose(path)
    assert diagnosis.stage == "eval"
    assert [f.rule for f in diagnosis.findings] == ["bare-box"]
    assert set(diagnosis.clean) == {"repetition", "language-switch", "several-boxes", "restating", "code"}
    assert diagnosis.findings[0].examples[0].excerpt == "\\boxed{14}"


# -- a run that is being written, or damaged --------------------------------------------------------------------------


def test_last_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    whole = diagnose(run)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 31, "accuracy/mean": 0.0, "length/cl')
    diagnosis = diagnose(run)
    assert "still being written" in diagnosis.warnings[0]
    assert dataclasses.replace(diagnosis, warnings=()) == whole


def test_line_that_is_whole_but_for_its_end_is_not_yet_a_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=10, looked=(1, 10))
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11}')
    assert diagnose(run).last_step == 10


@pytest.mark.parametrize("bad", ["{", "[1]", '{"no": 1}', '{"step": "x"}', '{"step": -1}', "\x00\x00", "[" * 100_000])
def test_damaged_line_is_named_and_left_out(tmp_path: Path, bad: str) -> None:
    run = write_run(tmp_path / "run")
    whole = diagnose(run)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    lines.insert(5, bad)
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    diagnosis = diagnose(run)
    assert diagnosis.warnings == (f"{run}/metrics.jsonl:6 is damaged: this line is left out",)
    assert (diagnosis.findings, diagnosis.clean) == (whole.findings, whole.clean)


def test_values_that_are_no_numbers_are_not_known(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=2)
    with (run / "metrics.jsonl").open("a") as file:
        for step in range(3, 12):
            line = {"step": step, "accuracy/mean": "0.9", "length/mean": [1], "length/clip_ratio": {"a": 1}}
            file.write(json.dumps(line) + "\n")
        file.write('{"step": 12, "optimizer/grad_norm": "much", "policy/loss": NaN, "policy/kl": 1e999}\n')
    diagnosis = diagnose(run)
    assert [f.rule for f in diagnosis.findings] == ["not-finite"]
    assert diagnosis.findings[0].steps == (12, 12)


def test_step_that_was_done_again_counts_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"length/clip_ratio": 0.9})
    lines = (run / "metrics.jsonl").read_text().splitlines()
    again = [json.dumps({**json.loads(line), "length/clip_ratio": 0.0}) for line in lines[1:]]
    (run / "metrics.jsonl").write_text("\n".join([*lines, *again]) + "\n")
    assert diagnose(run).findings == ()


@pytest.mark.parametrize("how", ["cut", "empty", "foreign", "columns", "pages"])
def test_damaged_parquet_is_named_and_left_out(tmp_path: Path, how: str) -> None:
    run = write_run(tmp_path / "run", texts=lambda step: texts_of([GOOD] * 40))
    file = run / "trajectories" / "step_000020.parquet"
    content = file.read_bytes()
    if how == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "foreign":
        file.write_bytes(b"<script>alert(1)</script>" * 10)
    elif how == "columns":
        pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), file)
    else:  # The end of the file is whole, so that it opens.
        file.write_bytes(content[:4] + os.urandom(1) * (len(content) - 4096) + content[-4092:])
    diagnosis = diagnose(run)
    assert len(diagnosis.warnings) == 1
    assert str(file) in diagnosis.warnings[0]
    assert diagnosis.looked == (1, 10, 30)
    assert diagnosis.findings == ()


@pytest.mark.parametrize("name", ["config.json", "stage.json"])
@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_damaged_settings_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    run = write_run(tmp_path / "run")
    (run / name).write_bytes(content)
    diagnosis = diagnose(run)
    assert len(diagnosis.warnings) == 1
    assert name in diagnosis.warnings[0]
    assert diagnosis.findings == ()
    if name == "config.json":
        assert "config.json" in diagnosis.unfit["train-eval-gap"]


def test_nulls_in_rows_are_read(tmp_path: Path) -> None:
    """Undecided responses have no reward, responses made elsewhere no length."""
    run = write_run(tmp_path / "run")
    file = run / "trajectories" / "step_000020.parquet"
    table = pyarrow.parquet.read_table(file)
    for name in ("reward", "token_ids", "extracted"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, pyarrow.nulls(len(table), table.schema.field(name).type))
    pyarrow.parquet.write_table(table, file)
    diagnosis = diagnose(run)
    assert diagnosis.warnings == ()
    assert diagnosis.looked == (1, 10, 20, 30)


def test_looks_are_spread_over_the_run(tmp_path: Path) -> None:
    assert spread(range(1, 5), LOOKS) == [1, 2, 3, 4]
    found = spread(list(range(1, 101)), LOOKS)
    assert (found[0], found[-1], len(found)) == (1, 100, LOOKS)
    assert set(np.diff(found)) == {9}
    run = write_run(tmp_path / "run", looked=tuple(range(1, 31)))
    assert len(diagnose(run).looked) == LOOKS


def test_long_run_is_judged_to_its_last_step(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"length/clip_ratio": lambda s: 0.9 if s > 1480 else 0.0}, steps=20)
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    lines = [{**line, "step": s, "length/clip_ratio": 0.9 if s > 1495 else 0.0} for s in range(21, 1501)]
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    (finding,) = [f for f in diagnose(run).findings if f.rule == "clip-ratio"]
    assert finding.steps[1] == 1500
    assert finding.lasting


@pytest.mark.parametrize("value", [0, -1, 1e-300, 1e308, 10**299, 10**400, -1e308, True])
def test_absurd_values_break_no_rule(tmp_path: Path, value: float) -> None:
    """Every metric at an absurd value, from the start and from the middle on."""
    names = [name for rule in RULES.values() for name in rule.needs if not name.startswith(("text/", "doctor/"))]
    for place, first in (("all", 1), ("late", 12)):
        run = write_run(tmp_path / place, steps=0)
        with (run / "metrics.jsonl").open("a") as file:
            for step in range(1, 25):
                given = value if step >= first else 0.5
                file.write(json.dumps({"step": step, **dict.fromkeys(names, given)}) + "\n")
        table = diagnose(run).as_table()
        assert table["last_step"] == 24
        json.dumps(table, allow_nan=False)


def test_metrics_that_are_never_known_at_one_step_break_no_rule(tmp_path: Path) -> None:
    odd, even = (lambda s: 0.2 if s % 2 else None), (lambda s: None if s % 2 else 2.0)
    run = write_run(tmp_path / "run", {"policy/correction_share": odd, "rollout/staleness_mean": even})
    assert "samples-too-old" in diagnose(run).clean


def test_random_values_break_no_rule(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [name for rule in RULES.values() for name in rule.needs if not name.startswith(("text/", "doctor/"))]
    odd = [0.0, 1.0, -1.0, 1e308, -1e308, 1e-308, None, float("nan"), float("inf"), "x", [], True]
    for attempt in range(12):
        run = write_run(tmp_path / str(attempt), steps=0)
        with (run / "metrics.jsonl").open("a") as file:
            for step in range(1, 40):
                line = {name: odd[rng.integers(len(odd))] for name in names}
                file.write(json.dumps({"step": step, **line}) + "\n")
        json.dumps(diagnose(run).as_table(), allow_nan=False)


def test_columns_of_other_types_are_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    file = run / "trajectories" / "step_000010.parquet"
    table = pyarrow.parquet.read_table(file)
    rows = len(table)
    for name, values in (
        ("response", pyarrow.array([b"\xff"] * rows)),
        ("question", pyarrow.array([[1]] * rows)),
        ("reward", pyarrow.array(["much"] * rows)),
        ("problem_id", pyarrow.array([1] * rows)),
        ("verdict", pyarrow.nulls(rows)),
        ("token_ids", pyarrow.array(["x"] * rows)),
    ):
        odd = table.set_column(table.schema.get_field_index(name), name, values)
        pyarrow.parquet.write_table(odd, file)
        diagnosis = diagnose(run)
        assert diagnosis.looked == (1, 20, 30), name
        assert "step_000010" in diagnosis.warnings[0], name


def test_number_of_a_sample_that_is_none_is_damage(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    file = run / "trajectories" / "step_000010.parquet"
    table = pyarrow.parquet.read_table(file)
    sample = pyarrow.array([float("inf")] * len(table))
    pyarrow.parquet.write_table(table.set_column(table.schema.get_field_index("sample"), "sample", sample), file)
    diagnosis = diagnose(run)
    assert diagnosis.looked == (1, 20, 30)
    assert "step_000010" in diagnosis.warnings[0]
