"""Data of each task: aligned pairs, disjoint splits, and errors that name the wrong field."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from objectives.data.encoding import END, PAD, START, encode_texts, load_tokenizer, train_tokenizer
from objectives.data.errors import DataError
from objectives.data.prepare import prepare
from objectives.data.prepared_data import PreparedData
from objectives.data.sources.sentence_pairs import read_sentence_pairs
from spaces.file.inputs.tables import SPLITS
from spaces.file.search_file import SearchFile
from spaces.file.sources import PairTables
from tests.conftest import TOY_LANGUAGE

MakeTaskSearch = Callable[..., SearchFile]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[SearchFile], PreparedData]:
    """Prepares the data of a search, once for all tests here."""
    folder = tmp_path_factory.mktemp("prepared")
    return lambda search: prepare(search.data, search.task, folder)


def test_aligned_sides_stay_aligned(
    make_task_search: MakeTaskSearch, prepared: Callable[[SearchFile], PreparedData]
) -> None:
    data = prepared(make_task_search("translation"))
    tokenizer = load_tokenizer(data.tokenizer_file)
    for split in ("train", "validation", "test"):
        pairs = data.sentence_pairs(split)
        sources = tokenizer.decode_batch(pairs.sources[:50].tolist())
        for source, target in zip(sources, data.references(split), strict=False):
            assert [TOY_LANGUAGE[word] for word in source.split()] == target.split()
        assert (pairs.targets[:, 0] == START).all()
        last = pairs.targets[np.arange(len(pairs.targets)), pairs.target_lengths - 1]
        assert (last == END).all()
        assert ((pairs.targets == PAD).sum(1) == 20 - pairs.target_lengths).all()


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [(20, 20, (6, 6)), (3, 20, (3, 9)), (20, 3, (9, 3)), (4, 5, (4, 5))],
)
def test_a_long_pair_is_cut_from_its_longer_text(
    first: int, second: int, kept: tuple[int, int]
) -> None:
    tokenizer = train_tokenizer([], 300)
    encoded = encode_texts(tokenizer, ["a" * first], ["b" * second], sequence_length=16)
    found = tokenizer.decode(encoded.tokens[0].tolist(), skip_special_tokens=False)
    expected = f"<s>{'a' * kept[0]}</s></s>{'b' * kept[1]}</s>"
    assert found.removesuffix("<pad>" * 3) == expected


@pytest.mark.parametrize("name", ["pairs", "translation", "image-classification", "image folder"])
def test_equal_examples_are_never_in_two_splits(
    name: str, make_task_search: MakeTaskSearch, prepared: Callable[[SearchFile], PreparedData]
) -> None:
    data = prepared(make_task_search(name))
    arrays = {
        "pairs": lambda split: data.labelled_texts(split).tokens,
        "translation": lambda split: data.sentence_pairs(split).sources,
    }.get(name, lambda split: data.labelled_images(split).pixels)
    examples = [{row.tobytes() for row in arrays(s)} for s in ("train", "validation", "test")]
    assert all(examples)
    assert len(set.union(*examples)) == sum(map(len, examples))


def test_an_example_of_several_splits_is_kept_in_the_last(
    make_task_search: MakeTaskSearch, translations: Path, pictures: Path, tmp_path: Path
) -> None:
    for side in ("source", "target"):
        lines = gzip.decompress((translations / f"train.{side}.gz").read_bytes()).splitlines()
        (tmp_path / f"train.{side}").write_bytes(b"\n".join(lines[:40]))
        (tmp_path / f"test.{side}").write_bytes(b"\n".join(lines[30:50]))
    parallel = {
        split: [str(tmp_path / f"{split}.{side}") for side in ("source", "target")]
        for split in ("train", "test")
    }
    search = make_task_search("translation", data__parallel={"source": "aligned_files", **parallel})
    counts = prepare(search.data, search.task, tmp_path / "data").counts
    assert counts["test pairs"] == 20
    assert counts["train pairs"] + counts["validation pairs"] == 30

    with (tmp_path / "train.source").open("ab") as file:
        file.write(b"\n\n")
    with (tmp_path / "train.target").open("ab") as file:
        file.write(b"\nrien\n")
    first, again = (prepare(search.data, search.task, tmp_path / "data") for _ in range(2))
    said = "data.parallel.train: 1 pairs without a text on one side are left out"
    assert said in first.warnings()
    assert again == first

    for label in ("bright", "dark"):
        (tmp_path / "test" / label).mkdir(parents=True)
        for index in range(10):
            shutil.copy(pictures / label / f"{index}.png", tmp_path / "test" / label)
    images = {"source": "image_folder", "train": str(pictures), "test": str(tmp_path / "test")}
    search = make_task_search("image folder", data__images=images)
    counts = prepare(search.data, search.task, tmp_path / "data").counts
    assert counts["test images"] == 20
    assert counts["train images"] + counts["validation images"] == 100


def test_names_of_files_and_classes_are_not_taken_for_splits(
    make_task_search: MakeTaskSearch, pictures: Path, tmp_path: Path
) -> None:
    # ImageNet names its validation images like this; brackets must not act as a pattern.
    for split, of in (("train", "train"), ("validation", "val")):
        for label, name in (("bright", "train"), ("dark", "test")):
            folder = tmp_path / "[2012]" / split / name
            folder.mkdir(parents=True)
            for index in range(30) if split == "train" else range(30, 40):
                image = folder / f"ILSVRC2012_{of}_{index:08d}.png"
                shutil.copy(pictures / label / f"{index}.png", image)
    images = {
        split: str(tmp_path / "[2012]" / split) for split in ("train", "validation")
    }  # fmt: skip
    search = make_task_search("image folder", data__images={"source": "image_folder", **images})
    data = prepare(search.data, search.task, tmp_path / "data")
    assert data.label_names == ("test", "train")
    assert data.counts["train images"] + data.counts["test images"] == 60
    assert data.counts["validation images"] == 20


def test_a_missing_side_of_a_pair_leaves_it_out(tmp_path: Path) -> None:
    sides = [{"en": "a cat", "fr": None}, {"en": None, "fr": "un chat"}, None, {"en": "", "fr": ""}]
    rows = [{"translation": each} for each in (*sides, {"en": "a cow", "fr": "une vache"})]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    columns = {"text": "translation.en", "target": "translation.fr"}
    source = PairTables(source="files", train=str(file), **columns)
    pairs = read_sentence_pairs(source, tmp_path, ("train",))["train"]
    assert (pairs.sources, pairs.targets) == (["a cow"], ["une vache"])


def test_pairs_are_read_from_tables(make_task_search: MakeTaskSearch, tmp_path: Path) -> None:
    rows = [(f"document {index} of many", f"summary {index}") for index in range(40)]
    nested = [{"pair": {"long": long, "short": short}} for long, short in rows]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in nested))
    lines = ["long,short", *(",".join(row) for row in rows)]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    found = []
    for name, prefix in (("rows.jsonl", "pair."), ("rows.csv", "")):
        columns = {"text": f"{prefix}long", "target": f"{prefix}short"}
        source = {"source": "files", "train": str(tmp_path / name), **columns}
        search = make_task_search("summarisation", data__parallel=source)
        found.append(prepare(search.data, search.task, tmp_path / "data"))
    by_split = [[data.references(split) for split in SPLITS] for data in found]
    assert by_split[0] == by_split[1]
    found_summaries = sorted(text for texts in by_split[0] for text in texts)
    assert found_summaries == sorted(short for _, short in rows)
    search = make_task_search("summarisation", data__parallel={**source, "target": "other"})
    assert (
        f"data.parallel.target: no column 'other' in {tmp_path / 'rows.csv'}; it has: long, short"
        in refused(search, tmp_path / "data")
    )


def refused(search: SearchFile, folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        prepare(search.data, search.task, folder)
    return str(caught.value)


def test_sides_of_different_length_are_refused(
    make_task_search: MakeTaskSearch, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("one\ntwo\n")
    (tmp_path / "b").write_text("un\n")
    sides = [str(tmp_path / side) for side in "ab"]
    search = make_task_search(
        "translation", data__parallel={"source": "aligned_files", "train": sides}
    )
    assert (
        "data.parallel.train: 2 texts to read and 1 to write; the files must match line by line"
        in refused(search, tmp_path / "data")
    )


ROWS = {"source": "files", "train": "rows.jsonl"}
WRONG: dict[str, tuple[str, str, Any, str]] = {
    "no file to write": (
        "translation", "data__parallel__validation", ["missing.en", "missing.fr"],
        "data.parallel.validation: no such file: missing.en",
    ),
    "gzipped, and cut": (
        "translation", "data__parallel__train", ["plain.gz", "blank"],
        "data.parallel.train: plain.gz cannot be read: Compressed file ended before",
    ),
    "no sentences": (
        "translation", "data__parallel__train", ["blank", "void"],
        "data.parallel.train: blank is empty",
    ),
    "no field of a record": (
        "summarisation", "data__parallel", {**ROWS, "text": "pair.de", "target": "short"},
        "data.parallel.text: no 'pair.de' in line 1 of rows.jsonl; it has: en",
    ),
    "no record": (
        "summarisation", "data__parallel", {**ROWS, "text": "pair.en", "target": "short.en"},
        "data.parallel.target: no 'short.en' in line 1 of rows.jsonl; it has: 'c'",
    ),
    "a list of texts": (
        "summarisation", "data__parallel", {**ROWS, "text": "long", "target": "short"},
        "data.parallel.text: line 1 of rows.jsonl has a list, ['a', 'b']; a text is needed",
    ),
    "no folder": (
        "image folder", "data__images__validation", "missing",
        "data.images.validation: no such folder: missing",
    ),
    "a folder without images": (
        "image folder", "data__images__train", "empty", "data.images.train: empty holds no images",
    ),
    "other classes": ("image folder", "task__classes", 3, "task.classes: 3, but the data has 2"),
    "no second text": (
        "pairs", "data__labelled__text_pair", "hypo",
        "data.labelled.text_pair: no column 'hypo' in",
    ),
    "too little text": (
        "causal-lm", "data__unlabelled__test", "short.txt", "data.unlabelled.test: only",
    ),
    "text for one sequence": (
        "masked-lm", "data__unlabelled__validation", "sequence.txt",
        "tokens; give more than 32, for 2 sequences of 16",
    ),
    "no text": (
        "masked-lm", "data__unlabelled__train", "missing.txt",
        "data.unlabelled.train: no such file: missing.txt",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_data_is_refused_with_the_field_named(
    name: str, make_task_search: MakeTaskSearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plain.gz").write_bytes(gzip.compress(b"plain\n")[:-4])
    Path("blank").write_text("\n\n")
    Path("void").write_text("\n\n")
    Path("rows.jsonl").write_text('{"pair": {"en": "a cat"}, "long": ["a", "b"], "short": "c"}\n')
    Path("short.txt").write_text("the cat\n")
    Path("sequence.txt").write_text("the cat sees a dog near " * 4 + "\n")
    Path("empty").mkdir()
    task, field, value, message = WRONG[name]
    assert message in refused(make_task_search(task, **{field: value}), tmp_path / "data")


def test_both_texts_of_a_pair_are_in_an_example_and_the_longer_one_is_cut(
    make_task_search: MakeTaskSearch, tmp_path: Path
) -> None:
    long, short = "the old cat sees a small dog near the axe with the drill", "a hen"
    rows = [f"{long} {i}\t{short}\t{i % 2}" for i in range(50)]
    path = tmp_path / "pairs.tsv"
    path.write_text("premise\thypothesis\tlabel\n" + "\n".join(rows))
    search = make_task_search("pairs", data__labelled__train=str(path))
    examples = prepare(search.data, search.task, tmp_path / "data").labelled_texts("train")
    for tokens, length in zip(examples.tokens, examples.lengths, strict=True):
        inside = tokens[:length].tolist()
        assert length == search.data.sequence_length
        assert inside[0] == START
        assert inside.count(END) == 3
        first, second = inside.index(END), length - 1
        assert inside[first + 1] == inside[second] == END
        assert 0 < second - first - 2 < first - 1
