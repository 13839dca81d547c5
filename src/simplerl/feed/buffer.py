"""Buffers: rows that are kept for later steps. What is in one is in the checkpoint, so that resume is exact.

A buffer is a frozen dataclass whose fields are its settings. It says which responses of a step are trained on at once
(`components`), what is put aside (`arriving`), and what is trained on besides (`due`). `Store` holds the rows.
"""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import safetensors
import safetensors.numpy

from simplerl.config.sections import Config, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Share
from simplerl.core.errors import RunError
from simplerl.core.registry import registry
from simplerl.core.seeds import generator
from simplerl.core.types import LossComponent, Problem, Trajectory, TrajectoryGroup
from simplerl.feed.transforms import solved_share

if TYPE_CHECKING:
    from simplerl.feed.feed import StepGroups

#: α below which RoRecomp is warned of: responses get shorter until nothing is worked out.
SMALL_ALPHA = 0.6


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """A response that is kept: of the policy's own with its advantages, or one to be imitated."""

    problem: str
    step: int  # In which it came
    prompt_length: int
    tokens: np.ndarray  # int32 [T]: prompt and response
    mask: np.ndarray  # bool [T]: what may be trained on
    logprobs: np.ndarray  # float32 [T]: as it was sampled; 0 where nobody sampled
    credit: np.ndarray  # float32 [T]: its advantages; the weight of what is imitated


@dataclass(frozen=True, kw_only=True)
class Buffer:
    """Keeps nothing: every response is trained on in its step, and then never again."""

    component: ClassVar[LossComponent] = "rl"
    """The term of the loss that kept rows are for."""
    follows_steps: ClassVar[bool] = False
    """Whether it depends on `config.steps`, so that a run cannot be resumed with another number."""
    same_update = False
    """Whether rows that are due join the update of the step's own: a setting of some."""

    def check(self, problems: Sequence[Problem]) -> str:
        """Return a warning of the settings, if there is one. Raises ConfigError where the problems do not allow it."""
        return ""

    def components(self, groups: Sequence[TrajectoryGroup]) -> list[int]:
        """Return `Batch.component_B` of a step's responses; empty: all of them are the algorithm's own."""
        return []

    def arriving(
        self,
        step: int,
        groups: "StepGroups",
        advantages: Sequence[np.ndarray],
        respond: Callable[[str], list[int]],
    ) -> list[Row]:
        """Return the rows to keep of a step. `advantages` are those of the groups that were kept, `respond` encodes a
        complete response, its end too."""
        return []

    def due(self, step: int, rows: Sequence[Row], config: Config) -> Sequence[Row]:
        """Return those of the rows (oldest first) that are trained on in a step, and are gone then."""
        return ()

    def room(self, config: Config) -> int:
        """Return how many rows are kept at most, the newest; 0: any number."""
        return 0


