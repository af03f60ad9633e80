"""Searches that choose among several checkpoints."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from objectives.measurement.evaluation import Evaluation
from objectives.models.checkpoint.resolve import with_checkpoints
from objectives.objective import Objective
from objectives.several_checkpoints import Objectives
from objectives.tasks import prepare_for
from search.api.forecast import forecast
from search.formatting import configuration_text
from search.registry.export import export
from search.results.schemas import FrontierMember
from search.samplers.frontier.search_design_space import SearchDesignSpace
from search.samplers.optuna_samplers import FeasibleSampler
from search.storage.budget_facts import described_data
from search.storage.study import Study
from spaces.cost.configuration import Configuration
from spaces.errors import UserError
from spaces.file.search_file import SearchFile
from spaces.file.space import Constraints
from spaces.grid.plan import make_plan
from spaces.grid.search_space import SearchSpace
from spaces.grid.validation import space_faults
from spaces.loading import from_document
from tests.checkpoints import DEPTH, WIDTH, save_checkpoint, save_images_checkpoint, texts_of

SHALLOW = 2


@pytest.fixture(scope="module")
def folders(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A BERT of four layers, and a RoBERTa of two, each with a tokenizer of its own."""
    root, texts = tmp_path_factory.mktemp("checkpoints"), texts_of(corpus)
    return (
        save_checkpoint(root / "deep", "bert", texts),
        save_checkpoint(root / "shallow", "roberta", texts, num_hidden_layers=SHALLOW),
    )


def document_from(
    sources: list[Path], document: dict[str, Any], home: Path, **space: Any
) -> dict[str, Any]:
    names = [str(folder) for folder in sources]
    sizes = {"depth": {"low": 1, "high": DEPTH}, "width": WIDTH, "budget": {"choices": [20.0]}}
    return {
        "name": "several",
        "task": document["task"],
        # Without a length: that of each tokenizer is its own.
        "data": {"labelled": document["data"]["labelled"]},
        "model": {"from": names[0] if len(names) == 1 else {"choices": names}},
        "space": {**sizes, **space},
        "training": {"batch_size": 8, "learning_rate": 1e-3},
        "storage": {"store": str(home / "store")},
        "trials": 4,
    }


def search_from(
    sources: list[Path], document: dict[str, Any], home: Path, **space: Any
) -> SearchFile:
    search = from_document(document_from(sources, document, home, **space))
    return with_checkpoints(search, home)[0]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def search(folders: tuple[Path, Path], document: dict[str, Any], home: Path) -> SearchFile:
    return search_from(list(folders), document, home, vocabulary={"choices": [290, 400]})


def evaluated(search: SearchFile, home: Path, points: list[Configuration]) -> list[Evaluation]:
    data = [prepare_for(search.alone(name), home / "data") for name in search.checkpoints]
    found = [outcome for _, outcome in Objectives(search, data).evaluate_each(points)]
    assert all(isinstance(each, Evaluation) for each in found)
    return [each for each in found if isinstance(each, Evaluation)]


def test_a_trial_is_the_same_alone_and_among_others(
    search: SearchFile, folders: tuple[Path, Path], document: dict[str, Any], home: Path
) -> None:
    space = SearchSpace(search)
    points = [
        next(c for c in map(space.configuration, space.points()) if c.checkpoint == str(folder))
        for folder in folders
    ]
    among = evaluated(search, home, points)
    assert among[0].data_fingerprint != among[1].data_fingerprint
    for folder, point, found in zip(folders, points, among, strict=True):
        alone, _ = with_checkpoints(
            from_document(document_from([folder], document, home, depth=SHALLOW, vocabulary=290)),
            home,
        )
        objective = Objective(alone, prepare_for(alone, home / "data"))
        again = objective.evaluate(point.of_checkpoint(""))
        assert (again.model, again.checkpoint) == (found.model, found.checkpoint)
        assert again.score == found.score
        assert again.steps["trained"] == 0
        assert found.size_bytes == pytest.approx(found.predicted_size_bytes, rel=0.01)


def test_only_what_a_checkpoint_has_is_a_configuration_of_it(search: SearchFile) -> None:
    space = SearchSpace(search)
    found = {
        (c.checkpoint, c.architecture.depth, c.architecture.vocabulary)
        for c in map(space.configuration, space.points())
    }
    deep, shallow = search.checkpoints
    pieces = {name: search.alone(name).data.vocabulary_size for name in search.checkpoints}
    assert pieces == {deep: 300, shallow: 420}
    assert found == {
        *((deep, depth, 290) for depth in range(1, DEPTH + 1)),
        *((shallow, depth, kept) for depth in range(1, SHALLOW + 1) for kept in (290, 400)),
    }
    plan = make_plan(space, search.trials)
    assert plan.configurations == len(found)
    assert plan.impossible == space.size - len(found) > 0
    rng = random.Random(0)
    assert all(space.has(space.random_point(rng)) for _ in range(20))
    assert {space.configuration(p) for p in space.shuffled(rng)} == {
        space.configuration(p) for p in space.points()
    }
    with pytest.raises(ValueError, match="400 pieces are asked for; the checkpoint has 300"):
        space.configuration(next(p for p in np.ndindex(*_sizes(space)) if not space.has(p)))


