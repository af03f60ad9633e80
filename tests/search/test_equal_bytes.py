"""The comparison of dense and compressed models of the same training and bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search.equal_bytes import EqualBytes, equal_bytes, missing_dense_trials
from search.storage.study import Study
from spaces.file.search_file import SearchFile
from tests.search.conftest import made_up_reference, made_up_result


@pytest.fixture
def study(make_search: Callable[..., SearchFile], home: Path) -> Study:
    """Three architectures with the longest budget, none of them evaluated without compression."""
    study = Study.open(make_search(trials=20), f"sqlite:///{home / 'study.db'}")
    add(study, 0.55, 0.1, dense=0.60, dense_mb=0.4, width=32, quantisation="rtn-4")
    # Larger and worse than 1x32 before compression.
    add(study, 0.50, 0.12, dense=0.59, dense_mb=0.5, width=32, depth=2, quantisation="rtn-4")
    add(study, 0.70, 0.3, dense=0.72, dense_mb=0.9, width=64, quantisation="rtn-4")
    # A shorter budget takes no part.
    add(study, 0.9, 0.2, dense=0.9, dense_mb=0.2, width=64, budget=20.0, quantisation="rtn-8")
    return study


def add(
    study: Study, score: float, size: float, *, dense: float, dense_mb: float, **at: Any
) -> int:
    point = {d.name: at.get(d.name, d.values[0]) for d in study.space.dimensions}
    point["budget"] = at.get("budget", 40.0)
    study.optuna.enqueue_trial(point)
    number = study.ask().number
    values = {"dense_score": dense, "dense_size_bytes": round(1e6 * dense_mb)}
    study.tell_result(number, made_up_result(score, size, **values))


def rows(study: Study) -> list[EqualBytes]:
    return equal_bytes(study.space, study.records(), study.references())


def test_dense_models_that_no_smaller_one_beats_are_compared_with_compressed_ones_as_small(
    study: Study,
) -> None:
    small, large = rows(study)
    assert (small.max_bytes, large.max_bytes) == (400_000, 900_000)
    # The larger model, compressed, has the bytes of the smaller.
    for row in (small, large):
        assert row.compressed is not None
        assert str(row.compressed.configuration.architecture) == "1x64"
        assert row.compressed.configuration.budget == 40.0
        assert row.dense is None
        assert row.reference is None


def test_dense_models_without_a_trial_are_missing_until_they_are_evaluated(study: Study) -> None:
    missing = missing_dense_trials(study.space, study.records())
    assert [(each["width"], each["depth"]) for each in missing] == [(32, 1), (64, 1)]
    assert {(each["quantisation"], each["sparsity"], each["budget"]) for each in missing} == {
        ("none", 0.0, 40.0)
    }
    for each, size in zip(missing, (0.4, 0.9), strict=True):
        add(study, 0.6, size, dense=0.6 if size < 0.5 else 0.72, dense_mb=size, **each)
    assert missing_dense_trials(study.space, study.records()) == []
    dense = [row.dense for row in rows(study)]
    assert [str(each.configuration.architecture) for each in dense if each] == ["1x32", "1x64"]


def test_the_best_reference_within_the_bytes_stands_beside_them(study: Study) -> None:
    study.set_references(
        [made_up_reference("small", 0.5, 0.3), made_up_reference("large", 0.8, 0.6)]
    )
    names = [row.reference.name for row in rows(study) if row.reference]
    assert names == ["small", "large"]
