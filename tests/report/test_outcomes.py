"""What a report reads, its settings, differences, examples and figures, against values worked out by hand.

What is on disk is read as far as it can be: what is whole is shown, what is not is named.
"""

import itertools
import json
import math
import os
import re
import time
from pathlib import Path

import pytest
from made_runs import AFTER, CONFIG, estimate, made_run, rows, write_evaluation

from simplerl.analysis import plots as drawing
from simplerl.analysis.estimates import Band
from simplerl.analysis.plots import Panel, draw_panel
from simplerl.core.errors import RunError
from simplerl.report import outcomes
from simplerl.report.figures import curve_of, draw_all, evaluated, recorded, short, smooth
from simplerl.report.outcomes import KINDS, ReportedRun, best, choose, explore, gather, labels_of, or_why, read_judges
from simplerl.report.page import Content
from simplerl.runs.directory import BehaviourDirectory
from simplerl.runs.run import BEHAVIOURS, Judgement

# -- reading ----------------------------------------------------------------------------------------------------------


def test_a_whole_run(tmp_path: Path) -> None:
    run = ReportedRun(made_run(tmp_path / "a"), "a")
    assert (run.steps, run.finished, run.seconds, run.seed, run.run.stage) == (4, True, 12.0, 0, "train")
    assert [e.step for e in run.evaluations] == [0, 4]
    assert run.first.accuracy.value == pytest.approx(3 / 8)
    assert list(run.last.pass_at) == [1, 2]
    assert run.curve("length/mean") == [(1, 11.0), (2, 12.0), (3, 13.0), (4, 14.0)]
    assert run.total("tokens/sampled") == 400
    assert (run.remarks, run.run.damage) == ([], [])


