"""The rules: what each looks for. Everything else about them stands in rules.toml.

To add one, give it an entry there and, unless a check here fits (`check`, `arguments`), a check of its name; or write
both in a plug-in (`simplerl.doctor.rule`).
"""

import functools
import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simplerl.doctor.observation import NOT_FINITE, TEXT, Observation, Series
from simplerl.doctor.rule import RULES, Check, Rule, Symptom, Threshold, ratio

__all__ = ["RULES"]

_TABLE = tomllib.loads(Path(__file__).with_name("rules.toml").read_text(encoding="utf-8"))

#: Standard errors that separate a fall from noise; the best of many windows is itself picked by luck.
SURE = 4
#: Held-out accuracy with the ends of its 95% interval.
HELD_OUT = ("eval/accuracy", "eval/accuracy_low", "eval/accuracy_high")
#: How responses are counted, by verdict.
VERDICTS = tuple(f"verdict/{name}" for name in ("correct", "wrong", "no_answer", "unjudgeable", "timeout", "error"))

Thresholds = Mapping[str, float]
#: What a check of this file returns: what the sentence `seen` names. Numbers are the figures of the symptom, `serious`
#: is whether it is. None where all is well.
Seen = dict[str, Any] | None

_CHECKS: dict[str, Callable[..., Seen]] = {}


def check(function: Callable[..., Seen]) -> Callable[..., Seen]:
    """Let rules.toml use a function: for the rule of its name, or as `check`."""
    _CHECKS[function.__name__.replace("_", "-")] = function
    return function


# -- checks that serve several rules ---------------------------------------------------------------------------------


def _now_and_first(series: Series, metric: str, *, serious: bool) -> Seen:
    figure = "share" if metric.startswith(TEXT) else metric.rpartition("/")[2]
    figures = {figure: series.recent, f"early_{figure}": series.early, "serious": serious}
    return {**figures, "now": series.recent_steps, "then": series.early_steps}


@check
def high(observed: Observation, t: Thresholds, metric: str) -> Seen:
    """See a metric that should be low; from the threshold `serious` on it is serious."""
    series = observed.series(metric)
    if series.recent < t["level" if "level" in t else "share"]:
        return None
    return _now_and_first(series, metric, serious=series.recent >= t["serious"])


@check
def trait(observed: Observation, t: Thresholds, metric: str) -> Seen:
    """See a trait that base models may have and RL should drive out."""
    share = observed.series(metric)
    # The newest look must agree, and what has fallen to half is on its way out.
    fades = share.last < t["share"] or (len(share) > 1 and share.last < share.early / 2)
    return None if fades else high(observed, t, metric)


@check
def verdict(observed: Observation, t: Thresholds, metric: str) -> Seen:
    """See a high share of one verdict among all."""
    counts = observed.aligned(*VERDICTS)
    one = counts[VERDICTS.index(metric)]
    if not len(one):
        return None
    recent = ratio(one.recent, sum(series.recent for series in counts))
    early = ratio(one.early, sum(series.early for series in counts))
    if recent < t["share"]:
        return None
    serious = recent >= t.get("serious", math.inf)
    return {"share": recent, "early_share": early, "now": one.recent_steps, "serious": serious}


@check
def length_changed(observed: Observation, t: Thresholds, *, grows: bool) -> Seen:
    """Find the earlier window from which length changed most while accuracy did not rise."""
    length, accuracy = observed.aligned("length/mean", "accuracy/mean")
    idle = accuracy.recent - accuracy.before < t["points"] if len(length) else np.array([], bool)
    if not idle.any():
        return None
    candidates = np.where(idle, length.before, np.nan)
    start = int(np.nanargmin(candidates) if grows else np.nanargmax(candidates))
    before, now, accuracy_before = float(length.before[start]), length.recent, float(accuracy.before[start])
    if (now < t["factor"] * before) if grows else (now > t["factor"] * before):
        return None
    lengths = {"length": now, "earlier_length": before, "times": ratio(now, before)}
    accuracies = {"accuracy": accuracy.recent, "earlier_accuracy": accuracy_before}
    steps = {"then": length.window_steps(start), "now": length.recent_steps}
    return {**lengths, **accuracies, **steps, "serious": accuracy.recent < accuracy_before - 0.1}


