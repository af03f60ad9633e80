"""Classes of unequal size, and splits of few examples: what is said, and what a guess is."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from objectives.data.prepare import prepare
from objectives.data.prepared_data import PreparedData
from spaces.file.search_file import SearchFile

MakeTaskSearch = Callable[..., SearchFile]


@pytest.fixture
def rare(make_task_search: MakeTaskSearch, tmp_path: Path) -> SearchFile:
    """A search whose data has a class of one text in twenty."""
    for split, rows in (("train", 200), ("validation", 60), ("test", 20)):
        with (tmp_path / f"{split}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["text", "label"])
            table.writerows(
                [f"{split} text number {row}", "spam" if row % 20 == 0 else "mail"]
                for row in range(rows)
            )
    files = {split: str(tmp_path / f"{split}.csv") for split in ("train", "validation", "test")}
    return make_task_search("classification", data__labelled={"source": "files", **files})


def test_imbalance_and_few_examples_are_said(rare: SearchFile, tmp_path: Path) -> None:
    prepared = prepare(rare.data, rare.task, tmp_path / "data")
    assert prepared.majority == 0.95
    assert prepared.warnings() == [
        "data.labelled: 95.0% of the training examples are 'mail', and so many a model has right "
        "that always says so; the metrics balanced-accuracy, macro-f1 and matthews give each "
        "class its weight",
        "test has 20 examples, on which scores say little: the 95 % interval of a fraction of one "
        "half is ± 0.20",
    ]


def test_the_accuracy_of_a_guess_is_that_of_the_most_frequent_class(rare: SearchFile) -> None:
    assert rare.metric.guessing == 0.5
    document = rare.to_dict()
    document["task"]["majority"] = 0.95
    known = SearchFile.model_validate(document)
    assert known.metric.guessing == 0.95
    assert known.criteria.metric.guessing_quality == 0.95
    # It follows the data: the search is the same.
    assert known.fingerprint == rare.fingerprint
    assert known.differences(rare) == []


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"validation images": 2, "test images": 60}, ["validation has 2 images"]),
        (
            {"validation pairs": 49, "test pairs": 9},
            ["validation has 49 pairs", "test has 9 pairs"],
        ),
        (
            {"labelled validation examples": 900, "labelled validation groups": 3},
            ["validation has 3 groups"],
        ),
        ({"labelled validation examples": 50, "train images": 3}, []),
    ],
)
def test_splits_of_few_examples_are_named(
    counts: dict[str, int], said: list[str], tmp_path: Path
) -> None:
    warnings = PreparedData(tmp_path, "", (), counts, {}).warnings()
    assert [each.partition(",")[0] for each in warnings] == said
