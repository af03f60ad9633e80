"""Prepared data: disjoint splits, errors that name the field, and the order of batches."""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from objectives.data.batches import (
    BucketedBatches,
    CausalBatches,
    LabelledImageBatches,
    MaskedBatches,
    labelled_text_batch,
    sentence_pair_batch,
)
from objectives.data.encoding import END, MASK, START
from objectives.data.errors import DataError
from objectives.data.prepare import find_prepared, prepare
from objectives.data.prepared_data import (
    LabelledImages,
    LabelledTexts,
    PreparedData,
    SentencePairs,
    find_prepared_data,
    open_prepared_data,
)
from objectives.data.row_order import BucketedRows
from objectives.data.sources import standard_library
from objectives.data.sources.documents import read_documents
from objectives.data.sources.text import read_labelled
from spaces.file.inputs.tables import LOCAL_READERS
from spaces.file.search_file import SearchFile
from spaces.file.sources import Files, HubText
from tests.disks import fill, small_disk
from tests.objectives.hub import local_hub


def prepared(search: SearchFile, folder: Path) -> Any:
    return prepare(search.data, search.task, folder)


def test_preparing_twice_gives_the_same_data(
    make_search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    search = make_search()
    first, again = prepared(search, tmp_path / "a"), prepared(search, tmp_path / "a")
    elsewhere = prepared(search, tmp_path / "b")
    assert first == again
    assert first.fingerprint == elsewhere.fingerprint
    assert first.label_names == ("animal", "tool")
    assert first.counts["labelled test examples"] == 100


def test_damaged_prepared_data_is_prepared_again(
    make_search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    search = make_search()
    first = prepared(search, tmp_path)
    manifest = first.folder / "manifest.json"
    good = manifest.read_text()
    for damage in (b"", b"{}", b"[]", b"\0" * 200, good[:-40].encode(), b'{"sizes": 3}'):
        manifest.write_bytes(damage)
        assert open_prepared_data(first.folder) is None
        assert find_prepared_data(tmp_path, first.fingerprint) is None
        assert prepared(search, tmp_path) == first
        assert manifest.read_text() == good
    array = first.folder / "tokens-train.npy"
    array.write_bytes(array.read_bytes()[:-1])
    assert prepared(search, tmp_path) == first
    array.unlink()
    left_by_a_killed_process = tmp_path / "staging" / socket.gethostname() / "left" / "entry"
    left_by_a_killed_process.mkdir(parents=True)
    assert prepared(search, tmp_path) == first
    assert not left_by_a_killed_process.exists()
    assert open_prepared_data(first.folder) == first


def test_a_full_disk_is_a_data_error_and_no_unfinished_folder_is_left(
    make_search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    search = make_search()
    with small_disk(tmp_path / "disk", size_bytes=1 << 20) as disk:
        for free in (10, 20, 50, 100):
            ballast = fill(disk, leave=free << 10)
            with pytest.raises(DataError, match=r"No space left on device|free disk space"):
                prepared(search, disk / "data")
            ballast.unlink()
            assert find_prepared_data(disk / "data", "") is None
            assert list((disk / "data" / "staging").glob("*/*")) == []
        assert prepared(search, disk / "data").counts["labelled test examples"] == 100


def test_changed_data_has_another_fingerprint(
    make_search: Callable[..., SearchFile], corpus: Path, tmp_path: Path
) -> None:
    search = make_search()
    changed = tmp_path / "train.tsv"
    changed.write_text((corpus / "train.tsv").read_text() + "a new cat\tanimal\n")
    other = make_search(data__labelled__train=str(changed))
    assert prepared(search, tmp_path).fingerprint != prepared(other, tmp_path).fingerprint


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_gives_the_same_rows(ending: str, tmp_path: Path) -> None:
    import pandas as pd

    rows = [{"text": f'a "quoted" sentence {i}', "label": ["no", "yes"][i % 2]} for i in range(40)]
    path = tmp_path / f"rows.{ending}"
    frame = pd.DataFrame(rows)
    if ending == "csv":
        frame.to_csv(path, index=False)
    elif ending == "tsv":
        path.write_text("text\tlabel\n" + "".join(f"{r['text']}\t{r['label']}\n" for r in rows))
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        frame.to_parquet(path)
    splits = read_labelled(Files(source="files", train=str(path)), "data", tmp_path)
    together = sorted(text for split in splits.values() for text in split.texts)
    assert together == sorted(row["text"] for row in rows)
    assert all(splits[name].texts for name in ("train", "validation", "test"))


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_words_that_pandas_reads_as_null_stay_words(ending: str, tmp_path: Path) -> None:
    rows = [("n/a", "None"), ("null", "NA"), ("None", "None"), ("007", "NA"), ("", "None")]
    comma = {"csv": ",", "tsv": "\t"}[ending]
    lines = [comma.join(row) for row in (("text", "label"), *rows)]
    (tmp_path / f"rows.{ending}").write_text("\n".join(lines) + "\n")
    source = Files(source="files", train=str(tmp_path / f"rows.{ending}"))
    train = read_labelled(source, "data", tmp_path, splits=("train",))["train"]
    assert list(zip(train.texts, train.labels, strict=True)) == rows


def test_a_missing_cell_of_running_text_is_no_document(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a cat"}\n{"text": null}\n{"text": "a dog"}\n')
    source = Files(source="files", train=str(tmp_path / "rows.jsonl"))
    splits = read_documents(source, "data", tmp_path, splits=("train",))
    assert splits["train"].texts == ["a cat", "a dog"]


@pytest.mark.parametrize(
    ("name", "rows", "field"),
    [
        ("a.jsonl", '{"text": "x", "label": 0}\n{"text": null, "label": 1}\n', "text"),
        ("a.jsonl", '{"text": "x", "label": 0}\n{"text": "y", "label": null}\n', "label"),
        ("a.jsonl", '{"text": "x", "label": 0.5}\n{"text": "y"}\n', "label"),
        ("a.csv", "text,label\nx,0\ny,\n", "label"),
        ("a.csv", "text,label\nx,no\ny, \n", "label"),
    ],
)
def test_a_labelled_row_without_a_text_or_a_label_is_refused(
    name: str, rows: str, field: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(rows)
    source = Files(source="files", train=str(tmp_path / name))
    line = 2 if name == "a.jsonl" else 3
    with pytest.raises(DataError, match=rf"^data\.{field}: line {line} of .*{name} has none"):
        read_labelled(source, "data", tmp_path, splits=("train",))


def test_a_name_of_the_hub_never_reads_a_folder_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    Path("secrets").mkdir()
    for name in ("secrets/train.txt", "train.txt"):
        Path(name).write_text("a secret\n" * 20)
    with pytest.raises(DataError, match="Couldn't reach 'secrets' on the Hub"):
        read_documents(HubText(source="hub", dataset="secrets"), "data", tmp_path / "c")
    assert set(_PACKAGED_DATASETS_MODULES) <= LOCAL_READERS
    for name in LOCAL_READERS:
        with pytest.raises(DataError, match=f"data.dataset: '{name}' reads files of this machine"):
            read_documents(HubText(source="hub", dataset=name), "data", tmp_path / "c")


READ_FROM_THE_HUB = """
import sys
from pathlib import Path
from objectives.data.sources.text import read_labelled
from objectives.data.errors import DataError
from spaces.file.sources import HubText

try:
    source = HubText(source="hub", dataset="tlc/words", test="test")
    rows = read_labelled(source, "data", Path(sys.argv[1]))
    print({split: list(zip(each.texts, each.labels)) for split, each in rows.items()})
except DataError as error:
    print(error)
"""


def read_from_hub(card: str, folder: Path) -> str:
    """Read a data set with this card in a process that connects to a local Hub; its output."""
    rows = "text,label\n" + "".join(f"word {index},{index % 2}\n" for index in range(20))
    files = {"README.md": card, "train.csv": rows, "test.csv": "text,label\nother,1\nthe last,0\n"}
    with local_hub("tlc/words", files) as address:
        hub = {"HF_ENDPOINT": address, "HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", READ_FROM_THE_HUB, str(folder / "cache")],
            env={**os.environ, **hub}, capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
    return done.stdout


def test_a_data_set_of_the_hub_is_read(tmp_path: Path) -> None:
    names = {"class_label": {"names": {"0": "no", "1": "yes"}}}
    features = [{"name": "text", "dtype": "string"}, {"name": "label", "dtype": names}]
    card = f"---\ndataset_info: {json.dumps({'features': features})}\n---\n"
    rows = ast.literal_eval(read_from_hub(card, tmp_path))
    assert rows["test"] == [("other", "yes"), ("the last", "no")]
    # Validation is held out from training, which is the rest.
    held_out = sorted(rows["train"] + rows["validation"])
    assert held_out == sorted((f"word {index}", ["no", "yes"][index % 2]) for index in range(20))


def test_a_card_of_the_hub_never_reads_a_file_of_this_machine(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("text,label\na secret,1\n")
    splits = [{"split": "train", "path": "train.csv"}, {"split": "test", "path": str(secret)}]
    configs = [{"config_name": "default", "data_files": splits}]
    printed = read_from_hub(f"---\nconfigs: {json.dumps(configs)}\n---\n", tmp_path)
    assert "data.train: train cannot be read: Data files don't belong to tlc/words" in printed
    assert "a secret" not in printed


def test_a_text_in_two_splits_stays_in_the_later_one_only(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("same\t0\none\t0\ntwo\t1\n")
    (tmp_path / "test.tsv").write_text("same\t0\nthree\t1\n")
    (tmp_path / "dev.tsv").write_text("two\t1\nfour\t0\n")
    source = Files(
        source="files",
        train=str(tmp_path / "train.tsv"),
        validation=str(tmp_path / "dev.tsv"),
        test=str(tmp_path / "test.tsv"),
        columns=["text", "label"],
    )
    splits = read_labelled(source, "data", tmp_path)
    assert splits["train"].texts == ["one"]
    assert splits["validation"].texts == ["two", "four"]
    assert splits["test"].texts == ["same", "three"]


def test_no_file_of_the_standard_library_is_in_two_splits() -> None:
    snippets = {
        split: standard_library.labelled(split) for split in ("train", "validation", "test")
    }
    files_of = [set(each.files) for each in snippets.values()]
    assert sum(map(len, files_of)) == len(set.union(*files_of))
    texts = {split: set(each.texts) for split, each in snippets.items()}
    unlabelled = "\n".join(standard_library.unlabelled("train"))
    classes = standard_library.packages()
    assert 8 <= len(classes) <= 12
    for package, files in classes.items():
        splits = standard_library._split_files(files)
        assert sorted(path for paths in splits.values() for path in paths) == sorted(files)
        assert min(len(splits[split]) for split in ("validation", "test")) >= 5, package
    # Held-out snippets do not occur in the pre-training text, blank lines apart.
    lines = set(unlabelled.splitlines())
    flat = "".join(line for line in unlabelled.splitlines() if line.strip())
    leaked = [
        text
        for text in texts["test"]
        if lines.issuperset(filter(str.strip, text.split("\n"))) and text.replace("\n", "") in flat
    ]
    assert len(leaked) < 0.01 * len(texts["test"])


def test_snippets_do_not_name_their_package() -> None:
    texts, labels, files = standard_library.labelled("validation")
    assert len(set(labels)) == standard_library.CLASSES
    for package in set(labels):
        of_package = Counter(f for f, name in zip(files, labels, strict=True) if name == package)
        assert len(of_package) >= 5, package
        assert max(of_package.values()) <= 0.6 * of_package.total(), package
    assert not any(label.lower() in text.lower() for text, label in zip(texts, labels, strict=True))
    counts = {label: labels.count(label) for label in labels}
    assert max(counts.values()) == min(counts.values())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data__labelled__train": "missing.tsv"}, "data.labelled.train: no such file: missing"),
        ({"data__unlabelled__train": "missing.txt"}, "data.unlabelled.train: no such file"),
        ({"data__labelled__label": "lbl"}, "data.labelled.label: no column 'lbl' in .* it has: s"),
        ({"data__labelled__text": "txt"}, "data.labelled.text: no column 'txt'"),
        ({"task__classes": 3}, "task.classes: 3, but the data has 2 labels: 'animal', 'tool'"),
    ],
)
def test_wrong_data_is_refused(
    fields: dict[str, Any], message: str, make_search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        prepared(make_search(**fields), tmp_path)


@pytest.mark.parametrize("text", ["", "\n\n", "sentence\tlabel\n"])
def test_an_empty_data_set_is_refused(
    text: str, make_search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    path = tmp_path / "empty.tsv"
    path.write_text(text)
    columns = None if text.startswith("sentence") else ["sentence", "label"]
    search = make_search(data__labelled__train=str(path), data__labelled__columns=columns)
    with pytest.raises(DataError, match=r"data\.labelled\.(train|validation|text)"):
        prepared(search, tmp_path / "cache")


def test_masked_batches_are_functions_of_seed_and_step() -> None:
    stream = np.arange(5, 505, dtype=np.int32)
    batches = MaskedBatches(stream, 16, 8, 600, seed=3)
    again = MaskedBatches(stream, 16, 8, 600, seed=3)
    other = MaskedBatches(stream, 16, 8, 600, seed=4)
    assert all((batches(7)[key] == again(7)[key]).all() for key in batches(7))
    assert not (batches(7)["input_ids"] == other(7)["input_ids"]).all()
    batch = batches(0)
    assert (batch["input_ids"][:, 0] == START).all()
    assert (batch["input_ids"][:, -1] == END).all()
    masked = batch["input_ids"].flatten()[batch["positions"]] == MASK
    assert len(masked) == 8 * 5
    assert masked.any()


def rows_read(kind: str, count: int, batch_size: int, steps: int, *, seed: int) -> list[int]:
    """The rows that training reads, in its order: each example holds its own number."""
    rows = np.arange(count, dtype=np.int32)
    lengths = np.random.default_rng(0).integers(1, 9, count).astype(np.int32)
    tokens = np.repeat(rows[:, None], 8, axis=1)
    if kind == "texts":
        examples = LabelledTexts(tokens, lengths, rows, rows)
        labels = BucketedBatches(labelled_text_batch, examples, batch_size, seed)
        return [row for step in range(steps) for row in labels(step)["labels"].tolist()]
    if kind == "pairs":
        examples = SentencePairs(tokens, lengths, tokens, lengths[::-1] + 1)
        pairs = BucketedBatches(sentence_pair_batch, examples, batch_size, seed)
        return [row for step in range(steps) for row in pairs(step)["input_ids"][:, 0].tolist()]
    if kind == "images":
        pixels = np.zeros((count, 1, 2, 2), dtype=np.uint8)
        scales = np.ones((2, 1), dtype=np.float32)
        images = LabelledImageBatches(LabelledImages(pixels, rows, scales), batch_size, seed)
        return [row for step in range(steps) for row in images(step)["labels"].tolist()]
    stream = np.arange(8 * count + 1, dtype=np.int32)
    if kind == "next tokens":
        causal = CausalBatches(stream, 8, batch_size, seed)
        return [
            row // 8 for step in range(steps) for row in causal(step)["input_ids"][:, 0].tolist()
        ]
    masked = MaskedBatches(stream, 10, batch_size, len(stream), seed)
    found = []
    for batch in map(masked, range(steps)):
        ids = batch["input_ids"].flatten()
        ids[batch["positions"]] = batch["targets"]
        found += [row // 8 for row in ids.reshape(batch_size, 10)[:, 1].tolist()]
    return found


@pytest.mark.parametrize("kind", ["texts", "pairs", "images", "next tokens", "masked tokens"])
@pytest.mark.parametrize(
    ("count", "batch_size"),
    [(200, 10), (960, 10), (55, 10)],
    ids=["one pool", "three pools", "epochs that end within a batch"],
)
def test_each_epoch_has_every_example_once_in_an_order_that_the_seed_determines(
    kind: str, count: int, batch_size: int
) -> None:
    epochs = 2 if count % batch_size == 0 else batch_size
    steps = epochs * count // batch_size
    read = rows_read(kind, count, batch_size, steps, seed=3)
    assert Counter(read) == {row: epochs for row in range(count)}
    first, second = read[:count], read[count : 2 * count]
    if count % batch_size == 0:
        assert sorted(first) == sorted(second) == list(range(count))
    assert first != second
    assert first != list(range(count))
    assert read == rows_read(kind, count, batch_size, steps, seed=3)
    assert read != rows_read(kind, count, batch_size, steps, seed=4)


def test_bucketed_batches_hold_examples_of_similar_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 640).astype(np.int32)
    rows = BucketedRows(lengths, 20, seed=0)
    batches = [lengths[rows(step)] for step in range(32)]
    assert max(np.ptp(batch) for batch in batches) <= 8
    means = [batch.mean() for batch in batches]
    assert means != sorted(means), "short batches do not come first"


def test_data_that_was_prepared_is_found_without_reading_it_again(
    make_search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    search = make_search()
    assert find_prepared(search.data, search.task, tmp_path / "data") is None
    assert not (tmp_path / "data").exists()
    prepared = prepare(search.data, search.task, tmp_path / "data")
    assert find_prepared(search.data, search.task, tmp_path / "data") == prepared
    assert prepared.labelled_examples == 400
    missing = make_search(data__labelled__train="/nowhere.tsv")
    assert find_prepared(missing.data, missing.task, tmp_path / "data") is None


def test_a_classifier_with_little_unlabelled_text_is_told_what_helps(tmp_path: Path) -> None:
    def shortage(tokens: int, **counts: int) -> str | None:
        every = {"unlabelled train tokens": tokens, **counts}
        return PreparedData(tmp_path, "", (), every, {}).shortage()

    labelled = {"labelled train examples": 400}
    assert "2,499,999 tokens" in (shortage(2_499_999, **labelled) or "")
    assert shortage(2_500_000, **labelled) is None
    # What starts from a checkpoint has no unlabelled texts, and a language model no labelled ones.
    assert PreparedData(tmp_path, "", (), labelled, {}).shortage() is None
    assert shortage(1_000) is None
