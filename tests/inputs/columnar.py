"""Parquet and Arrow files, folders of ``save_to_disk``, several files, and compressed ones."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path
from typing import Any

from tests.inputs.case import Case, Content, labelled
from tests.inputs.delimited import CSV, ROWS

NUMBERED = {"text": ["a cat", "a dog"], "label": [1, 0]}
NAMED = [("a cat", "pos"), ("a dog", "neg")]


def parquet(columns: dict[str, list[Any]]) -> Content:
    """A parquet file as pyarrow writes it."""

    def write(path: Path) -> None:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table(columns), path)

    return write


def not_public(path: Path) -> None:
    dataset().add_item({"text": "c", "label": -1}).to_parquet(path)


def twice(path: Path) -> None:
    """A parquet file with two columns of one name."""
    import pyarrow
    from pyarrow import parquet

    cells = [["a"], ["b"], ["x"]]
    parquet.write_table(pyarrow.Table.from_arrays(cells, ["text", "text", "label"]), path)


def dataset() -> Any:
    """A data set whose labels have names."""
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
    )
    return datasets.Dataset.from_dict(NUMBERED, features=features)


def tagged(path: Path) -> None:
    """A parquet file of sentences whose tags have names."""
    import datasets

    tag = datasets.ClassLabel(names=["O", "B-LOC"])
    features = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "ner_tags": datasets.List(tag),
        }
    )
    rows = {"tokens": [["to", "Rome"], ["no"]], "ner_tags": [[0, 1], [0]]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)


def damaged(path: Path) -> None:
    """A parquet file that is opened, and whose cells cannot be read."""
    parquet({"text": ["a", "b"], "label": ["x", "y"]})(path)
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 8 + content[12:])


def feather(path: Path) -> None:
    import pyarrow
    from pyarrow import feather

    feather.write_feather(pyarrow.table({"text": ["a cat", "a dog"], "label": ["x", "y"]}), path)


def zst_of(text: str) -> bytes:
    """A text, compressed."""
    import pyarrow

    packed = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(text.encode())
    content: bytes = packed.getvalue().to_pybytes()
    return content


def splits(path: Path) -> None:
    """A folder of ``save_to_disk`` with two splits."""
    import datasets

    datasets.DatasetDict({"train": dataset(), "test": dataset()}).save_to_disk(path)


def save(path: Path) -> None:
    dataset().save_to_disk(path)


def shards(*, ending: str = "csv") -> dict[str, Content]:
    return {f"train-{n}.{ending}": f"text,label\ntext {n},{'pn'[n % 2]}\n" for n in range(3)}


CASES = [
    Case("parquet", {"a.parquet": parquet({"text": ["a", "b"], "label": ["x", "y"]})},
         labelled("a.parquet"), [("a", "x"), ("b", "y")]),
    Case("parquet with names of classes", {"a.parquet": lambda path: dataset().to_parquet(path)},
         labelled("a.parquet"), NAMED),
    Case("parquet with a label that is not public",
         {"a.parquet": not_public},
         labelled("a.parquet"),
         refused="data.labelled.label: row 3 of a.parquet has none; a labelled row has a text, "
         "which may be empty, and a label and a group, which may not (data.labelled.skip_missing "
         "leaves rows out)"),
    Case("parquet with tags", {"a.parquet": tagged},
         {"tagged": {"source": "files", "train": "a.parquet"}},
         [(["to", "Rome"], ["O", "B-LOC"]), (["no"], ["O"])]),
    Case("parquet with bytes", {"a.parquet": parquet({"text": [b"a", b"b"], "label": ["x", "y"]})},
         labelled("a.parquet"),
         refused="data.labelled.text: row 1 of a.parquet has bytes, b'a'; a text is needed"),
    Case("parquet with lists",
         {"a.parquet": parquet({"text": [["a", "b"]], "label": ["x"]})},
         labelled("a.parquet"),
         refused="data.labelled.text: row 1 of a.parquet has a list, ['a', 'b']; a text is needed"),
    Case("parquet with records",
         {"a.parquet": parquet({"meta": [{"body": "a"}, {"body": "b"}], "label": ["x", "y"]})},
         labelled("a.parquet", text="meta.body"), [("a", "x"), ("b", "y")]),
    Case("parquet with a name with a dot",
         {"a.parquet": parquet({"meta.body": ["a", "b"], "label": ["x", "y"]})},
         labelled("a.parquet", text="meta.body"), [("a", "x"), ("b", "y")]),
    Case("parquet with truth values and numbers",
         {"a.parquet": parquet({"text": ["a", "b"], "label": [True, False], "g": [1.0, None]})},
         labelled("a.parquet"), [("a", "True"), ("b", "False")]),
    Case("parquet with a column twice", {"a.parquet": twice}, labelled("a.parquet"),
         refused="data.labelled.text: a.parquet has 2 columns 'text'; give each its own name"),
    Case("parquet without rows", {"a.parquet": parquet({"text": [], "label": []})},
         labelled("a.parquet"), refused="data.labelled.train: a.parquet holds no rows"),
    Case("parquet that is damaged", {"a.parquet": damaged}, labelled("a.parquet"),
         refused="data.labelled.train: a.parquet cannot be read: Couldn't deserialize thrift: "
         "don't know what type: \x0f"),
    Case("text that is named parquet", {"a.parquet": CSV}, labelled("a.parquet"),
         refused="data.labelled.train: a.parquet cannot be read: Parquet magic bytes not found in "
         "footer. Either the file is corrupted or this is not a parquet file."),
    Case("an encoding of parquet", {"a.parquet": parquet({"text": ["a"], "label": ["x"]})},
         labelled("a.parquet", encoding="cp1252"),
         refused="data.labelled.encoding: is no field of parquet files, such as a.parquet"),
    Case("parquet that is named CSV", {"a.csv": parquet({"text": ["a"], "label": ["x"]})},
         labelled("a.csv"),
         refused="data.labelled.train: a.csv is a parquet file; a text is needed"),
    Case("feather", {"a.feather": feather}, labelled("a.feather"),
         [("a cat", "x"), ("a dog", "y")]),
    Case("save_to_disk", {"saved": save}, labelled("saved"), NAMED),
    Case("an arrow file of save_to_disk", {"saved": save},
         labelled("saved/data-00000-of-00001.arrow"), NAMED),
    Case("save_to_disk with splits", {"saved": splits}, labelled("saved"),
         refused="data.labelled.train: saved holds the splits train, test; name one: saved/train"),
    Case("a split of save_to_disk", {"saved": splits}, labelled("saved/train"), NAMED),
    Case("several files", shards(), labelled("train-*.csv"),
         [(f"text {n}", "pn"[n % 2]) for n in range(3)]),
    Case("several files, one of them wrong", {**shards(), "train-3.csv": "text,label\na,p,x\n"},
         labelled("train-*.csv"),
         refused="data.labelled.train: line 2 of train-3.csv has 3 fields, 'a', 'p', 'x', and "
         "there are 2 names, 'text', 'label'; a field that holds ',' needs double quotes"),
    Case("several files, a label missing in one", {**shards(), "train-3.csv": "text,label\na,\n"},
         labelled("train-*.csv"),
         refused="data.labelled.label: line 2 of train-3.csv has none; a labelled row has a text, "
         "which may be empty, and a label and a group, which may not (data.labelled.skip_missing "
         "leaves rows out)"),
    Case("several files, one without a column", {**shards(), "train-3.csv": "text,x\na,b\n"},
         labelled("train-*.csv"),
         refused="data.labelled.label: no column 'label' in train-3.csv; it has: text, x; if its "
         "first line holds no names, give them as data.labelled.columns"),
    Case("a folder of folders", {"folder/a/b.tsv": CSV}, labelled("folder"),
         refused="data.labelled.train: folder is a folder; name its files with a pattern: "
         "folder/*/*.tsv"),
    Case("parquet with whole numbers as floats",
         {"a.parquet": parquet({"text": ["a", "b"], "label": [1.0, 0.0]})},
         labelled("a.parquet"), [("a", "1"), ("b", "0")]),
    Case("a file whose name is a pattern", {"train[1].csv": CSV}, labelled("train[1].csv"), ROWS),
    Case("a folder", {"folder/a.csv": CSV, "folder/b.csv": CSV}, labelled("folder"),
         refused="data.labelled.train: folder is a folder; name its files with a pattern: "
         "folder/*.csv"),
    Case("gz", {"a.csv.gz": gzip.compress(CSV.encode())}, labelled("a.csv.gz"), ROWS),
    Case("gz, upper case", {"A.CSV.GZ": gzip.compress(CSV.encode())}, labelled("A.CSV.GZ"), ROWS),
    Case("gz without its ending", {"a.csv": gzip.compress(CSV.encode())}, labelled("a.csv"), ROWS),
    Case("plain, named gz", {"a.csv.gz": CSV}, labelled("a.csv.gz"), ROWS),
    Case("gz, truncated", {"a.csv.gz": gzip.compress(CSV.encode() * 99)[:40]}, labelled("a.csv.gz"),
         refused="data.labelled.train: a.csv.gz cannot be read: Compressed file ended before the "
         "end-of-stream marker was reached"),
    Case("zst", {"a.csv.zst": zst_of(CSV)}, labelled("a.csv.zst"), ROWS),
    Case("bz2", {"a.csv.bz2": bz2.compress(CSV.encode())}, labelled("a.csv.bz2"), ROWS),
    Case("xz", {"a.csv.xz": lzma.compress(CSV.encode())}, labelled("a.csv.xz"), ROWS),
    Case("zip", {"a.csv.zip": b"PK\x03\x04"}, labelled("a.csv.zip", format="csv"),
         refused="data.labelled.train: a.csv.zip is a ZIP archive, or a file of Excel or Word; a "
         "text is needed"),
]  # fmt: skip
