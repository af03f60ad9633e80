"""``from_searches``: the frontier sampler learns from trials of earlier searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.hypervolume import Scale, hypervolume
from search.samplers.base import SpaceExhaustedError
from search.samplers.frontier.cost_model import CostModel
from search.samplers.frontier.designer import Designer
from search.samplers.frontier.earlier import (
    EarlierTrial,
    earlier_trials,
    warm_start_report,
)
from search.samplers.frontier.history import StageSeconds, Trial
from search.samplers.frontier.sampler import FrontierSampler
from search.samplers.frontier.search_design_space import SearchDesignSpace
from search.samplers.optuna_samplers import FeasibleSampler
from search.storage.errors import StudyError
from search.storage.function_study import FunctionStudy
from search.storage.study import Study
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.file.training_space import searchable_values
from spaces.functions.points import FunctionSpace
from spaces.functions.search import FunctionSearch
from spaces.grid.search_space import SearchSpace
from spaces.loading import SearchFileError
from tests.search.conftest import feasible_hashes, made_up_result

SPACE: dict[str, Any] = {
    "space__depth": 1,
    "space__width": {"choices": [32, 64]},
    "space__quantisation": {"choices": ["none", "rtn-8"]},
    "space__sparsity": 0.0,
    "trials": 20,
    "sampler": "frontier",
}
OTHER: dict[str, Any] = {
    **SPACE,
    "name": "other",
    "space__width": {"choices": [32, 96]},
    "space__quantisation": {"choices": ["rtn-3", "none"]},
}


@pytest.fixture
def url(home: Path) -> str:
    return f"sqlite:///{home / 'study.db'}"


def opened(search: SearchFile, url: str) -> Study:
    """A study in one database with others, as a run of it leaves it before its first trial."""
    search = search.model_copy(update={"storage": search.storage.model_copy(update={"study": url})})
    study = Study.open(search, url)
    study.set_data({"fingerprint": "a"})
    return study


def finish(study: Study, number: int, configuration: Configuration) -> None:
    steps = configuration.budget * configuration.architecture.width / 32
    seconds = {"stable": steps, "cooldown": steps / 4, "compress": 0.1, "measure": 0.1}
    score = 0.6 + configuration.architecture.width / 1000
    size = study.space.cost(configuration).size_mb
    study.tell_result(number, made_up_result(score, size, seconds=seconds))


def fill(study: Study) -> None:
    """All of its points complete, but for one that diverged and one that a worker died of."""
    study.optuna.sampler = FeasibleSampler(study.space, "grid", seed=0, trials=20)
    count = len(feasible_hashes(study.space))
    for state in ("diverged", "worker_died", *[""] * (count - 2)):
        record = study.ask()
        if state:
            study.tell_failure(record.number, state, "made up")
        else:
            finish(study, record.number, record.configuration)


def test_earlier_trials_are_observations_and_only_points_of_the_space_are_candidates(
    make_search: Callable[..., SearchFile], url: str
) -> None:
    other = opened(make_search(**OTHER), url)
    fill(other)
    study = opened(make_search(**SPACE, from_searches=["other"]), url)
    earlier = earlier_trials(study)
    # A dead worker says nothing of a configuration.
    assert len(earlier) == len(other.records()) - 1
    assert warm_start_report(study) == [f"from_searches: {len(earlier)} trials of other"]
    searched, alone = (SearchDesignSpace(study.space, earlier=each) for each in (earlier, ()))
    design = searched.design_space
    assert design.sizes == (len(alone.design_space.runs), len(alone.design_space.compressions))
    assert design.earlier == (2, 1)  # a width at two budgets, and three bits
    for each, trial in zip(earlier, searched.earlier, strict=True):
        configuration = each.configuration
        is_point = configuration.hash in feasible_hashes(study.space)
        assert design.has(*trial.candidate) == is_point
        if is_point:
            assert trial.candidate == searched.candidate_of(configuration)
        assert design.steps[trial.run] == configuration.budget
        width = design.runs[trial.run, 1] - design.runs[0, 1]
        assert width == pytest.approx(np.log2(configuration.architecture.width / 32))
    costs = design.log_costs(np.arange(len(design.runs)))
    assert np.isfinite(costs).sum() == len(feasible_hashes(study.space))
    assert np.isnan(costs[design.sizes[0] :]).all()
    # Seconds of a step are those of the earlier trials: the wider model takes twice as long.
    cost_model = CostModel(design)
    for trial in searched.earlier:
        cost_model.learn(trial)
    assert not cost_model.is_trained.any()
    seconds = cost_model.training_seconds()[: design.sizes[0]]
    assert seconds == pytest.approx([25.0, 50.0, 50.0, 100.0], rel=0.25)

    study.optuna.sampler = sampler = FrontierSampler(searched, seed=0)
    proposed = set()
    for _ in feasible_hashes(study.space):
        record = study.ask()
        proposed.add(record.configuration.hash)
        finish(study, record.number, record.configuration)
    assert proposed == feasible_hashes(study.space)
    with pytest.raises(SpaceExhaustedError):
        sampler.check(study.optuna)
    assert len(study.records()) == len(proposed)


def test_another_setting_of_training_is_a_feature(
    make_search: Callable[..., SearchFile], url: str
) -> None:
    fill(opened(make_search(**SPACE, name="faster", training__learning_rate=8e-3), url))
    fill(opened(make_search(**SPACE, name="batches", training__batch_size=8), url))
    both = {"from_searches": ["faster", "batches"]}
    study = opened(make_search(**SPACE, **both), url)
    assert warm_start_report(study)[1:] == [
        "from_searches: 7 trials of batches",
        "from_searches: batches has another training.batch_size; its scores count as if they were "
        "of this search",
    ]
    searched = SearchDesignSpace(study.space, earlier=earlier_trials(study))
    design = searched.design_space
    assert len(design.settings) == 1
    is_point = [design.has(*trial.candidate) for trial in searched.earlier]
    assert is_point == [False] * 7 + [True] * 7
    tpe = opened(make_search(**{**SPACE, "sampler": "tpe"}, **both, name="tpe"), url)
    assert warm_start_report(tpe) == [
        "from_searches: the sampler tpe learns nothing from earlier searches; frontier does"
    ]


def test_searches_of_another_kind_are_refused_by_name(
    make_search: Callable[..., SearchFile],
    make_task_search: Callable[..., SearchFile],
    url: str,
    home: Path,
) -> None:
    home.mkdir()
    Study.open(make_search(name="new"), url)
    opened(make_task_search("causal-lm").model_copy(update={"name": "texts"}), url)
    opened(make_search(name="f1", objectives=["macro-f1", "size_mb"]), url)
    opened(make_search(name="longer", data__sequence_length=24), url)
    Study.open(make_search(name="elsewhere"), url).set_data({"fingerprint": "b"})
    function = {"name": "mine", "space": {"x": {"choices": [1]}}, "objectives": {"a": "minimize"}}
    FunctionStudy.open(FunctionSpace(FunctionSearch.model_validate({**function, "trials": 1})), url)
    for name, message in (
        ("nowhere", "no search named 'nowhere'"),
        ("new", "'new' has not run yet"),
        (
            "texts",
            r"'texts' has another task\..*, metric, so that .*; allowed: searches of the sam",
        ),
        ("f1", "'f1' has another metric, so that"),
        ("longer", r"'longer' has another data\.sequence_length, so that"),
        ("elsewhere", "'elsewhere' has another data, so that"),
        ("mine", "'mine' has a function as its objective"),
    ):
        study = opened(make_search(**SPACE, from_searches=[name]), url)
        with pytest.raises(StudyError, match=f"from_searches: .*{message}"):
            warm_start_report(study)
    with pytest.raises(SearchFileError, match="from_searches: 'tiny' is this search itself"):
        make_search(from_searches=["tiny"])


LEVEL = 0.99
"""Of the hypervolume of the whole space."""
KEPT = {"none": 1.0, "rtn-4": 0.9, "gptq-4": 0.97, "gptq-3": 0.95, "hqq-4": 0.7, "hqq-3": 0.6}


def outcome(configuration: Configuration, run: int, compression: int) -> Trial:
    """As if half of the weights were superfluous, and one method of quantisation useless."""
    architecture, budget = configuration.architecture, configuration.budget
    loss = (architecture.width / 32) ** -0.5 * (budget / 20) ** -0.4 * architecture.depth**0.1
    dense = 0.95 - 0.5 * loss
    kept = KEPT[configuration.compression.quantisation.value]
    kept *= 1.0 if configuration.compression.sparsity <= 0.5 else 0.6
    a_step = 0.002 * architecture.depth * architecture.width / 32
    seconds = StageSeconds(0.8 * budget * a_step, 0.25 * budget * a_step, 0.5)
    return Trial(run, compression, 0.1 + (dense - 0.1) * kept, 0.01, seconds, dense)


def volume(space: SearchSpace, configurations: Sequence[Configuration]) -> float:
    scale = Scale.of(space)
    points = []
    for each in configurations:
        quality = outcome(each, 0, 0).quality
        assert quality is not None
        points.append((scale.metric.value_at(quality), space.cost(each).size_mb))
    return hypervolume(points, scale)


def search(
    space: SearchSpace, trials: int, earlier: Sequence[EarlierTrial] = (), until: float = 2.0
) -> list[Configuration]:
    """The trials of a sampler up to a hypervolume."""
    searched = SearchDesignSpace(space, earlier=earlier)
    cost_model = CostModel(searched.design_space)
    for trial in searched.earlier:
        cost_model.learn(trial)
    designer = Designer(searched.design_space, 0, cost_model=cost_model)
    designer.learn(searched.earlier)
    done: list[Configuration] = []
    while len(done) < trials and volume(space, done) < until:
        proposal = designer.proposals([]).best()
        assert proposal is not None
        parameters = searched.parameters(*proposal.candidate)
        point = tuple(d.values.index(parameters[d.name]) for d in space.dimensions)
        done.append(space.configuration(point))
        designer.update([outcome(done[-1], *proposal.candidate)])
    return done


@pytest.mark.slow
def test_a_search_that_learns_from_another_needs_fewer_trials(
    make_task_search: Callable[..., SearchFile],
) -> None:
    def space(**values: list[Any]) -> SearchSpace:
        dimensions = {f"space__{name}": {"choices": each} for name, each in values.items()}
        budget = {"unit": "steps", "choices": values["budget"]}
        return SearchSpace(make_task_search("causal-lm", **{**dimensions, "space__budget": budget}))

    small = space(
        depth=[1, 2], width=[32, 64], budget=[20, 40], sparsity=[0.0, 0.5],
        quantisation=["none", "rtn-4", "gptq-4", "gptq-3", "hqq-3"],
    )  # fmt: skip
    large = space(
        depth=[1, 2, 4], width=[64, 96, 128], budget=[40, 80, 160], sparsity=[0.0, 0.5, 0.7],
        quantisation=["none", "rtn-4", "gptq-4", "gptq-3", "hqq-4", "hqq-3"],
    )  # fmt: skip
    whole = volume(large, list(map(large.configuration, large.points())))
    settings = searchable_values(small.search.training)
    earlier = [
        EarlierTrial(c, small.schedule.unit, int(c.budget), 0, settings, outcome(c, 0, 0))
        for c in search(small, 25)
    ]
    cold = search(large, 40, until=LEVEL * whole)
    warm = search(large, 40, earlier, until=LEVEL * whole)
    # 5 and 17.
    assert len(warm) < 0.5 * len(cold)
    assert len(cold) < 40
