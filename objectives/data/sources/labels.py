"""Labels as people write them: one class in several spellings, and numbers that are no classes."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

from objectives.data.errors import DataError
from objectives.data.files.notices import Notice

_TRUTH_VALUES = ("true", "false")
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_GROUPED = r"[+-]?\d{{1,3}}(?:{0}\d{{3}})+(?:{1}\d+)?"
MOST_DECIMAL_CLASSES = 20
"""Different numbers with a fraction, of which more are no classes."""
FEWEST_ROWS = 20
"""Rows from which on it is said that most have a label of their own."""
_SHOWN = 4


def spellings(labels: Mapping[str, Iterable[str]], field: str, notice: Notice) -> dict[str, str]:
    """The class of each label: several spellings that cannot be meant as different are one.

    These are numbers such as 1 and 1.0, true and false in any case, and what looks alike (composed
    or decomposed accents, invisible characters).

    Args:
        labels: Of each split, without white space around them.
        field: That of the column, for messages.
        notice: Called with what is merged.

    Raises:
        DataError: Labels differ only in case, or are too many to be classes.
    """
    counts = Counter(label for of_split in labels.values() for label in of_split)
    groups: dict[str, list[str]] = {}
    for label in counts:
        groups.setdefault(_normal(label).casefold(), []).append(label)
    class_of: dict[str, str] = {}
    for key, group in groups.items():
        same = {_normal(label) for label in group}
        if len(same) > 1 and key not in _TRUTH_VALUES:
            found = " and ".join(f"{label!r} ({counts[label]:,} rows)" for label in sorted(group))
            raise DataError(f"{field}: {found} differ only in case; write them alike")
        chosen = min(same) if len(same) == 1 else max(group, key=lambda each: counts[each])
        chosen = group[0] if len(group) == 1 else chosen
        class_of |= dict.fromkeys(group, chosen)
        if len(group) > 1:
            shown = ", ".join(map(ascii, sorted(group)))
            notice(f"{field}: {shown} are one class, {chosen!r}")
    _check_classes(Counter(class_of[label] for label in counts.elements()), field)
    return class_of


def _normal(label: str) -> str:
    """The spelling that others which look or count alike are compared with."""
    visible = "".join(each for each in label if unicodedata.category(each) != "Cf")
    text = unicodedata.normalize("NFC", visible).strip()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def _check_classes(counts: Counter[str], field: str) -> None:
    """Refuse what is no class: numbers of any value, and texts that hardly occur twice."""
    rows, examples = counts.total(), ", ".join(map(repr, sorted(counts)[:_SHOWN]))
    has_own = rows >= FEWEST_ROWS and len(counts) > rows / 2
    has_fractions = any("." in label for label in counts) and len(counts) > MOST_DECIMAL_CLASSES
    if (has_own or has_fractions) and all(map(is_number, counts)):
        raise DataError(
            f"{field}: {rows:,} rows have {len(counts):,} different numbers, {examples}, …, which "
            "look like a number to predict: task: {name: regression}"
        )
    if has_own:
        raise DataError(
            f"{field}: {rows:,} rows have {len(counts):,} different labels, {examples}, …; name "
            "the column of the classes"
        )


def is_number(cell: str) -> bool:
    """Whether a text is a finite number."""
    try:
        # Python reads 1_000 as a number too.
        return "_" not in cell and math.isfinite(float(cell))
    except ValueError:
        return False


def as_number(cell: str, decimal: str, thousands: str | None) -> str | None:
    """A finite number as Python writes it; None where a text is none.

    Args:
        decimal: What stands before its fraction.
        thousands: What separates its thousands, if anything.
    """
    text = cell.strip()
    if thousands is not None:
        pattern = _GROUPED.format(re.escape(thousands), re.escape(decimal))
        if re.fullmatch(pattern, text):
            text = text.replace(thousands, "")
    if decimal != ".":
        text = "" if "." in text else text.replace(decimal, ".")
    return text if is_number(text) else None


def number_hint(cell: str, source: str) -> str:
    """What to give where a text is a number in another notation.

    Args:
        source: Path of the source in the search file.
    """
    if re.fullmatch(r"[+-]?\d*,\d+", cell.strip()):
        return (
            f"; give {source}.decimal: ',' if the comma stands before the fraction, or "
            f"{source}.thousands: ','"
        )
    if re.fullmatch(_GROUPED.format("[., ']", "[.,]"), cell.strip()):
        return f"; give {source}.thousands, and {source}.decimal"
    return ""
