"""Regression: numbers of texts, in their unit, with their scores and references."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from objectives.completion import completed
from objectives.data.errors import DataError
from objectives.data.prepare import prepare
from objectives.measurement.scores.numbers import score_numbers
from objectives.objective import Objective
from objectives.predictor.numbers import number_score
from objectives.testing.pytest_tasks import TaskTestCase
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from spaces.loading import SearchFileError, SearchLike, validate
from tests.checkpoint_searches import search_from

MakeTaskSearch = Callable[..., SearchFile]


def labels_of(search: SearchFile) -> dict[str, float]:
    assert search.data.labelled is not None
    with Path(search.data.labelled.train).open() as file:  # type: ignore[union-attr]
        return {row["text"]: float(row["animals"]) for row in csv.DictReader(file)}


@pytest.fixture
def numbers(make_task_search: MakeTaskSearch) -> SearchFile:
    """A search whose models are scored by their error."""
    return make_task_search("regression", objectives=["rmse", "size_mb"])


class TestFromCheckpoint(TaskTestCase):
    @pytest.fixture(scope="class")
    def search(
        self,
        task_documents: dict[str, dict[str, Any]],
        bert_folder: Path,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> SearchLike:
        store = tmp_path_factory.mktemp("store")
        return search_from(bert_folder, store, task_documents["regression"])


def test_labels_are_standardised_by_the_training_split(numbers: SearchFile, tmp_path: Path) -> None:
    data = prepare(numbers.data, numbers.task, tmp_path)
    assert data.label_names == ()
    train = data.labelled_texts("train").labels
    assert (train.mean(), train.std()) == pytest.approx((0.0, 1.0), abs=1e-5)
    mean, deviation = data.label_scale
    every = np.concatenate(
        [data.labelled_texts(split).labels for split in ("train", "validation", "test")]
    )
    assert sorted(mean + deviation * every) == pytest.approx(sorted(labels_of(numbers).values()))
    # What a search reads of it before its first trial.
    opened, _ = completed(numbers, tmp_path)
    assert opened.metric.guessing == pytest.approx(deviation)
    assert opened.metric.quality(deviation) == pytest.approx(0.0)


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_a_model_learns_the_numbers(make_task_search: MakeTaskSearch) -> None:
    settings = {"epochs": 30, "patience": 30, "token_dropout": 0.0, "r_drop": 0.5, "dropout": 0.1}
    search = make_task_search(
        "regression",
        objectives=["rmse", "size_mb"],
        training__fine_tuning={**settings, "learning_rate": 3e-3},
        space__width=64,
    )
    objective = Objective(search)
    space = SearchSpace(search)
    result = objective.evaluate(space.configuration((0,) * len(space.dimensions)))
    mean, ridge, *_ = objective.references(["validation"])
    assert mean["name"] == "training mean"
    assert ridge["name"].startswith("ridge regression")
    assert "3-fold cross-validation" in ridge["description"]
    guessing, read = (each["scores"]["validation"]["score"] for each in (mean, ridge))
    assert guessing == pytest.approx(objective.data.label_scale[1], rel=0.4)
    assert read < 0.6 * guessing
    assert result.score_low <= result.score <= result.score_high < 0.8 * guessing
    stages = {stage["name"]: stage for stage in result.stages}
    best = max(each["score"] for each in stages["fine-tuning"]["held_out"])
    assert 0.2 < best < 1.0  # The fraction of the deviation that the error is less.


@pytest.mark.parametrize("metric", ["spearman", "pearson", "rmse"])
def test_scores_are_those_of_scipy_with_an_interval_of_groups(metric: str) -> None:
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=120).round(1)  # With ties.
    found = wanted + rng.normal(size=120)
    batch = {"labels": torch.from_numpy(wanted), "found": torch.from_numpy(found)}

    def score(groups: Any) -> Any:
        batches = iter([batch])
        return score_numbers(lambda b: b["found"][:, None], batches, groups, metric, deviation=4.0)

    expected = {
        "spearman": spearmanr(found, wanted).statistic,
        "pearson": pearsonr(found, wanted).statistic,
        "rmse": 4.0 * np.sqrt(np.mean((found - wanted) ** 2)),
    }[metric]
    alone = score(np.arange(120))
    assert alone.value == pytest.approx(expected)
    assert alone.low < alone.value < alone.high
    assert alone.loss == pytest.approx(np.mean((found - wanted) ** 2))
    same = score(np.arange(120) // 20)
    assert same.value == alone.value
    assert (same.low, same.high) != (alone.low, alone.high)
    scaled = (4.0 * found).tolist(), (4.0 * wanted).tolist()
    assert number_score(*scaled, metric) == pytest.approx(expected)
    constant = {**batch, "found": torch.zeros(120)}
    of_constant = score_numbers(
        lambda b: b["found"][:, None], [constant], np.arange(120), metric, deviation=4.0
    )
    assert metric == "rmse" or of_constant.value == 0.0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("tall", "line 4 of FILE has 'tall'; allowed is a finite number"),
        ("inf", "line 4 of FILE has 'inf'; allowed is a finite number"),
        ("NaN", "line 4 of FILE has 'NaN'; allowed is a finite number"),
        ("1_000", "line 4 of FILE has '1_000'; allowed is a finite number"),
        (True, "line 1 of FILE has 'True'; allowed is a finite number"),
        (None, "line 3 of FILE has none;"),
    ],
)
def test_labels_that_are_no_numbers_are_refused(
    value: Any, message: str, make_task_search: MakeTaskSearch, tmp_path: Path
) -> None:
    labels = [1.5, 2, value if isinstance(value, str) else 3, *range(60)]
    name = "rows.csv"
    if isinstance(value, str):
        rows = ["text,label", *(f"text {index},{each}" for index, each in enumerate(labels))]
        (tmp_path / name).write_text("\n".join(rows))
    else:
        name = "rows.jsonl"
        each_label: list[Any] = [value] * 3 if value is True else [1.5, 2.5, None]
        lines = [json.dumps({"text": f"t {i}", "label": x}) for i, x in enumerate(each_label)]
        (tmp_path / name).write_text("\n".join(lines))
    source = {"source": "files", "train": str(tmp_path / name)}
    search = make_task_search("regression", data__labelled=source)
    with pytest.raises(DataError) as refused:
        prepare(search.data, search.task, tmp_path / "data")
    expected = message.replace("FILE", str(tmp_path / name))
    assert str(refused.value).startswith(f"data.labelled.label: {expected}")


def test_labels_that_say_nothing_are_refused(
    make_task_search: MakeTaskSearch, task_documents: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"t {i},7\n" for i in range(60)))
    source = {"source": "files", "train": str(tmp_path / "rows.csv")}
    search = make_task_search("regression", data__labelled=source)
    with pytest.raises(DataError, match=r"data\.labelled\.label: every training label is 7"):
        prepare(search.data, search.task, tmp_path / "data")
    extremes = "".join(f"t {i},{(-1) ** i * 1e308}\n" for i in range(60))
    (tmp_path / "rows.csv").write_text(f"text,label\n{extremes}")
    with pytest.raises(DataError, match=r"-1e\+308 to 1e\+308, training labels have no finite"):
        prepare(search.data, search.task, tmp_path / "data")
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"t {i},{i}\n" for i in range(60)))
    (tmp_path / "test.csv").write_text("text,label\n" + "".join(f"u {i},-1\n" for i in range(9)))
    hidden = {**source, "test": str(tmp_path / "test.csv")}
    search = make_task_search("regression", data__labelled=hidden)
    with pytest.raises(DataError, match=r"data\.labelled\.test: every label is -1"):
        prepare(search.data, search.task, tmp_path / "data")
    library = {"source": "standard_library"}
    search = make_task_search("regression", data__labelled=library)
    with pytest.raises(DataError, match="packages, no numbers"):
        prepare(search.data, search.task, tmp_path / "data")
    document = task_documents["regression"]
    taught = {**document["space"], "recovery": {"choices": [0, 10]}}
    training = {**document["training"], "recovery_distillation": {}}
    with pytest.raises(SearchFileError, match=r"training\.recovery_distillation: the models of"):
        validate({**document, "space": taught, "training": training})
