"""HTML pages that need no other file and no network: one layout, one style, one script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps

from search.plots.style import THEMES


@dataclass(frozen=True)
class Chart:
    """An interactive figure of a page.

    Args:
        figure: Of Plotly.
        label: What it shows, for screen readers.
        min_width: Pixels below which it is scrolled on its own.
    """

    figure: Any
    label: str
    title: str = ""
    min_width: int = 0


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Args:
        label: What it contains.
        heads: Headings of its columns.
        numeric: Indices of the columns that are aligned to the right.
        is_folded: Whether it is shown only on demand, as the data behind a chart.
    """

    label: str
    heads: Sequence[str]
    rows: Sequence[Sequence[object]] = field(repr=False)
    numeric: tuple[int, ...] = ()
    is_folded: bool = False


def render(package: str, template: str, **values: Any) -> str:
    """A template of a package, with the layout and macros of this one.

    Args:
        package: Package that has a folder ``templates``.
        template: Its file; what is put into ``*.html.j2`` is escaped.
        values: Variables of the template.
    """
    return _environment(package).get_template(template).render(values)


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(__package__)]),
        autoescape=lambda name: name is None or name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure_json"] = partial(htmlsafe_json_dumps, dumps=lambda f: f.to_json())
    environment.globals.update(
        stylesheet=_file("style.css"),
        script=_file("figures.js"),
        plotly=plotly_script,
        themes=THEMES,
        policy=_policy,
    )
    return environment


@cache
def plotly_script() -> str:
    """The JavaScript of Plotly: 4.8 MB, most of a page."""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script


def _policy(*, has_figures: bool, uses_webgl: bool) -> str:
    """A content security policy: the page's own scripts, its styles and images, nothing else.

    Plotly writes style attributes, and compiles what it draws with WebGL.
    """
    scripts = [plotly_script(), _file("figures.js")] if has_figures else []
    allowed = " ".join([f"'{_hash(script)}'" for script in scripts] or ["'none'"])
    allowed += " 'unsafe-eval'" if uses_webgl else ""
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"
    )


@cache
def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _file(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")
