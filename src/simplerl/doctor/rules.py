"""The rules: what each looks for. Their titles, reasons, advice and thresholds stand in rules.toml.

To add one, give it an entry there and a check here, or write both in a plug-in (`simplerl.doctor.rule`).
"""

import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simplerl.doctor.observation import NOT_FINITE, Observation
from simplerl.doctor.rule import RULES, Check, Symptom, Threshold, percent, ratio, rule

__all__ = ["RULES"]

_TEXTS = tomllib.loads(Path(__file__).with_name("rules.toml").read_text(encoding="utf-8"))

#: Standard errors that separate a fall from noise; the best of many windows is itself picked by luck.
SURE = 4
#: Held-out accuracy with the ends of its 95% interval.
HELD_OUT = ("eval/accuracy", "eval/accuracy_low", "eval/accuracy_high")
#: How responses are counted, by verdict.
VERDICTS = tuple(f"verdict/{name}" for name in ("correct", "wrong", "no_answer", "unjudgeable", "timeout", "error"))


def builtin(name: str, **more: Any) -> Callable[[Check], Check]:
    """Return a decorator that registers a check as the rule of that name in rules.toml."""
    thresholds = {key: Threshold(**table) for key, table in _TEXTS[name].get("thresholds", {}).items()}
    return rule(name, **{**_TEXTS[name], **more, "thresholds": thresholds})


def _now_and_first(
    observed: Observation, metric: str, figure: str, words: str, show: Callable[[float], str], *, serious: bool
) -> Symptom:
    """Return a symptom that says how high a metric is now, and what it was at first."""
    series = observed.series(metric)
    return Symptom(
        f"{words.replace('{}', show(series.recent))} ({series.recent_steps}); at first {show(series.early)} "
        f"({series.early_steps})",
        {figure: series.recent, f"early_{figure}": series.early},
        serious=serious,
        examples=observed.examples(metric),
    )