@dataclass(frozen=True, kw_only=True)
class RoRecomp(Buffer):
    """Short right and long wrong responses first; the others later, and ever more seldom (arXiv 2509.25958)."""

    alpha: Share = 0.8
    """α: share of the step's right responses (the shortest) and of its wrong ones (the longest) that are trained on at
    once."""
    capacity: NonNegativeInt = 0
    """Rows that are kept at most, and trained on at a time; 0: as many as a step has responses."""
    fade_steps: NonNegativeInt = 0
    """Steps over which the probability that a full buffer is trained on falls from 1 to 0 (cosine); 0: the run's."""

    @property
    def follows_steps(self) -> bool:  # type: ignore[override]
        """Whether the probability reaches 0 at the end of the run."""
        return not self.fade_steps

    def check(self, problems: Sequence[Problem]) -> str:
        if self.alpha >= SMALL_ALPHA:
            return ""
        return (
            f"WARNING: buffer.alpha = {self.alpha:g}: where only the shortest of the right responses are trained on, "
            "length may collapse until nothing is worked out; the paper has 0.8"
        )

    def components(self, groups: Sequence[TrajectoryGroup]) -> list[int]:
        """Return 0 for the shortest right and longest wrong responses, −1 for the others."""
        members = [t for group in groups for t in group.trajectories]
        codes = [-1] * len(members)
        for right, sign in ((True, 1), (False, -1)):
            own = [i for i, t in enumerate(members) if t.verdict.decided and t.verdict.correct == right]
            own.sort(key=lambda i: sign * len(members[i].completion.token_ids))
            for index in own[: math.ceil(self.alpha * len(own))]:
                codes[index] = 0
        return codes

    def arriving(self, step, groups, advantages, respond):
        """Return the decided responses that were not trained on, with their advantages; none of groups that no gate let
        through, which have none."""
        if not groups.trained:
            return []
        members = [t for group in groups.kept for t in group.trajectories]
        rows = zip(members, self.components(groups.kept), advantages, strict=True)
        return [row_of(t, credit=credit, step=step) for t, code, credit in rows if code < 0 and t.verdict.decided]

    def due(self, step: int, rows: Sequence[Row], config: Config) -> Sequence[Row]:
        """Return the oldest rows where the buffer is full and the draw of the step says so."""
        count = self.room(config)
        steps = (self.fade_steps or config.steps) - 1
        probability = 0.5 * (1 + math.cos(math.pi * min(1.0, (step - 1) / max(1, steps))))
        wanted = generator(config.seed, "compensation", step).random() < probability
        return rows[:count] if wanted and len(rows) >= count else ()

    def room(self, config: Config) -> int:
        """Return the capacity: that of a step's batch."""
        return self.capacity or config.sampling.prompts_per_step * config.sampling.samples_per_prompt


@dataclass(frozen=True, kw_only=True)
class ReLIFT(Buffer):
    """Solutions of problems that no sample solves are kept, and imitated when there are enough (arXiv 2506.07527)."""

    rows: PositiveInt = 128
    """Solutions in a pass: as soon as so many wait, the newest are imitated between two steps."""
    lr: PositiveFloat = 1e-6
    """Learning rate of the pass, whose AdamW has moments of its own."""
    weight_decay: NonNegativeFloat = 0.01
    """Of that AdamW."""
    grad_clip: PositiveFloat = 1.0
    """Largest gradient norm in a pass."""
    entropy_coef: NonNegativeFloat = 1e-3
    """Weight of the entropy that the pass adds to its loss −log π, with a minus."""
    same_update: bool = False
    """Experimental: no pass, but rows of the component `ce` in the next step's own update."""

    component: ClassVar[LossComponent] = "ce"

    def check(self, problems: Sequence[Problem]) -> str:
        return solved_share(problems, "buffer.name = 'relift'")

    def arriving(self, step, groups, advantages, respond):
        """Return the solution of each problem of which every decided response is wrong."""
        rows = []
        for group in groups.all:
            decided = [t for t in group.trajectories if t.verdict.decided]
            solution = group.problem.meta.get("solution")
            if not solution or not decided or decided[0].prefix or any(t.verdict.correct for t in decided):
                continue
            prompt = decided[0].prompt_ids.tolist()
            rows.append(to_imitate([*prompt, *respond(solution)], len(prompt), problem=group.problem.id, step=step))
        return rows

    def due(self, step: int, rows: Sequence[Row], config: Config) -> Sequence[Row]:
        """Return the newest rows where there are enough; the older ones wait on."""
        return rows[-self.rows :] if len(rows) >= self.rows else ()


def row_of(t: Trajectory, *, credit: np.ndarray | float = 1.0, step: int = 0) -> Row:
    """Return a response of the policy as a row; `credit` is that of its tokens (float32 [T]) or of each."""
    start, credit = len(t.prompt_ids), np.broadcast_to(np.float32(credit), t.completion.token_ids.shape)
    return Row(
        problem=t.problem.id,
        step=step,
        prompt_length=start,
        tokens=np.concatenate([t.prompt_ids, t.completion.token_ids]),
        mask=np.pad(t.loss_mask, (start, 0)),
        logprobs=np.pad(t.completion.logprobs, (start, 0)),
        credit=np.pad(credit, (start, 0)),
    )


