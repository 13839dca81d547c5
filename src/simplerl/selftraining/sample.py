"""Sample responses of a model and keep them as demonstrations: all, or only those judged right (rejection sampling)."""

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simplerl.config.sections import Config
from simplerl.core.errors import DataError, RunError
from simplerl.core.types import Trajectory
from simplerl.environments.base import require_single_turn
from simplerl.runs.files import json_line, write_atomic, writing
from simplerl.train.components import Inputs, build_components

#: Laid over the recipe: what a learner would ask for shall not stand in the way of one sample, or of few problems.
WITHOUT_LEARNING: dict[str, Any] = {
    "algorithm": {"name": "reinforce_pp", "kl_reward_coef": 0.0},
    "reference": "",
    "learner": {"prompts_per_update": 0},
}


def sample(
    config: Config, output: Path, *, everything: bool, say: Callable[[str], None], inputs: Inputs | None = None
) -> tuple[Counter[str], int]:
    """Sample `samples_per_prompt` responses to every training problem and write them, one JSON object a line.

    Return (verdicts, responses written). Without `everything` only right ones that ended by themselves are kept. The
    noise is addressed by problem and sample, so the same command writes the same file.
    """
    require_single_turn(config.environment, "simplerl sample")
    if output.exists():
        raise RunError(f"{output} exists already; choose another --output, or remove it")
    with writing(output):  # Now, not after an hour of sampling.
        output.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output.parent).close()
    # A chunk is larger than the problems are many: what the sampler of a training run would refuse.
    sampling = dataclasses.replace(config.sampling, prompts_per_step=1)
    parts = build_components(dataclasses.replace(config, sampling=sampling), say, inputs=inputs)
    counts: Counter[str] = Counter()
    lines: list[str] = []
    problems, chunk = parts.sampler.problems, config.sampling.prompts_per_step
    try:
        for start in range(0, len(problems), chunk):
            groups = parts.rollout.sample_groups(problems[start : start + chunk], purpose="sample", step=0)
            for trajectory in (t for group in groups for t in group.trajectories):
                counts[trajectory.verdict.status] += 1
                ended = trajectory.completion.stop_reason != "length"
                if everything or (trajectory.verdict.correct and ended):
                    lines.append(json_line(_row(trajectory, config.model)))
            say(f"{min(start + chunk, len(problems))}/{len(problems)} problems, {len(lines)} responses kept")
    finally:
        parts.close()
    if not lines:
        raise DataError(
            f"none of the {counts.total()} responses was right and complete, so there is nothing to write to {output}; "
            "--all keeps every response"
        )
    write_atomic(output, "".join(lines))
    return counts, len(lines)


def _row(trajectory: Trajectory, model: str) -> dict[str, object]:
    problem, completion = trajectory.problem, trajectory.completion
    return {
        "question": problem.question,
        "response": completion.text,
        "answer": problem.answer,
        "problem_id": problem.id,
        "level": problem.level,
        "sample": trajectory.sample,
        "verdict": trajectory.verdict.status,
        "stop_reason": completion.stop_reason,
        "tokens": len(completion.token_ids),
        "model": model,
    }
