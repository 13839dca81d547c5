"""Self-training: what is selected, how temperature and threshold are chosen, what each mode inherits, exact resume."""

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import (
    CORRECT,
    SMALL,
    TIMED_OUT,
    WRONG,
    Crash,
    Silent,
    assert_same_run,
    crash_before_write,
    deep,
    fingerprint,
    group,
    run_main,
    trajectory,
)

from simplerl.config.resolve import resolve
from simplerl.config.sections import Config
from simplerl.core.errors import ConfigError, DataError, ModelError, RunError
from simplerl.core.types import Trajectory
from simplerl.feed.search import Choice, best, mean_query_effect, select
from simplerl.models.load import locate
from simplerl.prm import StepModel, save
from simplerl.runs.directory import read_metrics
from simplerl.runs.run import Run
from simplerl.selftraining.star import INHERITS, examples_of, star
from simplerl.train.batch import build_batch
from simplerl.train.components import Inputs
from simplerl.train.learner import Learner

TINY = deep(
    SMALL,
    {
        "steps": 2,
        "sampling": {"prompts_per_step": 4, "samples_per_prompt": 4, "max_new_tokens": 40},
        "learner": {"prompts_per_update": 0},
        "star": {
            "updates": 2,
            "batch_size": 4,
            "subset": 2,
            "s": 2,
            "temperatures": [0.8, 1.2],
            "thresholds": [-0.5, 0.5],
        },
        "evaluation": {"every": 1},
        "checkpoint": {"every": 1},
    },
)


def config_of(mode: str = "b-star", over: dict[str, Any] | None = None) -> Config:
    return resolve(f"cub-{mode}", deep(TINY, over or {}))


def run_star(path: Path, mode: str = "b-star", over: dict[str, Any] | None = None, *, resume: bool = False) -> None:
    assert star(config_of(mode, over), path, resume=resume, callbacks=[Silent()]).finished


def member(text: str, verdict: Any = CORRECT, **more: Any) -> Trajectory:
    made_up = trajectory(verdict=verdict, **more)
    return dataclasses.replace(made_up, completion=dataclasses.replace(made_up.completion, text=text))


# -- selection, and the choice of how to sample ------------------------------------------------------------------------


def test_what_is_selected() -> None:
    responses = group(
        member("1+1=2.  \\boxed{2}"),
        member("1+1=2. \\boxed{2}"),
        member("It is \\boxed{2}"),
        member("\\boxed{3}", WRONG, reward=0.6),
        member("\\boxed{4}", WRONG),
        member("\\boxed{2} and on", stop_reason="length"),
        member("\\boxed{5}", TIMED_OUT),
        member("\\boxed{2} <4+", stop_reason="turns"),
    )
    chosen = select(responses, 0.5)
    assert [t.sample for t in chosen.kept] == [0, 2, 3], "equal responses once, white space apart"
    assert (chosen.selected, chosen.unique_right) == (4, 2)
    assert [t.sample for t in select(responses, 0.6).kept] == [0, 2], "strictly above"
    assert [t.sample for t in select(responses, -0.1).kept] == [0, 2, 3, 4], "undecided and truncated ones never"
    assert not select(responses, 1.0).kept


def test_the_mean_query_effect_counts_problems_of_which_nothing_is_selected() -> None:
    """(n', n) = (2, 2) at n* = 6 is 1/3, (0, 3) is 0, and so is nothing at all (arXiv 2412.17256, eq. 3)."""
    two = group(member("a"), member("b"))
    wrong = group(*(member(str(i), WRONG, reward=1.0) for i in range(3)))
    none = group(member("a", WRONG))
    groups = (two, wrong, none)
    assert mean_query_effect([select(each, 0.5) for each in groups], 6) == pytest.approx(1 / 9)
    assert mean_query_effect([select(each, 1.5) for each in groups], 6) == 0


def test_ties_go_to_the_lowest_temperature_then_to_the_highest_threshold() -> None:
    grid = itertools.product((0.5, 0.9, 1.2), (-0.5, 0.0, 0.5))
    effects = {(0.5, -0.5): 0.3, (0.9, 0.0): 0.4, (0.9, 0.5): 0.4, (1.2, 0.5): 0.4}
    points = [Choice(temperature=t, threshold=r, query_effect=effects.get((t, r), 0.0)) for t, r in grid]
    assert best(points) == best(points[::-1]) == Choice(temperature=0.9, threshold=0.5, query_effect=0.4)