@pytest.mark.slow
def test_a_plan_measures_each_checkpoint(
    folders: tuple[Path, Path],
    document: dict[str, Any],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TLC_HOME", str(home))
    found = forecast(document_from([*folders], document, home))
    assert len(found.steps_per_second) == 2
    assert found.hours
    assert found.data.counts["labelled train examples"] > 0
    assert found.references[0]["name"] == "majority class"


def test_expressions_can_differ_between_checkpoints(search: SearchFile) -> None:
    deep, shallow = search.checkpoints
    texts = [f"checkpoint != '{deep}' or depth > 2", "checkpoint == 'none' or vocabulary < 400"]
    constraints = Constraints(expressions=texts)
    space = SearchSpace(search.model_copy(update={"constraints": constraints}))
    assert space_faults(space) == []
    feasible = filter(space.is_feasible, map(space.configuration, space.points()))
    found = {(c.checkpoint, c.architecture.depth, c.architecture.vocabulary) for c in feasible}
    assert found == {
        *((deep, depth, 290) for depth in (3, 4)),
        *((shallow, depth, 290) for depth in (1, 2)),
    }


def _sizes(space: SearchSpace) -> list[int]:
    return [len(dimension.values) for dimension in space.dimensions]


def test_the_samplers_propose_what_a_checkpoint_has(search: SearchFile, tmp_path: Path) -> None:
    space = SearchSpace(search)
    designed = SearchDesignSpace(space)
    runs = designed.design_space.runs
    assert len(runs) == space.configurations
    for run in range(len(runs)):
        parameters = designed.parameters(run, 0)
        assert designed.candidate_from(parameters) == (run, 0)
        is_deep = float(parameters["checkpoint"] == search.checkpoints[0])
        assert runs[run, -2:].tolist() == [is_deep, 1.0 - is_deep]
    study = Study.open(search, f"sqlite:///{tmp_path / 'study.db'}")
    study.optuna.sampler = FeasibleSampler(study.space, "tpe", seed=0, trials=4)
    asked = {study.ask().configuration.checkpoint for _ in range(4)}
    assert asked == set(search.checkpoints)


def test_answers_and_exports_name_the_checkpoint(
    search: SearchFile, folders: tuple[Path, Path], home: Path, tmp_path: Path
) -> None:
    study = Study.open(search, f"sqlite:///{tmp_path / 'study.db'}")
    data = {name: prepare_for(search.alone(name), home / "data") for name in search.checkpoints}
    study.set_data(described_data(data, dict.fromkeys(data)))
    for name in search.checkpoints:
        values = {"checkpoint": name, "depth": 1, "width": WIDTH, "vocabulary": 290}
        first = {d.name: d.values[0] for d in study.space.dimensions}
        study.optuna.enqueue_trial({**first, **values})
        record = study.ask()
        (found,) = evaluated(search, home, [record.configuration])
        study.tell_result(record.number, found.to_dict())
    for folder, record, kind in zip(folders, study.records(), ("WordPiece", "BPE"), strict=True):
        assert FrontierMember.of(record, {}, None).checkpoint == str(folder)
        assert configuration_text(record.configuration, "steps").startswith(f"{folder.name}, ")
        exported = export(study, record, tmp_path / folder.name).folder
        tokenizer = json.loads((exported / "tokenizer.json").read_text())
        assert tokenizer["model"]["type"] == kind
        assert folder.name in (exported / "README.md").read_text()


def test_images_are_prepared_for_each_checkpoint(tmp_path: Path) -> None:
    grey = save_images_checkpoint(tmp_path / "grey")
    colour = save_images_checkpoint(tmp_path / "colour", channels=3)
    document = {
        "task": {"name": "image-classification", "classes": 10},
        "data": {"labelled": {"source": "digits"}},
    }
    values = document_from([grey, colour], document, tmp_path)
    values["data"] = {"images": {"source": "digits"}}
    search, _ = with_checkpoints(from_document(values), tmp_path)
    channels = [search.alone(name).data.channels for name in search.checkpoints]
    assert channels == [1, 3]
    # As a search is read again from its study.
    again, _ = with_checkpoints(from_document(search.to_dict()), tmp_path)
    assert not again.differences(search)


REFUSED = {
    "space.depth: no checkpoint can have 9": {"depth": {"choices": [1, 9]}},
    "shallow can have no value of space.depth; leave it out": {"depth": {"choices": [3, 4]}},
    "space.width: no checkpoint can have 31": {"width": 31},
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_no_checkpoint_has_is_refused(
    fault: str, folders: tuple[Path, Path], document: dict[str, Any], home: Path
) -> None:
    with pytest.raises(UserError, match=fault):
        search_from(list(folders), document, home, **REFUSED[fault])


def test_perplexities_of_different_vocabularies_are_refused(
    corpus: Path, document: dict[str, Any], tmp_path: Path
) -> None:
    texts = texts_of(corpus)
    one = save_checkpoint(tmp_path / "one", "llama_lm", texts)
    same = save_checkpoint(tmp_path / "same", "llama_lm", texts, tie_word_embeddings=True)
    other = save_checkpoint(tmp_path / "other", "llama_lm", texts[: len(texts) // 2])
    values = document_from([one, same], {**document, "task": {"name": "causal-lm"}}, tmp_path)
    values["data"] = {"unlabelled": document["data"]["unlabelled"], "sequence_length": 16}
    search, _ = with_checkpoints(from_document(values), tmp_path)
    assert len(search.checkpoints) == 2
    values["model"] = {"from": {"choices": [str(one), str(other)]}}
    with pytest.raises(UserError, match="perplexities of different vocabularies"):
        with_checkpoints(from_document(values), tmp_path)
    values["model"] = {"from": {"choices": [str(one), str(tmp_path / "link")]}}
    (tmp_path / "link").symlink_to(one)
    with pytest.raises(UserError, match="is the same checkpoint as"):
        with_checkpoints(from_document(values), tmp_path)
