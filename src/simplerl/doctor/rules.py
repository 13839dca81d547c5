"""The rules: what each looks for. Everything else about them stands in rules.toml.

To add one, give it an entry there and, unless a check here fits (`check`, `arguments`), a check of its name: every
public function here is one. Or write both in a plug-in (`simplerl.doctor.rule`).
"""

import functools
import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simplerl.core.errors import first_few
from simplerl.doctor.rule import RULES, TEXT, Check, Observation, Rule, Series, Symptom, Threshold
from simplerl.runs.metrics import as_number

__all__ = ["RULES"]

_TABLE, _UNLESS = (
    tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8")) for name in ("rules.toml", "unless.toml")
)

#: Standard errors that separate a fall from noise; the best of many windows is itself picked by luck.
SURE = 4

Thresholds = Mapping[str, float]
#: What a check of this file returns: what the sentence `seen` names. Numbers are the figures of the symptom, `serious`
#: is whether it is. None where all is well. A check gets the thresholds and the aligned series of what its rule needs.
Seen = dict[str, Any] | None


def _ratio(above: float, below: float) -> float:
    """Return above / below, for figures of which neither should be 0 but both can be read from a file."""
    return above / below if below > 1e-12 else 0.0


def _since(start: int, before: str = "earlier", /, **series: Series) -> dict[str, Any]:
    """Return the newest window of each series beside that which begins at an index, with the steps of both."""
    one = next(iter(series.values()))
    seen: dict[str, Any] = {"then": one.window_steps(start), "now": one.recent_steps}
    for name, values in series.items():
        seen |= {name: values.recent, f"{before}_{name}": float(values.before[start])}
    return seen


def _now_and_first(series: Series, figure: str = "", *, serious: bool = False) -> dict[str, Any]:
    """Return the newest window beside the first; `figure` is what it is called, else the end of the metric's name."""
    figure = figure or ("share" if series.name.startswith(TEXT) else series.name.rpartition("/")[2])
    figures = {figure: series.recent, f"early_{figure}": series.early, "serious": serious}
    return {**figures, "now": series.recent_steps, "then": series.early_steps}


# -- checks that serve several rules ---------------------------------------------------------------------------------


def high(observed: Observation, t: Thresholds, series: Series, *_: Series) -> Seen:
    """See a metric that should be low; from the threshold `serious` on it is serious."""
    if not len(series) or series.recent < t["level" if "level" in t else "share"]:
        return None
    return _now_and_first(series, serious=series.recent >= t["serious"])


def trait(observed: Observation, t: Thresholds, share: Series) -> Seen:
    """See a trait that base models may have and RL should drive out."""
    # The newest look must agree, and what has fallen to half is on its way out.
    fades = share.last < t["share"] or (len(share) > 1 and share.last < share.early / 2)
    return None if fades else high(observed, t, share)


def verdict(observed: Observation, t: Thresholds, *counts: Series) -> Seen:
    """See a high share of the first verdict among all, where it may be judged yet."""
    one = counts[0]
    if (
        len(one) < max(1, t.get("after", 1))
        or (recent := _ratio(one.recent, sum(series.recent for series in counts))) < t["share"]
    ):
        return None
    early = _ratio(one.early, sum(series.early for series in counts))
    serious = recent >= t.get("serious", math.inf)
    return {"share": recent, "early_share": early, "now": one.recent_steps, "serious": serious}


def moves_alone(
    observed: Observation, t: Thresholds, series: Series, accuracy: Series, *, name: str, grows: bool
) -> Seen:
    """Find the earlier window from which a metric moved most while accuracy did not rise."""
    idle = accuracy.recent - accuracy.before < t["points"] if len(series) else np.array([], bool)
    if not idle.any():
        return None
    candidates = np.where(idle, series.before, np.nan)
    start = int(np.nanargmin(candidates) if grows else np.nanargmax(candidates))
    seen = _since(start, **{name: series, "accuracy": accuracy})
    now, then = seen[name], seen[f"earlier_{name}"]
    limit = then + t["rise"] if "rise" in t else t["factor"] * then
    if (now < limit) if grows else (now > limit):
        return None
    return {**seen, "times": _ratio(now, then), "serious": seen["accuracy"] < seen["earlier_accuracy"] - 0.1}


