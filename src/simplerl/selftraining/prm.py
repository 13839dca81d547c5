"""Make a process reward model: label the steps of sampled responses by how they can be continued, and learn the labels.

Math-Shepherd (arXiv 2312.08935): from the prefix that ends with a step, k completions are sampled; the step is good (1)
if at least one ends right, bad (0) if all end wrong. Where none is right and some could not be judged it has no label.
The last step of a response that has ended needs no completion: its label is the response's own verdict.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simplerl.config.sections import Config, OptimizerConfig
from simplerl.core.errors import DataError, ModelError, RunError
from simplerl.core.seeds import derive, generator
from simplerl.core.types import Problem, Trajectory, TrajectoryGroup, Verdict
from simplerl.data.prompts import prompter
from simplerl.environments.base import require_single_turn
from simplerl.feed.samplers import Sampler
from simplerl.models.device import pick_device
from simplerl.models.load import load
from simplerl.models.score import Scorer
from simplerl.models.text import decode
from simplerl.ops.statistics import auc, reliability
from simplerl.prm import ProcessRewardModel, Row, StepModel, likelihoods, save, step_ends, token_ends, vocabulary_hash
from simplerl.rollout.backend import Request
from simplerl.runs.files import JsonLines, LockedDirectory, write_json
from simplerl.train.components import Components, Inputs, build_components
from simplerl.train.optim import adamw, apply_gradient, learning_rate

SETTINGS, LABELS = "settings.json", "labels.jsonl"


def label(
    config: Config,
    output: Path,
    *,
    completions: int,
    steps: str,
    say: Callable[[str], None],
    inputs: Inputs | None = None,
) -> Counter[str]:
    """Label the steps of `samples_per_prompt` responses to every training problem, into the directory `output`.

    Return how many steps are good, bad and undecided. A line is a problem; the same command goes on where it was, and
    ends with the same file, since all noise is addressed.
    """
    require_single_turn(config.environment, "simplerl prm label")
    step_ends("", steps)  # A wrong name is said before anything is sampled.
    per_chunk = config.sampling.prompts_per_step
    one = dataclasses.replace(config, sampling=dataclasses.replace(config.sampling, prompts_per_step=1))
    with closing(build_components(one, say, inputs=inputs)) as parts, LockedDirectory(output):
        settings = {
            **{name: getattr(config, name) for name in ("model", "data", "template", "seed")},
            **{name: dataclasses.asdict(getattr(config, name)) for name in ("verifier", "sampling")},
            "steps": steps,
            "completions": completions,
            **{name: getattr(config.prompt, name) for name in ("system", "special_tokens")},
            "weights_sha256": parts.environment["base_model"]["sha256"],
            "vocabulary_sha256": vocabulary_hash(parts.policy.tokenizer),
            "data_sha256": parts.environment["data"]["train"]["sha256"],
        }
        if (output / SETTINGS).is_file():
            before = json.loads((output / SETTINGS).read_text(encoding="utf-8"))
            if changed := [key for key, now in json.loads(json.dumps(settings)).items() if before.get(key) != now]:
                raise RunError(
                    f"{output} holds labels made with other settings ({', '.join(changed)}): give those again to go "
                    "on, or choose another --output-dir"
                )
        else:
            write_json(output / SETTINGS, settings)
        lines = JsonLines(output / LABELS)
        done = {row["problem_id"] for _, row in lines.read() if row}
        missing = [item for item in parts.sampler.problems if item.problem.id not in done]
        if done:
            say(f"{len(done)} problems are labelled already")
        for start in range(0, len(missing), per_chunk):
            chunk = missing[start : start + per_chunk]
            groups = parts.rollout.sample_groups(chunk, purpose="prm-responses", step=0)
            lines.append(_labelled(groups, parts, config, completions, steps))
            say(f"{len(done) + min(start + per_chunk, len(missing))}/{len(done) + len(missing)} problems labelled")
    marks = [mark for row in read_labels(output)[1] for response in row["responses"] for mark in response["labels"]]
    return Counter({1: "good", 0: "bad", None: "undecided"}[mark] for mark in marks)


def _labelled(
    groups: Sequence[TrajectoryGroup], parts: Components, config: Config, completions: int, steps: str
) -> list[dict[str, Any]]:
    """Return a line for each problem. Each different prefix of a problem is continued once, for all its responses."""
    tokenizer, rollout = parts.policy.tokenizer, parts.rollout
    ends: dict[int, list[tuple[int, int]]] = {}  # Response → (character, token) at which each of its steps ends
    seen: dict[tuple[str, bytes], Counter[str]] = {}  # (Problem, prefix) → how its completions end
    requests: list[Request] = []
    owners: list[tuple[Counter[str], Problem, list[int]]] = []
    for t in (t for group in groups for t in group.trajectories):
        places = step_ends(t.completion.text, steps)
        ends[id(t)] = list(zip(places, token_ends(tokenizer, t.completion.token_ids.tolist(), places), strict=True))
        for _, count in ends[id(t)][:-1]:
            ids, problem = t.completion.token_ids[:count], t.problem
            if (key := (problem.id, ids.tobytes())) in seen:
                continue
            seen[key] = Counter()
            begun = np.concatenate([t.prompt_ids, ids])
            for number in range(completions if len(begun) < parts.policy.context_length else 0):
                noise = derive(config.seed, "prm-completions", problem.id, ids.tobytes().hex(), number)
                requests.append(Request(prompt_ids=begun, noise_key=noise))
                owners.append((seen[key], problem, ids.tolist()))
    judged: list[tuple[Counter[str], Future[Verdict]]] = []
    for index, completion in rollout.backend.generate(requests, rollout.sampling):
        counts, problem, prefix = owners[index]
        text = decode(tokenizer, prefix) + completion.text
        judged.append((counts, rollout.verifier.submit(text, problem.answer, problem.question)))
    for counts, future in judged:
        verdict = future.result()
        counts["right" if verdict.correct else "wrong" if verdict.decided else "undecided"] += 1
    return [
        {
            "problem_id": group.problem.id,
            **{name: getattr(group.problem, name) for name in ("question", "answer", "level")},
            "responses": [_response(t, ends[id(t)], seen) for t in group.trajectories],
        }
        for group in groups
    ]


def _response(t: Trajectory, ends: Sequence[tuple[int, int]], seen: dict[Any, Counter[str]]) -> dict[str, Any]:
    ids = t.completion.token_ids
    labels = [step_label(seen[t.problem.id, ids[:count].tobytes()]) for _, count in ends[:-1]]
    if ends:  # A step that was cut off is not one.
        cut = t.completion.stop_reason == "length" or not t.verdict.decided
        labels.append(None if cut else int(t.verdict.correct))
    return {
        "sample": t.sample,
        "response": t.completion.text,
        "token_ids": ids.tolist(),
        "verdict": t.verdict.status,
        "ends": [end for end, _ in ends],
        "labels": labels,
    }


def step_label(counts: Counter[str]) -> int | None:
    """Return 1 where a completion is right, 0 where all are wrong, None where that is not known."""
    return 1 if counts["right"] else None if counts["undecided"] or not counts["wrong"] else 0


def read_labels(directory: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return (settings, lines) of a directory of labels. Raises DataError where there is no labelled step."""
    if not (directory / SETTINGS).is_file():
        raise DataError(f"{directory} does not hold labels of steps: make them with simplerl prm label")
    settings = json.loads((directory / SETTINGS).read_text(encoding="utf-8"))
    rows = [row for _, row in JsonLines(directory / LABELS).read() if row]
    if not any(response["ends"] for row in rows for response in row["responses"]):
        raise DataError(
            f"{directory} holds labels without steps: no response of {len(rows)} problems has a step by steps = "
            f"{settings['steps']}"
        )
    return settings, rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lesson:
    """How a process reward model is trained."""

    updates: int = 100
    batch_size: int = 64  # Responses in an update
    lr: float = 3e-4
    holdout: float = 0.2  # Share of the problems on which it is measured
    seed: int = 0
    device: str = "auto"