def test_examples_are_the_tokens_that_were_sampled_and_an_end() -> None:
    ended = member("a", prompt=(5, 6), response=(8, 0))
    stopped = member("b", prompt=(5, 6), response=(8, 9), stop_reason="stop")
    first, second = examples_of([select(group(ended, stopped), 0.5)], end=0)
    assert (first.tokens.tolist(), first.prompt_length) == ([5, 6, 8, 0], 2)
    assert (second.tokens.tolist(), second.prompt_length) == ([5, 6, 8, 9, 0], 2)
    batch = build_batch([], rows=[first, second])
    assert batch.mask_BT.tolist() == [[False] * 2 + [True] * 2 + [False], [False] * 2 + [True] * 3]


def test_what_an_environment_wrote_is_not_imitated() -> None:
    turns = member("a", prompt=(5, 6), response=(8, 7, 7, 0), mask=[True, False, False, True])
    (example,) = examples_of([select(group(turns), 0.5)], 0)
    assert build_batch([], rows=[example]).mask_BT.tolist() == [[False, False, True, False, False, True]]


# -- runs --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def writes() -> dict[str, list[str]]:
    """Mode → every change of a file that its reference run makes; filled by `references`."""
    return {}


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory, writes: dict[str, list[str]]) -> dict[str, Path]:
    paths = {mode: tmp_path_factory.mktemp(mode) / "run" for mode in INHERITS}
    for mode, path in paths.items():
        with crash_before_write(path, 10**9) as writes[mode]:
            run_star(path, mode)
    return paths


def moments(path: Path) -> tuple[int, dict[str, torch.Tensor]]:
    """Return the optimizer's count of updates and the weights of the last checkpoint."""
    last = path / "checkpoints" / "step_000002"
    optimizer = load_file(last / "trainer" / "optimizer.safetensors")
    (count,) = {int(value) for name, value in optimizer.items() if name.endswith("step")}
    return count, load_file(last / "model.safetensors")


def test_what_an_iteration_inherits(references: dict[str, Path]) -> None:
    """The draws of the first iteration are the same in all static modes, and so are its weights."""
    lines = {mode: read_metrics(path) for mode, path in references.items()}
    for mode in ("iterative-rft", "online-rft"):
        assert lines[mode][1]["sft/loss"] == lines["rest-em"][1]["sft/loss"]
    assert {mode: moments(path)[0] for mode, path in references.items()} == {
        "rest-em": 2,
        "iterative-rft": 2,
        "online-rft": 4,
        "b-star": 4,
    }
    base = load_file(Path(locate(config_of().model)) / "model.safetensors")

    def distance(mode: str) -> float:
        weights = moments(references[mode])[1]
        return sum(float((weights[name] - value).abs().sum()) for name, value in base.items() if name in weights)

    assert 0 < distance("rest-em") < 0.8 * distance("iterative-rft"), "two updates from the base, and four"


def test_the_search_is_complete_and_recorded(references: dict[str, Path]) -> None:
    path = references["b-star"]
    for line in read_metrics(path)[1:]:
        record = json.loads((path / "star" / f"step_{line['step']:06d}.json").read_text())
        assert set(record["surface"]) == {"1", "2", "4"}
        for points in record["surface"].values():
            grid = {(point["temperature"], point["threshold"]) for point in points}
            assert grid == set(itertools.product((0.8, 1.2), (-0.5, 0.5)))
            assert all(0 <= point["query_effect"] <= 1 for point in points)
        highest = max(point["query_effect"] for point in record["surface"]["4"])
        assert record["chosen"]["query_effect"] == highest == line["star/search_query_effect"]
        assert line["star/temperature"] == record["chosen"]["temperature"]
        assert line["star/threshold"] == record["chosen"]["threshold"]
        assert line["star/search_tokens"] > 0
    run = Run(path)
    assert run.stage == "star"
    assert run.finished
    credit = run.responses(step=1).column("advantages").to_pylist()
    assert sum(any(tokens) for tokens in credit) == read_metrics(path)[1]["star/examples"]