# -- accuracy --------------------------------------------------------------------------------------------------------


def accuracy_fell(observed: Observation, t: Thresholds, accuracy: Series) -> Seen:
    if not len(accuracy.before):
        return None
    seen = _since(int(accuracy.before.argmax()), "best", accuracy=accuracy)
    best, now = seen["best_accuracy"], seen["accuracy"]
    if best - now < max(t["points"], SURE * accuracy.error) or now > (1 - t["share"]) * best:
        return None
    return {**seen, "serious": now <= 0.5 * best}


def below_base(observed: Observation, t: Thresholds, value: Series, low: Series, high: Series) -> Seen:
    if len(value) < 2 or value.steps[0] != 0 or value.first - value.last < t["points"] or high.last >= low.first:
        return None
    now = {"accuracy": value.last, "low": low.last, "high": high.last, "now": f"step {value.steps[-1]}"}
    base = {"base_accuracy": value.first, "base_low": low.first, "base_high": high.first}
    return {**now, **base, "serious": True}


def train_eval_gap(observed: Observation, t: Thresholds, *_: Series) -> Seen:
    """Compare what was gained in training and held out since the beginning, so that harder problems are not a gap."""
    trained = observed.series("accuracy/mean")
    held, low, high = observed.aligned("eval/accuracy", "eval/accuracy_low", "eval/accuracy_high")
    if len(held) < 2 or held.steps[0] != 0:
        return None
    # The training steps around the evaluation, not those long after it.
    near = trained.values[trained.steps <= held.steps[-1]][-trained.width :]
    if len(near) < 3:
        return None
    accuracy, held_out = float(near.mean()), held.last
    base_width, last_width = (high.values[[0, -1]] - low.values[[0, -1]]) / 3.92
    error = math.hypot(base_width, last_width, trained.error * math.sqrt(trained.width))
    # The first training step sampled from the base model itself.
    gains = {"train_gain": accuracy - trained.first, "held_out_gain": held_out - held.first}
    gap = gains["train_gain"] - gains["held_out_gain"]
    if gap < max(t["points"], 2 * error):
        return None
    shown = {**gains, "gap": gap, "error": 2 * error}
    points = {f"{name}_points": f"{100 * value:.1f}" for name, value in shown.items()}
    now = {"accuracy": accuracy, "held_out": held_out, "now": f"step {held.steps[-1]}"}
    return {**shown, "error": error, **points, **now, "serious": gap >= 2 * t["points"]}


def not_learning(observed: Observation, t: Thresholds, accuracy: Series) -> Seen:
    gain = float(accuracy.windows.max()) - accuracy.early
    if len(accuracy) < t["after"] or accuracy.early >= t["high"] or gain >= max(t["points"], 2 * accuracy.error):
        return None
    words = {"width": str(accuracy.width), "points": f"{100 * t['points']:g}"}
    return {**words, **_now_and_first(accuracy, "accuracy"), "best_gain": gain}


# -- the optimisation itself -----------------------------------------------------------------------------------------