# -- accuracy --------------------------------------------------------------------------------------------------------


@check
def accuracy_fell(observed: Observation, t: Thresholds) -> Seen:
    accuracy = observed.series("accuracy/mean")
    if not len(accuracy.before):
        return None
    start = int(accuracy.before.argmax())
    best, now = float(accuracy.before[start]), accuracy.recent
    if best - now < max(t["points"], SURE * accuracy.error) or now > (1 - t["share"]) * best:
        return None
    steps = {"then": accuracy.window_steps(start), "now": accuracy.recent_steps}
    return {"best_accuracy": best, "accuracy": now, **steps, "serious": now <= 0.5 * best}


@check
def below_base(observed: Observation, t: Thresholds) -> Seen:
    value, low, high = observed.aligned(*HELD_OUT)
    if len(value) < 2 or value.steps[0] != 0 or value.first - value.last < t["points"] or high.last >= low.first:
        return None
    now = {"accuracy": value.last, "low": low.last, "high": high.last, "now": f"step {value.steps[-1]}"}
    base = {"base_accuracy": value.first, "base_low": low.first, "base_high": high.first}
    return {**now, **base, "serious": True}


@check
def train_eval_gap(observed: Observation, t: Thresholds) -> Seen:
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
    accuracy, held_out = float(near.mean()), held.last
    gains = {"train_gain": accuracy - trained.first, "held_out_gain": held_out - held.first}
    base_width, last_width = (high.values[[0, -1]] - low.values[[0, -1]]) / 3.92
    error = math.hypot(base_width, last_width, trained.error * math.sqrt(trained.width))
    gap = gains["train_gain"] - gains["held_out_gain"]
    if gap < max(t["points"], 2 * error):
        return None
    figures = {"gap": gap, **gains, "error": error}
    points = {f"{name}_points": f"{100 * value:.1f}" for name, value in {**figures, "error": 2 * error}.items()}
    now = {"accuracy": accuracy, "held_out": held_out, "now": f"step {held.steps[-1]}"}
    return {**figures, **points, **now, "serious": gap >= 2 * t["points"]}


@check
def not_learning(observed: Observation, t: Thresholds) -> Seen:
    accuracy = observed.series("accuracy/mean")
    gain = float(accuracy.windows.max()) - accuracy.early
    if len(accuracy) < t["after"] or accuracy.early >= t["high"] or gain >= max(t["points"], 2 * accuracy.error):
        return None
    words = {"width": str(accuracy.width), "points": f"{100 * t['points']:g}"}
    steps = {"then": accuracy.early_steps, "now": accuracy.recent_steps}
    return {"early_accuracy": accuracy.early, "accuracy": accuracy.recent, "best_gain": gain, **words, **steps}


# -- the optimisation itself -----------------------------------------------------------------------------------------


@check
def entropy_collapse(observed: Observation, t: Thresholds) -> Seen:
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
    figures = {"entropy": entropy.recent, "first_entropy": first, "part": ratio(entropy.recent, first)}
    return {**figures, "accuracy": accuracy.recent, "now": entropy.recent_steps, "serious": accuracy.recent < 0.5}


@check
def entropy_blow_up(observed: Observation, t: Thresholds) -> Seen:
    entropy, accuracy = observed.aligned("policy/entropy", "accuracy/mean")
    if not len(entropy.before):
        return None
    start = int(entropy.before.argmin())
    least, accuracy_then = float(entropy.before[start]), float(accuracy.before[start])
    if entropy.recent < max(t["factor"] * least, t["floor"]) or accuracy.recent - accuracy_then >= -t["points"]:
        return None  # Entropy that an entropy bonus bought without loss is fine.
    figures = {"entropy": entropy.recent, "least_entropy": least}
    accuracies = {"accuracy": accuracy.recent, "earlier_accuracy": accuracy_then}
    steps = {"then": entropy.window_steps(start), "now": entropy.recent_steps}
    return {**figures, **accuracies, **steps, "serious": True}