def train_prm(
    labels: Path, output: Path, lesson: Lesson, *, model: str = "", say: Callable[[str], None]
) -> dict[str, Any]:
    """Train a process reward model on labels and write it; return what it is worth on the held-out problems."""
    settings, rows = read_labels(labels)
    if output.exists():
        raise RunError(f"{output} exists already; choose another --output-dir, or remove it")
    device = pick_device(lesson.device)
    policy = load(model or settings["model"], device=device)
    if vocabulary_hash(policy.tokenizer) != settings["vocabulary_sha256"]:
        raise ModelError(
            f"the labels in {labels} are of tokens of {settings['model']!r}, and {policy.name!r} has another "
            "tokenizer: label responses of that model, or give --model one with the same tokenizer"
        )
    value = StepModel(policy.model, seed=lesson.seed)
    prompts = prompter(settings["template"], system=settings["system"], special_tokens=settings["special_tokens"])
    prm = ProcessRewardModel(name=str(output), policy=policy, model=value, prompts=prompts, steps=settings["steps"])
    order = generator(lesson.seed, "prm-holdout").permutation(len(rows))
    held = set(order[: max(1, int(lesson.holdout * len(rows)))].tolist())
    taught, measured = (
        _examples(prm, [row for i, row in enumerate(rows) if (i in held) == side]) for side in (False, True)
    )
    counts = Counter(mark for _, marks in taught for mark in marks if mark is not None)
    if len(counts) < 2 or not measured:
        raise DataError(
            f"{labels} has {counts[1]} good and {counts[0]} bad steps to learn from, and {len(measured)} responses to "
            "measure on: a process reward model needs both kinds. Label more problems, or responses at a higher "
            "temperature"
        )
    features_NF = likelihoods(Scorer(policy.model), [row for row, _ in taught])
    parts = features_NF.split([len(row.columns) for row, _ in taught])
    lessons = [(*example, part) for example, part in zip(taught, parts, strict=True)]
    _begin(value, lessons)
    config = OptimizerConfig(lr=lesson.lr, beta2=0.99, weight_decay=0.0, schedule="cosine", warmup_steps=10)
    optimizer = adamw(value, config)
    sampler = Sampler(lessons, per_step=lesson.batch_size, seed=lesson.seed)
    for update in range(1, lesson.updates + 1):
        batch = sampler.at(update)
        loss = _loss(value([row for row, _, _ in batch], torch.cat([features for _, _, features in batch])), batch)
        loss.backward()
        apply_gradient(optimizer, value, lr=learning_rate(config, update - 1, lesson.updates), grad_clip=1.0, knob="lr")
        if update % 50 == 0 or update == lesson.updates:
            say(f"update {update}/{lesson.updates}  loss {loss.item():.3f}")
    figures = measure(prm, measured)
    card = {key: settings[key] for key in ("template", "system", "special_tokens", "steps", "completions")}
    card |= {"model": policy.name, "labels": str(labels), "lesson": dataclasses.asdict(lesson), "held_out": figures}
    save(output, policy, value, card)
    return figures