def _high(
    metric: str,
    figure: str,
    words: str,
    *,
    show: Callable[[float], str] = percent,
    threshold: str = "share",
    unless: Callable[[Observation, Mapping[str, float]], bool] = lambda observed, t: False,
) -> Check:
    """Return a check of a metric that should be low; from the threshold `serious` on it is serious."""

    def check(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
        recent = observed.series(metric).recent
        if recent < t[threshold] or unless(observed, t):
            return None
        return _now_and_first(observed, metric, figure, words, show, serious=recent >= t["serious"])

    return check


# -- accuracy --------------------------------------------------------------------------------------------------------


@builtin("accuracy-fell")
def accuracy_fell(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
    accuracy = observed.series("accuracy/mean")
    if not len(accuracy.before):
        return None
    start = int(accuracy.before.argmax())
    best, now = float(accuracy.before[start]), accuracy.recent
    if best - now < max(t["points"], SURE * accuracy.error) or now > (1 - t["share"]) * best:
        return None
    return Symptom(
        f"training accuracy fell from {percent(best)} ({accuracy.window_steps(start)}) to {percent(now)} "
        f"({accuracy.recent_steps})",
        {"best_accuracy": best, "accuracy": now},
        serious=now <= 0.5 * best,
    )


@builtin("below-base")
def below_base(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
    value, low, high = observed.aligned(*HELD_OUT)
    if len(value) < 2 or value.steps[0] != 0 or value.first - value.last < t["points"] or high.last >= low.first:
        return None
    return Symptom(
        f"held-out accuracy is {percent(value.last)} [{percent(low.last)}, {percent(high.last)}] after step "
        f"{value.steps[-1]}, below the base model's {percent(value.first)} [{percent(low.first)}, "
        f"{percent(high.first)}]",
        {"accuracy": value.last, "base_accuracy": value.first},
        serious=True,
    )


def _other_evaluation(observed: Observation) -> str | None:
    config = observed.config
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


@builtin("train-eval-gap", unfit=_other_evaluation)
def train_eval_gap(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
    """Compare what was gained in training and held out since the beginning, so that harder problems are not a gap."""
    trained = observed.series("accuracy/mean")
    held, low, high = observed.aligned(*HELD_OUT)
    if len(held) < 2 or held.steps[0] != 0:
        return None
    # The training steps around the evaluation, not those long after it.
    near = trained.values[trained.steps <= held.steps[-1]][-trained.width :]
    if len(near) < 3:
        return None
    # The first training step sampled from the base model itself.
    train_gain, held_gain = float(near.mean()) - trained.first, held.last - held.first
    base_width, last_width = (high.values[[0, -1]] - low.values[[0, -1]]) / 3.92
    error = math.hypot(base_width, last_width, trained.error * math.sqrt(trained.width))
    gap = train_gain - held_gain
    if gap < max(t["points"], 2 * error):
        return None
    return Symptom(
        f"training accuracy rose by {100 * train_gain:.1f} points to {percent(float(near.mean()))}, held-out accuracy "
        f"by {100 * held_gain:.1f} to {percent(held.last)} (step {held.steps[-1]}): {100 * gap:.1f} points apart, "
        f"± {200 * error:.1f}",
        {"gap": gap, "train_gain": train_gain, "held_out_gain": held_gain, "error": error},
        serious=gap >= 2 * t["points"],
    )


def _shuffled(observed: Observation) -> str | None:
    return "shuffle_rewards is on: there is nothing to learn" if observed.config.get("shuffle_rewards") else None


@builtin("not-learning", unfit=_shuffled)
def not_learning(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
    accuracy = observed.series("accuracy/mean")
    gain = float(accuracy.windows.max()) - accuracy.early
    if len(accuracy) < t["after"] or accuracy.early >= t["high"] or gain >= max(t["points"], 2 * accuracy.error):
        return None
    return Symptom(
        f"training accuracy was {percent(accuracy.early)} at first ({accuracy.early_steps}) and is "
        f"{percent(accuracy.recent)} now ({accuracy.recent_steps}); no window of {accuracy.width} steps in between was "
        f"{100 * t['points']:g} points better",
        {"early_accuracy": accuracy.early, "accuracy": accuracy.recent, "best_gain": gain},
    )


# -- the optimisation itself -----------------------------------------------------------------------------------------


@builtin("entropy-collapse")
def entropy_collapse(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
    """Little entropy is the end of every good run too: it is a collapse where there was still something to learn."""
    entropy, accuracy = observed.aligned("policy/entropy", "accuracy/mean")
    if not len(entropy.before):
        return None
    # Not the first window: where it falls fast, most of the fall is in there.
    first = float(entropy.values[:3].max())
    if entropy.recent > t["fraction"] * first or accuracy.recent >= t["accuracy"]:
        return None
    middle = accuracy.before[len(accuracy.before) // 2 :].mean()
    if accuracy.recent - middle >= max(t["points"], 2 * accuracy.error):
        return None  # It is still learning with what is left.
    return Symptom(
        f"entropy fell from {first:.4f} (at first) to {entropy.recent:.4f} nats a token ({entropy.recent_steps}), "
        f"{percent(ratio(entropy.recent, first))} of it, with accuracy at {percent(accuracy.recent)} and no longer "
        "rising",
        {"entropy": entropy.recent, "first_entropy": first, "accuracy": accuracy.recent},
        serious=accuracy.recent < 0.5,
    )


@builtin("entropy-blow-up")
def entropy_blow_up(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
    entropy, accuracy = observed.aligned("policy/entropy", "accuracy/mean")
    if not len(entropy.before):
        return None
    start = int(entropy.before.argmin())
    least, accuracy_then = float(entropy.before[start]), float(accuracy.before[start])
    if entropy.recent < max(t["factor"] * least, t["floor"]) or accuracy.recent - accuracy_then >= -t["points"]:
        return None  # Entropy that an entropy bonus bought without loss is fine.
    return Symptom(
        f"entropy rose from {least:.4f} ({entropy.window_steps(start)}) to {entropy.recent:.4f} nats a token "
        f"({entropy.recent_steps}), while accuracy fell from {percent(accuracy_then)} to {percent(accuracy.recent)}",
        {"entropy": entropy.recent, "least_entropy": least, "accuracy": accuracy.recent},
        serious=True,
    )


def _on_policy(observed: Observation) -> str | None:
    updates = observed.series("optimizer/updates")
    if len(updates) and updates.values.max() <= 1:
        return "one update a step: the ratio is 1 by construction (learner.prompts_per_update = 0)"
    return None


@builtin("ratio-blow-up", unfit=_on_policy)
def ratio_blow_up(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
    means, clipped = observed.series("policy/ratio"), observed.series("policy/clip_fraction")
    off = np.abs(means.values[-means.width :] - 1)
    share = clipped.recent if len(clipped) else 0.0
    if off.max() < t["off"] and share < t["clip_fraction"]:
        return None
    worst = int(off.argmax()) + len(means) - len(off)
    return Symptom(
        f"the mean ratio π/π_old was {means.values[worst]:.3f} in step {means.steps[worst]}, and the clip held back "
        f"{percent(share)} of the tokens ({means.recent_steps})",
        {"ratio": float(means.values[worst]), "clip_fraction": share},
        serious=bool(off.max() >= 3 * t["off"]),
    )


builtin("kl-blow-up")(
    _high("policy/kl", "kl", "the KL to the reference is {} nats a token", show="{:.3f}".format, threshold="level")
)
builtin("sampler-mismatch")(
    _high(
        "policy/mismatch_kl",
        "mismatch_kl",
        "before any update, the KL from the sampler's to the trainer's distribution is {} nats a token",
        show="{:.4f}".format,
        threshold="level",
    )
)


@builtin("gradient-spikes")
def gradient_spikes(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
    norm = observed.series("optimizer/grad_norm")
    values, spikes = norm.values, []
    for index in range(max(5, len(norm) - norm.width), len(norm)):
        usual = float(np.median(values[max(0, index - 20) : index]))
        if values[index] >= t["factor"] * usual and usual > 1e-12:
            spikes.append((float(values[index] / usual), index))
    if not spikes:
        return None
    factor, index = max(spikes)
    return Symptom(
        f"the gradient norm was {values[index]:.3g} in step {norm.steps[index]}, {factor:.1f} times the median of the "
        f"20 steps before; {len(spikes)} such {'step' if len(spikes) == 1 else 'steps'} in {norm.recent_steps}",
        {"grad_norm": float(values[index]), "times_usual": factor, "spikes": len(spikes)},
        serious=len(spikes) >= 3,
    )


@builtin("not-finite")
def not_finite(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
    flags = observed.series(NOT_FINITE)
    steps = flags.steps[flags.values > 0]
    if not len(steps):
        return None
    named = ", ".join(str(step) for step in steps[:5]) + (" …" if len(steps) > 5 else "")
    text = f"loss or gradient norm is not a number in {len(steps)} {'step' if len(steps) == 1 else 'steps'}: {named}"
    return Symptom(text, {"steps": len(steps)}, serious=True)


@builtin("critic-useless")
def critic_useless(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
    explained = observed.series("critic/explained_variance")
    if len(explained) < t["after"] or explained.recent > t["share"]:
        return None
    return Symptom(
        f"the critic explains {percent(explained.recent)} of the returns' variance ({explained.recent_steps}); below 0 "
        "it is worse than a constant",
        {"explained_variance": explained.recent},
    )


# -- whether the problems fit the model, and whether their answers can be judged -------------------------------------


def _broke_down(observed: Observation, t: Mapping[str, float]) -> bool:
    """All-wrong groups say that problems are too hard only where the policy has not broken down meanwhile."""
    accuracy = observed.series("accuracy/mean")
    return accuracy.recent < 0.5 * float(accuracy.windows.max())


builtin("data-too-easy")(_high("groups/all_right", "all_right", "{} of the problems had all their samples right"))
builtin("data-too-hard")(
    _high("groups/all_wrong", "all_wrong", "{} of the problems had all their samples wrong", unless=_broke_down)
)


@builtin("no-gradient")
def no_gradient(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
    updates = observed.series("optimizer/updates")
    idle = updates.values[-updates.width :] == 0
    share = float(idle.mean())
    if share < t["share"] or idle.sum() < 2:
        return None
    return Symptom(
        f"in {int(idle.sum())} of {len(idle)} steps nothing carried gradient and no update was made "
        f"({updates.recent_steps})",
        {"steps_without_update": share},
        serious=share >= 0.9,
    )


def _share_of(observed: Observation, verdict: str) -> tuple[float, float, str] | None:
    """Return (recent share, early share, recent steps) of a verdict among all; None where no step has all counts."""
    series = dict(zip(VERDICTS, observed.aligned(*VERDICTS), strict=True))
    one = series[f"verdict/{verdict}"]
    if not len(one):
        return None
    recent = ratio(one.recent, sum(s.recent for s in series.values()))
    early = ratio(one.early, sum(s.early for s in series.values()))
    return recent, early, one.recent_steps


def _verdicts(verdict: str, words: str) -> Check:
    def check(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
        shares = _share_of(observed, verdict)
        if shares is None or shares[0] < t["share"]:
            return None
        recent, early, steps = shares
        text = f"{percent(recent)} of the responses {words} ({steps}); at first {percent(early)}"
        return Symptom(text, {"share": recent, "early_share": early}, serious=recent >= t["serious"])

    return check


builtin("verifier-timeouts")(_verdicts("timeout", "timed out in the verifier"))
builtin("verifier-errors")(_verdicts("error", "crashed the verifier"))
builtin("unjudgeable")(_verdicts("unjudgeable", "could not be judged"))


@builtin("no-answer")
def no_answer(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
    shares = _share_of(observed, "no_answer")
    if shares is None or len(observed.series("verdict/no_answer")) < t["after"] or shares[0] < t["share"]:
        return None
    recent, early, steps = shares
    clip = observed.series("length/clip_ratio")
    return Symptom(
        f"{percent(recent)} of the responses have no final answer in the wanted form ({steps}); at first "
        f"{percent(early)}" + (f"; {percent(clip.recent)} were truncated" if len(clip) else ""),
        {"no_answer": recent, "early_no_answer": early},
    )


# -- length ----------------------------------------------------------------------------------------------------------


def _length_changes(*, grows: bool) -> Check:
    def check(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
        """Find the earlier window from which length changed most while accuracy did not rise."""
        length, accuracy = observed.aligned("length/mean", "accuracy/mean")
        idle = accuracy.recent - accuracy.before < t["points"] if len(length) else np.array([], bool)
        if not idle.any():
            return None
        candidates = np.where(idle, length.before, np.nan)
        start = int(np.nanargmin(candidates) if grows else np.nanargmax(candidates))
        then, now, accuracy_then = float(length.before[start]), length.recent, float(accuracy.before[start])
        if (now < t["factor"] * then) if grows else (now > t["factor"] * then):
            return None
        return Symptom(
            f"mean length went from {then:.1f} tokens ({length.window_steps(start)}) to {now:.1f} "
            f"({length.recent_steps}), {ratio(now, then):.1f} times as long, while accuracy went from "
            f"{percent(accuracy_then)} to {percent(accuracy.recent)}",
            {"length": now, "earlier_length": then, "accuracy": accuracy.recent, "earlier_accuracy": accuracy_then},
            serious=accuracy.recent < accuracy_then - 0.1,
        )

    return check


builtin("runaway-length")(_length_changes(grows=True))
builtin("collapsing-length")(_length_changes(grows=False))


@builtin("clip-ratio")
def clip_ratio(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
    clip = observed.series("length/clip_ratio")
    if clip.recent < t["share"] or clip.recent < 0.5 * clip.early:
        return None
    limit = observed.config.get("sampling.max_new_tokens")
    words = "{} of the responses were truncated" + (f" at sampling.max_new_tokens = {limit}" if limit else "")
    serious = clip.recent >= t["serious"]
    return _now_and_first(observed, "length/clip_ratio", "clip_ratio", words, percent, serious=serious)


@builtin("unhealthy-growth")
def unhealthy_growth(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
    length, clip, stopped = observed.aligned("length/mean", "length/clip_ratio", "length/mean_stopped")
    if not len(length.before):
        return None
    start = int(length.before.argmin())
    then, then_stopped, then_clip = (float(series.before[start]) for series in (length, stopped, clip))
    grown, grown_stopped = ratio(length.recent, then) - 1, ratio(stopped.recent, then_stopped) - 1
    if grown < t["growth"] or clip.recent - then_clip < t["clip_rise"] or grown_stopped > t["flat"] * grown:
        return None
    return Symptom(
        f"mean length grew by {percent(grown)}, from {then:.1f} ({length.window_steps(start)}) to {length.recent:.1f} "
        f"tokens ({length.recent_steps}), the average stopped length by {percent(grown_stopped)}, from "
        f"{then_stopped:.1f} to {stopped.recent:.1f}; the clip ratio went from {percent(then_clip)} to "
        f"{percent(clip.recent)}",
        {"growth": grown, "stopped_growth": grown_stopped, "clip_ratio": clip.recent},
        serious=clip.recent >= 0.5,
    )


# -- what the responses say: texts of some steps only ----------------------------------------------------------------


def _trait(name: str, what: str) -> None:
    """Register a rule about a trait that base models may have and RL should drive out."""
    metric = _TEXTS[name]["needs"][0]

    def fades(observed: Observation, t: Mapping[str, float]) -> bool:
        # The newest look must agree, and what has fallen to half is on its way out.
        share = observed.series(metric)
        return share.last < t["share"] or (len(share) > 1 and share.last < share.early / 2)

    builtin(name)(_high(metric, "share", f"{{}} of the responses {what}", unless=fades))


_trait("repetition", "repeat themselves")
_trait("language-switch", "are partly in another script than the question")


@builtin("bare-box")
def bare_box(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
    share = observed.series("text/bare_box")
    rose = len(share) > 1 and share.recent - share.early >= t["rise"]
    stayed = (observed.stage == "eval" or share.steps[-1] >= t["after"]) and share.recent >= t["stayed"]
    if min(share.recent, share.last) < t["share"] or not (rose or stayed):
        return None
    words = "{} of the responses box an answer without working"
    return _now_and_first(observed, "text/bare_box", "share", words, percent, serious=False)


@builtin("restating")
def restating(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
    share = observed.series("text/restating")
    if min(share.recent, share.last) < t["share"]:
        return None
    words = "{} of the answers of the right value restate the question or leave computing to the reader"
    return _now_and_first(observed, "text/restating", "share", words, percent, serious=share.recent >= t["serious"])


_trait("several-boxes", "box different answers")
_trait("code", "hold program code")


@builtin("reward-length")
def reward_length(observed: Observation, t: Mapping[str, float]) -> Symptom | None:
    for name, words, least in (
        ("text/reward_length_same_verdict", "of responses to one problem with the same verdict", t["same_verdict"]),
        ("text/reward_length", "of responses to one problem", t["correlation"]),
    ):
        series, errors = observed.aligned(name, f"{name}_error")
        if not len(series):
            continue
        # Looks are independent: the error of their mean.
        r, width = series.recent, 1.96 * float((errors.values[-errors.width :] ** 2).sum()) ** 0.5 / errors.width
        if abs(r) - width >= least:
            return Symptom(
                f"the correlation between length and reward {words} is {r:+.2f} [{max(-1, r - width):+.2f}, "
                f"{min(1, r + width):+.2f}] ({series.recent_steps}): {'longer' if r > 0 else 'shorter'} ones are paid "
                "better",
                {"correlation": r, "half_width": width},
            )
    return None