@check
def ratio_blow_up(observed: Observation, t: Thresholds) -> Seen:
    means, clipped = observed.series("policy/ratio"), observed.series("policy/clip_fraction")
    off = np.abs(means.values[-means.width :] - 1)
    share = clipped.recent if len(clipped) else 0.0
    if off.max() < t["off"] and share < t["clip_fraction"]:
        return None
    worst = int(off.argmax()) + len(means) - len(off)
    steps = {"then": f"step {means.steps[worst]}", "now": means.recent_steps}
    figures = {"ratio": float(means.values[worst]), "clip_fraction": share}
    return {**figures, **steps, "serious": bool(off.max() >= 3 * t["off"])}


@check
def gradient_spikes(observed: Observation, t: Thresholds) -> Seen:
    norm = observed.series("optimizer/grad_norm")
    values, spikes = norm.values, []
    for index in range(max(5, len(norm) - norm.width), len(norm)):
        usual = float(np.median(values[max(0, index - 20) : index]))
        if values[index] >= t["factor"] * usual and usual > 1e-12:
            spikes.append((float(values[index] / usual), index))
    if not spikes:
        return None
    factor, index = max(spikes)
    figures = {"grad_norm": float(values[index]), "times_usual": factor, "spikes": len(spikes)}
    steps = {"then": f"step {norm.steps[index]}", "now": norm.recent_steps, "such": _steps(len(spikes))}
    return {**figures, **steps, "serious": len(spikes) >= 3}


def _steps(count: int) -> str:
    return "step" if count == 1 else "steps"


@check
def not_finite(observed: Observation, t: Thresholds) -> Seen:
    flags = observed.series(NOT_FINITE)
    steps = flags.steps[flags.values > 0]
    if not len(steps):
        return None
    named = ", ".join(str(step) for step in steps[:5]) + (" …" if len(steps) > 5 else "")
    return {"steps": len(steps), "such": _steps(len(steps)), "named": named, "serious": True}


@check
def critic_useless(observed: Observation, t: Thresholds) -> Seen:
    explained = observed.series("critic/explained_variance")
    if len(explained) < t["after"] or explained.recent > t["share"]:
        return None
    return {"explained_variance": explained.recent, "now": explained.recent_steps}


# -- whether the problems fit the model, and whether their answers can be judged -------------------------------------


@check
def data_too_hard(observed: Observation, t: Thresholds) -> Seen:
    """All-wrong groups say that problems are too hard only where the policy has not broken down meanwhile."""
    accuracy = observed.series("accuracy/mean")
    broke_down = accuracy.recent < 0.5 * float(accuracy.windows.max())
    return None if broke_down else high(observed, t, "groups/all_wrong")


@check
def no_gradient(observed: Observation, t: Thresholds) -> Seen:
    updates = observed.series("optimizer/updates")
    idle = updates.values[-updates.width :] == 0
    share = float(idle.mean())
    if share < t["share"] or idle.sum() < 2:
        return None
    words = {"idle": str(idle.sum()), "of": str(len(idle)), "now": updates.recent_steps}
    return {"steps_without_update": share, **words, "serious": share >= 0.9}


@check
def no_answer(observed: Observation, t: Thresholds) -> Seen:
    seen = verdict(observed, t, "verdict/no_answer")
    if seen is None or len(observed.series("verdict/no_answer")) < t["after"]:
        return None
    clip = observed.series("length/clip_ratio")
    truncated = f"; {clip.recent:.1%} were truncated" if len(clip) else ""
    shares = {"no_answer": seen["share"], "early_no_answer": seen["early_share"]}
    return {**shares, "now": seen["now"], "truncated": truncated}


# -- length ----------------------------------------------------------------------------------------------------------


@check
def clip_ratio(observed: Observation, t: Thresholds) -> Seen:
    clip, limit = observed.series("length/clip_ratio"), observed.config.get("sampling.max_new_tokens")
    seen = high(observed, t, "length/clip_ratio")
    if seen is None or clip.recent < 0.5 * clip.early:
        return None
    return {**seen, "limit": f" at sampling.max_new_tokens = {limit}" if limit else ""}


