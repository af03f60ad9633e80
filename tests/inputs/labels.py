"""Labels: spellings of one class, numbers of classes, numbers to predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.inputs.case import Case
from tests.inputs.delimited import csv
from tests.inputs.records import jsonl


def of(labels: Sequence[str]) -> str:
    """A CSV file whose texts are numbered."""
    return "text,label\n" + "".join(f"text {n},{label}\n" for n, label in enumerate(labels))


def read(name: str, labels: Sequence[str], classes: Sequence[str], *says: str) -> Case:
    """A case in which labels are read as some classes."""
    return csv(
        name, of(labels), *((f"text {n}", each) for n, each in enumerate(classes)), says=says
    )


def numbers(name: str, cells: Sequence[str], /, *sees: str, **fields: Any) -> Case:
    """A case of numbers to predict."""
    rows = [(f"text {n}", each) for n, each in enumerate(sees)]
    quoted = [f'"{cell}"' for cell in cells]
    return csv(name, of(quoted), *rows, are_numbers=True, **fields)


NO_NUMBER = "data.labelled.label: line 2 of train.csv has {}; allowed is a finite number{}"

CASES = [
    read("spaces", ["pos", "pos ", " neg", "neg"], ["pos", "pos", "neg", "neg"]),
    read("no-break spaces", ["pos", "pos\xa0", "neg"], ["pos", "pos", "neg"]),
    read("true in any case", ["True", "TRUE", "true", "True", "FALSE"],
         ["True", "True", "True", "True", "FALSE"],
         "data.labelled.label: 'TRUE', 'True', 'true' are one class, 'True'"),
    read("1 and 1.0", ["1", "1.0", "0", "0.0", "1"], ["1", "1", "0", "0", "1"],
         "data.labelled.label: '1', '1.0' are one class, '1'",
         "data.labelled.label: '0', '0.0' are one class, '0'"),
    read("1.0 alone", ["1.0", "0.0"], ["1.0", "0.0"]),
    read("leading zeros", ["007", "7"], ["007", "7"]),
    read("composed and decomposed accents", ["caf\u00e9", "cafe\u0301", "tea"],
         ["caf\u00e9", "caf\u00e9", "tea"],
         "data.labelled.label: 'cafe\\u0301', 'caf\\xe9' are one class, 'café'"),
    read("an invisible character", ["pos", "\u200bpos", "neg"], ["pos", "pos", "neg"],
         "data.labelled.label: 'pos', '\\u200bpos' are one class, 'pos'"),
    csv("cases", of(["Pos", "pos", "pos", "neg"]),
        refused="data.labelled.label: 'Pos' (1 rows) and 'pos' (2 rows) differ only in case; write "
        "them alike"),
    csv("numbers to predict", of([f"{n / 7:.3f}" for n in range(30)]),
        refused="data.labelled.label: 30 rows have 30 different numbers, '0.000', '0.143', "
        "'0.286', '0.429', …, which look like a number to predict: task: {name: regression}"),
    csv("whole numbers to predict", of([str(n * n) for n in range(30)]),
        refused="data.labelled.label: 30 rows have 30 different numbers, '0', '1', '100', '121', "
        "…, which look like a number to predict: task: {name: regression}"),
    csv("texts as labels", of([f"title {n}" for n in range(30)]),
        refused="data.labelled.label: 30 rows have 30 different labels, 'title 0', 'title 1', "
        "'title 10', 'title 11', …; name the column of the classes"),
    read("stars", ["0.5", "4.5", "5.0"] * 10, ["0.5", "4.5", "5.0"] * 10),
    jsonl("labels of several types", [{"text": "a", "label": 1}, {"text": "b", "label": "1"},
          {"text": "c", "label": 1.0}, {"text": "d", "label": True}],
          ("a", "1"), ("b", "1"), ("c", "1"), ("d", "True")),
    numbers("numbers", ["1.5", " -2 ", "1e3"], "1.5", "-2", "1e3"),
    numbers("a decimal comma", ["1,5", "2"], refused=NO_NUMBER.format("'1,5'",
            "; give data.labelled.decimal: ',' if the comma stands before the fraction, or "
            "data.labelled.thousands: ','")),
    numbers("a decimal comma, named", ["1,5", "-2"], "1.5", "-2", decimal=","),
    numbers("thousands", ["1,234.5"], refused=NO_NUMBER.format("'1,234.5'",
            "; give data.labelled.thousands, and data.labelled.decimal")),
    numbers("thousands, named", ["1,234.5", "12"], "1234.5", "12", thousands=","),
    numbers("German thousands", ["1.234,5", "1,5"], "1234.5", "1.5", decimal=",", thousands="."),
    numbers("a point where a comma is named", ["1.5"], decimal=",",
            refused=NO_NUMBER.format("'1.5'", "")),
    numbers("one sign for both", ["1"], decimal=",", thousands=",",
            refused="data.labelled.thousands: ',' is the decimal point too"),
    numbers("a unit", ["5 kg"], refused=NO_NUMBER.format("'5 kg'", "")),
    numbers("infinity", ["inf"], refused=NO_NUMBER.format("'inf'", "")),
    numbers("no number", ["nan"], refused=NO_NUMBER.format("'nan'", "")),
]  # fmt: skip
