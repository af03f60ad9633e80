"""What is found of a file, of which only its name is given, reads the rows that are in it."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from objectives.data.inspection.discovery import find
from objectives.data.sources.text import read_labelled
from spaces.file.sources import Data
from tests.inputs import columnar

LABELS = ("neg", "pos")
ROWS = [(f"text {n}, {'good' if n % 2 else 'bad'}", LABELS[n % 2]) for n in range(60)]
CSV = "text,label\n" + "".join(f'"{text}",{label}\n' for text, label in ROWS)
WESTERN = [(f"{text} café", label) for text, label in ROWS]
RUSSIAN = [(f"{text} хорошо", label) for text, label in ROWS]
SPOKEN = [(f'"{text}"', label) for text, label in ROWS]


def csv(rows: list[tuple[str, str]], delimiter: str = ",", quote: str = '""') -> str:
    """A table whose texts are in quotes."""
    cells = [('"' + text.replace('"', quote) + '"', label) for text, label in rows]
    return "\n".join(delimiter.join(row) for row in [("text", "label"), *cells]) + "\n"


FILES: dict[str, tuple[str, Any, list[tuple[str, str]], dict[str, Any]]] = {
    "plain": ("a.csv", CSV, ROWS, {}),
    "upper case": ("A.CSV", CSV, ROWS, {}),
    "CRLF": ("a.csv", CSV.replace("\n", "\r\n"), ROWS, {}),
    "CR": ("a.csv", CSV.replace("\n", "\r"), ROWS, {}),
    "spaces around names": ("a.csv", CSV.replace("text,label", "text , label"), ROWS, {}),
    "gz": ("a.csv.gz", gzip.compress(CSV.encode()), ROWS, {}),
    "gz without its ending": ("a.csv", gzip.compress(CSV.encode()), ROWS, {}),
    "zst": ("a.csv.zst", columnar.zst_of(CSV), ROWS, {}),
    "semicolons": ("a.csv", csv(ROWS, ";"), ROWS, {"delimiter": ";"}),
    "tabs": ("a.csv", csv(ROWS, "\t"), ROWS, {"delimiter": "\t"}),
    "backslashes": ("a.csv", csv(SPOKEN, quote='\\"'), SPOKEN, {"quoting": "backslash"}),
    "TSV in quotes": ("a.tsv", csv(SPOKEN, "\t"), SPOKEN, {"quoting": "double"}),
    "comments": ("a.csv", f"# from a crawl, of 2024\n{CSV}", ROWS, {"comment": "#"}),
    "cp1252": ("a.csv", csv(WESTERN).encode("cp1252"), WESTERN, {"encoding": "cp1252"}),
    "cp1251": ("a.csv", csv(RUSSIAN).encode("cp1251"), RUSSIAN, {"encoding": "cp1251"}),
    "UTF-16": ("a.csv", csv(WESTERN).encode("utf-16-le"), WESTERN, {"encoding": "utf-16-le"}),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_as_it_was_found_to_be_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, content, rows, options = FILES[name]
    Path(file).write_bytes(content.encode() if isinstance(content, str) else content)
    data = Data.model_validate({"labelled": find([file], Path("cache")).data["labelled"]})
    assert data.labelled is not None
    assert data.labelled.model_dump(include={*options}) == options
    found = read_labelled(data.labelled, "data.labelled", Path("cache"), ("train",))["train"]
    assert list(zip(found.texts, found.labels, strict=True)) == rows
