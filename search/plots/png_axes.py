"""Axes and colours of static pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from search.arrays import Floats
from search.plots.frontier_png import plain_ticks

DIGITS = (1.0, 2.0, 5.0)
"""Leading digits of the ticks of a logarithmic axis."""


def size_colours(axes: Any, sizes: Sequence[int]) -> Callable[[int], Any]:
    """A colour for each number of parameters, with its colour bar."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    norm = LogNorm(min(sizes), max(max(sizes), 1.01 * min(sizes)))
    mapped = ScalarMappable(norm, colormaps["viridis_r"])
    bar = axes.figure.colorbar(mapped, ax=axes, pad=0.01, fraction=0.05)
    plain_ticks(bar.ax.yaxis, DIGITS)
    bar.ax.set_title("parameters", fontsize=9, loc="right")
    bar.outline.set_visible(False)
    return lambda size: mapped.to_rgba(np.array(size))


def shades(number: int) -> list[Any]:
    """Colours from light to dark, for levels that have an order."""
    from matplotlib import colormaps

    return [colormaps["plasma"](at) for at in np.linspace(0.75, 0.05, max(number, 1))][:number]


def logarithmic(axis: Any, label: str) -> None:
    """Make an axis logarithmic, with plain numbers at its ticks."""
    (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
    low, high = sorted(axis.get_view_interval())
    plain_ticks(axis, DIGITS if high / low < 100 else DIGITS[:1])
    axis.set_label_text(label)


def range_of_rows(values: Floats) -> tuple[Floats, Floats]:
    """Lowest and highest of each column of ``(rows, columns)``."""
    return values.min(axis=0), values.max(axis=0)
