"""A chart as inline SVG. Widths are shares and heights pixels, so that it fits any page and its
letters keep their size; colours are the stylesheet's, so that it is light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from search.analysis.report.markup import joined, percent, tag
from spaces.cost.units import quantity

Tick = tuple[float, str]
"""Where, as a share of the length, and the text."""


def plot(
    marks: Iterable[object],
    *,
    height: int,
    x: Sequence[Tick],
    y: Sequence[Tick],
    x_label: str,
    y_label: str,
    label: str,
) -> Markup:
    """A chart with its axes.

    Args:
        marks: What is drawn, placed by ``percent`` across and ``up`` down.
        height: Pixels of the plane.
        x: Ticks across.
        y: Ticks up.
        x_label: What is across.
        y_label: What is up; written above the axis, where it needs not be turned.
        label: The chart in a sentence, for who cannot see it.
    """
    # On a narrow page every second of many ticks goes.
    thin = len(x) > MOST_ON_NARROW
    across = [
        tag(
            "g",
            line(share, share, height, height + 5),
            tag("text", text, x=percent(share), y=height + 19, class_="middle"),
            class_="tick spare" if thin and index % 2 else "tick",
        )
        for index, (share, text) in enumerate(x)
    ]
    upward = [
        tag(
            "g",
            line(0, 1, up(share, height), up(share, height)),
            tag("text", text, x=-8, y=up(share, height) + 4, class_="end"),
            class_="tick grid",
        )
        for share, text in y
    ]
    return tag(
        "svg",
        *upward,
        *across,
        line(0, 1, height, height, class_="base"),
        tag("text", y_label, x=-36, y=-14, class_="axis"),
        tag("text", x_label, x="100%", y=height + 38, class_="axis end"),
        *marks,
        class_="plot",
        height=height,
        role="group",
        aria_label=label,
    )


MOST_ON_NARROW = 7


def up(share: float, height: float) -> float:
    """Pixels from the top."""
    return height * (1.0 - share)


def line(x1: float, x2: float, y1: float, y2: float, **attributes: object) -> Markup:
    """A line from share to share across, from pixel to pixel down."""
    return tag("line", x1=percent(x1), x2=percent(x2), y1=y1, y2=y2, **attributes)


def rectangle(x1: float, x2: float, y: float, height: float, **attributes: object) -> Markup:
    """A rectangle from share to share across."""
    return tag(
        "rect", x=percent(x1), width=percent(max(x2 - x1, 0.0)), y=y, height=height, **attributes
    )


def dot(x: float, y: float, radius: float, title: str = "", **attributes: object) -> Markup:
    """A point at a share across and a pixel down; the title is shown on hover."""
    children = [tag("title", title)] if title else []
    return tag("circle", *children, cx=percent(x), cy=y, r=radius, **attributes)


def at(x: float, *children: object) -> Markup:
    """A place at a share across, inside which positions are pixels."""
    return tag("svg", *children, x=percent(x), width=1, height=1)


def stairs(points: Sequence[tuple[float, float]], end: float, **attributes: object) -> Markup:
    """A line that keeps its height until the next point.

    Args:
        points: Shares across and pixels down, from left to right.
        end: Share across at which the last step ends.
        attributes: Of the group of lines.
    """
    parts = []
    for index, (x, y) in enumerate(points):
        until = points[index + 1][0] if index + 1 < len(points) else end
        parts.append(line(x, until, y, y))
        if index:
            parts.append(line(x, x, points[index - 1][1], y))
    return tag("g", joined(parts), **attributes)


def number(value: float) -> str:
    """A value of an axis, without trailing zeros: ``0.05``, ``20``, ``1.5 M``."""
    return quantity(value).strip()
