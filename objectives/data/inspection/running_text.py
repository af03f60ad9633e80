"""Plain text: running text, words with tags, and sentences that two files have in common."""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from pathlib import Path

from objectives.data.errors import DataError
from objectives.data.inspection.columns import language_of
from objectives.data.inspection.dialects import read_head
from objectives.data.inspection.finding import Finding, data_of
from objectives.data.inspection.roles import SHORTER
from objectives.data.inspection.siblings import siblings

HEADING = r"^ = [^=].*[^=] = $"
"""Of an article of WikiText."""
SEPARATOR = "<|endoftext|>"
LEAST_SENTENCES = 3
LONG_LINE = 200
"""Characters of a line on average from which on it is a paragraph or a document."""


def plain_text(path: Path) -> Finding:
    """A file of plain text: words with tags, or running text for a language model."""
    text, encoding = read_head(path)
    splits, notes = siblings(path)
    options = {} if encoding in ("utf-8", "utf-8-sig") else {"encoding": encoding}
    source = {split: str(file) for split, file in splits.items()}
    if _is_conll(text):
        notes.append("a word a line, with its tag in the last column (data.tagged.tag)")
        data = data_of("tagged", {"source": "conll", **options, **source})
        return Finding({"name": "token-classification"}, data, tuple(notes), facts=_facts(path))
    fields, note = _documents(text)
    notes.append(f"plain text: a language model; {note}")
    if path.suffix.removeprefix(".") not in ("txt",):
        fields = {"format": "text", **fields}
    data = {"unlabelled": {"source": "files", **options, **source, **fields}}
    return Finding({"name": "causal-lm"}, data, tuple(notes), facts=_facts(path))


def _facts(path: Path) -> dict[str, float]:
    # gzip makes text about three times smaller.
    return {"characters": path.stat().st_size * (3 if path.suffix == ".gz" else 1)}


def _is_conll(text: str) -> bool:
    """Whether nearly every line has as many columns as the others, and blank lines stand between
    sentences."""
    lines = text.splitlines()[:2000]
    full = [line for line in lines if line.strip() and not line.startswith(("-DOCSTART-", "#"))]
    if len(full) < 10 or len(lines) - len(full) < LEAST_SENTENCES:
        return False
    widths = {len(line.split("\t") if "\t" in line else line.split()) for line in full}
    if len(widths) != 1 or widths.pop() < 2:
        return False
    tags = [line.split()[-1] for line in full]
    return len(set(tags)) <= max(10, len(tags) // 10)


def _documents(text: str) -> tuple[dict[str, str], str]:
    """What a document of a running text is, and why."""
    if text.count(SEPARATOR) >= LEAST_SENTENCES:
        return {"separator": SEPARATOR}, f"{SEPARATOR} stands between documents"
    if len(re.findall(HEADING, text, re.M)) >= LEAST_SENTENCES:
        return {"heading": HEADING}, "headings such as ' = Name = ' begin documents"
    paragraphs = [each for each in re.split(r"\n[^\S\n]*\n", text) if each.strip()]
    lines = [each for each in text.splitlines() if each.strip()]
    if len(paragraphs) >= 20:
        return {"document": "paragraph"}, (
            "blank lines stand between documents (document: file takes it as one)"
        )
    if len(lines) >= 20 and sum(map(len, lines)) >= LONG_LINE * len(lines):
        return {"document": "line"}, "a line is a document (document: file takes it as one)"
    return {}, "the file is one document (data.unlabelled.document)"


def aligned_files(paths: Sequence[Path]) -> Finding:
    """Two files that match line by line.

    Raises:
        DataError: They have different numbers of lines.
    """
    counts = [_lines(path) for path in paths]
    if counts[0] != counts[1]:
        raise DataError(
            f"{paths[0]} has {counts[0]:,} lines and {paths[1]} {counts[1]:,}; two files of pairs "
            "must match line by line"
        )
    found = [siblings(path) for path in paths]
    both = [split for split in found[0][0] if split in found[1][0]]
    splits = {split: [str(each[split]) for each, _ in found] for split in both}
    notes = found[0][1]
    sizes = [path.stat().st_size for path in paths]
    is_summary = sizes[1] <= SHORTER * sizes[0]
    languages = [language_of(path.name.removesuffix(".gz")) for path in paths]
    named = f" from {languages[0]} into {languages[1]}" if all(languages) else ""
    task, other = (
        ("summarisation", "translation") if is_summary else ("translation", "summarisation")
    )
    notes.append(f"{counts[0]:,} pairs of lines: {task}{named}; {other} has the same fields")
    data = {"parallel": {"source": "aligned_files", **splits}}
    facts = {"characters": sum(_facts(path)["characters"] for path in paths), "rows": counts[0]}
    return Finding({"name": task}, data, tuple(notes), facts=facts)


def _lines(path: Path) -> int:
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            count, last = 0, b"\n"
            while block := file.read(1 << 20):
                count += block.count(b"\n")
                last = block[-1:]
            return count + (last != b"\n")
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