Example = tuple[Row, list[int | None]]
#: A response with its labels and its likelihoods.
Lessoned = tuple[Row, list[int | None], torch.Tensor]


def _examples(prm: ProcessRewardModel, rows: Sequence[dict[str, Any]]) -> list[Example]:
    """Return the labelled responses of some problems as rows; one without a labelled step teaches nothing."""
    examples = []
    for line in rows:
        problem = Problem(id=line["problem_id"], question=line["question"], answer=line["answer"], source="labels")
        for response in line["responses"]:
            row = prm.row(problem, response["token_ids"], response["response"])
            if any(mark is not None for mark in response["labels"]):
                examples.append((row, response["labels"]))
    return examples


def _loss(logits_N: torch.Tensor, batch: Sequence[Lessoned]) -> torch.Tensor:
    """Return the mean cross-entropy of the logits of all steps of some responses, over those that have a label."""
    marks = [mark for _, own, _ in batch for mark in own]
    labels_N = torch.tensor([0.0 if mark is None else float(mark) for mark in marks], device=logits_N.device)
    known_N = torch.tensor([mark is not None for mark in marks], device=logits_N.device)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits_N[known_N], labels_N[known_N])


def _begin(model: StepModel, lessons: Sequence[Lessoned]) -> None:
    """Fit the weights of the likelihoods alone, by logistic regression: from there the copy learns what they lack."""
    features_NF = torch.cat([features for _, _, features in lessons])
    optimizer = torch.optim.LBFGS(model.likelihood.parameters(), max_iter=200)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = _loss(model.likelihood(features_NF).squeeze(-1), lessons)
        loss.backward()
        return loss

    optimizer.step(closure)
    model.zero_grad(set_to_none=True)


def measure(prm: ProcessRewardModel, examples: Sequence[Example]) -> dict[str, Any]:
    """Return AUC, Brier score and reliability over the labelled steps of responses.

    `auc_first_wrong` is over the steps up to the first wrong one: whether that one is told from those before it, also
    of other responses. An AUC is null where all labels are the same.
    """
    triples = list[tuple[float, int, bool]]()
    for own, (_, marks) in zip(prm.scores([row for row, _ in examples]), examples, strict=True):
        first = True
        for logit, label in zip(own.tolist(), marks, strict=True):
            if label is not None:
                triples.append((logit, label, first))
                first = first and label == 1
    logits, labels, firsts = (np.array(each) for each in zip(*triples, strict=True))
    shares = 1 / (1 + np.exp(-logits.clip(-50, 50)))
    return {
        "steps": len(labels),
        "good": int(labels.sum()),
        "auc": auc(logits, labels),
        "auc_first_wrong": auc(logits[firsts], labels[firsts]),
        "brier": float(np.mean((shares - labels) ** 2)),
        "brier_of_the_mean": float(labels.mean() * (1 - labels.mean())),
        "reliability": reliability(shares, labels),
    }
