"""`simplerl doctor` as it is typed."""

import json
import re
from pathlib import Path

import pytest
from made_metrics import texts_of, write_run
from support import run_main

from simplerl.doctor import RULES

CLIPPED = {"length/clip_ratio": 0.6}


def test_healthy_run(capsys, tmp_path: Path) -> None:
    code, out, _ = run_main(capsys, "doctor", str(write_run(tmp_path / "run")), "--strict")
    assert code == 0
    assert "30 steps of training, responses of 4 steps read" in out
    elsewhere = [
        "samples-too-old",
        "engines-wait",
        "reward-length",
        "exploration-collapsing",
        "selection-starving",
        "wrong-selected",
    ]
    elsewhere += ["environment-failing", "calls-invalid", "turn-limit"]
    assert re.findall("^not applicable: ([a-z-]+)", out, re.MULTILINE) == elsewhere
    assert f"healthy: {len(RULES) - len(elsewhere)} rules were applied and found nothing" in out
    assert "checked, nothing found: accuracy-fell" in out


def test_findings(capsys, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {**CLIPPED, "groups/all_right": 0.9})
    code, out, _ = run_main(capsys, "doctor", str(run))
    assert code == 0
    assert "2 findings (1 serious, 1 warning):" in out
    assert "serious · clip-ratio: Many responses are truncated (steps 6–30)" in out
    assert "warning · data-too-easy" in out
    assert out.index("clip-ratio") < out.index("data-too-easy")
    for word in ("  seen 60.0% of the responses", "  why  A truncated", "  try  Raise `sampling.max_new_tokens`"):
        assert word in out


def test_strict(capsys, tmp_path: Path) -> None:
    healthy, ill = write_run(tmp_path / "a"), write_run(tmp_path / "b", CLIPPED)
    assert run_main(capsys, "doctor", str(healthy), str(ill))[0] == 0
    assert run_main(capsys, "doctor", str(healthy), str(ill), "--strict")[0] == 1
    code, _, _ = run_main(capsys, "doctor", str(ill), "--strict", "--threshold", "clip-ratio.share=0.7")
    assert code == 0


def test_json(capsys, tmp_path: Path) -> None:
    healthy, ill = write_run(tmp_path / "a"), write_run(tmp_path / "b", CLIPPED)
    code, out, _ = run_main(capsys, "doctor", str(healthy), str(ill), "--json")
    assert code == 0
    first, second = json.loads(out)
    assert (first["healthy"], second["healthy"]) == (True, False)
    (finding,) = second["findings"]
    assert (finding["rule"], finding["severity"], finding["steps"]) == ("clip-ratio", "serious", [6, 30])
    assert finding["figures"]["clip_ratio"] == pytest.approx(0.6)


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_what_a_model_says_does_not_reach_the_terminal(capsys, tmp_path: Path, extra: list[str]) -> None:
    hostile = "\x1b[2J\x1b]0;owned\x07[red]bold[/red] \u202e\x9b31m" + "so it is 5 and " * 40
    run = write_run(tmp_path / "run", texts=lambda step: texts_of([hostile + "\x1b[31m\r\x08"] * 8))
    code, out, _ = run_main(capsys, "doctor", str(run), *extra)
    assert code == 0
    assert "repetition" in out
    assert "e.g. step 30, p0, sample 0: " in out or extra
    assert all(c.isprintable() or c == "\n" for c in out)


def test_what_a_configuration_holds_does_not_reach_the_terminal(capsys, tmp_path: Path) -> None:
    config = {"sampling": {"max_new_tokens": "\x1b]0;owned\x07"}}
    code, out, _ = run_main(capsys, "doctor", str(write_run(tmp_path / "run", CLIPPED, config=config)))
    assert code == 0
    assert "truncated at sampling.max_new_tokens = ·]0;owned·" in out
    assert all(c.isprintable() or c == "\n" for c in out)


def test_one_step_is_too_early_to_say(capsys, tmp_path: Path) -> None:
    code, out, _ = run_main(capsys, "doctor", str(write_run(tmp_path / "run", steps=1, looked=(1,))))
    assert code == 0
    assert "too early to say: 1 rule could be applied and found nothing" in out
    assert "\nhealthy:" not in out


def test_rules_are_listed(capsys) -> None:
    code, out, _ = run_main(capsys, "doctor", "--rules")
    assert code == 0
    assert "window.steps = 10" in out
    for name, rule in RULES.items():
        assert f"\n{name}: {rule.title}" in out
        for key, entry in rule.thresholds.items():
            assert f"  {name}.{key} = {entry.default:g} ({entry.unit})" in out


def test_mistakes(capsys, tmp_path: Path) -> None:
    run = str(write_run(tmp_path / "run", steps=2))
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        ([], ["no run was named"]),
        ([str(tmp_path / "nowhere")], ["nowhere", "does not exist"]),
        ([str(tmp_path / "empty")], ["is empty"]),
        ([str(tmp_path)], ["is not a run, but holds 1", ": run"]),
        ([run, "--threshold", "clip-ratio.shar=1"], ["'clip-ratio.shar'", "did you mean 'clip-ratio.share'"]),
        ([run, "--threshold", "clip-ratio.share"], ["RULE.NAME=VALUE"]),
        ([run, "--threshold", "clip-ratio.share=much"], ["clip-ratio.share", "finite number"]),
    ):
        code, _, err = run_main(capsys, "doctor", *arguments)
        assert code == 2, arguments
        assert err.startswith("error: ")
        for word in words:
            assert word in err


def test_damage_is_named(capsys, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "trajectories" / "step_000010.parquet").write_bytes(b"x")
    code, out, _ = run_main(capsys, "doctor", str(run))
    assert code == 0
    assert "damage: " in out
    assert "step_000010.parquet" in out
    assert "responses of 3 steps read" in out
