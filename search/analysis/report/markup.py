"""HTML and SVG from values: everything that is not markup already is escaped."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """An element.

    Args:
        name: Its name.
        children: What is in it; text is escaped.
        attributes: Its attributes, escaped; ``class_`` is ``class``, ``data_trial`` is
            ``data-trial``, and None leaves one out. A float is written to two digits.
    """
    written = joined(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _plain(value))
        for key, value in attributes.items()
        if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, joined(children))


def joined(parts: Iterable[object], separator: str = "") -> Markup:
    """Parts one after another; text is escaped."""
    return Markup(separator).join(map(escape, parts))


def percent(share: float) -> str:
    """A share of a length, as SVG takes it: charts are as wide as the page lets them be."""
    return f"{100 * share:.4g}%"


def percentage(share: float) -> str:
    """A share as people read it; the space is narrow and does not break."""
    return f"{100 * share:.0f}\u202f%"


def words(text: str) -> Markup:
    """A configuration: lines break between its words, and not within ``rtn-4``."""
    parts = (tag("span", word, class_="nowrap") for word in text.split())
    return tag("span", joined(parts, " "), class_="configuration")


def table(heads: Iterable[object], rows: Iterable[Iterable[object]], *, label: str) -> Markup:
    """A table that scrolls on its own where the page is narrow.

    Args:
        heads: Headings of the columns; a heading in ``tag("th", …)`` is taken as it is.
        rows: Cells; the first of a row is its heading, and a ``tag("td", …)`` is taken as it is.
        label: What the table is, for who cannot see it.
    """
    head = tag("tr", *(_cell("th", each, scope="col") for each in heads))
    body = joined(_row(list(row)) for row in rows)
    made = tag("table", tag("thead", head), tag("tbody", body))
    return tag("div", made, class_="wide", role="region", tabindex=0, aria_label=label)


def _row(cells: list[object]) -> Markup:
    first = _cell("th", cells[0], scope="row")
    return tag("tr", first, *(_cell("td", cell) for cell in cells[1:]))


def _cell(name: str, content: object, **attributes: object) -> Markup:
    if isinstance(content, Markup) and content.startswith(("<th", "<td")):
        return content
    return tag(name, content, **attributes)


def _plain(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
