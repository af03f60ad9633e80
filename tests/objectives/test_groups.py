"""Groups of labelled rows: they are held out whole, kept, and part of the interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from objectives.data.errors import DataError
from objectives.data.prepare import prepare
from objectives.data.sources.text import TextRows, read_labelled
from objectives.tasks import make_task
from spaces.file.search_file import SearchFile
from spaces.file.sources import Files


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