def entropy_collapse(observed: Observation, t: Thresholds, entropy: Series, accuracy: Series) -> Seen:
    """Little entropy is the end of every good run too: it is a collapse where there was still something to learn."""
    if not len(entropy.before):
        return None
    # Not the first window: where it falls fast, most of the fall is in there.
    first = float(entropy.values[:3].max())
    if entropy.recent > t["fraction"] * first or accuracy.recent >= t["accuracy"]:
        return None
    middle = accuracy.before[len(accuracy.before) // 2 :].mean()
    if accuracy.recent - middle >= max(t["points"], 2 * accuracy.error):
        return None  # It is still learning with what is left.
    figures = {"entropy": entropy.recent, "first_entropy": first, "part": _ratio(entropy.recent, first)}
    return {**figures, "accuracy": accuracy.recent, "now": entropy.recent_steps, "serious": accuracy.recent < 0.5}


def entropy_blow_up(observed: Observation, t: Thresholds, entropy: Series, accuracy: Series) -> Seen:
    """Entropy that an entropy bonus bought without loss is fine."""
    if not len(entropy.before):
        return None
    start = int(entropy.before.argmin())
    seen = _since(start, "least", entropy=entropy) | _since(start, accuracy=accuracy)
    enough = seen["entropy"] >= max(t["factor"] * seen["least_entropy"], t["floor"])
    fell = seen["accuracy"] - seen["earlier_accuracy"] < -t["points"]
    return {**seen, "serious": True} if enough and fell else None


def ratio_blow_up(observed: Observation, t: Thresholds, means: Series) -> Seen:
    """See the step of the last window whose mean ratio is furthest from 1, or a high share of clipped tokens."""
    clipped = observed.series("policy/clip_fraction")
    off = np.abs(means.values[-means.width :] - 1)
    share = clipped.recent if len(clipped) else 0.0
    if off.max() < t["off"] and share < t["clip_fraction"]:
        return None
    worst = int(off.argmax()) + len(means) - len(off)
    steps = {"then": f"step {means.steps[worst]}", "now": means.recent_steps}
    figures = {"ratio": float(means.values[worst]), "clip_fraction": share}
    return {**figures, **steps, "serious": bool(off.max() >= 3 * t["off"])}


def gradient_spikes(observed: Observation, t: Thresholds, norm: Series) -> Seen:
    """See steps of the last window whose gradient norm is a multiple of the median of the 20 steps before."""
    values, spikes = norm.values, []
    for index in range(max(5, len(norm) - norm.width), len(norm)):
        usual = float(np.median(values[max(0, index - 20) : index]))
        if values[index] >= t["factor"] * usual and usual > 1e-12:
            spikes.append((float(values[index] / usual), index))
    if not spikes:
        return None
    factor, index = max(spikes)
    figures = {"grad_norm": float(values[index]), "times_usual": factor, "spikes": len(spikes)}
    such = "step" if len(spikes) == 1 else "steps"
    steps = {"then": f"step {norm.steps[index]}", "now": norm.recent_steps, "such": such}
    return {**figures, **steps, "serious": len(spikes) >= 3}


def not_finite(observed: Observation, t: Thresholds, flags: Series) -> Seen:
    steps = flags.steps[flags.values > 0]
    if not len(steps):
        return None
    named = first_few([str(step) for step in steps])
    return {"steps": len(steps), "such": "step" if len(steps) == 1 else "steps", "named": named, "serious": True}


def critic_useless(observed: Observation, t: Thresholds, explained: Series) -> Seen:
    if len(explained) < t["after"] or explained.recent > t["share"]:
        return None
    return {"explained_variance": explained.recent, "now": explained.recent_steps}


# -- whether the problems fit the model, and whether their answers can be judged -------------------------------------


def data_too_hard(observed: Observation, t: Thresholds, *_: Series) -> Seen:
    """All-wrong groups say that problems are too hard only where the policy has not broken down meanwhile."""
    accuracy = observed.series("accuracy/mean")
    broke_down = accuracy.recent < 0.5 * float(accuracy.windows.max())
    return None if broke_down else high(observed, t, observed.series("groups/all_wrong"))


def no_gradient(observed: Observation, t: Thresholds, updates: Series) -> Seen:
    warmup = as_number(observed.config.get("algorithm.critic_warmup_steps"))  # NaN, which no step is up to: none.
    idle = ((updates.values == 0) & ~(updates.steps <= warmup))[-updates.width :]
    share = float(idle.mean())
    if share < t["share"] or idle.sum() < 2:
        return None
    words = {"idle": str(idle.sum()), "of": str(len(idle)), "now": updates.recent_steps}
    return {"steps_without_update": share, **words, "serious": share >= 0.9}


# -- length ----------------------------------------------------------------------------------------------------------


def clip_ratio(observed: Observation, t: Thresholds, clip: Series) -> Seen:
    seen, limit = high(observed, t, clip), observed.config.get("sampling.max_new_tokens")
    if seen is None or clip.recent < 0.5 * clip.early:
        return None
    return {**seen, "limit": f" at sampling.max_new_tokens = {limit}" if limit else ""}


def unhealthy_growth(observed: Observation, t: Thresholds, length: Series, stopped: Series, clip: Series) -> Seen:
    """See a mean length that grows by responses that never end, while those that stop stay as they were."""
    if not len(length.before):
        return None
    seen = _since(int(length.before.argmin()), length=length, stopped=stopped, clip_ratio=clip)
    grown, grown_stopped = (_ratio(seen[name], seen[f"earlier_{name}"]) - 1 for name in ("length", "stopped"))
    clip_rise = seen["clip_ratio"] - seen["earlier_clip_ratio"]
    if grown < t["growth"] or clip_rise < t["clip_rise"] or grown_stopped > t["flat"] * grown:
        return None
    return {"growth": grown, "stopped_growth": grown_stopped, **seen, "serious": seen["clip_ratio"] >= 0.5}


# -- what the responses say: texts of some steps only ----------------------------------------------------------------


def bare_box(observed: Observation, t: Thresholds, share: Series) -> Seen:
    rose = len(share) > 1 and share.recent - share.early >= t["rise"]
    stayed = (observed.stage == "eval" or share.steps[-1] >= t["after"]) and share.recent >= t["stayed"]
    if min(share.recent, share.last) < t["share"] or not (rose or stayed):
        return None
    return _now_and_first(share)


def reward_length(observed: Observation, t: Thresholds, *_: Series) -> Seen:
    """See a correlation of reward and length within problems whose 95% interval is beyond the threshold."""
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


def _on_policy(observed: Observation) -> str | None:
    updates = observed.series("optimizer/updates")
    if len(updates) and updates.values.max() <= 1:
        return "one update a step: the ratio is 1 by construction (learner.prompts_per_update = 0)"
    return None


def _programs(observed: Observation) -> str | None:
    # A mixture names several sets: `stack:0.5+knights:0.5`.
    names = re.split(r"[^\w-]+", f"{observed.config.get('data')} {observed.config.get('environment.name')}")
    return "answers are programs: there is nothing to work out before one" if {"stack", "code"} & {*names} else None


_UNFIT = {"bare-box": _programs, "train-eval-gap": _other_evaluation, "ratio-blow-up": _on_policy}


def _unfit(name: str, kinds: Sequence[str]) -> Callable[[Observation], str | None]:
    """Return what says why a rule does not apply: because of a setting of some kinds in unless.toml, or by its code."""
    settings = [setting for kind in kinds for setting in _UNLESS[kind]]

    def unfit(observed: Observation) -> str | None:
        for setting in settings:
            value = observed.config.get(setting["key"])
            if value is not None and (value in setting["is"] if "is" in setting else value not in setting["but"]):
                return setting["why"].format(value=value)
        return _UNFIT[name](observed) if name in _UNFIT else None

    return unfit


# -- from rules.toml to rules ----------------------------------------------------------------------------------------


def _symptoms(seen: str, measure: Callable[..., Seen], needs: Sequence[str]) -> Check:
    """Return a check that says what `measure` returns in the sentence `seen`."""

    def symptom(observed: Observation, t: Thresholds) -> Symptom | None:
        values = measure(observed, t, *observed.aligned(*needs))
        if values is None:
            return None
        serious = values.pop("serious", False)
        figures = {name: value for name, value in values.items() if not isinstance(value, str)}
        return Symptom(seen.format(**values), figures, serious, observed.examples(needs[0]))

    return symptom


for _name, _row in _TABLE.items():
    _own = ("check", "arguments", "seen", "thresholds", "unless")
    _fields = {key: value for key, value in _row.items() if key not in _own}
    _limits = {key: Threshold(**entry) for key, entry in _row.get("thresholds", {}).items()}
    _measure = functools.partial(globals()[_row.get("check", _name).replace("-", "_")], **_row.get("arguments", {}))
    _check = _symptoms(_row["seen"], _measure, _row["needs"])
    RULES.register(
        _name, Rule(**_fields, thresholds=_limits, check=_check, unfit=_unfit(_name, _row.get("unless", ())))
    )
