"""How far a run would get with more compute: the curve of ScaleRL (arXiv 2510.13786, eq. 1) fitted to what it measured.

    R(C) = R0 + (A − R0) / (1 + (C_mid / C)^B)

C is compute so far (response tokens sampled, or seconds), R0 the value before training, which is measured and not
fitted. A is the asymptote, B how steep the way there is, C_mid the compute at which half of it is done. The first
points are skipped, because the early regime follows another law. For each (B, C_mid) the best A is a formula, so that
least squares are a search over two numbers: a grid that zooms in.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from simplerl.analysis.estimates import Band, curve
from simplerl.analysis.plots import Panel, plot_panels
from simplerl.core.errors import RunError
from simplerl.core.seeds import generator

#: Parameters that are fitted: A, B and C_mid.
NAMES = ("A", "B", "C_mid")
#: Values from here on are damage.
LARGEST = 1e12
#: Resamples of the residuals behind an interval.
RESAMPLES = 200
#: B that is looked for; C_mid is looked for from a tenth of the smallest C to a hundred times the largest.
STEEPNESS = (0.2, 8.0)


class Curve(NamedTuple):
    """R(C) with its parameters."""

    start: float  # R0
    asymptote: float  # A
    steepness: float  # B
    middle: float  # C_mid

    def __call__(self, compute_N: np.ndarray) -> np.ndarray:
        """Return R at each C above 0."""
        share_N = _share(compute_N, np.log(self.steepness), np.log(self.middle))
        return self.start + (self.asymptote - self.start) * share_N


def _share(compute_N: np.ndarray, log_b: Any, log_mid: Any) -> np.ndarray:
    """Return 1 / (1 + (C_mid / C)^B): a logistic curve in log C."""
    exponent = np.exp(log_b) * (log_mid - np.log(compute_N))
    return 1 / (1 + np.exp(np.clip(exponent, -500, 500)))


def least_squares(compute_N: np.ndarray, value_N: np.ndarray, start: float, limit: float = math.inf) -> Curve:
    """Return the curve from `start` with the smallest squared error whose A is at most `limit`."""
    most = limit - start
    b, mid = np.log(STEEPNESS), np.log([compute_N.min() / 10, compute_N.max() * 100])
    centre, half, count = np.array([b.mean(), mid.mean()]), np.array([np.ptp(b), np.ptp(mid)]) / 2, (25, 61)
    for _ in range(14):
        log_b, log_mid = (np.linspace(c - h, c + h, n) for c, h, n in zip(centre, half, count, strict=True))
        log_b = log_b.clip(*b)
        share_BMN = _share(compute_N, log_b[:, None, None], log_mid.clip(*mid)[:, None])
        above_BM = (share_BMN * (value_N - start)).sum(-1)
        gain_BM = np.minimum(above_BM / (share_BMN**2).sum(-1).clip(1e-300), most)
        error_BM = ((start + gain_BM[..., None] * share_BMN - value_N) ** 2).sum(-1)
        i, j = np.unravel_index(error_BM.argmin(), error_BM.shape)
        best = (log_b[i], log_mid.clip(*mid)[j], gain_BM[i, j])
        # The valley of the error is narrow and bent: it is followed with room to both sides.
        centre, half, count = np.array(best[:2]), half * 0.5, (11, 11)
    return Curve(start=start, asymptote=start + float(best[2]), steepness=math.exp(best[0]), middle=math.exp(best[1]))


def _curves(compute_N: np.ndarray, value_N: np.ndarray, start: float, limit: float) -> list[Curve]:
    """Return the fitted curve, then those of resampled residuals, widened for the parameters that were fitted; none of
    these without freedom."""
    fitted, freedom = least_squares(compute_N, value_N, start, limit), len(value_N) - len(NAMES)
    if freedom <= 0:
        return [fitted]
    fit_N = fitted(compute_N)
    residual_N = (value_N - fit_N) * math.sqrt(len(value_N) / freedom)
    noise_RN = generator(0, "scaling", len(value_N)).choice(residual_N, (RESAMPLES, len(value_N)))
    return [fitted, *(least_squares(compute_N, fit_N + noise_N, start, limit) for noise_N in noise_RN)]


def _figure(value: float, *resampled: float) -> dict[str, float]:
    low, high = np.quantile(resampled, [0.025, 0.975]) if resampled else (math.nan, math.nan)
    return {"value": float(value), "low": float(low), "high": float(high)}


def fit(path: Path, *, metric: str = "eval/accuracy", over: str = "tokens", skip: float = 0.1) -> dict[str, Any]:
    """Return the fit of a run: parameters with 95% intervals, the curve, and what its first half foretells of the rest.

    `skip` is the share of the run's compute whose points are left out. Intervals are by resampled residuals: they speak
    of the scatter of this run about its curve, not of another seed. Raises RunError where there are fewer points than
    parameters.
    """
    points = [(c, value) for c, value in curve(path, metric, against=over) if abs(value) < LARGEST]
    if not points or points[-1][0] <= 0:
        raise RunError(f"{path} has no {metric} over {over}; --metric takes what its metrics.jsonl records")
    total, start = points[-1][0], points[0][1]
    kept = [(c, value) for c, value in points[1:] if c > 0 and c >= skip * total]
    if len(kept) < len(NAMES):
        raise RunError(
            f"{path} has {len(kept)} values of {metric} after its first and the first {skip:.0%} of {over}, fewer than "
            f"the {len(NAMES)} parameters of the curve: evaluate more often (--evaluation.every), or fit another "
            "--metric such as accuracy/mean"
        )
    compute_N, value_N = np.array(kept).T
    limit = 1.0 if max(start, *value_N) <= 1 else math.inf  # Shares go no further.
    fitted, *others = _curves(compute_N, value_N, start, limit)
    figures = {name: _figure(*(one[i] for one in (fitted, *others))) for i, name in enumerate(NAMES, 1)}
    grid, end = np.geomspace(compute_N[0], compute_N[-1], 60), compute_N[-1:]
    heights = np.array([one(grid) for one in others])
    low, high = np.quantile(heights, [0.025, 0.975], axis=0).tolist() if others else ([], [])
    # What the first half of the compute foretells of the rest; None where it has too few points.
    foretold: dict[str, Any] | None = None
    seen_N = compute_N <= compute_N[-1] / 2
    if seen_N.sum() >= len(NAMES):
        halves = _curves(compute_N[seen_N], value_N[seen_N], start, limit)
        foretold = {
            "points": int(seen_N.sum()),
            "until": float(compute_N[seen_N][-1]),
            "error": float(np.abs(halves[0](compute_N) - value_N)[~seen_N].mean()),
            "foretold": _figure(*(float(one(end)[0]) for one in halves)),
            "measured": float(value_N[-1]),
            "curve": halves[0](grid).tolist(),
        }
    return {
        "run": path.resolve().name,
        "metric": metric,
        "over": over,
        "R0": start,
        **figures,
        "rmse": float(np.sqrt(np.mean((fitted(compute_N) - value_N) ** 2))),
        "points": [list(point) for point in kept],
        "skipped": len(points) - 1 - len(kept),
        "curve": {"x": grid.tolist(), "mean": fitted(grid).tolist(), "low": low, "high": high},
        "extrapolation": foretold,
    }


def plot_fits(fits: Sequence[dict[str, Any]], output: Path) -> None:
    """Draw the fitted curves with their bands, pale what was measured, dashed what the first half foretells."""
    names = [f"{number}: {one['run']}" if len(fits) > 1 else one["run"] for number, one in enumerate(fits, 1)]
    share = all(value <= 1 for one in fits for _, value in one["points"])
    halves = {name: one["extrapolation"] for name, one in zip(names, fits, strict=True) if one["extrapolation"]}
    measured = [Band(x=[c for c, _ in one["points"]], mean=[value for _, value in one["points"]]) for one in fits]
    panel = Panel(
        title=fits[0]["metric"],
        ylabel=fits[0]["metric"] + (" (%)" if share else ""),
        xlabel={"tokens": "response tokens sampled"}.get(fits[0]["over"], fits[0]["over"]),
        lines={name: Band(**one["curve"]) for name, one in zip(names, fits, strict=True)},
        pale=dict(zip(names, measured, strict=True)),
        dashed={
            name: Band(x=one["curve"]["x"], mean=halves[name]["curve"])
            for name, one in zip(names, fits, strict=True)
            if name in halves
        },
        scale=100 if share else 1,
    )
    note = "pale: measured; dashed: foretold by the first half of the compute; bands: 95%, resampled residuals"
    plot_panels([panel], output, title="R(C) = R0 + (A − R0) / (1 + (C_mid / C)^B)", note=note, dpi=130)
