"""A small model of each task on real data, for comparisons that take minutes: its search file.

Texts are those of Multi30k, SST-2 and WikiText-2 in a folder ``data``, and the Python standard
library, from which tagged words and documents with summaries are made.

As a script it prints one, for ``compression.py``:

    python benchmarks/small_models.py regression --data ../shared/data > regression.yaml
"""

from __future__ import annotations

import ast
import csv
import gzip
import io
import json
import keyword
import sysconfig
import tokenize
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click
import yaml

from spaces.file.search_file import SearchFile
from spaces.loading import validate

LENGTH = 48
"""Tokens of a text."""
MOST = 6_000
"""Rows that are made of a source at most."""
SCORED = 40_000
"""Characters of running text on which language models are scored."""


def small_search(
    task: str, data: Path, scratch: Path, *, seed: int = 0, **training: Any
) -> SearchFile:
    """The search of a small model of a task.

    Args:
        data: The folder with ``multi30k``, ``sst2`` and ``wikitext2``.
        scratch: Where made data is written.
        training: Further fields of ``training``.
    """
    document = TASKS[task](data, scratch)
    shape: dict[str, Any] = {"depth": 2, "width": 64}
    return validate(
        {
            "name": f"small-{task}",
            "seed": seed,
            "trials": 1,
            "objectives": ["score", "size_mb"],
            **document,
            "training": {
                "batch_size": 16,
                "learning_rate": 3e-3,
                **document["training"],
                **training,
            },
            "space": {
                **{name: {"choices": [value]} for name, value in shape.items()},
                "recovery": {"choices": [0.0, document["space"]["budget"]]},
                "quantisation": {"choices": ["rtn-2"]},
                **document["space"],
                "budget": {"unit": "steps", "choices": [document["space"]["budget"]]},
            },
        }
    )


def _causal_lm(data: Path, scratch: Path) -> dict[str, Any]:
    return {
        "task": {"name": "causal-lm"},
        "data": {
            "unlabelled": _articles(data, scratch),
            "vocabulary_size": 1024,
            "sequence_length": 64,
        },
        "space": {"budget": 400},
        "training": {"weight_decay": 0.3},
    }


def _masked_lm(data: Path, scratch: Path) -> dict[str, Any]:
    return {
        "task": {"name": "masked-lm"},
        "data": {
            "unlabelled": _articles(data, scratch), "vocabulary_size": 1024, "sequence_length": 64,
        },
        "space": {"budget": 500},
        "training": {"weight_decay": 0.3},
    }  # fmt: skip


def _images(_: Path, __: Path) -> dict[str, Any]:
    return {
        "task": {"name": "image-classification", "classes": 10},
        "data": {
            "images": {"source": "digits"}, "image_size": 8, "patch_size": 2, "channels": 1,
        },
        "space": {"budget": 300},
        "training": {"batch_size": 32},
    }  # fmt: skip


def _translation(data: Path, scratch: Path) -> dict[str, Any]:
    sides = [
        _short(data / "multi30k" / f"val.{side}.gz", scratch / f"val.{side}", lines=150)
        for side in ("en", "fr")
    ]
    pair = {
        "source": "aligned_files",
        "train": [str(data / "multi30k" / f"train.{side}.gz") for side in ("en", "fr")],
        "validation": sides,
        "test": [str(data / "multi30k" / f"test_2016_flickr.{side}.gz") for side in ("en", "fr")],
    }
    return {
        "task": {"name": "translation"},
        "data": {
            "parallel": pair, "vocabulary_size": 2048, "sequence_length": 32, "target_length": 32,
        },
        "space": {"depth": {"choices": [1]}, "budget": 500},
        "training": {"batch_size": 32},
    }  # fmt: skip


def _summarisation(_: Path, scratch: Path) -> dict[str, Any]:
    files = {each: scratch / f"functions-{each}.jsonl" for each in ("validation", "train")}
    if not files["train"].exists():
        rows = [f"{json.dumps(row)}\n" for row in islice(_functions(), MOST)]
        files["validation"].write_text("".join(rows[::30]))
        files["train"].write_text("".join(r for n, r in enumerate(rows) if n % 30))
    pair = {"source": "files", "text": "code", "target": "summary"}
    pair |= {split: str(file) for split, file in files.items()}
    return {
        "task": {"name": "summarisation"},
        "data": {
            "parallel": pair, "vocabulary_size": 2048, "sequence_length": 64, "target_length": 16,
        },
        "space": {"depth": {"choices": [1]}, "budget": 400},
        "training": {},
    }  # fmt: skip


def _classification(data: Path, scratch: Path) -> dict[str, Any]:
    labelled = {
        "source": "files", "format": "tsv", "columns": ["text", "label"],
        **{split: str(data / "sst2" / f"{file}.tsv") for split, file in SST2.items()},
    }  # fmt: skip
    return {
        "task": {"name": "classification", "classes": 2},
        **_labelled(data, scratch, {"labelled": labelled}),
    }


def _regression(data: Path, scratch: Path) -> dict[str, Any]:
    file = scratch / "lengths.tsv"
    if not file.exists():
        sides = [_lines(data / "multi30k" / f"train.{side}.gz") for side in ("en", "fr")]
        with file.open("w", newline="") as opened:
            writer = csv.writer(opened, delimiter="\t", quoting=csv.QUOTE_NONE, escapechar="\\")
            for english, french in islice(zip(*sides, strict=True), MOST):
                writer.writerow([english.replace('"', "''").replace("\\", ""), len(french)])
    labelled = {
        "source": "files", "format": "tsv", "columns": ["text", "label"], "train": str(file),
    }  # fmt: skip
    return {"task": {"name": "regression"}, **_labelled(data, scratch, {"labelled": labelled})}


