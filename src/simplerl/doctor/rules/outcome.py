"""Rules about what training is for: accuracy, in training and held out."""

import math
from collections.abc import Mapping

from simplerl.doctor.history import History
from simplerl.doctor.rules.words import percent
from simplerl.doctor.types import Rule, Seen, Threshold

#: Standard errors that separate a fall from noise; the best of many windows is itself picked by luck.
SURE = 4


def _fell(history: History, t: Mapping[str, float]) -> Seen | None:
    accuracy = history.series("accuracy/mean")
    if not len(accuracy.before):
        return None
    place = int(accuracy.before.argmax())
    best, now = float(accuracy.before[place]), accuracy.recent
    if best - now < max(t["points"], SURE * accuracy.error) or now > (1 - t["share"]) * best:
        return None
    return Seen(
        text=f"training accuracy fell from {percent(best)} ({accuracy.window_steps(place)}) to {percent(now)} "
        f"({accuracy.recent_steps})",
        figures={"best_accuracy": best, "accuracy": now},
        serious=now <= 0.5 * best,
    )


def _below_base(history: History, t: Mapping[str, float]) -> Seen | None:
    value, low, high = history.aligned(*(f"eval/accuracy{end}" for end in ("", "_low", "_high")))
    if len(value.values) < 2 or value.steps[0] != 0:
        return None
    if value.values[0] - value.last < t["points"] or high.last >= low.values[0]:
        return None
    return Seen(
        text=f"held-out accuracy is {percent(value.last)} [{percent(low.last)}, {percent(high.last)}] after step "
        f"{value.steps[-1]}, below the base model's {percent(value.values[0])} "
        f"[{percent(low.values[0])}, {percent(high.values[0])}]",
        figures={"accuracy": value.last, "base_accuracy": float(value.values[0])},
        serious=True,
    )


def _other_evaluation(history: History) -> str | None:
    config = history.config
    if not config:
        return "config.json cannot be read, so it is not known whether both were sampled alike"
    for key in ("temperature", "top_p"):
        ours, theirs = config.get(f"sampling.{key}"), config.get(f"evaluation.{key}")
        if ours != theirs:
            return f"sampling.{key} = {ours} and evaluation.{key} = {theirs}: the two accuracies cannot be compared"
    if config.get("sampling.top_k"):
        return f"sampling.top_k = {config['sampling.top_k']}, evaluation samples without: they cannot be compared"
    if config.get("evaluation.data"):
        return f"evaluation.data = {config['evaluation.data']}: other problems than the training data's"
    return None


def _gap(history: History, t: Mapping[str, float]) -> Seen | None:
    """Compare what was gained in training and held out since the beginning, so that harder problems are no gap."""
    trained = history.series("accuracy/mean")
    held, low, high = history.aligned("eval/accuracy", "eval/accuracy_low", "eval/accuracy_high")
    if len(held.values) < 2 or held.steps[0] != 0:
        return None
    # The training steps around the evaluation, not those long after it.
    near = trained.values[trained.steps <= held.steps[-1]][-trained.width :]
    if len(near) < 3:
        return None
    first = float(trained.values[0])  # Sampled from the base model itself.
    train_gain, held_gain = float(near.mean()) - first, held.last - float(held.values[0])
    widths = (high.values[[0, -1]] - low.values[[0, -1]]) / 3.92
    error = math.hypot(float(widths[0]), float(widths[1]), trained.error * math.sqrt(trained.width))
    gap = train_gain - held_gain
    if gap < max(t["points"], 2 * error):
        return None
    return Seen(
        text=f"training accuracy rose by {100 * train_gain:.1f} points to {percent(float(near.mean()))}, held-out "
        f"accuracy by {100 * held_gain:.1f} to {percent(held.last)} (step {held.steps[-1]}): {100 * gap:.1f} points "
        f"apart, ± {200 * error:.1f}",
        figures={"gap": gap, "train_gain": train_gain, "held_out_gain": held_gain, "error": error},
        serious=gap >= 2 * t["points"],
    )


