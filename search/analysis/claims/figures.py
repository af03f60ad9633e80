"""A static picture for each claim, drawn from the measurements of its verdict."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from search.analysis.claims.curves import AXIS_NAMES, Axis, Curve, count, curves, level_name
from search.analysis.claims.decay import Ladder
from search.analysis.claims.depth_or_width import MARGIN, Difference
from search.analysis.claims.early_stopping import CONVERGED, Stop, left
from search.analysis.claims.equal_bytes import Contest, gain
from search.analysis.claims.measurements import Measurements
from search.analysis.claims.model_size import Level
from search.analysis.claims.observations import gain_unit, score_of
from search.analysis.claims.robustness import Drops
from search.analysis.claims.verdict import Effect, Verdict
from search.arrays import Floats
from search.plots.png_axes import logarithmic, range_of_rows, shades, size_colours

DENSE, COMPRESSED, ACCENT, QUIET = "#d1495b", "#00798c", "#edae49", "#7a8b99"
MARKERS = "osD^vP*X"
Draw = Callable[[Any, Any, Sequence[Any], Measurements], None]


def picture(verdict: Verdict) -> bytes | None:
    """The PNG that shows a claim; None where there is nothing to show."""
    data, evidence = verdict.data, verdict.finding.evidence
    if not evidence:
        return None
    draw: dict[int, Draw] = {
        1: partial(_model_size, axis="training_flops"),
        2: partial(_model_size, axis="steps"),
        3: _robustness,
        4: _equal_bytes,
        5: _early_stopping,
        6: _depth_or_width,
        7: partial(_model_size, axis="seconds"),
        8: _equal_bytes,
        9: _before_decay,
        10: _before_decay,
    }
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"font.size": 10, "axes.titlesize": 11, "axes.titlelocation": "left"}):
        figure = Figure(figsize=(10, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        left_axes, right_axes = figure.subplots(1, 2, width_ratios=(3, 2))
        for axes in (left_axes, right_axes):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.2)
        draw[verdict.number](left_axes, right_axes, evidence, data)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=140)
    return out.getvalue()


def _model_size(
    left_axes: Any, right: Any, levels: Sequence[Level], data: Measurements, *, axis: Axis
) -> None:
    """Left, curves over training; right, loss over size at each of the levels."""
    lines = curves(data, axis)
    colours = size_colours(left_axes, [line.parameters for line in lines])
    for line in lines:
        _curve(left_axes, line, colours(line.parameters))
    _label_losses(left_axes, "each architecture over its budgets", axis)
    for level, shade in zip(levels, shades(len(levels)), strict=True):
        left_axes.axvline(level.level, color=shade, linewidth=1, linestyle="--", zorder=0)
        x = [line.parameters for line in level.lines]
        right.fill_between(
            x, *range_of_rows(np.exp(level.logs)), color=shade, alpha=0.12, linewidth=0
        )
        right.plot(
            x, level.losses, color=shade, marker="o", markersize=4,
            label=level_name(level.level, axis),
        )  # fmt: skip
        best = int(level.losses.argmin())
        right.plot(
            x[best], level.losses[best], marker="*", markersize=14, color=shade,
            markeredgecolor="white",
        )  # fmt: skip
    right.set_title("at the dashed levels (★ lowest)")
    logarithmic(right.xaxis, "parameters")
    right.legend(frameon=False, fontsize=8)


def _robustness(left_axes: Any, right: Any, levels: Sequence[Drops], data: Measurements) -> None:
    """Drop over size, quantised at the left and pruned at the right, with the fitted slopes."""
    for axes, title in ((left_axes, "quantised"), (right, "pruned")):
        group = [each for each in levels if bool(each.compression.sparsity) == (axes is right)]
        axes.set_title(title)
        axes.axhline(0, color=QUIET, linewidth=0.8)
        for level, shade, marker in zip(group, shades(len(group)), MARKERS * 4, strict=False):
            _drops(axes, level, shade, marker)
        logarithmic(axes.xaxis, "parameters")
        if group:
            axes.legend(frameon=False, fontsize=8)
        else:
            axes.text(
                0.5, 0.5, "no such trials", transform=axes.transAxes, ha="center", color=QUIET
            )
    left_axes.set_ylabel("quality lost (%)")


def _drops(axes: Any, level: Drops, shade: Any, marker: str) -> None:
    slope = level.slope.estimate
    axes.plot(
        2**level.sizes, 100 * level.drops, marker, color=shade, markersize=5, alpha=0.9,
        label=f"{level.name}  {slope:+.2f}",
    )  # fmt: skip
    sizes = np.unique(level.sizes)
    centre = float(level.sizes.mean())
    axes.plot(2**sizes, 100 * level.mean + slope * (sizes - centre), color=shade, linewidth=1.5)


def _equal_bytes(
    left_axes: Any, right: Any, contests: Sequence[Contest], data: Measurements
) -> None:
    """Left, the best score within each size; right, the gain at each level of bytes."""
    metric = data.observations.metric
    dense_sizes = np.array([run.size_bytes for run in data.cells]) / 1e6
    is_real = [k for k, each in enumerate(data.compressed) if each.is_compressed]
    sizes = np.array([data.compressed[k].size_bytes for k in is_real]) / 1e6
    groups = (
        ("compressed", COMPRESSED, sizes, data.compressed_qualities[:, is_real]),
        ("dense", DENSE, dense_sizes, data.qualities),
    )
    end = 1.15 * float(dense_sizes.max())
    to_score = np.vectorize(lambda quality: score_of(metric, quality))
    for name, colour, x, qualities in groups:
        means = qualities.mean(axis=0)
        left_axes.scatter(x, to_score(means), s=14, color=colour, alpha=0.3, linewidths=0)
        if members := _cheapest_best(x, means):
            edges = (means[members], *range_of_rows(qualities[:, members]))
            middle, low, high = (to_score(np.append(edge, edge[-1])) for edge in edges)
            steps = np.append(x[members], end)
            left_axes.fill_between(
                steps, low, high, step="post", color=colour, alpha=0.15, linewidth=0
            )
            left_axes.step(steps, middle, where="post", color=colour, label=name)
    left_axes.set_title("best score within so many bytes, any training")
    left_axes.set_ylabel(f"{metric.name} on validation")
    if not metric.is_maximised:
        logarithmic(left_axes.yaxis, f"{metric.name} on validation")
        left_axes.invert_yaxis()
    logarithmic(left_axes.xaxis, "MB on disk")
    left_axes.legend(frameon=False, loc="lower right")
    _gains(right, contests, data)


def _cheapest_best(sizes: Floats, qualities: Floats) -> list[int]:
    """Indices of the frontier, the smallest first."""
    members: list[int] = []
    for k in np.lexsort((-qualities, sizes)):
        if not members or qualities[k] > qualities[members[-1]]:
            members.append(int(k))
    return members


def _gains(axes: Any, contests: Sequence[Contest], data: Measurements) -> None:
    axes.axhline(0, color=QUIET, linewidth=1)
    settings = list(dict.fromkeys(each.setting for each in contests))
    for setting, shift, colour in zip(settings, (0.98, 1.02), (COMPRESSED, ACCENT), strict=False):
        group = [each for each in contests if each.setting == setting]
        effects = [gain(data, [each]) for each in group]
        axes.errorbar(
            [shift * each.size_bytes / 1e6 for each in group],
            [each.estimate for each in effects],
            yerr=_error_bars(effects), fmt="o-", color=colour, markersize=5,
            elinewidth=1, linewidth=0.8, label=f"at equal {setting}",
        )  # fmt: skip
    logarithmic(axes.xaxis, "MB on disk")
    axes.set_title("compressed-large − dense-small")
    axes.set_ylabel(gain_unit(data.observations.metric)[1])
    axes.legend(frameon=False, fontsize=9)


def _early_stopping(left_axes: Any, right: Any, stops: Sequence[Stop], data: Measurements) -> None:
    """Left, where optimal models stop on their curves; right, what is left at each level."""
    lines = curves(data, "training_flops")
    optimal = {stop.curve.architecture for stop in stops}
    colours = size_colours(left_axes, [line.parameters for line in lines])
    for line in lines:
        if line.architecture in optimal:
            _curve(left_axes, line, colours(line.parameters))
        else:
            left_axes.plot(
                2**line.x, line.losses, color="#dddddd", marker="o", markersize=4, linewidth=1,
                zorder=1,
            )  # fmt: skip
    for stop in stops:
        left_axes.plot(
            stop.level, stop.loss, marker="*", markersize=15, color=DENSE,
            markeredgecolor="white", zorder=5, linestyle="none",
            label="stopped here, optimal" if stop is stops[0] else None,
        )  # fmt: skip
    title = "compute-optimal models, and their further training"
    _label_losses(left_axes, title, "training_flops")
    left_axes.legend(frameon=False)
    effects = [left(data, [stop]) for stop in stops]
    rows = np.arange(len(stops))
    heights = [each.estimate for each in effects]
    right.bar(rows, heights, color=COMPRESSED, alpha=0.85, width=0.6)
    right.errorbar(rows, heights, yerr=_error_bars(effects), fmt="none", color="#333333")
    names = [f"{count(s.level)}\n{s.curve.architecture}\n× {s.factor:.2g}" for s in stops]
    right.set_xticks(rows, names, fontsize=9)
    right.set_xlim(-1, len(stops))
    right.axhline(CONVERGED, color=QUIET, linewidth=1, linestyle=":")
    right.set_title("decrease of the loss by further training")
    right.set_ylabel("% of the loss")
    right.set_xlabel("training FLOPs when stopped")


def _depth_or_width(
    left_axes: Any, right: Any, differences: Sequence[Difference], data: Measurements
) -> None:
    """Left, the curves of each pair; right, the difference within each pair."""
    pairs = [difference.at_compute for difference in differences]
    for pair, shade in zip(pairs, shades(len(pairs)), strict=True):
        for line, style, word in ((pair.deep, "-", "deep"), (pair.wide, "--", "wide")):
            left_axes.plot(
                2**line.x, line.losses, color=shade, linestyle=style, marker="o", markersize=3,
                label=f"{word} {line.architecture}",
            )  # fmt: skip
    title = "deep (solid) and wide (dashed) of equal layer parameters"
    _label_losses(left_axes, title, "training_flops")
    left_axes.legend(frameon=False, fontsize=8, ncols=2)
    right.axvspan(-MARGIN, MARGIN, color=QUIET, alpha=0.15, linewidth=0)
    right.axvline(0, color=QUIET, linewidth=1)
    kinds = (("equal FLOPs", COMPRESSED, 0.12), ("equal steps", ACCENT, -0.12))
    for kind, (name, colour, shift) in enumerate(kinds):
        present = [
            (k + shift, effect)
            for k, difference in enumerate(differences)
            if (effect := difference.effects[kind]) is not None
        ]
        if present:
            right.errorbar(
                [effect.estimate for _, effect in present], [at for at, _ in present],
                xerr=_error_bars([effect for _, effect in present]), fmt="o",
                color=colour, label=name, elinewidth=1,
            )  # fmt: skip
    names = [f"{p.deep.architecture}\n{p.wide.architecture}" for p in pairs]
    right.set_yticks(range(len(pairs)), names, fontsize=9)
    right.set_ylim(-0.6, len(pairs) - 0.2)
    right.set_title("← deep is better      wide is better →", loc="center")
    right.set_xlabel("loss of deep over that of wide (%)")
    right.legend(frameon=False, fontsize=8)


def _before_decay(
    left_axes: Any, right: Any, ladders: Sequence[Ladder], data: Measurements
) -> None:
    """Left, the cost of quantisation over training; right, after the decay over before."""
    for ladder, shade in zip(ladders, shades(len(ladders)), strict=True):
        before, after = (
            costs[:, ladder.columns].mean(axis=0) for costs in (data.undecayed_costs, data.costs)
        )
        name = f"{ladder.architecture} {ladder.compression}"
        left_axes.plot(
            2**ladder.doublings, before, color=shade, marker="o", markersize=4, label=name
        )
        right.plot(before, after, color=shade, marker="o", markersize=4, linestyle="none")
    left_axes.set_title("loss that quantisation adds, before the decay")
    left_axes.set_ylabel("nats")
    logarithmic(left_axes.xaxis, "steps of training")
    if len(ladders) <= len(MARKERS):
        left_axes.legend(frameon=False, fontsize=8)
    ends = right.dataLim.intervalx
    right.plot(ends, ends, color=QUIET, linewidth=1)
    right.set_title("after the decay over before (line: equal)")
    right.set_xlabel("nats before")
    right.set_ylabel("nats after")


def _label_losses(axes: Any, title: str, axis: Axis) -> None:
    axes.set_title(title)
    axes.set_ylabel("validation loss (nats)")
    logarithmic(axes.xaxis, AXIS_NAMES[axis])


def _curve(axes: Any, line: Curve, colour: Any) -> None:
    """Loss of one architecture over its budgets, and the range over its seeds."""
    x = 2**line.x
    axes.plot(x, line.losses, color=colour, marker="o", markersize=4, linewidth=1.6, zorder=3)
    axes.fill_between(x, *range_of_rows(np.exp(line.logs)), color=colour, alpha=0.15, linewidth=0)


def _error_bars(effects: Sequence[Effect]) -> Floats:
    """Lengths of error bars, ``(2, effects)``; NaN draws none."""
    ends = [
        (np.nan, np.nan)
        if each.low is None or each.high is None
        else (each.estimate - each.low, each.high - each.estimate)
        for each in effects
    ]
    return np.array(ends).T
