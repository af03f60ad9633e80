"""JSON: a record a line, lists of records, and cells that are no texts."""

from __future__ import annotations

import json
from typing import Any

from tests.inputs.case import Case
from tests.inputs.delimited import csv

ROWS = [("a cat", "pos"), ("a dog", "neg")]
RECORDS = [{"text": text, "label": label} for text, label in ROWS]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS)


def jsonl(name: str, content: Any, /, *sees: Any, file: str = "train.jsonl", **fields: Any) -> Case:
    """A case of a file of JSON: its text, or the records."""
    if not isinstance(content, str | bytes):
        content = "".join(json.dumps(record) + "\n" for record in content)
    return csv(name, content, *sees, file=file, **fields)


def text(cell: Any) -> list[dict[str, Any]]:
    """Records whose second text is another cell."""
    return [{"text": "a cat", "label": "pos"}, {"text": cell, "label": "neg"}]


def label(cell: Any) -> list[dict[str, Any]]:
    """Records whose second label is another cell."""
    return [{"text": "a cat", "label": "pos"}, {"text": "a dog", "label": cell}]


def needs(key: str, kind: str, needed: str, more: str = "") -> str:
    return f"data.labelled.{key}: line 2 of train.jsonl has {kind}; {needed} is needed{more}"


CASES = [
    jsonl("lines", LINES, *ROWS),
    jsonl("lines, .ndjson", LINES, *ROWS, file="train.ndjson"),
    jsonl("lines, .json", LINES, *ROWS, file="train.json"),
    jsonl("lines with a mark, CRLF and blank ones",
          b"\xef\xbb\xbf" + LINES.replace("\n", "\r\n\r\n").encode(), *ROWS),
    jsonl("a list of records", json.dumps(RECORDS, indent=1), *ROWS, file="train.json"),
    jsonl("the key of a list", json.dumps({"version": 1, "data": RECORDS}), *ROWS,
          file="train.json", records="data"),
    jsonl("a record with a list", json.dumps({"version": 1, "data": RECORDS}), file="train.json",
          refused="data.labelled.train: train.json is one record, with 'data'; if one of its keys "
          "holds the list of rows, give it as data.labelled.records"),
    jsonl("a record of several lines", json.dumps({"data": RECORDS}, indent=1), file="train.json",
          refused="data.labelled.train: line 1 of train.json begins one record of several lines; "
          "allowed are a record a line, a list of records, or the key of one: "
          "data.labelled.records"),
    jsonl("columns, as pandas writes them", '{"text": {"0": "a"}, "label": {"0": "pos"}}',
          file="train.json",
          refused="data.labelled.train: train.json has a record for each column, as pandas writes "
          "it by default; write a record for each row: orient='records'"),
    jsonl("a key that is missing", json.dumps({"data": RECORDS}), file="train.json", records="rows",
          refused="data.labelled.records: no key 'rows' in train.json; it has: data"),
    jsonl("a broken line", LINES + '{"text": "a", \n',
          refused="data.labelled.train: line 3 of train.jsonl is no JSON: Expecting property name "
          "enclosed in double quotes: line 1 column 15 (char 14)"),
    jsonl("a line that is no record", LINES + "[1]\n",
          refused="data.labelled.train: line 3 of train.jsonl has a list; a record is needed"),
    jsonl("a key twice", '{"text": "a", "text": "b", "label": "x"}\n',
          refused="data.labelled.train: line 1 of train.jsonl has the key 'text' twice"),
    jsonl("a date", [{"text": "2020-01-01", "label": "pos"}], ("2020-01-01", "pos")),
    jsonl("a list as text", text(["a", "b"]),
          refused=needs("text", "a list, ['a', 'b']", "a text")),
    jsonl("a record as text", text({"en": "a"}),
          refused=needs("text", "a record, {'en': 'a'}", "a text", ", such as that of text.en")),
    jsonl("a number as text", text(5), refused=needs("text", "a number, 5", "a text")),
    jsonl("a truth value as text", text(True),
          refused=needs("text", "a truth value, True", "a text")),
    jsonl("null as text", text(None),
          refused="data.labelled.text: line 2 of train.jsonl has none; a labelled row has a text, "
          "which may be empty, and a label and a group, which may not (data.labelled.skip_missing "
          "leaves rows out)"),
    jsonl("NaN as label", '{"text": "a", "label": NaN}\n',
          refused="data.labelled.label: line 1 of train.jsonl has none; a labelled row has a text, "
          "which may be empty, and a label and a group, which may not (data.labelled.skip_missing "
          "leaves rows out)"),
    jsonl("a list as label", label(["neg"]),
          refused=needs("label", "a list, ['neg']", "a name or a number")),
    jsonl("half of a pair of surrogates", '{"text": "a", "label": "x"}\n'
          '{"text": "\\ud83d", "label": "y"}\n',
          refused="data.labelled.text: line 2 of train.jsonl has a half of a surrogate pair, which "
          "is no character"),
    jsonl("a path into records", [{"meta": {"body": t}, "label": x} for t, x in ROWS], *ROWS,
          text="meta.body"),
    jsonl("a name with a dot", [{"meta.body": t, "label": x} for t, x in ROWS], *ROWS,
          text="meta.body"),
    jsonl("a path that leads nowhere", [{"meta": {"body": t}, "label": x} for t, x in ROWS],
          text="meta.title",
          refused="data.labelled.text: no 'meta.title' in line 1 of train.jsonl; it has: body"),
    jsonl("names of columns", LINES, columns=["text", "label"],
          refused="data.labelled.columns: is no field of jsonl files, such as train.jsonl"),
]  # fmt: skip
