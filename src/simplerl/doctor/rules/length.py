"""Rules about the length of responses: truncation, growth and shrinking that buy nothing."""

from collections.abc import Mapping

import numpy as np

from simplerl.doctor.history import History
from simplerl.doctor.rules.words import percent, ratio, times
from simplerl.doctor.types import Rule, Seen, Threshold


def _change(history: History, factor: float, points: float, *, grows: bool) -> Seen | None:
    """Find the earlier window from which length changed most while accuracy did not rise."""
    length, accuracy = history.aligned("length/mean", "accuracy/mean")
    if not len(length.before):
        return None
    idle = accuracy.recent - accuracy.before < points
    before = np.where(idle, length.before, np.nan)
    if np.isnan(before).all():
        return None
    place = int(np.nanargmin(before) if grows else np.nanargmax(before))
    then, now = float(before[place]), length.recent
    if (now < factor * then) if grows else (now > factor * then):
        return None
    was = float(accuracy.before[place])
    return Seen(
        text=f"mean length went from {then:.1f} tokens ({length.window_steps(place)}) to {now:.1f} "
        f"({length.recent_steps}), {times(ratio(now, then))} as long, while accuracy went from {percent(was)} to "
        f"{percent(accuracy.recent)}",
        figures={"length": now, "earlier_length": then, "accuracy": accuracy.recent, "earlier_accuracy": was},
        serious=accuracy.recent < was - 0.1,
    )


def _clipped(history: History, t: Mapping[str, float]) -> Seen | None:
    clip = history.series("length/clip_ratio")
    if clip.recent < t["share"] or clip.recent < 0.5 * clip.early:
        return None
    limit = history.config.get("sampling.max_new_tokens")
    at = f" at sampling.max_new_tokens = {limit}" if limit else ""
    return Seen(
        text=f"{percent(clip.recent)} of the responses were truncated{at} ({clip.recent_steps}); at first it was "
        f"{percent(clip.early)} ({clip.early_steps})",
        figures={"clip_ratio": clip.recent, "early_clip_ratio": clip.early},
        serious=clip.recent >= t["serious"],
    )


def _unhealthy(history: History, t: Mapping[str, float]) -> Seen | None:
    length, clip, stopped = history.aligned("length/mean", "length/clip_ratio", "length/mean_stopped")
    if not len(length.before):
        return None
    place = int(length.before.argmin())
    then, then_stopped, then_clip = (float(s.before[place]) for s in (length, stopped, clip))
    grown, grown_stopped = ratio(length.recent, then) - 1, ratio(stopped.recent, then_stopped) - 1
    if grown < t["growth"] or clip.recent - then_clip < t["clip_rise"] or grown_stopped > t["flat"] * grown:
        return None
    return Seen(
        text=f"mean length grew by {percent(grown)}, from {then:.1f} ({length.window_steps(place)}) to "
        f"{length.recent:.1f} tokens ({length.recent_steps}), the average stopped length by {percent(grown_stopped)}, "
        f"from {then_stopped:.1f} to {stopped.recent:.1f}; the clip ratio went from {percent(then_clip)} to "
        f"{percent(clip.recent)}",
        figures={"growth": grown, "stopped_growth": grown_stopped, "clip_ratio": clip.recent},
        serious=clip.recent >= 0.5,
    )


LENGTH = [
    Rule(
        name="runaway-length",
        title="Responses grow and nothing is gained by it",
        why="Time goes into tokens that do not help, and the way often ends in truncated gibberish. Growth of length "
        "is no sign of reasoning by itself.",
        advice="Read the longest responses. Check whether the reward pays for length (`reward.name`); lower "
        "`optimizer.lr`; let stop strings end a model that runs on (`sampling.stop`); use an algorithm that does not "
        "favour long wrong answers (`algorithm.name` = dr_grpo) or a cost of length (`reward.name` = overlong in a "
        "mixture).",
        needs=("length/mean", "accuracy/mean"),
        check=lambda history, t: _change(history, t["factor"], t["points"], grows=True),
        thresholds=(
            Threshold(name="factor", default=1.75, unit="ratio", meaning="smallest growth over an earlier window"),
            Threshold(
                name="points",
                default=0.02,
                unit="share",
                meaning="rise of accuracy over the same steps from which on the growth may be worth it",
            ),
        ),
    ),
    Rule(
        name="collapsing-length",
        title="Responses shrink and nothing is gained by it",
        why="The model gives up working: it answers at once, or stops in the middle.",
        advice="Read some responses. A cost of length (`reward.name`) may be too high for the problems; a stop string "
        "may cut into the working (`sampling.stop`); too large steps (`optimizer.lr`) make the end token likely "
        "everywhere. Harder problems (`dataset.levels`) need working.",
        needs=("length/mean", "accuracy/mean"),
        check=lambda history, t: _change(history, t["factor"], t["points"], grows=False),
        thresholds=(
            Threshold(
                name="factor", default=0.6, unit="ratio", meaning="length as a share of an earlier window's, at most"
            ),
            Threshold(
                name="points",
                default=0.02,
                unit="share",
                meaning="rise of accuracy over the same steps from which on shorter is just better",
            ),
        ),
    ),
    Rule(
        name="clip-ratio",
        title="Many responses are truncated",
        why="A truncated response has no final answer: it counts as wrong whatever it was about to say, so that the "
        "model is taught to be short, and nothing is learned on problems that need more tokens.",
        advice="Raise `sampling.max_new_tokens`, or let the model end: `sampling.stop` or `sampling.stop_ids` for "
        "base models that run on into another question. If it cannot be helped, leave them out of the loss "
        "(`algorithm.mask_truncated`).",
        needs=("length/clip_ratio",),
        check=_clipped,
        thresholds=(
            Threshold(
                name="share",
                default=0.2,
                unit="share",
                meaning="truncated responses; unless they are already under half of what they were",
            ),
            Threshold(name="serious", default=0.5, unit="share", meaning="truncated responses that make it serious"),
        ),
    ),
    Rule(
        name="unhealthy-growth",
        title="Length grows by truncated responses only",
        why="SimpleRL-Zoo's sign of unhealthy growth: the mean length rises while the responses that end by themselves "
        "are as long as before. What grows is text that never ends, not reasoning.",
        advice="Do not take the rising length for longer thought. Read truncated responses; use easier problems "
        "(`dataset.levels`), stop strings (`sampling.stop`), a lower `optimizer.lr`, or `algorithm.mask_truncated`.",
        needs=("length/mean", "length/mean_stopped", "length/clip_ratio"),
        check=_unhealthy,
        thresholds=(
            Threshold(name="growth", default=0.2, unit="share", meaning="smallest growth of the mean length"),
            Threshold(
                name="flat",
                default=0.5,
                unit="ratio",
                meaning="largest growth of the stopped length, as a part of the mean's",
            ),
            Threshold(name="clip_rise", default=0.05, unit="share", meaning="smallest rise of the clip ratio"),
        ),
    ),
]
