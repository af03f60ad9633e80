"""The trial that a function gets: its values, and the work that trials share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from objectives.store.store import Store
from search.functions.trial import Trial

MakeTrial = Callable[..., Trial]


@pytest.fixture
def make_trial(tmp_path: Path) -> MakeTrial:
    """Makes a trial of a search and a version."""

    def make(name: str = "mine", version: str = "") -> Trial:
        return Trial(
            3,
            {"learning_rate": 0.01, "optimizer.name": "lion"},
            seed=7,
            folder=tmp_path,
            store=Store(str(tmp_path / "store")),
            scope=(name, version),
        )

    return make


def test_values_are_attributes_items_and_a_dictionary(make_trial: MakeTrial) -> None:
    trial = make_trial()
    assert trial.learning_rate == trial["learning_rate"] == trial.params["learning_rate"] == 0.01
    assert trial["optimizer.name"] == "lion"
    assert {**trial} == trial.params
    assert (trial.number, trial.seed) == (3, 7)
    with pytest.raises(AttributeError, match="width: is not a dimension; they are learning_rate"):
        trial.width  # noqa: B018


def test_workers_that_need_a_stage_at_once_make_it_once(make_trial: MakeTrial) -> None:
    together, made = threading.Barrier(4), []

    def run(_: int) -> str:
        trial = make_trial()

        def make(folder: Path) -> None:
            made.append(folder)
            (folder / "weights").write_text("w")

        together.wait()
        text = (trial.stage(["pretrained", 2], make) / "weights").read_text()
        assert list(trial.stages) == ['["pretrained", 2]']
        trial.close()
        return text

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == ["w"] * 4
    assert len(made) == 1


def test_stages_belong_to_a_search_and_a_version(make_trial: MakeTrial) -> None:
    for name, version in (("mine", ""), ("other", ""), ("mine", "2")):
        text = f"{name}{version}"
        make_trial(name, version).stage("key", lambda f, text=text: (f / "a").write_text(text))
    for name, version in (("mine", ""), ("other", ""), ("mine", "2")):
        trial = make_trial(name, version)
        folder = trial.stage("key", lambda _: pytest.fail("it is stored"))
        assert (folder / "a").read_text() == f"{name}{version}"
        assert trial.stages == {"key": None}


def test_a_stage_that_fails_is_not_stored(make_trial: MakeTrial) -> None:
    trial = make_trial()
    with pytest.raises(ValueError, match="key: inner is no file; the store keeps files alone"):
        trial.stage("key", lambda folder: (folder / "inner").mkdir())
    with pytest.raises(ZeroDivisionError):
        trial.stage("key", lambda _: 1 / 0)
    assert list(trial.stage("key", lambda folder: (folder / "a").touch()).iterdir())


def test_the_latest_checkpoint_up_to_a_step_is_found(make_trial: MakeTrial) -> None:
    trial = make_trial()
    assert trial.latest_checkpoint("path") is None
    for step in (100, 400, 200):
        trial.checkpoint("path", step, lambda f, step=step: (f / "at").write_text(str(step)))
    other = make_trial()
    for up_to, found in ((None, 400), (399, 200), (100, 100)):
        checkpoint = other.latest_checkpoint("path", up_to=up_to)
        assert checkpoint is not None
        assert checkpoint.step == int((checkpoint.folder / "at").read_text()) == found
    assert other.latest_checkpoint("path", up_to=99) is None
    # One that is damaged is no checkpoint.
    checkpoint = other.latest_checkpoint("path")
    assert checkpoint is not None
    (checkpoint.folder / "at").write_text("other")
    again = make_trial().latest_checkpoint("path")
    assert again is not None
    assert again.step == 200
