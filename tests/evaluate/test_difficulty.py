"""Pass rates: counted as they are, resumed where they were killed, never mixed with another measurement's."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from simplerl.core.errors import DataError, RunError
from simplerl.core.types import Problem
from simplerl.data.making import histogram
from simplerl.data.templates import TEMPLATES
from simplerl.evaluate import difficulty
from simplerl.evaluate.difficulty import Measured, measure, partial_path, with_pass_rates
from simplerl.rewards.builtin import Correctness
from simplerl.rollout import open_backend
from simplerl.rollout.backend import Sampling
from simplerl.rollout.groups import Rollout, prompt
from simplerl.runs.run import PROTOCOL
from simplerl.verify import VerifierPool

PROBLEMS = [Problem(id=f"d-{i}", question=f"{i}?", answer=str(i % 4), source="d") for i in range(70)]


def respond(text: str, key: int) -> str:
    """Answer 0 to 3, evenly; a key in five says nothing."""
    return " I do not know." if key % 5 == 4 else f" \\boxed{{{key % 4}}}"


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def run(cub, tmp_path: Path):
    policy = cub("cub-qwen")
    prompted = prompt(PROBLEMS, TEMPLATES["plain"], policy)

    def go(*, kill_after: int | None = None, samples: int = 8, **settings: object) -> tuple[list[Measured], list[int]]:
        seen: list[int] = []

        def done(completion: object) -> None:
            seen.append(1)
            if kill_after is not None and len(seen) > kill_after:
                raise Killed

        started: list[int] = []
        with VerifierPool("boxed", workers=1) as verifier:
            rollout = Rollout(
                backend=open_backend("fake", policy, respond=respond),
                verifier=verifier,
                reward=Correctness(),
                sampling=Sampling(max_new_tokens=30),
                samples=samples,
                seed=0,
            )
            measured = measure(
                prompted,
                rollout,
                settings=settings,
                partial=partial_path(tmp_path / "out.jsonl"),
                on_start=started.append,
                on_done=done,
            )
        assert list(measured) == [item.problem.id for item in prompted]
        return list(measured.values()), [*started, len(seen)]

    return go


def test_what_is_counted(run) -> None:
    measured, (begun, made) = run()
    assert (begun, made) == (0, 70 * 8)
    assert all(item["samples"] == item["decided"] == 8 for item in measured)
    rates = [item["correct"] / item["decided"] for item in measured]
    # One response in five says nothing, and one in four of the others is right.
    assert np.mean(rates) == pytest.approx(0.2, abs=4 * np.sqrt(0.2 * 0.8 / 560))
    assert len(set(rates)) > 2


@pytest.mark.parametrize("killed", [0, 100, 8 * 32, 8 * 32 + 1, 8 * 64 + 5, 8 * 70 - 1])
def test_a_killed_measurement_goes_on_and_ends_the_same(killed: int, run, tmp_path: Path) -> None:
    whole, _ = run()
    shutil.rmtree(partial_path(tmp_path / "out.jsonl"))
    with pytest.raises(Killed):
        run(kill_after=killed)
    again, (begun, made) = run()
    assert again == whole
    assert begun == 8 * difficulty.CHUNK * (max(0, killed) // (8 * difficulty.CHUNK))
    assert begun + made == 70 * 8


def test_a_part_that_was_cut_short_is_done_again(run, tmp_path: Path) -> None:
    whole, _ = run()
    _, part, _ = sorted(partial_path(tmp_path / "out.jsonl").glob("parts/*.parquet"))
    content = part.read_bytes()
    for cut in (len(content) - 1, len(content) // 2, 10, 0):
        part.write_bytes(content[:cut])
        measured, (begun, made) = run()
        assert measured == whole
        assert begun + made == 70 * 8
        assert made == 8 * difficulty.CHUNK
        assert part.read_bytes() == content


def test_another_measurement_is_never_mixed_in(run, tmp_path: Path) -> None:
    run(model="a")
    partial = partial_path(tmp_path / "out.jsonl")
    before = {file: file.read_bytes() for file in partial.rglob("*.*")}
    with pytest.raises(DataError, match=r"other settings \(model differ\)"):
        run(model="b")
    with pytest.raises(DataError, match=r"\(samples differ\)"):
        run(model="a", samples=4)
    assert {file: file.read_bytes() for file in partial.rglob("*.*")} == before
    (partial / PROTOCOL).write_text(json.dumps({"chunk": 1}))
    with pytest.raises(DataError, match="other settings"):
        run()
    (partial / PROTOCOL).write_text("{")
    with pytest.raises(RunError, match="damaged"):
        run()


def test_rates_are_of_what_could_be_judged() -> None:
    counts = {"samples": 8, "truncated": 0, "tokens": 80}
    measured = [
        dict(decided=8, correct=2, **counts),
        dict(decided=4, correct=2, **counts),
        dict(decided=0, correct=0, **counts),
    ]
    meta = {"pass_rate": 1.0, "place": "p"}
    old = [Problem(id=name, question="?", answer="1", source="d", meta=meta) for name in "abcd"]
    rated = with_pass_rates(old, dict(zip("abc", measured, strict=True)))
    assert [p.meta for p in rated] == [
        {"place": "p", "pass_rate": 0.25, "pass_rate_samples": 8},
        {"place": "p", "pass_rate": 0.5, "pass_rate_samples": 4},
        {"place": "p", "pass_rate_samples": 0},
        {"place": "p"},
    ]


def test_histogram() -> None:
    rates = [0.0, 0.125, 0.25, 0.26, 0.5, 0.75, 0.875, 1.0, 1.0]
    problems = [Problem(id="d", question="?", answer="1", source="d", meta={"pass_rate": rate}) for rate in rates]
    assert histogram([*problems, PROBLEMS[0]]) == {
        "0": 1, "up to 1/4": 2, "up to 1/2": 2, "up to 3/4": 1, "below 1": 1, "1": 2, "not judged": 1,
    }  # fmt: skip