@pytest.mark.parametrize("mode", ["b-star", pytest.param("rest-em", marks=pytest.mark.slow)])
def test_killed_at_any_moment_and_resumed_it_ends_the_same(
    mode: str, references: dict[str, Path], writes: dict[str, list[str]], tmp_path: Path
) -> None:
    reference, seen = fingerprint(references[mode]), writes[mode]
    assert any("/star/" in text for text in seen) == (mode == "b-star")
    for point in range(3, len(seen), len(seen) // 4):
        path = tmp_path / f"crash{point}"
        with pytest.raises(Crash), crash_before_write(path, point):
            run_star(path, mode)
        run_star(path, mode, resume=(path / "config.json").exists())
        assert_same_run(path, reference)


def test_killed_while_it_learns(references: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = itertools.count(1)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 4:  # The second update of the second iteration.
            raise Crash
        return step(*args, **kwargs)

    step = Learner.step
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", dying)
        with pytest.raises(Crash):
            run_star(tmp_path / "run")
    run_star(tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", fingerprint(references["b-star"]))


def test_given_solutions_take_part_only_if_asked_for_and_none_is_left_out_in_silence(tmp_path: Path) -> None:
    rows = [{"question": "What is 1+1?", "response": " \\boxed{2}"}, {"question": "?", "response": " 1" * 9_000}]
    file = tmp_path / "given.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    listener = Silent()
    over = {"steps": 1, "star": {"demonstrations": str(file)}}
    star(config_of("online-rft", over), tmp_path / "given", callbacks=[listener])
    star(config_of("online-rft", {"steps": 1}), tmp_path / "plain", callbacks=[Silent()])
    assert any("1 of 2 demonstrations are longer than" in line for line in listener.lines)
    (given, plain) = (read_metrics(tmp_path / name)[1] for name in ("given", "plain"))
    assert given["star/examples"] == plain["star/examples"], "the model's own"
    assert given["sft/loss"] != plain["sft/loss"]


def test_an_iteration_is_as_long_as_its_sampler_says(tmp_path: Path) -> None:
    over = {"steps": 1, "star": {"threshold": -0.5}, "sampler": {"name": "curriculum", "lengths": [14]}}
    run_star(tmp_path / "run", "online-rft", over)
    lengths = [len(ids) for ids in Run(tmp_path / "run").responses(1, ["token_ids"])["token_ids"].to_pylist()]
    assert max(lengths) == 14


def test_with_shuffled_rewards_any_response_may_be_imitated(tmp_path: Path) -> None:
    """The control: as many responses are rewarded as are right, but others; those that are rewarded are imitated."""
    run_star(tmp_path / "run", "online-rft", {"steps": 1, "shuffle_rewards": True})
    rows = Run(tmp_path / "run").responses(1, ["verdict", "reward", "advantages"]).to_pylist()
    right, rewarded = ([row[name] == value for row in rows] for name, value in (("verdict", "correct"), ("reward", 1)))
    assert sum(right) == sum(rewarded) > 0
    assert right != rewarded
    assert all(row["reward"] == 1 for row in rows if any(row["advantages"]))


def test_a_sampler_that_refreshes_begins_the_optimizer_anew(tmp_path: Path) -> None:
    over = {"star": {"threshold": -0.5}, "sampler": {"name": "domains", "stage_steps": [1]}}
    run_star(tmp_path / "run", "online-rft", over)
    assert moments(tmp_path / "run")[0] == 2, "of the second iteration alone"


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("--star.temperatures", "0.5,0"), "star.temperatures"),
        (("--star.temperatures", "[]"), "star.temperatures"),
        (("--star.thresholds", "[]"), "star.thresholds"),
        (("--star.mode", "bstar"), "star.mode"),
        (("--star.s", "9", "--sampling.samples-per-prompt", "8"), "star.s = 9"),
        (("--iterations", "0"), "--iterations must be at least 1"),
        (("--transform.name", "rest-rl"), "transform.name = 'rest-rl' is for simplerl train"),
        (("--buffer.name", "rorecomp"), "buffer.name = 'rorecomp' is for simplerl train"),
        (("--sampler.name", "refill"), "sampler.rounds = 3 is for simplerl train"),
        (("--sampling.gate", '["std"]'), "sampling.gate = 'std' is for simplerl train"),
    ],
)
def test_settings_that_do_not_work(settings: tuple[str, ...], message: str, capsys, tmp_path: Path) -> None:
    code, _, error = run_main(capsys, "star", "cub-b-star", "--output-dir", str(tmp_path / "run"), *settings)
    assert code == 2
    assert message in error
    assert not (tmp_path / "run").exists()


def test_nothing_selected_says_what_was_seen_and_keeps_the_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"iteration 1: nothing is selected .* the threshold 2\. .*star\.threshold"):
        run_star(tmp_path / "run", "online-rft", {"star": {"threshold": 2.0}})
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == [0]