def to_imitate(
    tokens: Sequence[int], prompt_length: int, *, observed: Sequence[int] = (), problem: str = "", step: int = 0
) -> Row:
    """Return a prompt and the response to imitate; `observed` are places that an environment wrote, nobody's to
    imitate."""
    mask = np.arange(len(tokens)) >= prompt_length
    mask[list(observed)] = False
    weight, ids = mask.astype(np.float32), np.array(tokens, dtype=np.int32)
    about: dict[str, Any] = {"problem": problem, "step": step, "prompt_length": prompt_length}
    return Row(**about, tokens=ids, mask=mask, logprobs=np.zeros_like(weight), credit=weight)


class Store:
    """The rows that a buffer keeps during a run."""

    FILE = "buffer.safetensors"

    def __init__(self, settings: Buffer, config: Config, respond: Callable[[str], list[int]], limit: int):
        """`respond` encodes a complete response; rows of more than `limit` tokens do not fit the model."""
        self.settings, self.config, self.respond, self.limit = settings, config, respond, limit
        self.name = registry("buffer").name_of(type(settings)) or type(settings).__name__
        self.keeps = type(settings) is not Buffer
        self.rows: list[Row] = []

    def put(self, step: int, groups: "StepGroups", advantages: Sequence[np.ndarray]) -> dict[str, float]:
        """Keep what the settings say of a step; return metrics."""
        coming = self.settings.arriving(step, groups, advantages, self.respond)
        fitting = [row for row in coming if len(row.tokens) <= self.limit]
        self.rows = [*self.rows, *fitting]  # A checkpoint that is being written has the list as it was.
        return {"buffer/arrived": len(fitting), "buffer/too_long": len(coming) - len(fitting)}

    def take(self, step: int) -> tuple[list[Row], dict[str, float]]:
        """Return what is to be trained on besides a step's own rows, and metrics. What there is no room for goes."""
        due = list(self.settings.due(step, tuple(self.rows), self.config))
        gone = {id(row) for row in due}
        left = [row for row in self.rows if id(row) not in gone]
        room = self.settings.room(self.config) or len(left)
        self.rows = left[len(left) - min(room, len(left)) :]
        metrics = {"taken": len(due), "dropped": len(left) - len(self.rows), "rows": len(self.rows)}
        age = {"age": step - float(np.mean([row.step for row in due]))} if due else {}
        return due, {f"buffer/{name}": value for name, value in (metrics | age).items()}

    def save(self, directory: Path) -> None:
        """Write the rows; nothing where the buffer keeps nothing."""
        if not self.keeps:
            return
        arrays = {name: [getattr(row, name) for row in self.rows] for name in ("tokens", "mask", "logprobs", "credit")}
        tensors = {name: np.concatenate(each) if each else np.zeros(0) for name, each in arrays.items()}
        about = [(row.problem, row.step, row.prompt_length, len(row.tokens)) for row in self.rows]
        table = json.dumps({"name": self.name, "rows": about})  # Several keys would come in any order.
        safetensors.numpy.save_file(tensors, directory / self.FILE, metadata={"buffer": table})

    def restore(self, directory: Path) -> None:
        """Take up the rows of a checkpoint. Raises RunError where they are another buffer's."""
        path = directory / self.FILE
        if not self.keeps and not path.exists():
            return
        try:
            with safetensors.safe_open(path, "np") as file:
                table = json.loads(file.metadata()["buffer"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, safetensors.SafetensorError) as error:
            raise RunError(f"{path}: the rows of the buffer {self.name} cannot be read: {error}") from error
        if table["name"] != self.name:
            raise RunError(
                f"{path} holds the rows of the buffer {table['name']!r}, and this run has buffer.name = {self.name!r}: "
                "what they are kept for differs. Begin a new run from the checkpoint (--model DIR)"
            )
        ends = itertools.accumulate(length for *_, length in table["rows"])
        self.rows = [
            Row(
                problem=problem,
                step=step,
                prompt_length=prompt,
                **{name: values[end - length : end] for name, values in tensors.items()},
            )
            for end, (problem, step, prompt, length) in zip(ends, table["rows"], strict=True)
        ]
