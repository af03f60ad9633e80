"""Which column of a table is what: the task that its columns are for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from objectives.data.errors import DataError
from objectives.data.inspection.columns import Column, columns_of, language_of
from objectives.data.inspection.names import (
    GROUPS,
    LABELS,
    PAIRS,
    SUMMARIES,
    TAGS,
    TARGETS,
    TEXTS,
    WORDS,
)
from objectives.data.inspection.samples import Sample

MOST_GRADES = 20
"""Whole numbers of more different values are numbers to predict, and no classes."""
LEAST_GROUPS = 10
SHORTER = 0.4
"""A summary has this fraction of the characters of its document, at most."""


@dataclass(frozen=True)
class Roles:
    """A task, and the columns that it reads.

    Args:
        task: Name of the task.
        section: Field of ``data`` that has the columns.
        fields: Fields of that source.
        notes: What was decided, and what else is possible.
    """

    task: str
    section: str
    fields: dict[str, Any]
    notes: tuple[str, ...] = ()


def roles_of(sample: Sample, origin: str) -> Roles:
    """The task that a table is for: tags of words, pairs of texts, classes, numbers, or text alone.

    Raises:
        DataError: It has no text.
    """
    columns = columns_of(sample)
    found = _tagged(columns) or _translations(columns)
    if found is not None:
        return found
    texts = [
        each
        for each in columns
        if each.is_prose and not each.is_identifier and each.key not in GROUPS
    ]
    if not texts:
        names = ", ".join(each.name for each in columns)
        raise DataError(f"{origin}: no column holds texts; it has: {names}")
    label = _label(columns, texts)
    if label is None:
        return _without_label(texts)
    return _labelled(columns, texts, label, sample)


def _tagged(columns: Sequence[Column]) -> Roles | None:
    words = _named([each for each in columns if each.kind == "words"], WORDS)
    if words is None:
        return None
    lists = [each for each in columns if each.kind in ("words", "numbers") and each != words]
    tags = _named(lists, TAGS) or (min(lists, key=lambda each: each.distinct) if lists else None)
    if tags is None:
        return None
    others = [each.name for each in lists if each != tags]
    notes = [f"a list of words and one of tags: {words.name}, {tags.name}"]
    if others:
        notes.append(f"other tags: {', '.join(others)} (data.tagged.tags)")
    fields = {"words": words.name, "tags": tags.name, **_group(columns)}
    return Roles("token-classification", "tagged", fields, tuple(notes))


def _translations(columns: Sequence[Column]) -> Roles | None:
    """Two columns that are named as languages."""
    sides = [each for each in columns if each.kind == "text" and language_of(each.name)]
    if len(sides) < 2:
        return None
    text, target, *others = sides
    notes = [f"texts in {language_of(text.name)} and {language_of(target.name)}: translation"]
    if others:
        notes.append(f"other languages: {', '.join(each.name for each in others)}")
    return Roles(
        "translation", "parallel", {"text": text.name, "target": target.name}, tuple(notes)
    )


def _label(columns: Sequence[Column], texts: Sequence[Column]) -> Column | None:
    """The column that says something of each text."""
    usable = [
        each
        for each in columns
        if each not in texts and not each.is_identifier and each.key not in GROUPS
    ]
    able = [each for each in usable if each.has_classes or each.kind == "number"]
    named = _named(able, LABELS)
    if named is not None:
        return named
    return min(able, key=lambda each: each.distinct, default=None)


def _without_label(texts: Sequence[Column]) -> Roles:
    for names, task in ((SUMMARIES, "summarisation"), (TARGETS, None)):
        if (pair := _pair(texts, names)) is not None:
            return _text_and_target(*pair, task)
    if len(texts) == 2:
        return _text_and_target(texts[0], texts[1], None)
    text = _main_text(texts)
    others = [each.name for each in texts if each != text]
    notes = [f"texts without a label: a language model of {text.name}"]
    if others:
        notes.append(f"other texts: {', '.join(others)}")
    return Roles("causal-lm", "unlabelled", {"text": text.name}, tuple(notes))


def _text_and_target(text: Column, target: Column, task: str | None) -> Roles:
    is_summary = target.characters <= SHORTER * text.characters
    task = task or ("summarisation" if is_summary else "translation")
    other = "translation" if task == "summarisation" else "summarisation"
    why = f"{target.name} has {target.characters:.0f} characters, {text.name} {text.characters:.0f}"
    notes = (
        f"two texts a row and no label ({why}): {task} of {text.name} into {target.name}; "
        f"{other} has the same fields",
    )
    return Roles(task, "parallel", {"text": text.name, "target": target.name}, tuple(notes))


def _labelled(
    columns: Sequence[Column], texts: Sequence[Column], label: Column, sample: Sample
) -> Roles:
    fields: dict[str, Any] = {}
    notes: list[str] = []
    if (pair := _pair(texts, PAIRS)) is not None:
        fields |= {"text": pair[0].name, "text_pair": pair[1].name}
        notes.append(f"two texts that belong together: {pair[0].name} and {pair[1].name}")
    else:
        text = _main_text(texts)
        fields["text"] = text.name
        for each in texts:
            if each != text:
                notes.append(
                    f"another text is {each.name}; text_pair: {each.name} reads both together"
                )
    fields["label"] = label.name
    others = [
        each.name
        for each in columns
        if each.has_classes and each not in (*texts, label) and each.key not in GROUPS
    ]
    if others:
        notes.append(f"other columns that can be a label: {', '.join(others)}")
    fields |= _group(columns)
    if "group" in fields:
        notes.append(f"rows of one {fields['group']} stay in one split (group)")
    is_number = label.kind == "number" and label.name not in sample.class_names
    if is_number and not (label.is_whole and label.distinct <= MOST_GRADES and label.has_classes):
        notes.append(f"{label.name} has {label.distinct:,} different numbers: regression")
        return Roles("regression", "labelled", fields, tuple(notes))
    if is_number and label.distinct > 2:
        notes.append(
            f"{label.name} has {label.distinct} different whole numbers: classes; for grades, "
            "task: {name: regression} predicts a number"
        )
    return Roles("classification", "labelled", fields, tuple(notes))


def _group(columns: Sequence[Column]) -> dict[str, str]:
    found = next((each for each in columns if each.key in GROUPS), None)
    if found is None or not LEAST_GROUPS <= found.distinct < 0.9 * found.rows:
        return {}
    return {"group": found.name}


def _named(columns: Sequence[Column], names: Iterable[str]) -> Column | None:
    """The column with the likeliest of some names."""
    by_key = {each.key: each for each in columns}
    return next((by_key[name] for name in names if name in by_key), None)


def _pair(
    columns: Sequence[Column], names: Iterable[tuple[str, str]]
) -> tuple[Column, Column] | None:
    by_key = {each.key: each for each in columns}
    return next(((by_key[a], by_key[b]) for a, b in names if a in by_key and b in by_key), None)


def _main_text(texts: Sequence[Column]) -> Column:
    """The text that is named as one, unless another is much longer."""
    longest = max(texts, key=lambda each: each.characters)
    named = _named(texts, TEXTS)
    return named if named is not None and 3 * named.characters > longest.characters else longest
