"""The doctor during a run: it says what it would say afterwards, once, and changes nothing."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from made_metrics import HEALTHY, texts_of, value_at, write_run
from support import assert_same_run, fingerprint, run_main, run_small, small_config

from simplerl.doctor import RULES, Watch, diagnose
from simplerl.doctor.features import step_features
from simplerl.runs.directory import read_metrics
from simplerl.runs.responses import answers_of
from simplerl.runs.run import Run

#: A fall at step 15 that a watch should see as it comes.
FALLS = {"accuracy/mean": lambda s: 0.6 if s <= 15 else 0.2}
#: Truncation in every response of a run of a second: serious at its sixth step.
TRUNCATED = {"steps": 8, "sampling": {"max_new_tokens": 3}, "evaluation": {"every": 0}}
#: Such a run is too hard as well; this is about the truncation.
STOP = {"action": "stop", "stop_on": ["clip-ratio"]}


def watched(path: Path, watch: Watch, *, after: int = -1) -> list[tuple[int, str, str]]:
    """Let a watch see the recorded steps of a run after some step; return (step, rule, severity) as they come."""
    return [
        (line["step"], found.rule, found.severity)
        for line in read_metrics(path)
        if line["step"] > after
        for found in watch.step(line["step"], {k: v for k, v in line.items() if k != "step"}, [])
    ]


def test_says_once_and_at_the_step_at_which_it_is_found_afterwards(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", FALLS)
    (finding,) = diagnose(run).findings
    said = watched(run, Watch({}, kind="train", thresholds={}))
    # 44% of the last five is a warning; half of the best, four steps later, is serious: said again.
    assert said[0] == (finding.steps[0], "accuracy-fell", "warning")
    assert [severity for _, _, severity in said] == ["warning", "serious"]


def test_healthy_run_is_watched_in_silence(tmp_path: Path) -> None:
    assert watched(write_run(tmp_path / "run"), Watch({}, kind="train", thresholds={})) == []


def test_resumed_watch_does_not_repeat_itself(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", FALLS)
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:26]))
    watch = Watch({}, kind="train", thresholds={})
    watch.take_up(run)
    (run / "metrics.jsonl").write_text("".join(lines))
    assert watched(run, watch, after=25) == []


def test_resumed_watch_finds_what_is_new(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", FALLS)
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:16]))
    watch = Watch({}, kind="train", thresholds={})
    watch.take_up(run)
    (run / "metrics.jsonl").write_text("".join(lines))
    assert watched(run, watch, after=15)[0] == (17, "accuracy-fell", "warning")


def test_thresholds_of_a_watch_can_be_set() -> None:
    def said(**thresholds: float) -> set[str]:
        watch = Watch({}, kind="train", thresholds=thresholds)
        lines = [{name: value_at(value, step) for name, value in HEALTHY.items()} for step in range(1, 31)]
        lines = [{**line, "length/clip_ratio": 0.15} for line in lines]
        return {f.rule for step, line in enumerate(lines, 1) for f in watch.step(step, line, [])}

    assert said() == set()
    assert said(**{"clip-ratio.share": 0.1}) == {"clip-ratio"}


def test_watch_reads_responses_now_and_then() -> None:
    watch = Watch({}, kind="train", thresholds={})
    loop = texts_of(["so it is 5 and " * 40] * 8)
    found = [
        (step, finding.rule)
        for step in range(1, 12)
        for finding in watch.step(step, {}, loop if step > 1 else texts_of(["3 + 4 = 7. \\boxed{7}"] * 8))
    ]
    assert found == [(5, "repetition")]


def test_groups_and_rows_give_the_same_figures(tmp_path: Path) -> None:
    groups = texts_of(["3 + 4 = 7. \\boxed{7}", "\\boxed{8}"] * 6, lengths=list(range(4, 16)))
    run = write_run(tmp_path / "run", texts=lambda step: groups, steps=1, looked=(1,))
    rows, live = Run(run).records(1).answers(), answers_of(groups)
    assert rows == live
    assert step_features(1, rows) == step_features(1, live)


@pytest.mark.parametrize("action", ["warn", "stop"])
def test_watched_run_is_the_same_run(tmp_path: Path, action: str) -> None:
    run_small(tmp_path / "off", {"doctor": {"action": "off"}})
    run_small(tmp_path / "on", {"doctor": {"action": action}})
    assert_same_run(tmp_path / "on", fingerprint(tmp_path / "off"))


def test_warning_is_said_and_the_run_goes_on(tmp_path: Path) -> None:
    outcome, listener = run_small(tmp_path / "run", TRUNCATED)
    assert outcome.finished
    said = [line for line in listener.lines if "doctor: serious, clip-ratio" in line]
    assert len(said) == 1
    assert "100.0% of the responses were truncated at sampling.max_new_tokens = 3 (steps 4–6)" in said[0]


def test_off_is_silent(tmp_path: Path) -> None:
    _, listener = run_small(tmp_path / "run", {**TRUNCATED, "doctor": {"action": "off"}})
    assert not any("doctor" in line for line in listener.lines)


def test_stop_ends_the_run_with_a_checkpoint_and_resuming_goes_on(tmp_path: Path) -> None:
    over = {**TRUNCATED, "checkpoint": {"every": 100, "keep": 0}, "doctor": STOP}
    outcome, _ = run_small(tmp_path / "run", over)
    assert (outcome.finished, outcome.step) == (False, 6)
    assert outcome.finding.rule == "clip-ratio"
    assert [entry.name for entry in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_000006"]
    outcome, listener = run_small(tmp_path / "run", over, resume=True)
    assert (outcome.finished, outcome.step) == (True, 8)
    assert not any("clip-ratio" in line for line in listener.lines)
    # The run that was stopped and went on is the run that was never stopped.
    run_small(tmp_path / "plain", {**over, "doctor": {"action": "off"}})
    ours, theirs = fingerprint(tmp_path / "run"), fingerprint(tmp_path / "plain")
    del ours["checkpoints"], theirs["checkpoints"]
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("action", ["warn", "stop"])
def test_an_error_in_a_rule_is_said_once_and_the_run_goes_on(tmp_path: Path, monkeypatch, action: str) -> None:
    calls = []

    def broken(history, thresholds):
        calls.append(history.until)
        raise ZeroDivisionError("oh")

    monkeypatch.setitem(RULES, "clip-ratio", dataclasses.replace(RULES["clip-ratio"], check=broken))
    outcome, listener = run_small(tmp_path / "run", {**TRUNCATED, "doctor": {"action": action}})
    assert (outcome.finished, outcome.step) == (True, 8)
    (said,) = [line for line in listener.lines if "an error ended the watch" in line]
    assert re.search(r"at step 6: ZeroDivisionError: oh \(.*test_live\.py:\d+\)", said)
    assert ("Nothing will stop it now" in said) is (action == "stop")
    assert calls == [6]
    # Taking up what was recorded is guarded too.
    over = {**TRUNCATED, "steps": 9, "doctor": {"action": action}}
    outcome, listener = run_small(tmp_path / "run", over, resume=True)
    assert (outcome.finished, outcome.step) == (True, 9)
    assert sum("an error ended the watch at taking up the run" in line for line in listener.lines) == 1


def test_stop_on_names_the_rules_that_end_a_run(tmp_path: Path) -> None:
    doctor = {"action": "stop", "stop_on": ["language-switch"]}
    outcome, listener = run_small(tmp_path / "run", {**TRUNCATED, "doctor": doctor})
    assert outcome.finished
    assert any("clip-ratio" in line for line in listener.lines)


def test_run_of_before_the_doctor_can_be_resumed(tmp_path: Path) -> None:
    run_small(tmp_path / "run", {"steps": 2})
    file = tmp_path / "run" / "config.json"
    config = json.loads(file.read_text())
    del config["doctor"]
    file.write_text(json.dumps(config))
    outcome, _ = run_small(tmp_path / "run", {"steps": 3, "doctor": {"action": "stop"}}, resume=True)
    assert (outcome.finished, outcome.step) == (True, 3)


def test_command_says_why_it_stopped_and_how_to_go_on(capsys, tmp_path: Path) -> None:
    from support import SMALL, arguments, deep

    path = tmp_path / "run"
    settings = arguments(deep(SMALL, {**TRUNCATED, "doctor": STOP}))
    code, out, err = run_main(capsys, "train", *settings, "--output-dir", str(path))
    assert code == 1, err
    assert "the doctor ended the run (doctor.action = stop): clip-ratio: Many responses are truncated." in out
    assert "What to try: Raise `sampling.max_new_tokens`" in out
    assert f"stopped after step 6. Continue with: simplerl train --output-dir {path} --resume" in out
    code, out, err = run_main(capsys, "train", "--output-dir", str(path), "--resume")
    assert code == 0, err


@pytest.mark.parametrize(
    ("doctor", "words"),
    [
        ({"action": "panic"}, ["doctor.action", "off, warn, stop"]),
        ({"thresholds": ["clip-ratio.shar=1"]}, ["'clip-ratio.shar'", "clip-ratio.share"]),
        ({"thresholds": ["clip-ratio.share"]}, ["RULE.NAME=VALUE"]),
        ({"stop_on": ["clip-ration"]}, ["doctor.stop_on", "'clip-ratio'"]),
    ],
)
def test_settings_that_do_not_work_fail_by_name(doctor: dict, words: list[str]) -> None:
    from simplerl.core.errors import ConfigError

    with pytest.raises(ConfigError) as error:
        small_config({"doctor": doctor})
    for word in words:
        assert word in str(error.value)
