"""A static picture for each claim, drawn from the same arrays as its verdict."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from search.analysis.claims.curves import Axis, Curve, curves
from search.analysis.claims.depth_or_width import MARGIN, Pair
from search.analysis.claims.early_stopping import Stop
from search.analysis.claims.equal_bytes import BUDGET, COMPUTE, Contest
from search.analysis.claims.model_size import Level, level_name
from search.analysis.claims.observations import gain_unit, score_of
from search.analysis.claims.resampling import Resampled
from search.analysis.claims.robustness import Drops
from search.analysis.claims.verdict import Verdict, count
from search.arrays import Floats
from search.plots.frontier_png import plain_ticks

DENSE, COMPRESSED, ACCENT, QUIET = "#d1495b", "#00798c", "#edae49", "#7a8b99"
MARKERS = "osD^vP*X"
DIGITS = (1.0, 2.0, 5.0)
"""Leading digits of the ticks of a logarithmic axis."""
AXIS_NAMES: dict[Axis, str] = {"training_flops": "training FLOPs", "steps": "steps of training"}


def picture(verdict: Verdict, data: Resampled) -> bytes | None:
    """The PNG that shows a claim; None where there is nothing to show."""
    if not data.cells or (verdict.number in (3, 4, 6) and not verdict.evidence):
        return None
    draw: tuple[Callable[[Any, Any, Verdict, Resampled], None], ...] = (
        partial(_model_size, axis="training_flops"),
        partial(_model_size, axis="steps"),
        _robustness,
        _equal_bytes,
        _early_stopping,
        _depth_or_width,
    )
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"font.size": 10, "axes.titlesize": 11, "axes.titlelocation": "left"}):
        figure = Figure(figsize=(10, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.2)
        draw[verdict.number - 1](left, right, verdict, data)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=140)
    return out.getvalue()


def _model_size(left: Any, right: Any, verdict: Verdict, data: Resampled, *, axis: Axis) -> None:
    """Left, curves over training; right, loss over size at each of the levels."""
    lines = curves(data, axis)
    colours = _size_colours(left, lines)
    for line in lines:
        _curve(left, line, colours(line.parameters))
    _label_losses(left, "each architecture over its budgets", axis)
    levels: Sequence[Level] = verdict.evidence
    for level, shade in zip(levels, _shades(len(levels)), strict=True):
        left.axvline(level.level, color=shade, linewidth=1, linestyle="--", zorder=0)
        x = [line.parameters for line in level.lines]
        right.fill_between(x, *_interval(level.losses), color=shade, alpha=0.12, linewidth=0)
        right.plot(
            x, level.losses[0], color=shade, marker="o", markersize=4, label=level_name(level, axis)
        )
        best = int(level.losses[0].argmin())
        right.plot(
            x[best], level.losses[0, best], marker="*", markersize=14, color=shade,
            markeredgecolor="white",
        )  # fmt: skip
    right.set_title("at the dashed levels (★ lowest)")
    _logarithmic(right.xaxis, "parameters")
    if levels:
        right.legend(frameon=False, fontsize=8)


def _robustness(left: Any, right: Any, verdict: Verdict, data: Resampled) -> None:
    """Drop over size, quantised at the left and pruned at the right, with the fitted slopes."""
    levels: Sequence[Drops] = verdict.evidence
    for axes, title in ((left, "quantised"), (right, "pruned")):
        group = [each for each in levels if bool(each.compression.sparsity) == (axes is right)]
        axes.set_title(title)
        axes.axhline(0, color=QUIET, linewidth=0.8)
        for level, shade, marker in zip(group, _shades(len(group)), MARKERS * 4, strict=False):
            _drops(axes, level, shade, marker)
        _logarithmic(axes.xaxis, "parameters")
        if group:
            axes.legend(frameon=False, fontsize=8)
        else:
            axes.text(
                0.5, 0.5, "no such trials", transform=axes.transAxes, ha="center", color=QUIET
            )
    left.set_ylabel("quality lost (%)")


def _drops(axes: Any, level: Drops, shade: Any, marker: str) -> None:
    sizes = np.unique(level.sizes)
    inside = [level.drops[:, level.sizes == size].mean(axis=1) for size in sizes]
    values = 100 * np.stack(inside, axis=1)
    slope = 100 * level.slopes[0]
    axes.errorbar(
        2**sizes, values[0], yerr=_error_bars(values), fmt=marker, color=shade,
        markersize=5, elinewidth=0.8, alpha=0.9, label=f"{level.name}  {slope:+.2f}",
    )  # fmt: skip
    centre, middle = float(level.sizes.mean()), 100 * level.mean
    axes.plot(2**sizes, middle + slope * (sizes - centre), color=shade, linewidth=1.5)


def _equal_bytes(left: Any, right: Any, verdict: Verdict, data: Resampled) -> None:
    """Left, the best score within each size; right, the gain at each level of bytes."""
    metric = data.observations.metric
    dense_sizes = np.array([run.size_bytes for run in data.cells]) / 1e6
    is_real = [k for k, each in enumerate(data.compressed) if each.is_compressed]
    sizes = np.array([data.compressed[k].size_bytes for k in is_real]) / 1e6
    groups = (
        ("compressed", COMPRESSED, sizes, data.compressed_quality[:, is_real]),
        ("dense", DENSE, dense_sizes, data.quality),
    )
    end = 1.15 * float(dense_sizes.max())
    to_score = np.vectorize(lambda quality: score_of(metric, quality))
    for name, colour, x, qualities in groups:
        left.scatter(x, to_score(qualities[0]), s=14, color=colour, alpha=0.3, linewidths=0)
        if members := _cheapest_best(x, qualities[0]):
            edges = (qualities[0, members], *_interval(qualities[:, members]))
            middle, low, high = (to_score(np.append(edge, edge[-1])) for edge in edges)
            steps = np.append(x[members], end)
            left.fill_between(steps, low, high, step="post", color=colour, alpha=0.15, linewidth=0)
            label = f"{name}, with 95 % interval"
            left.step(steps, middle, where="post", color=colour, label=label)
    left.set_title("best score within so many bytes, any training")
    left.set_ylabel(f"{metric.name} on validation")
    if not metric.is_maximised:
        _logarithmic(left.yaxis, f"{metric.name} on validation")
        left.invert_yaxis()
    _logarithmic(left.xaxis, "MB on disk")
    left.legend(frameon=False, loc="lower right")
    _gains(right, verdict.evidence, *gain_unit(metric))


def _cheapest_best(sizes: Floats, qualities: Floats) -> list[int]:
    """Indices of the frontier, the smallest first."""
    members: list[int] = []
    for k in np.lexsort((-qualities, sizes)):
        if not members or qualities[k] > qualities[members[-1]]:
            members.append(int(k))
    return members


def _gains(axes: Any, contests: Sequence[Contest], factor: float, unit: str) -> None:
    axes.axhline(0, color=QUIET, linewidth=1)
    for shift, setting, colour in ((0.98, COMPUTE, COMPRESSED), (1.02, BUDGET, ACCENT)):
        group = [each for each in contests if each.setting == setting]
        if not group:
            continue
        gains = factor * np.stack([each.gain for each in group], axis=1)
        axes.errorbar(
            [shift * each.size_bytes / 1e6 for each in group], gains[0],
            yerr=_error_bars(gains), fmt="o-", color=colour, markersize=5,
            elinewidth=1, linewidth=0.8, label=f"at {setting}",
        )  # fmt: skip
    _logarithmic(axes.xaxis, "MB on disk")
    axes.set_title("compressed-large − dense-small")
    axes.set_ylabel(unit)
    axes.legend(frameon=False, fontsize=9)


def _early_stopping(left: Any, right: Any, verdict: Verdict, data: Resampled) -> None:
    """Left, where optimal models stop on their curves; right, what is left at each level."""
    lines = curves(data, "training_flops")
    stops: Sequence[Stop] = verdict.evidence
    optimal = {stop.curve.architecture for stop in stops}
    colours = _size_colours(left, lines)
    for line in lines:
        if line.architecture in optimal:
            _curve(left, line, colours(line.parameters))
        else:
            left.plot(
                2**line.x, line.losses[0], color="#dddddd", marker="o", markersize=4, linewidth=1,
                zorder=1,
            )  # fmt: skip
    for stop in stops:
        left.plot(
            stop.level, stop.loss[0], marker="*", markersize=15, color=DENSE,
            markeredgecolor="white", zorder=5, linestyle="none",
            label="stopped here, optimal" if stop is stops[0] else None,
        )  # fmt: skip
    _label_losses(left, "compute-optimal models, and their further training", "training_flops")
    if not stops:
        return
    left.legend(frameon=False)
    draws = np.stack([stop.left for stop in stops], axis=1)
    rows = np.arange(len(stops))
    right.bar(rows, draws[0], color=COMPRESSED, alpha=0.85, width=0.6)
    right.errorbar(rows, draws[0], yerr=_error_bars(draws), fmt="none", color="#333333")
    names = [f"{count(s.level)}\n{s.curve.architecture}\n× {s.factor:.2g}" for s in stops]
    right.set_xticks(rows, names, fontsize=9)
    right.set_xlim(-1, len(stops))
    right.axhline(1.0, color=QUIET, linewidth=1, linestyle=":")
    right.set_title("decrease of the loss by further training")
    right.set_ylabel("% of the loss")
    right.set_xlabel("training FLOPs when stopped")


def _depth_or_width(left: Any, right: Any, verdict: Verdict, data: Resampled) -> None:
    """Left, the curves of each pair; right, the difference within each pair."""
    pairs: Sequence[Pair] = verdict.evidence
    for pair, shade in zip(pairs, _shades(len(pairs)), strict=True):
        for line, style, word in ((pair.deep, "-", "deep"), (pair.wide, "--", "wide")):
            left.plot(
                2**line.x, line.losses[0], color=shade, linestyle=style, marker="o", markersize=3,
                label=f"{word} {line.architecture}",
            )  # fmt: skip
    title = "deep (solid) and wide (dashed) of equal layer parameters"
    _label_losses(left, title, "training_flops")
    left.legend(frameon=False, fontsize=8, ncols=2)
    right.axvspan(-MARGIN, MARGIN, color=QUIET, alpha=0.15, linewidth=0)
    right.axvline(0, color=QUIET, linewidth=1)
    kinds = (
        ("equal compute", [pair.at_compute for pair in pairs], COMPRESSED, 0.12),
        ("equal steps", [pair.at_steps for pair in pairs], ACCENT, -0.12),
    )
    for name, differences, colour, shift in kinds:
        present = [(k, draws) for k, draws in enumerate(differences) if draws is not None]
        if present:
            draws = np.stack([each for _, each in present], axis=1)
            right.errorbar(
                draws[0], [k + shift for k, _ in present], xerr=_error_bars(draws), fmt="o",
                color=colour, label=name, elinewidth=1,
            )  # fmt: skip
    names = [f"{p.deep.architecture}\n{p.wide.architecture}" for p in pairs]
    right.set_yticks(range(len(pairs)), names, fontsize=9)
    right.set_ylim(-0.6, len(pairs) - 0.2)
    right.set_title("← deep is better      wide is better →", loc="center")
    right.set_xlabel("loss of deep over that of wide (%)")
    right.legend(frameon=False, fontsize=8)


def _label_losses(axes: Any, title: str, axis: Axis) -> None:
    axes.set_title(title)
    axes.set_ylabel("validation loss (nats)")
    _logarithmic(axes.xaxis, AXIS_NAMES[axis])


def _curve(axes: Any, line: Curve, colour: Any) -> None:
    """Loss of one architecture over its budgets, with its 95 % interval."""
    x = 2**line.x
    axes.plot(x, line.losses[0], color=colour, marker="o", markersize=4, linewidth=1.6, zorder=3)
    axes.fill_between(x, *_interval(line.losses), color=colour, alpha=0.15, linewidth=0)


def _size_colours(axes: Any, lines: Sequence[Curve]) -> Callable[[int], Any]:
    """A colour for each number of parameters, with its colour bar."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    sizes = [line.parameters for line in lines]
    norm = LogNorm(min(sizes), max(max(sizes), 1.01 * min(sizes)))
    mapped = ScalarMappable(norm, colormaps["viridis_r"])
    bar = axes.figure.colorbar(mapped, ax=axes, pad=0.01, fraction=0.05)
    plain_ticks(bar.ax.yaxis, DIGITS)
    bar.ax.set_title("parameters", fontsize=9, loc="right")
    bar.outline.set_visible(False)
    return lambda size: mapped.to_rgba(np.array(size))


def _shades(number: int) -> list[Any]:
    """Colours from light to dark, for levels that have an order."""
    from matplotlib import colormaps

    return [colormaps["plasma"](at) for at in np.linspace(0.75, 0.05, max(number, 1))][:number]


def _interval(draws: Floats) -> tuple[Floats, Floats]:
    """Ends of the 95 % interval of each column of ``(1 + DRAWS, columns)``."""
    low, high = np.percentile(draws[1:], [2.5, 97.5], axis=0)
    return low, high


def _error_bars(draws: Floats) -> Floats:
    """Lengths of error bars; none is negative where a mean of draws lies outside."""
    low, high = _interval(draws)
    return np.asarray(np.maximum(np.stack([draws[0] - low, high - draws[0]]), 0.0))


def _logarithmic(axis: Any, label: str) -> None:
    (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
    low, high = sorted(axis.get_view_interval())
    plain_ticks(axis, DIGITS if high / low < 100 else DIGITS[:1])
    axis.set_label_text(label)