def _token_classification(data: Path, scratch: Path) -> dict[str, Any]:
    file = scratch / "tagged.jsonl"
    if not file.exists():
        rows = islice(_tagged_lines(), MOST)
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    tagged = {"source": "files", "train": str(file), "words": "words", "tags": "kinds"}
    return {
        "task": {"name": "token-classification", "classes": len(KINDS)},
        "objectives": ["macro-f1", "size_mb"],
        **_labelled(data, scratch, {"tagged": tagged}),
    }


SST2 = {"train": "train", "validation": "dev", "test": "test"}
KINDS = (
    "attribute", "call", "constant", "keyword", "name", "number", "operator", "parameter", "text",
)  # fmt: skip
TASKS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "causal-lm": _causal_lm,
    "masked-lm": _masked_lm,
    "image-classification": _images,
    "translation": _translation,
    "summarisation": _summarisation,
    "classification": _classification,
    "regression": _regression,
    "token-classification": _token_classification,
}
"""By task, what its search file has of its own."""


def _articles(data: Path, scratch: Path) -> dict[str, Any]:
    """Running text; what is scored is short, as a score takes as long as dozens of steps."""
    validation = scratch / "articles.txt"
    if not validation.exists():
        validation.write_text((data / "wikitext2" / "test.txt").read_text()[:SCORED])
    return {
        "source": "files",
        "format": "text",
        "heading": "^ = [^=].*[^=] = $",
        "train": str(data / "wikitext2" / "valid.txt"),
        "validation": str(validation),
    }


def _labelled(data: Path, scratch: Path, source: dict[str, Any]) -> dict[str, Any]:
    """What fine-tuned tasks have in common."""
    return {
        "data": {
            "unlabelled": _articles(data, scratch),
            **source,
            "vocabulary_size": 1024,
            "sequence_length": LENGTH,
        },
        "space": {"budget": 300},
        "training": {"batch_size": 32, "fine_tuning": {"epochs": 1, "held_out": 0, "r_drop": 0}},
    }


def _lines(file: Path) -> Iterator[str]:
    with gzip.open(file, "rt") as opened:
        yield from (line.rstrip("\n") for line in opened)


def _short(source: Path, copy: Path, *, lines: int) -> str:
    """The path of a copy of the first lines of a file."""
    if not copy.exists():
        copy.write_text("".join(f"{line}\n" for line in islice(_lines(source), lines)))
    return str(copy)


def _modules() -> Iterator[str]:
    """The source of the modules of the standard library, in the order of their names."""
    for file in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if not {"site-packages", "test", "tests", "idlelib"} & set(file.parts):
            try:
                yield file.read_text()
            except UnicodeDecodeError:
                continue


def _functions() -> Iterator[dict[str, str]]:
    """Functions without their docstring, each with its first line."""
    for source in _modules():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and (docstring := ast.get_docstring(node)):
                summary = docstring.strip().splitlines()[0]
                node.body = node.body[1:]
                if node.body and 2 < len(summary.split()) < 16:
                    yield {"code": ast.unparse(node), "summary": summary}


def _tagged_lines() -> Iterator[dict[str, list[str]]]:
    """The words of lines of code, each with what it is."""
    for number, source in enumerate(_modules()):
        if number % 8:
            continue
        words: list[str] = []
        kinds: list[str] = []
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.NEWLINE and 4 <= len(words) <= 20:
                yield {"words": words, "kinds": _in_context(words, kinds)}
            if token.type in (tokenize.NEWLINE, tokenize.NL):
                words, kinds = [], []
            elif token.string.strip() and token.type != tokenize.COMMENT:
                words.append("".join(token.string.split())[:24])
                kinds.append(_kind(token))


def _kind(token: tokenize.TokenInfo) -> str:
    if token.type == tokenize.NAME:
        return "keyword" if keyword.iskeyword(token.string) else "name"
    kinds = {tokenize.NUMBER: "number", tokenize.OP: "operator"}
    return kinds.get(token.type, "text")


def _in_context(words: list[str], kinds: list[str]) -> list[str]:
    """The kinds of names by what stands beside them."""
    found = []
    for place, (word, kind) in enumerate(zip(words, kinds, strict=True)):
        before = words[place - 1] if place else ""
        after = words[place + 1] if place + 1 < len(words) else ""
        if kind == "name":
            if after == "(":
                kind = "call"
            elif before == ".":
                kind = "attribute"
            elif word.isupper():
                kind = "constant"
            elif words[0] == "def" and before in ("(", ","):
                kind = "parameter"
        found.append(kind)
    return found


@click.command()
@click.argument("task", type=click.Choice(list(TASKS)))
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--scratch", type=click.Path(path_type=Path), default=Path(".tlc/small"))
def main(task: str, data: Path, scratch: Path) -> None:
    scratch.mkdir(parents=True, exist_ok=True)
    search = small_search(task, data.absolute(), scratch.absolute())
    print(yaml.safe_dump(search.to_dict(), sort_keys=False))


if __name__ == "__main__":
    main()
