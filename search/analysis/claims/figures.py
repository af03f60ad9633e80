"""One picture for each claim, drawn from the same arrays as its verdict."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from search.analysis.claims.curves import Axis, curves
from search.analysis.claims.depth_or_width import MARGIN, Pair
from search.analysis.claims.drawing import bars, curve, logarithmic, shades, size_colours
from search.analysis.claims.early_stopping import Stop
from search.analysis.claims.equal_bytes import COMPUTE, Contest
from search.analysis.claims.model_size import Level, level_name
from search.analysis.claims.observations import gain_unit, score_of
from search.analysis.claims.resampling import Resampled
from search.analysis.claims.robustness import Drops
from search.analysis.claims.verdict import Verdict, count
from search.arrays import Floats

DENSE, COMPRESSED, ACCENT, QUIET = "#d1495b", "#00798c", "#edae49", "#7a8b99"
MARKERS = "osD^vP*X"
WORDS: dict[Axis, str] = {"training_flops": "training FLOPs", "steps": "steps of training"}


def picture(verdict: Verdict, data: Resampled) -> bytes | None:
    """The PNG that shows a claim; None where there is nothing to show."""
    if not data.cells or (verdict.number in (3, 4, 6) and not verdict.evidence):
        return None
    draw: dict[int, Callable[..., None]] = {
        1: _grown_at_compute,
        2: _grown_at_steps,
        3: _robustness,
        4: _bytes,
        5: _stopping,
        6: _shape,
    }
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"font.size": 10, "axes.titlesize": 11, "axes.titlelocation": "left"}):
        figure = Figure(figsize=(10, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 2, width_ratios=(3, 2))
        for each in axes:
            each.spines[["top", "right"]].set_visible(False)
            each.grid(alpha=0.2)
        draw[verdict.number](figure, axes, verdict, data)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=140)
    return out.getvalue()


def _grown_at_compute(figure: Any, axes: Any, verdict: Verdict, data: Resampled) -> None:
    _grown(figure, axes, verdict, data, "training_flops")


def _grown_at_steps(figure: Any, axes: Any, verdict: Verdict, data: Resampled) -> None:
    _grown(figure, axes, verdict, data, "steps")


def _grown(figure: Any, axes: Any, verdict: Verdict, data: Resampled, axis: Axis) -> None:
    """Left, curves over training; right, loss over size at each of the levels."""
    left, right = axes
    lines = curves(data, axis)
    colours = size_colours(figure, left, lines)
    for line in lines:
        curve(left, line, colours(line.parameters))
    left.set_title("each architecture over its budgets")
    levels: Sequence[Level] = verdict.evidence
    tints = shades(len(levels))
    for level, shade in zip(levels, tints, strict=True):
        left.axvline(level.level, color=shade, linewidth=1, linestyle="--", zorder=0)
        x = [line.parameters for line in level.lines]
        low, high = np.percentile(level.losses[1:], [2.5, 97.5], axis=0)
        right.fill_between(x, low, high, color=shade, alpha=0.12, linewidth=0)
        right.plot(
            x, level.losses[0], color=shade, marker="o", markersize=4, label=level_name(level, axis)
        )
        best = int(level.losses[0].argmin())
        right.plot(
            x[best], level.losses[0, best], marker="*", markersize=14, color=shade,
            markeredgecolor="white",
        )  # fmt: skip
    right.set_title("at the dashed levels (★ lowest)")
    logarithmic(left.xaxis, WORDS[axis])
    logarithmic(right.xaxis, "parameters")
    left.set_ylabel("validation loss (nats)")
    if levels:
        right.legend(frameon=False, fontsize=8)


def _robustness(figure: Any, axes: Any, verdict: Verdict, data: Resampled) -> None:
    """Drop over size, quantised at the left and pruned at the right, with the fitted slopes."""
    levels: Sequence[Drops] = verdict.evidence
    groups = [
        [each for each in levels if not each.compression.sparsity],
        [each for each in levels if each.compression.sparsity],
    ]
    for place, group, title in zip(axes, groups, ("quantised", "pruned"), strict=True):
        place.set_title(title)
        place.axhline(0, color=QUIET, linewidth=0.8)
        for level, shade, marker in zip(group, shades(len(group)), MARKERS * 4, strict=False):
            _drops(place, level, shade, marker)
        logarithmic(place.xaxis, "parameters")
        if group:
            place.legend(frameon=False, fontsize=8)
        else:
            place.text(
                0.5, 0.5, "no such trials", transform=place.transAxes, ha="center", color=QUIET
            )
    axes[0].set_ylabel("share of quality lost (%)")


def _drops(place: Any, level: Drops, shade: Any, marker: str) -> None:
    sizes = np.unique(level.sizes)
    inside = [level.drops[:, level.sizes == size].mean(axis=1) for size in sizes]
    values = 100 * np.stack(inside, axis=1)
    low, high = np.percentile(values[1:], [2.5, 97.5], axis=0)
    slope = 100 * level.slopes[0]
    place.errorbar(
        2**sizes, values[0], yerr=bars(values[0], low, high), fmt=marker, color=shade,
        markersize=5, elinewidth=0.8, alpha=0.9, label=f"{level.name}  {slope:+.2f}",
    )  # fmt: skip
    centre, middle = float(level.sizes.mean()), 100 * level.mean
    place.plot(2**sizes, middle + slope * (sizes - centre), color=shade, linewidth=1.5)


def _bytes(figure: Any, axes: Any, verdict: Verdict, data: Resampled) -> None:
    """Left, the best score within each size; right, the gain at each level of bytes."""
    left, right = axes
    metric = data.observations.metric
    dense_sizes = np.array([run.size_bytes for run in data.cells]) / 1e6
    is_real = [k for k, each in enumerate(data.compressed) if each.is_compressed]
    sizes = np.array([data.compressed[k].size_bytes for k in is_real]) / 1e6
    groups = [
        ("compressed", COMPRESSED, sizes, data.compressed_quality[:, is_real]),
        ("dense", DENSE, dense_sizes, data.quality),
    ]
    end = 1.15 * float(dense_sizes.max())
    for name, colour, x, values in groups:
        scores = np.vectorize(lambda share: score_of(metric, share))(values[0])
        left.scatter(x, scores, s=14, color=colour, alpha=0.3, linewidths=0)
        _frontier(left, x, values, end, metric, colour, name)
    left.set_title("best score within so many bytes, any training")
    left.set_ylabel(f"{metric.name} on validation")
    if not metric.is_maximised:
        logarithmic(left.yaxis, f"{metric.name} on validation")
        left.invert_yaxis()
    logarithmic(left.xaxis, "MB on disk")
    left.legend(frameon=False, loc="lower right")
    _gains(right, verdict.evidence, gain_unit(metric))


def _frontier(
    left: Any, x: Floats, values: Floats, end: float, metric: Any, colour: str, name: str
) -> None:
    members: list[int] = []
    for k in np.lexsort((-values[0], x)):
        if not members or values[0, k] > values[0, members[-1]]:
            members.append(int(k))
    if not members:
        return
    low, high = np.percentile(values[1:][:, members], [2.5, 97.5], axis=0)
    edges = [
        np.vectorize(lambda s: score_of(metric, s))(v) for v in (values[0, members], low, high)
    ]
    middle, low, high = (np.append(edge, edge[-1]) for edge in edges)
    places = np.append(x[members], end)
    left.fill_between(places, low, high, step="post", color=colour, alpha=0.15, linewidth=0)
    left.step(places, middle, where="post", color=colour, label=f"{name}, with 95 % interval")


def _gains(right: Any, contests: Sequence[Contest], unit: tuple[float, str]) -> None:
    factor, name = unit
    right.axhline(0, color=QUIET, linewidth=1)
    for shift, setting, colour in ((0.98, COMPUTE, COMPRESSED), (1.02, "equal budget", ACCENT)):
        group = [each for each in contests if each.setting == setting]
        if not group:
            continue
        gains = factor * np.stack([each.gain for each in group], axis=1)
        low, high = np.percentile(gains[1:], [2.5, 97.5], axis=0)
        right.errorbar(
            [shift * each.size_bytes / 1e6 for each in group], gains[0],
            yerr=bars(gains[0], low, high), fmt="o-", color=colour, markersize=5,
            elinewidth=1, linewidth=0.8, label=f"at {setting}",
        )  # fmt: skip
    logarithmic(right.xaxis, "MB on disk")
    right.set_title("compressed-large − dense-small")
    right.set_ylabel(name)
    right.legend(frameon=False, fontsize=9)


def _stopping(figure: Any, axes: Any, verdict: Verdict, data: Resampled) -> None:
    """Left, where optimal models stop on their curves; right, what is left at each level."""
    left, right = axes
    lines = curves(data, "training_flops")
    stops: Sequence[Stop] = verdict.evidence
    optimal = {stop.curve.architecture for stop in stops}
    colours = size_colours(figure, left, lines)
    for line in lines:
        is_optimal = line.architecture in optimal
        curve(
            left,
            line,
            colours(line.parameters) if is_optimal else "#dddddd",
            is_prominent=is_optimal,
        )
    for stop in stops:
        left.plot(
            stop.level, stop.loss[0], marker="*", markersize=15, color=DENSE,
            markeredgecolor="white", zorder=5, linestyle="none",
            label="stopped here, optimal" if stop is stops[0] else None,
        )  # fmt: skip
    left.set_title("compute-optimal models, and their further training")
    left.set_ylabel("validation loss (nats)")
    logarithmic(left.xaxis, WORDS["training_flops"])
    if not stops:
        return
    left.legend(frameon=False)
    draws = np.stack([stop.left for stop in stops], axis=1)
    low, high = np.percentile(draws[1:], [2.5, 97.5], axis=0)
    places = np.arange(len(stops))
    right.bar(places, draws[0], color=COMPRESSED, alpha=0.85, width=0.6)
    right.errorbar(places, draws[0], yerr=bars(draws[0], low, high), fmt="none", color="#333333")
    names = [f"{count(s.level)}\n{s.curve.architecture}\n× {s.factor:.2g}" for s in stops]
    right.set_xticks(places, names, fontsize=9)
    right.set_xlim(-1, len(stops))
    right.axhline(1.0, color=QUIET, linewidth=1, linestyle=":")
    right.set_title("what further training takes off")
    right.set_ylabel("% of the loss")
    right.set_xlabel("training FLOPs when stopped")


def _shape(figure: Any, axes: Any, verdict: Verdict, data: Resampled) -> None:
    """Left, the curves of each pair; right, the difference within each pair."""
    left, right = axes
    pairs: Sequence[Pair] = verdict.evidence
    for pair, shade in zip(pairs, shades(len(pairs)), strict=True):
        for line, style, word in ((pair.deep, "-", "deep"), (pair.wide, "--", "wide")):
            left.plot(
                2**line.x, line.losses[0], color=shade, linestyle=style, marker="o", markersize=3,
                label=f"{word} {line.architecture}",
            )  # fmt: skip
    left.set_title("deep (solid) and wide (dashed) of equal layer parameters")
    left.set_ylabel("validation loss (nats)")
    logarithmic(left.xaxis, WORDS["training_flops"])
    left.legend(frameon=False, fontsize=8, ncols=2)
    right.axvspan(-MARGIN, MARGIN, color=QUIET, alpha=0.15, linewidth=0)
    right.axvline(0, color=QUIET, linewidth=1)
    kinds = (
        ("equal compute", "at_compute", COMPRESSED, 0.12),
        ("equal steps", "at_steps", ACCENT, -0.12),
    )
    for name, field, colour, shift in kinds:
        there = [(k, d) for k, pair in enumerate(pairs) if (d := getattr(pair, field)) is not None]
        if not there:
            continue
        draws = np.stack([draw for _, draw in there], axis=1)
        low, high = np.percentile(draws[1:], [2.5, 97.5], axis=0)
        right.errorbar(
            draws[0], [k + shift for k, _ in there], xerr=bars(draws[0], low, high), fmt="o",
            color=colour, label=name, elinewidth=1,
        )  # fmt: skip
    names = [f"{p.deep.architecture}\n{p.wide.architecture}" for p in pairs]
    right.set_yticks(range(len(pairs)), names, fontsize=9)
    right.set_ylim(-0.6, len(pairs) - 0.2)
    right.set_title("← deep is better      wide is better →", loc="center")
    right.set_xlabel("loss of deep over that of wide (%)")
    right.legend(frameon=False, fontsize=8)
