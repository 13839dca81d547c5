"""Rules about the optimisation itself: entropy, ratios, KL, gradients, the critic."""

from collections.abc import Mapping

import numpy as np

from simplerl.doctor.history import History
from simplerl.doctor.rules.words import percent, ratio, times
from simplerl.doctor.types import Rule, Seen, Threshold

#: Written by the reader of the lines: 1 where a step's loss or gradient norm is no number, else 0.
NOT_FINITE = "doctor/not_finite"


def _collapse(history: History, t: Mapping[str, float]) -> Seen | None:
    """Little entropy is the end of every good run too: it is a collapse where there was still something to learn."""
    entropy, accuracy = history.aligned("policy/entropy", "accuracy/mean")
    # Not the first window: where it falls fast, most of the fall is in there.
    first = float(entropy.values[:3].max())
    if not len(entropy.before) or entropy.recent > t["fraction"] * first or accuracy.recent >= t["accuracy"]:
        return None
    middle = accuracy.before[len(accuracy.before) // 2 :].mean()
    if accuracy.recent - middle >= max(t["points"], 2 * accuracy.error):
        return None  # It is still learning with what is left.
    return Seen(
        text=f"entropy fell from {first:.4f} (at first) to {entropy.recent:.4f} nats a token "
        f"({entropy.recent_steps}), {percent(ratio(entropy.recent, first))} of it, with accuracy at "
        f"{percent(accuracy.recent)} and no longer rising",
        figures={"entropy": entropy.recent, "first_entropy": first, "accuracy": accuracy.recent},
        serious=accuracy.recent < 0.5,
    )


def _explosion(history: History, t: Mapping[str, float]) -> Seen | None:
    entropy, accuracy = history.aligned("policy/entropy", "accuracy/mean")
    if not len(entropy.before):
        return None
    place = int(entropy.before.argmin())
    least = float(entropy.before[place])
    if entropy.recent < max(t["factor"] * least, t["floor"]):
        return None
    if accuracy.recent - float(accuracy.before[place]) >= -t["points"]:
        return None  # Entropy that an entropy bonus bought without loss.
    return Seen(
        text=f"entropy rose from {least:.4f} ({entropy.window_steps(place)}) to {entropy.recent:.4f} nats a token "
        f"({entropy.recent_steps}), while accuracy fell from {percent(accuracy.before[place])} to "
        f"{percent(accuracy.recent)}",
        figures={"entropy": entropy.recent, "least_entropy": least, "accuracy": accuracy.recent},
        serious=True,
    )


def _on_policy(history: History) -> str | None:
    updates = history.series("optimizer/updates")
    if len(updates.values) and updates.values.max() <= 1:
        return "one update a step: the ratio is 1 by construction (learner.prompts_per_update = 0)"
    return None


def _ratio(history: History, t: Mapping[str, float]) -> Seen | None:
    means, clipped = history.series("policy/ratio"), history.series("policy/clip_fraction")
    off = np.abs(means.values[-means.width :] - 1)
    share = clipped.recent if len(clipped.values) else 0.0
    if off.max() < t["off"] and share < t["clip_fraction"]:
        return None
    worst = int(off.argmax()) + len(means.values) - len(off)
    return Seen(
        text=f"the mean ratio π/π_old was {means.values[worst]:.3f} in step {means.steps[worst]}, and the clip held "
        f"back {percent(share)} of the tokens ({means.recent_steps})",
        figures={"ratio": float(means.values[worst]), "clip_fraction": share},
        serious=bool(off.max() >= 3 * t["off"]),
    )


def _kl(history: History, t: Mapping[str, float]) -> Seen | None:
    kl = history.series("policy/kl")
    if kl.recent < t["level"]:
        return None
    return Seen(
        text=f"the KL to the reference is {kl.recent:.3f} nats a token ({kl.recent_steps}); at first it was "
        f"{kl.early:.3f} ({kl.early_steps})",
        figures={"kl": kl.recent, "early_kl": kl.early},
        serious=kl.recent >= t["serious"],
    )


def _mismatch(history: History, t: Mapping[str, float]) -> Seen | None:
    kl = history.series("policy/mismatch_kl")
    if kl.recent < t["level"]:
        return None
    return Seen(
        text=f"the KL from the sampler's to the trainer's distribution is {kl.recent:.4f} nats a token "
        f"({kl.recent_steps}), before any update",
        figures={"mismatch_kl": kl.recent},
        serious=kl.recent >= t["serious"],
    )


def _spikes(history: History, t: Mapping[str, float]) -> Seen | None:
    norm = history.series("optimizer/grad_norm")
    values = norm.values
    start = max(5, len(values) - norm.width)
    found = []
    for place in range(start, len(values)):
        usual = float(np.median(values[max(0, place - 20) : place]))
        if values[place] >= t["factor"] * usual and usual > 1e-12:
            found.append((values[place] / usual, place))
    if not found:
        return None
    factor, place = max(found)
    return Seen(
        text=f"the gradient norm was {values[place]:.3g} in step {norm.steps[place]}, {times(factor)} the median of "
        f"the 20 steps before; {len(found)} such {'step' if len(found) == 1 else 'steps'} in {norm.recent_steps}",
        figures={"grad_norm": float(values[place]), "times_usual": float(factor), "spikes": len(found)},
        serious=len(found) >= 3,
    )


def _not_finite(history: History, t: Mapping[str, float]) -> Seen | None:
    flags = history.series(NOT_FINITE)
    steps = flags.steps[flags.values > 0]
    if not len(steps):
        return None
    named = ", ".join(str(step) for step in steps[:5]) + (" …" if len(steps) > 5 else "")
    return Seen(
        text=f"loss or gradient norm is no number in {len(steps)} steps: {named}",
        figures={"steps": len(steps)},
        serious=True,
    )


def _critic(history: History, t: Mapping[str, float]) -> Seen | None:
    explained = history.series("critic/explained_variance")
    if len(explained.values) < t["after"] or explained.recent > t["share"]:
        return None
    return Seen(
        text=f"the critic explains {percent(explained.recent)} of the returns' variance ({explained.recent_steps}); "
        "below 0 it is worse than a constant",
        figures={"explained_variance": explained.recent},
    )


POLICY = [
    Rule(
        name="entropy-collapse",
        title="The policy has stopped exploring",
        why="All samples of a problem become the same, so that groups carry no signal and nothing more is learned, "
        "although there is still something to learn.",
        advice="Lower `optimizer.lr`; raise `sampling.temperature` to 1.0–1.2; give the clip more room upwards "
        "(`algorithm.clip_high`, as in DAPO) or an entropy bonus (`algorithm.entropy_coef`); sample more "
        "(`sampling.samples_per_prompt`).",
        needs=("policy/entropy", "accuracy/mean"),
        check=_collapse,
        thresholds=(
            Threshold(
                name="fraction",
                default=0.05,
                unit="ratio",
                meaning="entropy as a part of what it was at first, at most",
            ),
            Threshold(
                name="accuracy", default=0.9, unit="share", meaning="accuracy from which on little entropy is success"
            ),
            Threshold(
                name="points", default=0.02, unit="share", meaning="rise of accuracy that shows that it still learns"
            ),
        ),
    ),
    Rule(
        name="entropy-blow-up",
        title="The policy becomes noise",
        why="Entropy that rises while accuracy falls means that the model unlearns its language; the text ends in "
        "gibberish.",
        advice="Go back to a checkpoint and lower `optimizer.lr`, lower `optimizer.grad_clip` or "
        "`algorithm.entropy_coef`, or keep the policy near its start (`algorithm.kl_coef`).",
        needs=("policy/entropy", "accuracy/mean"),
        check=_explosion,
        thresholds=(
            Threshold(name="factor", default=2.0, unit="ratio", meaning="smallest rise over an earlier window"),
            Threshold(name="floor", default=0.1, unit="nats per token", meaning="entropy below which nothing is said"),
            Threshold(name="points", default=0.05, unit="share", meaning="smallest fall of accuracy that goes with it"),
        ),
    ),
    Rule(
        name="ratio-blow-up",
        title="The policy moves too far within a step",
        why="The later updates of a step learn from samples of a policy that is no longer theirs; the clip throws away "
        "their gradient, or the weights grow without bound.",
        advice="Fewer updates a step (a larger `learner.prompts_per_update`, 0 for one update), a lower "
        "`optimizer.lr`, a smaller `optimizer.grad_clip`.",
        needs=("policy/ratio",),
        check=_ratio,
        least=3,
        unfit=_on_policy,
        absent="this algorithm reports no ratio",
        thresholds=(
            Threshold(name="off", default=0.1, unit="ratio", meaning="distance of the mean ratio from 1 in a step"),
            Threshold(name="clip_fraction", default=0.3, unit="share", meaning="tokens at which the clip acted"),
        ),
    ),
    Rule(
        name="kl-blow-up",
        title="The policy has left its reference",
        why="Far from the model it began as, the policy loses what that model could do, and a KL term of any weight "
        "then outweighs the reward.",
        advice="Lower `optimizer.lr`, raise `algorithm.kl_coef`, or let it adapt (`algorithm.kl_target`).",
        needs=("policy/kl",),
        check=_kl,
        least=3,
        absent="no KL to a reference was measured: neither algorithm.kl_coef nor algorithm.kl_reward_coef is set",
        thresholds=(
            Threshold(name="level", default=0.15, unit="nats per token", meaning="mean KL over a window"),
            Threshold(name="serious", default=1.0, unit="nats per token", meaning="mean KL that makes it serious"),
        ),
    ),
    Rule(
        name="sampler-mismatch",
        title="Samples do not come from the policy that is trained",
        why="The gradient is that of another distribution: training drifts, and may break down late and suddenly.",
        advice="Sample from the whole distribution (`sampling.top_p` = 1, `sampling.top_k` = 0), in the same precision "
        "(`rollout.precision`, `learner.precision` = fp32), or correct for it (`algorithm.correction` = truncated).",
        needs=("policy/mismatch_kl",),
        check=_mismatch,
        least=3,
        thresholds=(
            Threshold(name="level", default=0.002, unit="nats per token", meaning="mean KL over a window"),
            Threshold(name="serious", default=0.05, unit="nats per token", meaning="mean KL that makes it serious"),
        ),
    ),
    Rule(
        name="gradient-spikes",
        title="The gradient jumps",
        why="Single steps of great size can undo many good ones; several of them announce a breakdown.",
        advice="Lower `optimizer.grad_clip` below the usual norm, more samples a step "
        "(`sampling.prompts_per_step`), a lower `optimizer.lr`, or a warm-up (`optimizer.warmup_steps`).",
        needs=("optimizer/grad_norm",),
        check=_spikes,
        thresholds=(
            Threshold(name="factor", default=10.0, unit="ratio", meaning="norm over the median of the 20 steps before"),
        ),
    ),
    Rule(
        name="not-finite",
        title="Loss or gradient is no number",
        why="From such an update on the weights are worthless.",
        advice="Go back to the checkpoint before. Use `learner.precision` = fp32, a lower `optimizer.lr`, a smaller "
        "`optimizer.grad_clip`; on a GPU try another `learner.attention`.",
        needs=(NOT_FINITE,),
        check=_not_finite,
        least=1,
        absent="no step has a loss",
    ),
    Rule(
        name="critic-useless",
        title="The critic explains nothing",
        why="Advantages from a critic that is worse than a constant are noise with a bias.",
        advice="Raise `algorithm.critic_lr`, let it learn first (`algorithm.critic_warmup_steps`), trust the rewards "
        "(`algorithm.lam` = 1), or do without (`algorithm.name` = grpo).",
        needs=("critic/explained_variance",),
        check=_critic,
        absent="there is no critic",
        thresholds=(
            Threshold(name="after", default=20, unit="steps", meaning="steps that a critic is given to learn"),
            Threshold(name="share", default=-0.05, unit="share", meaning="explained variance over a window, at most"),
        ),
    ),
]
