"""What the pictures of the claims have in common: curves, colours of sizes, axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from search.analysis.claims.curves import Curve
from search.analysis.claims.verdict import count
from search.arrays import Floats

SIZES = "viridis_r"
DIGITS = (1.0, 2.0, 5.0)
"""Of the ticks of a logarithmic axis."""


def curve(place: Any, line: Curve, colour: Any, *, is_prominent: bool = True) -> None:
    """Loss of one architecture over its budgets, with its 95 % interval."""
    low, high = np.percentile(line.losses[1:], [2.5, 97.5], axis=0)
    place.plot(
        2**line.x, line.losses[0], color=colour, marker="o", markersize=4,
        linewidth=1.6 if is_prominent else 1.0, zorder=3 if is_prominent else 1,
    )  # fmt: skip
    if is_prominent:
        place.fill_between(2**line.x, low, high, color=colour, alpha=0.15, linewidth=0)


def size_colours(figure: Any, place: Any, lines: Sequence[Curve]) -> Callable[[int], Any]:
    """A colour for each number of parameters, with its bar."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    sizes = [line.parameters for line in lines]
    norm = LogNorm(min(sizes), max(max(sizes), 1.01 * min(sizes)))
    mapped = ScalarMappable(norm, colormaps[SIZES])
    bar = figure.colorbar(mapped, ax=place, pad=0.01, fraction=0.05)
    _plain_ticks(bar.ax.yaxis, DIGITS)
    bar.ax.set_title("parameters", fontsize=9, loc="right")
    bar.outline.set_visible(False)

    def colour(size: int) -> Any:
        return mapped.to_rgba(np.array(size))

    return colour


def shades(number: int) -> list[Any]:
    """Colours from light to dark, for levels that have an order."""
    from matplotlib import colormaps

    return [colormaps["plasma"](share) for share in np.linspace(0.75, 0.05, max(number, 1))][
        :number
    ]


def bars(middle: Floats, low: Floats, high: Floats) -> Floats:
    """Lengths of error bars; none is negative where a mean of draws lies outside."""
    return np.maximum(np.stack([middle - low, high - middle]), 0.0)


def logarithmic(axis: Any, label: str) -> None:
    """A logarithmic axis whose ticks are numbers such as 200k in place of powers of ten."""
    (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
    low, high = sorted(axis.get_view_interval())
    _plain_ticks(axis, DIGITS if high / low < 100 else DIGITS[:1])
    axis.set_label_text(label)


def _plain_ticks(axis: Any, digits: tuple[float, ...]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    axis.set_minor_formatter(NullFormatter())
