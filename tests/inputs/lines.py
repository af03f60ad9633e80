"""Files of lines: aligned sentences, running text, tagged words."""

from __future__ import annotations

from tests.inputs.case import Case

ALIGNED = {"parallel": {"source": "aligned_files", "train": ["a.en", "a.fr"]}}
PAIRS = [("a cat", "un chat"), ("a dog", "un chien")]

CASES = [
    Case("aligned", {"a.en": "a cat\na dog\n", "a.fr": "un chat\nun chien"}, ALIGNED, PAIRS),
    Case(
        "aligned, a blank line on one side",
        {"a.en": "a cat\n\na dog\n", "a.fr": "un chat\nrien\nun chien\n"},
        ALIGNED,
        PAIRS,
        says=["data.parallel.train: 1 pairs without a text on one side are left out"],
    ),
    Case(
        "aligned, one line missing",
        {"a.en": "a cat\na dog\n", "a.fr": "un chat\n"},
        ALIGNED,
        refused="data.parallel.train: 2 texts to read and 1 to write; the files must match line by "
        "line",
    ),
]