@check
def unhealthy_growth(observed: Observation, t: Thresholds) -> Seen:
    names = ("length", "stopped", "clip_ratio")
    series = observed.aligned("length/mean", "length/mean_stopped", "length/clip_ratio")
    if not len(series[0].before):
        return None
    start = int(series[0].before.argmin())
    now = {name: one.recent for name, one in zip(names, series, strict=True)}
    before = {f"earlier_{name}": float(one.before[start]) for name, one in zip(names, series, strict=True)}
    grown = ratio(now["length"], before["earlier_length"]) - 1
    grown_stopped = ratio(now["stopped"], before["earlier_stopped"]) - 1
    clip_rise = now["clip_ratio"] - before["earlier_clip_ratio"]
    if grown < t["growth"] or clip_rise < t["clip_rise"] or grown_stopped > t["flat"] * grown:
        return None
    steps = {"then": series[0].window_steps(start), "now": series[0].recent_steps}
    growth = {"growth": grown, "stopped_growth": grown_stopped}
    return {**growth, **now, **before, **steps, "serious": now["clip_ratio"] >= 0.5}


# -- what the responses say: texts of some steps only ----------------------------------------------------------------


@check
def bare_box(observed: Observation, t: Thresholds) -> Seen:
    share = observed.series("text/bare_box")
    rose = len(share) > 1 and share.recent - share.early >= t["rise"]
    stayed = (observed.stage == "eval" or share.steps[-1] >= t["after"]) and share.recent >= t["stayed"]
    if min(share.recent, share.last) < t["share"] or not (rose or stayed):
        return None
    return _now_and_first(share, "text/bare_box", serious=False)


@check
def restating(observed: Observation, t: Thresholds) -> Seen:
    fades = observed.series("text/restating").last < t["share"]
    return None if fades else high(observed, t, "text/restating")


@check
def reward_length(observed: Observation, t: Thresholds) -> Seen:
    for name, which, least in (
        ("text/reward_length_same_verdict", "of responses to one problem with the same verdict", t["same_verdict"]),
        ("text/reward_length", "of responses to one problem", t["correlation"]),
    ):
        series, errors = observed.aligned(name, f"{name}_error")
        if not len(series):
            continue
        # Looks are independent: the error of their mean.
        r, width = series.recent, 1.96 * float((errors.values[-errors.width :] ** 2).sum()) ** 0.5 / errors.width
        if abs(r) - width >= least:
            figures = {"correlation": r, "half_width": width, "low": max(-1, r - width), "high": min(1, r + width)}
            words = {"which": which, "now": series.recent_steps, "paid": "longer" if r > 0 else "shorter"}
            return {**figures, **words}
    return None


# -- where a rule does not apply -------------------------------------------------------------------------------------


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


def _shuffled(observed: Observation) -> str | None:
    return "shuffle_rewards is on: there is nothing to learn" if observed.config.get("shuffle_rewards") else None


def _on_policy(observed: Observation) -> str | None:
    updates = observed.series("optimizer/updates")
    if len(updates) and updates.values.max() <= 1:
        return "one update a step: the ratio is 1 by construction (learner.prompts_per_update = 0)"
    return None


_UNFIT = {"train-eval-gap": _other_evaluation, "not-learning": _shuffled, "ratio-blow-up": _on_policy}


# -- from rules.toml to rules ----------------------------------------------------------------------------------------


def _symptoms(seen: str, measure: Callable[..., Seen], metric: str) -> Check:
    """Return a check that says what `measure` returns in the sentence `seen`."""

    def symptom(observed: Observation, t: Thresholds) -> Symptom | None:
        values = measure(observed, t)
        if values is None:
            return None
        serious = values.pop("serious", False)
        figures = {name: value for name, value in values.items() if not isinstance(value, str)}
        return Symptom(seen.format(**values), figures, serious, observed.examples(metric))

    return symptom


def _register() -> None:
    for name, row in _TABLE.items():
        fields = {key: value for key, value in row.items() if key not in ("check", "arguments", "seen")}
        fields["thresholds"] = {key: Threshold(**entry) for key, entry in row.get("thresholds", {}).items()}
        if name in _UNFIT:
            fields["unfit"] = _UNFIT[name]
        measure = functools.partial(_CHECKS[row.get("check", name)], **row.get("arguments", {}))
        RULES.register(name, Rule(**fields, check=_symptoms(row["seen"], measure, row["needs"][0])))


_register()