def test_another_grid_is_another_run(references: dict[str, Path]) -> None:
    with pytest.raises(RunError, match=r"star\.temperatures was .*, now"):
        run_star(references["b-star"], over={"star": {"temperatures": [0.7]}}, resume=True)


def test_a_model_object_has_no_base_to_start_from_anew(cub, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rest-em"):
        star(config_of("rest-em"), tmp_path / "run", inputs=Inputs(policy=cub("cub-qwen")))


# -- process rewards ---------------------------------------------------------------------------------------------------


def test_a_process_reward_model_is_added_to_the_reward(tmp_path: Path, cub: Any, tiny: Any) -> None:
    """r = correct + r_prm, within ±1, in the search and in the draw; another tokenizer, and no model, are refused."""
    policy = cub("cub-qwen")
    card = {"template": "plain", "system": "", "special_tokens": "none", "steps": "sentences"}
    save(tmp_path / "prm", policy, StepModel(policy.model, seed=0), card)
    over = {"star": {"prm": str(tmp_path / "prm"), "prm_scale": 0.05}, "steps": 1}
    run_star(tmp_path / "run", "online-rft", over)
    rows = Run(tmp_path / "run").responses(step=1).to_pylist()
    for row in rows:
        parts = dict(row["reward_parts"])
        assert -1 <= parts["process"] <= 1
        assert row["reward"] == pytest.approx(parts["correctness"] + parts["process"], abs=1e-6)
    assert len({dict(row["reward_parts"])["process"] for row in rows}) > 1
    save(tmp_path / "other", tiny("llama"), StepModel(tiny("llama").model, seed=0), card)
    with pytest.raises(ModelError, match="has another tokenizer than cub-qwen"):
        run_star(tmp_path / "second", "online-rft", {"star": {"prm": str(tmp_path / "other")}})
    with pytest.raises(ModelError, match="is not a process reward model"):
        run_star(tmp_path / "third", "online-rft", {"star": {"prm": "cub-qwen"}})


def test_a_search_in_which_nothing_is_right_ends_the_run(tmp_path: Path) -> None:
    over = {"dataset": {"levels": [5]}, "sampling": {"max_new_tokens": 2}}
    with pytest.raises(DataError, match=r"no response to the 2 problems of the search is right.*0\.8, 1\.2"):
        run_star(tmp_path / "run", "b-star", over)


# --- sampling alone ---------------------------------------------------------------------------------------------------


FEW = ["cub", "--dataset.size", "6", "--sampling.max-new-tokens", "20"]


def test_one_sample_of_fewer_problems_than_a_step_of_training_has(tmp_path: Path, capsys) -> None:
    """It compares no samples and makes no updates: the recipe's algorithm and batch put up no conditions."""
    output = tmp_path / "all.jsonl"
    code, shown, error = run_main(
        capsys, "sample", *FEW, "--all", "--sampling.samples-per-prompt", "1", "--output", str(output)
    )
    assert code == 0, error
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert len({row["problem_id"] for row in rows}) == len(rows) == 6
    assert "6 responses" in shown


CASES: dict[str, tuple[Callable[[Path], list[str]], list[str]]] = {
    "there already": (lambda p: ["--output", str(p)], ["exists already"]),
    "below a file": (lambda p: ["--output", str(file(p) / "out.jsonl")], ["cannot write", "--output"]),
    "where none can be": (lambda p: ["--output", "/proc/nowhere/out.jsonl"], ["cannot write", "--output"]),
    "an algorithm": (
        lambda p: ["--output", str(p / "o"), "--algorithm.name", "ppo"],
        ["learns nothing", "--algorithm"],
    ),
    "a reference": (lambda p: ["--output", str(p / "o"), "--reference", "cub-qwen"], ["learns nothing", "--reference"]),
    "no such model": (lambda p: ["--output", str(p / "o"), "--model", "nosuch"], ["unknown model 'nosuch'"]),
    "nothing right": (
        lambda p: ["--output", str(p / "o"), "--sampling.max-new-tokens", "1"],
        ["none of the 48 responses", "--all"],
    ),
}


def file(directory: Path) -> Path:
    (directory / "file").write_text("")
    return directory / "file"


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case: str, tmp_path: Path, capsys) -> None:
    arguments, wanted = CASES[case]
    code, shown, error = run_main(capsys, "sample", *FEW, *arguments(tmp_path))
    assert code == 2
    assert error.startswith("error: ")
    for fragment in wanted:
        assert fragment in error, error
    assert "problems," not in shown or case == "nothing right", "it has sampled first"
    assert not (tmp_path / "o").exists()
