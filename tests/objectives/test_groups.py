"""Groups of labelled rows, pairs and images are held out whole, kept, and part of the interval."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from objectives.data.errors import DataError
from objectives.data.prepare import prepare
from objectives.data.sources.images import read_images
from objectives.data.sources.text import TextRows, read_labelled
from objectives.measurement.scores.texts import overlap_score
from objectives.tasks import make_task
from spaces.cost.metric import MetricName
from spaces.file.search_file import SearchFile
from spaces.file.sources import Data, Files


def rows(folder: Path, name: str, groups: list[str]) -> str:
    path = folder / name
    lines = [f"text {name} {n},{n % 2},{group}" for n, group in enumerate(groups)]
    path.write_text("text,label,author\n" + "\n".join(lines) + "\n")
    return str(path)


def read(folder: Path, **groups: list[str]) -> dict[str, TextRows]:
    files = {split: rows(folder, f"{split}.csv", names) for split, names in groups.items()}
    source = Files(source="files", group="author", **files)  # type: ignore[arg-type]
    return read_labelled(source, "data.labelled", folder / "cache")


def test_whole_groups_are_held_out(tmp_path: Path) -> None:
    authors = [f"author {n % 30}" for n in range(600)] + ["the editor"] * 400
    splits = read(tmp_path, train=authors)
    found = {split: set(each.groups) for split, each in splits.items()}
    assert sum(map(len, found.values())) == len(set.union(*found.values())) == 31
    assert "the editor" in found["train"], "a group that is too large is never held out"
    assert all(70 <= len(splits[split].texts) <= 100 for split in ("validation", "test"))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            {"train": ["a", "b"], "validation": ["b", "c"], "test": ["d", "e"]},
            "data.labelled.group: 'b' is in train and in validation",
        ),
        (
            {"train": ["a", "b"], "validation": ["c", "c"], "test": ["d", "e"]},
            "data.labelled.validation: there is only one group, 'c'",
        ),
        ({"train": list("abcd")}, "train has 4 different groups, too few to hold out validation"),
        ({"train": ["a", " "]}, "data.labelled.group: (line|row) . of .* has none"),
    ],
)
def test_groups_that_cannot_be_kept_apart_are_refused(
    groups: dict[str, list[str]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, **groups)


def test_the_score_of_a_task_has_the_interval_of_its_groups(
    make_search: Callable[..., SearchFile], corpus: Path, tmp_path: Path
) -> None:
    import torch

    from objectives.models.build import build
    from spaces.cost.architecture import Architecture

    lengths = {}
    for name in ("plain", "grouped"):
        path = tmp_path / f"{name}.tsv"
        lines = (corpus / "train.tsv").read_text().splitlines()
        # Rows of a group have one class: a model that guesses is right in all of them or in none.
        named = [f"{line}\t{line.split(chr(9))[1]}{n % 20}" for n, line in enumerate(lines)]
        path.write_text("\n".join(named) + "\n")
        given = {"columns": ["sentence", "label", "author"], "text": "sentence"}
        if name == "grouped":
            given["group"] = "author"
        search = make_search(
            data__labelled={"source": "files", "train": str(path), **given},
        )
        data = prepare(search.data, search.task, tmp_path / "data")
        torch.manual_seed(0)
        score = make_task(search, data).score(
            build(Architecture.of(1, 32).shape, search.workload), "train"
        )
        lengths[name] = score.high - score.low
    assert lengths["grouped"] > 1.5 * lengths["plain"]


def test_without_groups_equal_texts_are_one(
    make_search: Callable[..., SearchFile], corpus: Path, tmp_path: Path
) -> None:
    lines = (corpus / "dev.tsv").read_text().splitlines()
    (tmp_path / "dev.tsv").write_text("\n".join([*lines, *lines[:5]]) + "\n")
    search = make_search(data__labelled__validation=str(tmp_path / "dev.tsv"))
    groups = (
        prepare(search.data, search.task, tmp_path / "data").labelled_texts("validation").groups
    )
    assert groups.tolist() == [*range(100), *range(5)]


def test_held_out_splits_have_each_class_as_often_as_training(tmp_path: Path) -> None:
    # Of 400 texts 20 are rare, 3 rarer still; chance would give 2 ± 1.3 and 0.3.
    labels = ["usual"] * 377 + ["rare"] * 20 + ["rarest"] * 3
    lines = [f"text {n},{label}" for n, label in enumerate(labels)]
    (tmp_path / "train.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    source = Files(source="files", train=str(tmp_path / "train.csv"))
    found = {
        split: Counter(rows.labels)
        for split, rows in read_labelled(source, "data.labelled", tmp_path / "cache").items()
    }
    assert found["validation"] == found["test"] == {"usual": 38, "rare": 2}
    assert found["train"] == {"usual": 301, "rare": 16, "rarest": 3}


def test_held_out_groups_have_each_class_as_often_as_training(tmp_path: Path) -> None:
    # Whole groups of one class: drawn by chance, a split could have one class alone.
    groups = [f"author {n // 4}" for n in range(400)]
    labels = ["yes" if n // 4 % 5 else "no" for n in range(400)]
    lines = [f"text {n},{y},{g}" for n, (y, g) in enumerate(zip(labels, groups, strict=True))]
    (tmp_path / "train.csv").write_text("text,label,author\n" + "\n".join(lines) + "\n")
    source = Files(source="files", train=str(tmp_path / "train.csv"), group="author")
    splits = read_labelled(source, "data.labelled", tmp_path / "cache")
    for split in ("validation", "test"):
        assert Counter(splits[split].labels) == {"yes": 32, "no": 8}
        assert not set(splits[split].groups) & set(splits["train"].groups)


def test_the_only_example_of_a_class_stays_in_training(tmp_path: Path) -> None:
    lines = [f"text {n},{'only' if n == 7 else n % 2}" for n in range(12)]
    (tmp_path / "train.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    source = Files(source="files", train=str(tmp_path / "train.csv"))
    assert "only" in read_labelled(source, "data.labelled", tmp_path / "cache")["train"].labels


def test_whole_groups_of_pairs_are_held_out_and_part_of_the_interval(
    make_task_search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    lines = [
        json.dumps({"text": f"source {n}", "target": f"words {n % 9}", "document": n // 8})
        for n in range(400)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    given = {"source": "files", "train": str(tmp_path / "pairs.jsonl"), "group": "document"}
    search = make_task_search("translation", data__parallel=given)
    data = prepare(search.data, search.task, tmp_path / "data")
    assert {name: count for name, count in data.counts.items() if "groups" in name} == {
        "train groups": 40, "validation groups": 5, "test groups": 5,
    }  # fmt: skip
    assert any(said.startswith("validation has 5 groups") for said in data.warnings())
    groups = data.groups("validation")
    assert groups is not None
    assert Counter(groups.tolist()) == dict.fromkeys(range(5), 8)


@pytest.mark.parametrize("metric", ["bleu", "chrf", "rouge-1"])
def test_the_interval_of_written_texts_is_that_of_their_groups(metric: MetricName) -> None:
    # All texts of a document are right, or none.
    wanted = [f"some words of the text {n}" for n in range(200)]
    written = [text if n // 10 % 2 else "no such thing" for n, text in enumerate(wanted)]
    alone = overlap_score(written, wanted, metric, 0.0)
    grouped = overlap_score(written, wanted, metric, 0.0, groups=np.arange(200) // 10)
    singles = overlap_score(written, wanted, metric, 0.0, groups=np.arange(200))
    assert grouped.value == alone.value
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)
    assert singles.high - singles.low == pytest.approx(alone.high - alone.low, rel=0.2)


def test_whole_groups_of_images_are_held_out(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(pictures, folder)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    lines = [f"{name},person {n // 4}" for n, name in enumerate(names)]
    (folder / "metadata.csv").write_text("file_name,person\n" + "\n".join(lines) + "\n")
    given = {"source": "image_folder", "train": str(folder), "group": "person"}
    data = Data.model_validate({"images": given, "image_size": 8})
    said: list[str] = []
    splits = read_images(data, tmp_path, notice=said.append)
    people = {split: set(rows.groups) for split, rows in splits.items()}
    assert [len(people[split]) for split in ("train", "validation", "test")] == [24, 3, 3]
    assert len(set.union(*people.values())) == 30
    assert said == [
        "data.images: a tenth of the groups of train is held out as validation and as test"
    ]
    (folder / "metadata.csv").write_text("\n".join(["file_name,person", *lines[1:]]) + "\n")
    with pytest.raises(DataError, match=r"data.images.group: .*bright.0.png is not in the table"):
        read_images(data, tmp_path)
    (folder / "metadata.csv").unlink()
    with pytest.raises(DataError, match=r"data.images.group: .* has no table of its images"):
        read_images(data, tmp_path)


def test_the_score_of_images_has_the_interval_of_their_groups(
    make_task_search: Callable[..., SearchFile], pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(pictures, folder)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    lines = [f"{name},{n // 10}" for n, name in enumerate(names)]
    (folder / "metadata.csv").write_text("file_name,person\n" + "\n".join(lines) + "\n")
    widths = []
    for group in (None, "person"):
        given = {"source": "image_folder", "train": str(folder), "group": group}
        search = make_task_search("image-classification", data__images=given, task__classes=2)
        data = prepare(search.data, search.task, tmp_path / "data")
        (majority, *_) = make_task(search, data).references()
        score = majority.score("train")
        widths.append(score.high - score.low)
    # Each person is of one class, which the majority class has right or wrong as a whole.
    assert widths[1] > 1.5 * widths[0]
