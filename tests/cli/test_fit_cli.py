"""simplerl fit: the table, the files, and mistakes."""

import json
from pathlib import Path

import pytest
from made_runs import CONFIG
from support import run_main

from simplerl.analysis import scaling


def run_of(path: Path, values: list[float]) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG))
    lines = [{"step": s, "accuracy/mean": v, "tokens/sampled": 10 * bool(s)} for s, v in enumerate(values)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_two_runs_in_one_table_and_one_plot(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(scaling, "RESAMPLES", 20)
    rising = run_of(tmp_path / "rising", [0.2, *(0.2 + 0.6 * c / (c + 8) for c in range(1, 31))])
    falling = run_of(tmp_path / "falling", [0.5, *(0.4 - 0.001 * c for c in range(30))])
    output = tmp_path / "out.json"
    code, shown, error = run_main(
        capsys, "fit", str(rising), str(falling), "--metric", "accuracy/mean", "--output", str(output)
    )
    assert (code, error) == (0, "")
    assert "80.0 [80.0, 80.0]" in shown
    assert "falling: accuracy/mean does not rise" in shown
    assert "rising: accuracy/mean does not rise" not in shown
    first, second = json.loads(output.read_text())
    assert first["C_mid"]["value"] == pytest.approx(80, rel=0.01)
    assert (first["run"], second["run"]) == ("rising", "falling")
    assert output.with_suffix(".png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["RUN"], "has 2 values of eval/accuracy"),
        (["RUN", "--metric", "nothing"], "has no nothing over tokens"),
        (["RUN", "--skip", "1"], "--skip must lie between"),
        (["missing"], "missing does not exist"),
    ],
)
def test_mistakes_are_one_message(given: list[str], wanted: str, tmp_path: Path, capsys) -> None:
    run = run_of(tmp_path / "run", [0.2, 0.3, 0.4])
    text = (run / "metrics.jsonl").read_text().replace("accuracy/mean", "eval/accuracy")
    (run / "metrics.jsonl").write_text(text)
    code, _, error = run_main(capsys, "fit", *(str(run) if word == "RUN" else word for word in given))
    assert code == 2
    assert wanted in error
    assert error.count("\n") == 1
    assert not (run / "fit.json").exists()
