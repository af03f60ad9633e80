"""A search file as text: values as YAML, with comments."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

WIDTH = 100
OWN_LINES = ("data", "space", "training")
"""Sections whose fields have a line each."""


def yaml_text(document: Mapping[str, Any], comments: Mapping[str, str], head: list[str]) -> str:
    """A search file.

    Args:
        document: Its values.
        comments: What stands above a field, by its path.
        head: Paragraphs of the comment at the beginning.
    """
    lines = [line for paragraph in head for line in _comment(paragraph, "")]
    for key, value in document.items():
        if key in OWN_LINES:
            lines.append("")
        lines += _comment(comments.get(key, ""), "")
        if key in OWN_LINES:
            lines.append(f"{key}:")
            lines += _fields(value, comments, key)
            continue
        if lines and document and key == "objectives":
            lines.append("")
        lines.append(f"{key}: {_inline(value)}")
    return "\n".join(lines) + "\n"


def _fields(section: Mapping[str, Any], comments: Mapping[str, str], path: str) -> Iterator[str]:
    for key, value in section.items():
        yield from _comment(comments.get(f"{path}.{key}", ""), "  ")
        line = f"  {key}: {_inline(value)}"
        if len(line) <= WIDTH or not isinstance(value, Mapping):
            yield line
            continue
        yield f"  {key}:"
        for name, inner in value.items():
            yield f"    {name}: {_inline(inner)}"


def _inline(value: Any) -> str:
    """A value in one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, width=float("inf"), sort_keys=False, allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _comment(text: str, indent: str) -> list[str]:
    """Lines of a comment, which a name in the data cannot leave."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    wrapped = textwrap.wrap(
        plain, WIDTH - len(indent) - 2, break_long_words=False, break_on_hyphens=False
    )
    return [f"{indent}# {line}" for line in wrapped]