def _flat(history: History, t: Mapping[str, float]) -> Seen | None:
    accuracy = history.series("accuracy/mean")
    if len(accuracy.values) < t["after"] or accuracy.early >= t["high"]:
        return None
    gain = float(accuracy.windows.max()) - accuracy.early
    if gain >= max(t["points"], 2 * accuracy.error):
        return None
    return Seen(
        text=f"training accuracy was {percent(accuracy.early)} at first ({accuracy.early_steps}) and is "
        f"{percent(accuracy.recent)} now ({accuracy.recent_steps}); no window of {accuracy.width} steps in between was "
        f"{100 * t['points']:g} points better",
        figures={"early_accuracy": accuracy.early, "accuracy": accuracy.recent, "best_gain": gain},
    )


OUTCOME = [
    Rule(
        name="accuracy-fell",
        title="Accuracy was higher before",
        why="The policy has lost what it had learned: usually the updates are too large, or the reward pays for "
        "something else. Going on seldom brings it back.",
        advice="Go back to the last good checkpoint (`simplerl train --model RUN/checkpoints/step_N`) with a lower "
        "`optimizer.lr`, a smaller `optimizer.grad_clip`, or more samples a step (`sampling.prompts_per_step`); keep "
        "the policy near its start with `algorithm.kl_coef`; set `checkpoint.keep` so that good checkpoints are kept.",
        needs=("accuracy/mean",),
        check=_fell,
        thresholds=(
            Threshold(name="points", default=0.1, unit="share", meaning="smallest fall of accuracy from its best"),
            Threshold(name="share", default=0.2, unit="share", meaning="smallest fall, as a share of the best"),
        ),
    ),
    Rule(
        name="below-base",
        title="Held-out accuracy is below the base model's",
        why="Training has made the model worse at what it is for.",
        advice="Look at the other findings first. Then lower `optimizer.lr`, or check the reward and the golds "
        "(`simplerl audit`), the template (`simplerl preflight`) and, after SFT, the demonstrations (`sft.data`).",
        needs=("eval/accuracy", "eval/accuracy_low", "eval/accuracy_high"),
        check=_below_base,
        least=2,
        thresholds=(
            Threshold(
                name="points",
                default=0.02,
                unit="share",
                meaning="smallest fall; the 95% intervals must not overlap either",
            ),
        ),
    ),
    Rule(
        name="train-eval-gap",
        title="Training problems are learned, held-out problems are not",
        why="The model learns these problems by heart, or learns what only they have in common.",
        advice="Use more problems (`dataset.size`, `data`) or fewer steps (`steps`), so that none comes round often "
        "(metric `data/epoch`); keep near the start with `algorithm.kl_coef`; check that the held-out problems are "
        "of the same kind (`evaluation.data`).",
        needs=("accuracy/mean", "eval/accuracy", "eval/accuracy_low", "eval/accuracy_high"),
        check=_gap,
        least=2,
        unfit=_other_evaluation,
        thresholds=(
            Threshold(
                name="points",
                default=0.1,
                unit="share",
                meaning="smallest difference between the two gains since step 0; it must be twice its error too",
            ),
        ),
    ),
    Rule(
        name="not-learning",
        title="Accuracy does not rise",
        why="The steps cost time and teach nothing.",
        advice="Raise `optimizer.lr`; see whether groups carry signal (data-too-easy, data-too-hard); sample more "
        "(`sampling.samples_per_prompt`); check that `template` suits the model (`simplerl preflight`) and that "
        "`verifier.policy` finds its answers.",
        needs=("accuracy/mean",),
        check=_flat,
        unfit=lambda history: (
            "shuffle_rewards is on: there is nothing to learn" if history.config.get("shuffle_rewards") else None
        ),
        thresholds=(
            Threshold(name="after", default=50, unit="steps", meaning="steps that a run is given before it is judged"),
            Threshold(name="points", default=0.02, unit="share", meaning="smallest rise that counts"),
            Threshold(name="high", default=0.9, unit="share", meaning="accuracy from which on there is little to gain"),
        ),
    ),
]