def test_lengths_have_the_interval_of_the_figures(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a")
    write_evaluation(path, 4, rows(AFTER), tokens={"value": 3.75, "low": 3.0, "high": 4.5})
    run = ReportedRun(path, "a")
    assert (run.first.length.value, run.first.length.bounded) == (4.0, False), "as versions before 0.2 recorded it"
    assert (run.last.length.value, run.last.length.low, run.last.length.high) == (3.75, 3.0, 4.5)


def test_a_run_that_is_being_written(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a", finished=False)
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "rewa')
    run = ReportedRun(path, "a")
    assert run.steps == 4
    assert not run.finished
    assert run.seconds == pytest.approx(6.0), "the sum of its steps"
    assert "up to its last complete line, step 4 of 4" in run.remarks[0]
    os.utime(path / "metrics.jsonl", (0, time.time() - 3600))
    assert "written 60 min ago" in ReportedRun(path, "a").remarks[0], "however new its other files are"
    assert "the last line is cut short or is still being written" in run.run.damage[0]


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    (tmp_path / "a" / "trajectories").mkdir(parents=True)
    (tmp_path / "a" / "config.json").write_text('{"model": "m", "data": "d", "steps": 3}')
    run = ReportedRun(tmp_path / "a", "a")
    assert run.remarks == ["No step is recorded yet.", "It has no held-out evaluation."]


@pytest.mark.parametrize("how", ["cut short", "overwritten", "empty", "text"])
def test_a_damaged_record_is_named_by_its_step(tmp_path: Path, how: str) -> None:
    path = made_run(tmp_path / "a")
    file = path / "trajectories" / "step_000003.parquet"
    content = file.read_bytes()
    middle = len(content) // 3
    file.write_bytes(
        {
            "cut short": content[: len(content) // 2],
            "overwritten": content[:20] + b"\xff" * middle + content[20 + middle :],
            "empty": b"",
            "text": b"<script>alert(1)</script>",
        }[how]
    )
    made = Content(gather([path]), pdf=False)
    assert made.problems["a"].visits == 3, "of four steps"
    assert made.damage
    assert all(str(file) in line for line in made.damage)
    assert made.damage[-1].endswith("left out") or "step 3 is not in the ledger" in made.damage[-1]


def test_a_record_of_something_else_is_named(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = made_run(tmp_path / "a")
    other = pyarrow.table({"problem_id": [[1]], "level": [1.5], "verdict": [True], "stop_reason": [{"a": 1}]})
    pyarrow.parquet.write_table(other, path / "trajectories" / "step_000002.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"x": [1]}), path / "trajectories" / "step_000003.parquet")
    (path / "trajectories" / "notes.txt").write_text("mine")
    damage = ReportedRun(path, "a").run.damage
    assert len(damage) == 3
    assert "no column problem_id" in "".join(damage)


def test_a_damaged_evaluation(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a")
    write_evaluation(path, 2, rows(AFTER))
    (path / "evaluations" / "step_000002.json").write_text('{"accuracy": {"value": "ten"}}')
    (path / "evaluations" / "step_000004.parquet").write_bytes(b"PAR1")
    write_evaluation(path, 3, rows(AFTER))
    (path / "evaluations" / "step_000003.json").unlink()
    run = ReportedRun(path, "a")
    assert [e.step for e in run.evaluations] == [0, 4]
    assert not run.last.readable
    assert run.last.accuracy.value == pytest.approx(0.5), "its figures are complete"
    assert run.last.length.value == 4.0, "from the figures, without an interval"
    assert not run.last.length.bounded
    said = "\n".join(run.run.damage)
    assert "step_000002.json does not hold the figures of an evaluation: left out" in said
    assert "step_000003.parquet has no figures beside it" in said
    assert "step_000004.parquet cannot be read" in said


def test_damaged_lines_of_metrics_are_named_and_left_out(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a")
    lines = (path / "metrics.jsonl").read_text().splitlines()
    lines[2] = "garbage"
    lines[3] = '{"step": 3, "reward/mean": "many", "length/mean": 1e999, "policy/entropy": NaN, "x": 4}'
    lines.append("[" * 100_000)
    (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    run = ReportedRun(path, "a")
    assert list(run.run.lines) == [0, 1, 3, 4]
    assert run.curve("x") == [(3, 4)]
    assert [step for step, _ in run.curve("reward/mean")] == [1, 4]
    assert "metrics.jsonl:3 is damaged" in run.run.damage[0]
    assert "metrics.jsonl:6 is damaged" in run.run.damage[1]
    assert [name for name in ("reward/mean", "length/mean", "policy/entropy") if name in str(run.run.damage[2:])]


def test_tables_that_are_damaged_are_named(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a")
    for name in ("config.json", "summary.json", "environment.json", "stage.json"):
        (path / name).write_text("[1")
    run = ReportedRun(path, "a")
    assert len(run.run.damage) == 4
    assert not run.finished


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "x" / "seed0", tmp_path / "y" / "seed0", tmp_path / "y" / "seed1"]
    assert labels_of(paths) == ["x/seed0", "y/seed0", "y/seed1"]
    with pytest.raises(RunError, match="given twice"):
        labels_of([tmp_path / "x", tmp_path / "y" / ".." / "x"])


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "photo.png").write_bytes(b"\x89PNG")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"architectures": ["Qwen2"]}))
    made_run(tmp_path / "many" / "a")
    made_run(tmp_path / "many" / "b")
    for name, message in {
        "nowhere": "does not exist",
        "foreign/photo.png": "is a file",
        "empty": "is empty",
        "foreign": "is not a run",
        "model": "is not a run",
        "many": r"holds 2 runs \(a, b\); give them",
    }.items():
        with pytest.raises(RunError, match=message):
            gather([tmp_path / name])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
@pytest.mark.parametrize("name", ["summary.json", "metrics.jsonl", "evaluations/step_000004.parquet"])
def test_a_pipe_does_not_hang_the_report(tmp_path: Path, name: str) -> None:
    path = made_run(tmp_path / "a")
    (path / name).unlink(missing_ok=True)
    os.mkfifo(path / name)
    found = Content(gather([path]), examples=1, pdf=False)
    assert any(name in line for line in found.damage)


def test_an_absurd_step_is_damage(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a")
    with (path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 10**350}) + "\n")
    run = ReportedRun(path, "a")
    assert run.steps == 4
    assert "metrics.jsonl:6 is damaged" in run.run.damage[0]


def test_absurd_metrics_are_drawn_or_left_out(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a", finished=False)
    with (path / "metrics.jsonl").open("a") as file:
        for step, value in enumerate((1e308, -1e308, 1e99, -1e99), 5):
            file.write(json.dumps({"step": step, "reward/mean": value, "tokens/sampled": abs(value)}) + "\n")
    made = Content(gather([path]), pdf=False)
    assert "training" in made.figures
    assert made.runs[0].total("tokens/sampled") == pytest.approx(2e99)
    assert any("step 5: reward/mean is not a number" in line for line in made.damage)


def test_deep_nesting_is_damage(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a")
    deep = '{"a": ' * 5000 + "1" + "}" * 5000
    (path / "config.json").write_text(json.dumps(CONFIG | {"deep": 0}).replace('"deep": 0', f'"deep": {deep}'))
    assert "config.json cannot be read" in gather([path]).runs[0].run.damage[0]


# -- settings ------------------------------------------------------------------------------------------------------


def seeds(directory: Path, accuracies: dict[int, str], name: str = "s", **config) -> list[ReportedRun]:
    """Return runs of one setting; seed → outcome of each of four problems after training, one sample each."""
    for seed, word in accuracies.items():
        after = {f"p{i}": letter for i, letter in enumerate(word)}
        made_run(
            directory / f"{name}{seed}", config={"seed": seed, **config}, before=dict.fromkeys(after, "w"), after=after
        )
    return list(gather([directory / f"{name}{seed}" for seed in accuracies]).runs)


def test_runs_that_differ_in_the_seed_are_one_setting(tmp_path: Path) -> None:
    runs = seeds(tmp_path, {0: "rrww", 1: "rrrw", 2: "rrrr"}) + seeds(tmp_path, {0: "wwww"}, name="t", steps=9)
    one, other = outcomes.groups(runs)
    assert (len(one.runs), len(other.runs)) == (3, 1)
    assert one.over_seeds
    assert not other.over_seeds
    drawn = outcomes.series([one, other])
    assert [s.name for s in drawn] == ["cub-qwen grpo (3 seeds)", "t0"]
    assert [s.number for s in drawn] == [0, 1]


def test_names_of_settings(tmp_path: Path) -> None:
    runs = seeds(tmp_path, {0: "rrww", 1: "rrrw"}, name="grpo_wide_seed")
    assert outcomes.groups(runs)[0].name == "grpo_wide"


def test_other_data_makes_another_setting(tmp_path: Path) -> None:
    a = made_run(tmp_path / "a")
    b = made_run(tmp_path / "b", config={"seed": 1}, session={"data": {"train": {"problems": 4, "sha256": "d2"}}})
    assert len(outcomes.groups(gather([a, b]).runs)) == 2


def test_one_seed_twice_counts_once(tmp_path: Path) -> None:
    a = made_run(tmp_path / "a")
    b = made_run(tmp_path / "b")
    c = made_run(tmp_path / "c", config={"seed": 1})
    (group,) = outcomes.groups(gather([a, b, c]).runs)
    assert len(group.runs) == 3
    assert len(group.independent) == 2
    assert not group.over_seeds, "three runs, but two seeds"
    assert len(outcomes.series([group])) == 3, "each run is a curve of its own"


def test_means_over_seeds(tmp_path: Path) -> None:
    (group,) = outcomes.groups(seeds(tmp_path, {0: "rrww", 1: "rrrw", 2: "rrrr"}))
    after = outcomes.over_seeds([group])[0]["accuracy after"]
    assert after.values == {"0": 0.5, "1": 0.75, "2": 1.0}
    half = 4.302652729911275 * 0.25 / math.sqrt(3)
    assert after.mean.value == pytest.approx(0.75)
    assert (after.mean.low, after.mean.high) == (pytest.approx(0.75 - half), pytest.approx(0.75 + half))


def test_two_seeds_have_no_interval(tmp_path: Path) -> None:
    (group,) = outcomes.groups(seeds(tmp_path, {0: "rrww", 1: "rrrw"}))
    assert not any(m.mean.bounded for m in outcomes.over_seeds([group])[0].values())


def test_settings_are_compared_at_one_k(tmp_path: Path) -> None:
    """One was evaluated with two samples, the other with one: pass@2 does not stand beside pass@1."""
    two, one = made_run(tmp_path / "two"), made_run(tmp_path / "one", config={"data": "other"})
    write_evaluation(one, 4, rows({"p": "w", "q": "r"}), pass_at={"1": estimate(0.5)})
    tables = outcomes.over_seeds(outcomes.groups(gather([two, one]).runs))
    assert [table["pass@1 after"].values for table in tables] == [{"0": 0.5}, {"0": 0.5}]
    (table,) = outcomes.over_seeds(outcomes.groups(gather([two]).runs))
    assert table["pass@2 after"].values == {"0": 0.75}


def test_paired_difference_between_settings(tmp_path: Path) -> None:
    runs = seeds(tmp_path, {0: "rrww", 1: "rrrw", 2: "rrrr"})
    others = seeds(tmp_path, {0: "rwww", 1: "rrww", 2: "rrrw"}, name="t", algorithm={"name": "ppo"})
    one, other = outcomes.groups([*runs, *others])
    found = outcomes.paired_gain(other, one)
    assert found.value == pytest.approx(-0.25)
    assert found.low == found.high == pytest.approx(-0.25), "it is the same for every seed"
    assert not outcomes.paired_gain(outcomes.groups(others[:2])[0], one).known, "two shared seeds are too few"


def test_a_seed_that_is_no_number_has_no_pair(tmp_path: Path) -> None:
    paths = [made_run(tmp_path / name, config={"seed": [name], "steps": n}) for n, name in enumerate("ab", 4)]
    one, other = outcomes.groups(gather(paths).runs)
    assert not outcomes.paired_gain(other, one).known


def test_only_keys_that_differ_are_shown(tmp_path: Path) -> None:
    a = made_run(tmp_path / "a", config={"output_dir": "x"})
    changed = {"seed": 1, "output_dir": "y", "optimizer": {"lr": 0.1}, "new": None}
    b = made_run(tmp_path / "b", config=changed, session={"packages": {"simplerl": "0.2.0", "torch": "2.13.0"}})
    runs = gather([a, b]).runs
    assert outcomes.differences(runs) == {
        "model": ("cub-qwen", "cub-qwen"),
        "data": ("arithmetic", "arithmetic"),
        "algorithm.name": ("grpo", "grpo"),
        "seed": (0, 1),
        "packages.simplerl": ("0.1.0", "0.2.0"),
        "optimizer.lr": (0.001, 0.1),
    }
    assert runs[0].everything["packages.torch"] == "2.13.0"


# -- examples ------------------------------------------------------------------------------------------------------


def test_kinds_of_problems(tmp_path: Path) -> None:
    before = {"a": "rw", "b": "ww", "c": "rr", "d": "wn", "e": "tt", "f": "tr"}
    after = {"a": "wr", "b": "rr", "c": "ww", "d": "ww", "e": "rr", "f": "rr", "g": "rr"}
    found = choose(ReportedRun(made_run(tmp_path / "a", before=before, after=after), "a"), number=5)
    chosen = {kind: [after["problem_id"] for _, after in examples] for kind, examples in found.chosen.items()}
    assert {kind: sorted(ids) for kind, ids in chosen.items()} == {
        "gained": ["b"],
        "lost": ["c"],
        "still wrong": ["d"],
        "both right": ["a", "f"],
    }
    assert found.counts == {"gained": 1, "lost": 1, "still wrong": 1, "both right": 2}
    assert found.left_out == 2, "e was judged by nobody, g is of one side only"


def test_the_response_shown_agrees_with_its_side(tmp_path: Path) -> None:
    run = ReportedRun(made_run(tmp_path / "a", before={"a": "twwr"}, after={"a": "wtrr"}), "a")
    (example,) = choose(run, number=1).chosen["gained"]
    before, after = example
    assert (before["sample"], before["verdict"], before["right"], before["judged"]) == (1, "wrong", 1, 3)
    assert (after["sample"], after["verdict"], after["extracted"]) == (2, "correct", "7")


def test_the_draw_is_independent_of_order(tmp_path: Path) -> None:
    names = {f"p{i:02}": "w" for i in range(40)}
    run = ReportedRun(made_run(tmp_path / "a", before=names, after=names), "a")
    backwards = ReportedRun(
        made_run(tmp_path / "b", before=dict(reversed(names.items())), after=dict(reversed(names.items()))), "b"
    )

    def drawn(run: ReportedRun) -> list[str]:
        return [after["problem_id"] for _, after in choose(run, number=3).chosen["still wrong"]]

    assert drawn(run) == drawn(backwards)
    assert drawn(run) != [f"p{i:02}" for i in range(3)]
    assert set(KINDS) == set(choose(run, number=3).counts)


def test_the_last_evaluation_that_can_be_read_is_used(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a")
    write_evaluation(path, 2, rows({"1+1": "rr", "2+2": "ww", "3+3": "rr", "4+4": "ww"}))
    (path / "evaluations" / "step_000004.parquet").write_bytes(b"x")
    run = ReportedRun(path, "a")
    assert choose(run, number=1).steps == (0, 2)
    assert "cannot be read" in or_why(outcomes.gain, run)
    run.evaluations = run.evaluations[:1]
    with pytest.raises(RunError, match="two evaluations"):
        choose(run, number=1)


def test_the_gain_is_paired(tmp_path: Path) -> None:
    change = outcomes.gain(ReportedRun(made_run(tmp_path / "a"), "a"))
    assert change["problems"] == 4
    assert change["difference"]["value"] == pytest.approx((0.5 + 1 - 1 + 0) / 4)
    assert (len(change["gained"]), len(change["lost"])) == (1, 1)


# -- figures -------------------------------------------------------------------------------------------------------


def test_a_curve_over_seeds_is_their_mean(tmp_path: Path) -> None:
    (one,) = outcomes.series(outcomes.groups(seeds(tmp_path, {0: "rrww", 1: "rrrw", 2: "rrrr"})))
    curve = curve_of(one, evaluated("acc"))
    assert (curve.x, curve.mean) == ([0.0, 4.0], pytest.approx([0.0, 0.75]))
    assert curve.high[-1] == pytest.approx(0.75 + 4.302652729911275 * 0.25 / math.sqrt(3))
    assert curve_of(one, recorded("no/such")).x == []


def test_a_line_has_its_band_in_per_cent_and_the_look_of_its_name() -> None:
    _, (axes,) = drawing.sheet(1, 1)
    line = Band(x=[0.0, 1.0], mean=[0.5, 0.7], low=[0.4, 0.6], high=[0.6, 0.9])
    draw_panel(axes, Panel(title="", ylabel="", lines={"a": line}, scale=100), {"a": drawing.look(1)})
    assert list(axes.lines[0].get_ydata()) == [50.0, 70.0]
    assert axes.lines[0].get_color() == drawing.PALETTE[1]
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (pytest.approx(40.0), pytest.approx(90.0))


def test_smoothing_is_a_centred_mean() -> None:
    assert smooth(Band(x=[0.0, 1.0, 2.0, 3.0], mean=[0.0, 3.0, 6.0, 0.0]), 3).mean == [1.5, 3.0, 3.0, 3.0]


def test_figures_are_fit_for_a_paper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Vector with TrueType letters, as wide as a column or the text, equal bytes for equal runs; names may be odd."""
    path = made_run(tmp_path / "_x $\\frac{1}{$ 数学 <b>")
    drawn = outcomes.series(outcomes.groups(gather([path, made_run(tmp_path / "b", steps=3)]).runs))
    explored = {s.name: explore(s.runs[0]) for s in drawn}
    made = draw_all(drawn, explored=explored, pdf=True)
    image, turns = drawing.image, itertools.cycle([True] * 2 + [False] * 4)  # Every third is drawn twice, PNG and PDF.
    monkeypatch.setattr(drawing, "image", lambda *given: image(*given) if next(turns) else b"")
    again = draw_all(drawn, explored=explored, pdf=True)
    twice = [(name, kind) for name in made for kind in ("png", "pdf") if getattr(again[name], kind)]
    assert {kind for _, kind in twice} == {"png", "pdf"}
    assert all(getattr(again[name], kind) == getattr(made[name], kind) for name, kind in twice)
    for figure in made.values():
        assert figure.png.startswith(b"\x89PNG")
        assert figure.pdf.startswith(b"%PDF")
        assert b"/Type3" not in figure.pdf
        assert b"/Subtype /Image" not in figure.pdf, "no pixels in a PDF"
        width = float(re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", figure.pdf)[1]) / 72
        assert width == pytest.approx(drawing.TEXT if figure.wide else drawing.COLUMN)
    assert set(made) == {
        "accuracy_and_length",
        "clip_ratio_and_stopped_length",
        "pass_at_k",
        "by_level",
        "exploration",
        "training",
    }


def test_names_in_legends() -> None:
    assert short("_hidden") == " _hidden", "matplotlib hides what begins with an underscore"
    assert short("a\nb\x00\ud800") == "a·b··"
    assert len(short("x" * 100)) == 34


def test_24_curves_look_different() -> None:
    looks = [tuple(map(str, drawing.look(place).values())) for place in range(24)]
    assert len(set(looks)) == 24


def test_exploration_needs_several_samples(tmp_path: Path) -> None:
    single = ReportedRun(made_run(tmp_path / "a", before={"p": "w"}, after={"p": "r"}), "a")
    assert "one sample per problem" in or_why(explore, single)
    several = explore(ReportedRun(made_run(tmp_path / "b"), "b"))
    assert several.samples == 2
    assert (several.curves["pass@K"].x, several.curves["pass@K"].mean) == ([0.0, 4.0], [0.5, 0.5])
    assert [best(k) for k in (1, 2, 6, 8, 16)] == [1, 1, 2, 4, 8]


def test_behaviours_by_judge(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a")
    assert or_why(read_judges, ReportedRun(path, "a")) == "No responses were judged yet."

    def judged(judge: str, problem: str, shows: bool, settings: str = "v1", status: str = "judged") -> Judgement:
        seen = {b: ("x",) if shows and b == "verification" else () for b in BEHAVIOURS} if status == "judged" else {}
        return Judgement(
            step=4,
            problem_id=problem,
            sample=0,
            judge=judge,
            settings=settings,
            status=status,
            behaviours=seen,
            key=problem,
        )

    record = [judged("keywords", p, False) for p in "abc"]
    record += [judged("big", p, p != "d") for p in "abcd"] + [judged("big", "e", True, status="undecided")]
    record += [judged("big", "a", False, settings="v0")]
    with BehaviourDirectory(path / "behaviours") as directory:
        directory.record(record)
    first, second = read_judges(ReportedRun(path, "a"))
    assert (first.name, first.judged, first.undecided) == ("big", 4, 1), "the older prompt is not mixed in"
    curve = first.curves["verification"]
    assert (curve.x, curve.mean) == ([4.0], [0.75])
    assert 0.0 < curve.low[0] < 0.75 < curve.high[0] <= 1.0
    assert second.name == "keywords"
    assert second.curves["verification"].mean == [0.0]
    (path / "behaviours" / "judgements.jsonl").write_text("broken\n" + json.dumps({}) + "\n")
    assert "damaged" in or_why(read_judges, ReportedRun(path, "a"))


# -- self-training -----------------------------------------------------------------------------------------------------


def test_the_surface_of_a_search_is_read_and_drawn(tmp_path: Path) -> None:
    (run,) = seeds(tmp_path, {0: "rrww"})
    folder = run.path / "star"
    folder.mkdir()
    grid = [(t, r, t * 0.1 + (r == 0.5) * 0.2) for t in (0.8, 1.2) for r in (0.0, 0.5)]
    points = [{"temperature": t, "threshold": r, "query_effect": q} for t, r, q in grid]
    record = {"step": 1, "chosen": points[3], "surface": {"4": points[:1], "16": points}}
    (folder / "step_000001.json").write_text(json.dumps(record))
    (folder / "step_000002.json").write_text(json.dumps({"surface": 3}))
    (read,) = gather([run.path]).runs
    assert [each["step"] for each in read.run.searches] == [1]
    assert read.run.searches[0] == {"step": 1, "chosen": points[3], "points": points}, "at the most samples"
    assert any("step_000002.json does not hold the surface of a search" in line for line in read.run.damage)
    for number, (chosen, found) in enumerate([(points[3], []), ({**points[0], "threshold": 9.0}, points)], 3):
        record = {"step": number, "chosen": chosen, "surface": {"4": found}}
        (folder / f"step_{number:06d}.json").write_text(json.dumps(record))
    (folder / "step_000005.json").write_text(
        json.dumps({"chosen": points[0], "surface": {"4": [points[0] | {"query_effect": math.nan}]}})
    )
    (read,) = gather([run.path]).runs
    assert [each["step"] for each in read.run.searches] == [1], "a search chose one of its points"
    assert "surface" in draw_all(outcomes.series(outcomes.groups([read])), pdf=False)
