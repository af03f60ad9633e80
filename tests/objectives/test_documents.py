"""Running text: its documents, the newlines in them, and what is held out."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import enumerate as enumerate_threads
from typing import Any

import numpy as np
import pytest

from objectives.data import encoding
from objectives.data import prepare as preparation
from objectives.data.defaults import texts_of
from objectives.data.encoding import (
    END,
    document_parts,
    load_tokenizer,
    token_stream,
    train_tokenizer,
)
from objectives.data.errors import DataError
from objectives.data.files import opening, stored_texts
from objectives.data.prepare import prepare
from objectives.data.sources import reading
from objectives.data.sources.documents import read_documents
from spaces.file.search_file import SearchFile
from spaces.file.sources import Files

HEADING = r"^ = [^=].*[^=] = $"
ARTICLES = [
    f" = Title {n} = \n \n The {n}th text , with words . \n \n = = A section = = \n \n Its end . \n"
    for n in range(40)
]


def numbered(folder: Path, lines: int = 4000) -> Path:
    """A file of numbered lines, some of them blank."""
    path = folder / "text.txt"
    path.write_text("".join(f"line {n}\n" * (n % 7 > 0) or "\n" for n in range(lines)))
    return path


def read(path: Path, **fields: Any) -> dict[str, list[str]]:
    source = Files(source="files", train=str(path), **fields)
    splits = read_documents(source, "data", path.parent / "cache")
    return {split: each.texts for split, each in splits.items()}


def test_a_text_file_is_one_document_with_its_newlines(
    make_task_search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    text = "def f(x):\n    if x:\n\n        return 1\n" * 200
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.txt").write_text(f"# {name}\n{text}")
    files = {name: str(tmp_path / f"{name}.txt") for name in ("train", "validation", "test")}
    search = make_task_search("causal-lm", data__unlabelled={"source": "files", **files})
    data = prepare(search.data, search.task, tmp_path / "data")
    stream = data.token_stream("validation")
    assert np.flatnonzero(stream == END).tolist() == [len(stream) - 1]
    tokenizer = load_tokenizer(data.tokenizer_file)
    assert tokenizer.decode(stream[:-1].tolist()) == f"# validation\n{text}"


def test_contiguous_blocks_of_one_document_are_held_out(tmp_path: Path) -> None:
    path = numbered(tmp_path, 30_000)
    splits = read(path)
    lines = path.read_text().splitlines(keepends=True)
    number = {line: n for n, line in enumerate(lines) if line != "\n"}
    whole = sum(map(len, lines))
    for split in ("validation", "test"):
        assert sum(map(len, splits[split])) == pytest.approx(0.1 * whole, rel=0.05)
        assert 1 <= len(splits[split]) <= 20
    pieces = [piece for texts in splits.values() for piece in texts]
    first = {number[next(x for x in p.splitlines(keepends=True) if x != "\n")]: p for p in pieces}
    assert "".join(first[start] for start in sorted(first)) == path.read_text()


def test_a_short_document_gives_every_split_a_block(tmp_path: Path) -> None:
    splits = read(numbered(tmp_path, 100))
    assert [len(splits[split]) for split in ("train", "validation", "test")] == [2, 1, 1]


@pytest.mark.parametrize(
    ("fields", "content", "expected"),
    [
        ({"heading": HEADING}, "".join(ARTICLES), ARTICLES),
        ({"separator": "<|endoftext|>"}, "\n<|endoftext|>\n".join(ARTICLES), None),
        ({"document": "paragraph"}, "\n \n\n".join(f"One {n}.\nTwo." for n in range(40)), None),
        ({"document": "line"}, "\n".join(f"line {n}" for n in range(40)), None),
        ({"document": "row"}, "\n\n".join(f"line {n}" for n in range(40)), None),
    ],
    ids=["heading", "separator", "paragraph", "line", "row"],
)
def test_whole_documents_are_held_out(
    fields: dict[str, str], content: str, expected: list[str] | None, tmp_path: Path
) -> None:
    path = tmp_path / "text.txt"
    path.write_text(content)
    splits = read(path, **fields)
    together = [text for texts in splits.values() for text in texts]
    assert len(together) == len(set(together)) == 40
    if expected is not None:
        assert sorted(together) == sorted(expected)
    assert all(len(splits[split]) >= 2 for split in splits)
    assert splits == read(path, **fields)


def test_rows_of_a_table_are_documents_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    lines = [line for article in ARTICLES for line in article.splitlines()]
    path.write_text("text\n" + "".join(f'"{line}"\n' for line in lines))
    rows = [text for texts in read(path).values() for text in texts]
    assert sorted(rows) == sorted(line for line in lines if line.strip())
    articles = read(path, heading=HEADING)
    found = [text.strip() for texts in articles.values() for text in texts]
    assert sorted(found) == sorted(article.strip() for article in ARTICLES)


def test_a_long_document_has_the_same_tokens_in_parts_as_whole() -> None:
    rng = random.Random(0)
    gaps = ["\n", "\n\n", "\n    ", " ", "  ", "\t", "\n \n"]
    text = "".join(rng.choice(["cat", "hen", ",", "x1"]) + rng.choice(gaps) for _ in range(60_000))
    tokenizer = train_tokenizer([text[:20_000]], 400)
    whole = tokenizer.encode(text, add_special_tokens=False).ids
    assert token_stream(tokenizer, [text, "a cat"])[: len(whole) + 1].tolist() == [*whole, END]


def test_a_line_without_a_space_is_no_word() -> None:
    rng = random.Random(0)
    line = "".join(rng.choice("abcdefghij") for _ in range(300_000))
    # As one word, this takes minutes.
    tokenizer = train_tokenizer([line], 500)
    tokens = token_stream(tokenizer, [line])[:-1]
    assert len(tokens) < 0.6 * len(line)
    assert tokenizer.decode(tokens.tolist()) == line
    # Long lines are divided before a space.
    assert "".join(document_parts(["a word " * 400_000])) == "a word " * 400_000


def test_a_signal_is_handled_while_a_vocabulary_is_trained() -> None:
    rng = random.Random(0)

    def texts() -> Iterator[str]:
        yield " ".join("".join(rng.choices("abcdefghij", k=8)) for _ in range(50_000))
        os.kill(os.getpid(), signal.SIGINT)

    # A shell starts what runs in the background with this signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train_tokenizer(texts(), 3000)
    finally:
        signal.signal(signal.SIGINT, before)
    (training,) = (thread for thread in enumerate_threads() if thread.name == "tokenizers")
    training.join()


@pytest.mark.parametrize(
    "fields",
    [{}, {"heading": HEADING}, {"separator": "text ,"}, {"document": "paragraph"}],
    ids=["file", "heading", "separator", "paragraph"],
)
def test_what_is_prepared_in_small_steps_is_the_same(
    fields: dict[str, str],
    make_task_search: Callable[..., SearchFile],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("".join(ARTICLES).replace("text", "tëxt → 𝔘").replace("\n", "\r\n").encode())
    source = {"source": "files", "train": str(path), **fields}
    search = make_task_search("causal-lm", data__unlabelled=source)
    whole = prepare(search.data, search.task, tmp_path / "whole")
    monkeypatch.setattr(opening, "CHUNK_BYTES", 601)
    monkeypatch.setattr(stored_texts, "BLOCK_BYTES", 101)
    monkeypatch.setattr(encoding, "CHARACTERS_AT_A_TIME", 97)
    steps = prepare(search.data, search.task, tmp_path / "steps")
    assert steps.fingerprint == whole.fingerprint


def test_a_vocabulary_is_made_of_a_sample_of_a_large_text(
    make_task_search: Callable[..., SearchFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = numbered(tmp_path, 30_000)
    search = make_task_search("causal-lm", data__unlabelled={"source": "files", "train": str(path)})
    texts = texts_of(search.data, search.task, tmp_path)
    assert list(texts.sample()) == list(texts.running["train"].texts)
    whole = prepare(search.data, search.task, tmp_path / "data")
    for module in (reading, preparation):
        monkeypatch.setattr(module, "SAMPLE_CHARACTERS", 100_000)
    # Parts of about 16,000 characters.
    assert 50_000 < sum(map(len, texts.sample())) < 120_000
    sampled = prepare(search.data, search.task, tmp_path / "data")
    assert sampled.folder != whole.folder


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"\xff\xfe\xfd", r"^data.encoding: line 1 of .*a.txt is not UTF-16"),
        ("a.txt.gz", b"\x1f\x8bplain", r"^data.train: .*a.txt.gz cannot be read"),
        ("a.txt", b" \n\n", r"^data.train: .*a.txt is empty"),
    ],
)
def test_a_file_that_is_no_text_is_refused(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / name)
