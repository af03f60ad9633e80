"""The claims on made-up measurements with a known truth, and on a small study."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from search.analysis.claims.missing_trials import missing_trials
from search.analysis.claims.observations import Compressed, Observations, Run, observe
from search.analysis.claims.report import claims_page, judge
from search.analysis.claims.resampling import resample
from search.analysis.claims.verdict import Answer, Verdict, bias_reduced_best
from search.cli.main import cli
from search.samplers.optuna_samplers import FeasibleSampler
from search.storage.database import study_names
from search.storage.study import Study
from search.storage.trials import CONFIGURATION
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.metric import accuracy
from spaces.errors import UserError
from spaces.file.search_file import SearchFile
from spaces.loading import validate
from tests.search.conftest import Tlc, made_up_result

BUDGETS = (100.0, 200.0, 400.0, 800.0, 1600.0)
SHAPES = ((1, 32), (1, 64), (4, 32), (1, 128), (4, 64), (4, 128))
BITS = {Quantisation.RTN_8: 0.0, Quantisation.RTN_4: 0.06, Quantisation.RTN_3: 0.2}


@dataclass(frozen=True)
class World:
    """The truth about made-up models; losses fall as ``size ** -a + steps ** -b``."""

    larger_is_better: float = 1.0
    more_robust: float = 1.0
    learns: float = 1.0
    noise: float = 0.002
    depth: float = 0.0
    shapes: tuple[tuple[int, int], ...] = SHAPES
    budgets: tuple[float, ...] = BUDGETS
    seeds: tuple[int, ...] = (0,)

    def observations(self) -> Observations:
        rng = np.random.default_rng(7)
        runs = [
            self.run(Architecture.of(*shape), budget, seed, rng)
            for seed in self.seeds
            for shape in self.shapes
            for budget in self.budgets
        ]
        compressed = [c for run in runs for c in self.compressions(run)]
        return Observations(("made-up",), accuracy(10), tuple(runs), tuple(compressed))

    def run(
        self, architecture: Architecture, budget: float, seed: int, rng: np.random.Generator
    ) -> Run:
        layers = 12 * architecture.depth * architecture.width**2
        size = self.larger_is_better * math.log2(layers / 12_288)
        loss = 1.0 - 0.12 * size + 0.3 * self.learns * (budget / 100) ** -0.3
        loss += self.depth * architecture.depth + rng.normal(0, self.noise)
        return Run(
            architecture=architecture,
            budget=budget,
            seed=seed,
            steps=int(budget),
            training_flops=6.0 * layers * budget,
            parameters=layers + 1000,
            layer_parameters=layers,
            size_bytes=4 * (layers + 1000),
            loss=loss,
            loss_error=self.noise,
            quality=0.9 - 0.15 * loss,
            quality_error=self.noise,
        )

    def compressions(self, run: Run) -> list[Compressed]:
        size = math.log2(run.layer_parameters / 12_288)
        return [
            Compressed(
                run=run,
                compression=Compression(quantisation),
                size_bytes=run.size_bytes * quantisation.bits // 32,
                training_flops=run.training_flops,
                quality=run.quality * (1 - drop * (1 - 0.15 * self.more_robust * (size - 3))),
                quality_error=self.noise,
            )
            for quantisation, drop in BITS.items()
        ]


def answers(world: World) -> dict[int, Verdict]:
    return {verdict.number: verdict for verdict in judge(resample(world.observations()))}


def test_a_world_of_the_paper_supports_its_claims() -> None:
    found = answers(World())
    assert {k: found[k].answer for k in (1, 2, 3, 4, 5)} == dict.fromkeys(
        (1, 2, 3, 4, 5), Answer.SUPPORTED
    )
    assert all(verdict.rows and not verdict.missing for verdict in found.values())


def test_a_reversed_world_contradicts_them() -> None:
    found = answers(World(larger_is_better=-1.0, more_robust=-1.0))
    assert [found[k].answer for k in (1, 2, 3, 4)] == [Answer.CONTRADICTED] * 4


def test_effects_are_the_true_ones() -> None:
    found = answers(World(noise=1e-6))
    # Six doublings lie between the sizes; each takes 0.12 nats off.
    assert found[2].effect is not None
    assert found[2].effect.estimate == pytest.approx(-0.12 * 6, abs=1e-3)
    # 0.15 of 6 and of 20 points, a doubling of layers.
    assert found[3].effect is not None
    assert found[3].effect.estimate == pytest.approx(-1.95, rel=0.1)


def test_noise_makes_no_claim() -> None:
    found = answers(World(larger_is_better=0.0, more_robust=0.0, noise=0.15))
    assert [found[k].answer for k in (2, 3)] == [Answer.NOT_ENOUGH] * 2
    assert all(found[k].missing for k in (2, 3))


def test_a_negligible_difference_contradicts() -> None:
    assert answers(World(larger_is_better=0.0, noise=1e-4))[2].answer is Answer.CONTRADICTED


def test_converged_models_contradict_early_stopping() -> None:
    assert answers(World(learns=0.001, noise=1e-4))[5].answer is Answer.CONTRADICTED


@pytest.mark.parametrize(
    ("depth", "answer"), [(0.05, Answer.SUPPORTED), (-0.05, Answer.CONTRADICTED)]
)
def test_depth_against_width(depth: float, answer: Answer) -> None:
    found = answers(World(depth=depth))[6]
    assert found.answer is answer
    assert [row["at"] for row in found.rows] == ["4x32 against 1x64", "4x64 against 1x128"]


def test_one_size_is_not_enough() -> None:
    found = answers(World(shapes=((1, 32),)))
    assert {v.answer for v in found.values()} == {Answer.NOT_ENOUGH}
    assert all(verdict.missing and verdict.effect is None for verdict in found.values())


def test_one_budget_is_not_enough_for_early_stopping() -> None:
    found = answers(World(budgets=(400.0,)))
    assert found[2].answer is Answer.SUPPORTED
    assert found[5].answer is Answer.NOT_ENOUGH


def test_nothing_at_all_is_not_enough() -> None:
    nothing = replace(World().observations(), runs=(), compressed=())
    assert {v.answer for v in judge(resample(nothing))} == {Answer.NOT_ENOUGH}


def test_models_at_chance_are_left_out_and_counted() -> None:
    observations = World().observations()
    guessing = [
        replace(run, quality=0.01) if run.architecture.width == 32 else run
        for run in observations.runs
    ]
    verdict = judge(resample(replace(observations, runs=tuple(guessing))))[2]
    assert "10 models near guessing are left out" in verdict.reading


def test_several_seeds_widen_the_interval() -> None:
    def width(world: World) -> float:
        observations = world.observations()
        quiet = tuple(replace(run, loss_error=1e-6) for run in observations.runs)
        effect = judge(resample(replace(observations, runs=quiet)))[1].effect
        assert effect is not None
        return effect.high - effect.low

    assert width(World(noise=0.05, seeds=(0, 1, 2))) > 100 * width(World(noise=0.05))


def test_the_interval_of_the_best_of_equals_covers_the_truth() -> None:
    """Draws scatter around measured values, which are noisy themselves, not around the truth."""
    rng = np.random.default_rng(0)
    estimates, highest, covered = [], [], []
    for _ in range(200):
        measured = rng.standard_normal(20)
        draws = np.vstack([measured, measured + rng.standard_normal((2000, 20))])
        best = bias_reduced_best(draws)
        low, high = np.quantile(best[1:], (0.025, 0.975))
        estimates.append(best[0])
        highest.append(measured.max())
        covered.append(low <= 0.0 <= high)
    assert np.mean(highest) > 1.5
    assert np.mean(estimates) < 0.8 * np.mean(highest)
    assert np.mean(covered) >= 0.95


def test_the_page_is_self_contained_and_escapes_names() -> None:
    observations = replace(World().observations(), names=("<b>&",))
    verdicts = judge(resample(observations))
    page = claims_page(observations, verdicts, {1: b"png"})
    assert "&lt;b&gt;&amp;" in page
    assert "<b>&" not in page
    assert 'src="http' not in page
    assert "there is one seed" in page


def _measure(study: Study, world: World) -> None:
    """Trials of a study with the results of a made-up world."""
    rng = np.random.default_rng(0)
    for addition in missing_trials(study.space, study.records()):
        study.optuna.enqueue_trial(addition.parameters)
        record = study.ask()
        assert record.configuration == addition.configuration
        run = world.run(record.configuration.architecture, record.configuration.budget, 0, rng)
        bits = record.configuration.compression.quantisation.bits
        flops = study.space.schedule.training_flops(
            run.budget, run.architecture, study.space.workload
        )
        score = 0.55 + 0.45 * run.quality * (1 - 0.5 / bits)
        result = made_up_result(
            score,
            run.size_bytes * bits / 32e6,
            dense_size_bytes=run.size_bytes,
            dense_score=0.55 + 0.45 * run.quality,
            dense_loss=run.loss,
            examples=10_000,
            training_flops=flops,
            dense_training_flops=flops,
        )
        assert study.tell_result(record.number, result)


def test_missing_trials_are_every_model_once_and_the_ladder_at_the_longest(study: Study) -> None:
    additions = missing_trials(study.space, [])
    configurations = [addition.configuration for addition in additions]
    hashes = [configuration.hash for configuration in configurations]
    assert len(set(hashes)) == len(hashes)
    models = {(c.architecture, c.budget) for c in configurations}
    assert len(models) == 4 * 2
    assert len({c.compression for c in configurations if c.budget == 40.0}) >= 5
    first = [(c.architecture, c.budget) for c in configurations[: len(models)]]
    assert set(first) == models
    _measure(study, World())
    assert missing_trials(study.space, study.records()) == []


def test_a_large_space_is_sampled(make_search: Callable[..., SearchFile]) -> None:
    from spaces.grid.search_space import SearchSpace

    search = make_search(
        space__depth={"low": 1, "high": 12},
        space__width={"low": 32, "high": 512, "step": 32},
        space__budget={"unit": "steps", "choices": [20, 40, 80, 160, 320, 640]},
    )
    additions = missing_trials(SearchSpace(search), [])
    assert len({a.configuration.architecture for a in additions}) == 5
    assert len({a.configuration.budget for a in additions}) == 4
    assert len(additions) < 60


def test_the_command_writes_the_report_and_logs_it(
    study: Study, home: Path, empty_mlflow: Path
) -> None:
    from mlflow import MlflowClient

    _measure(study, World())
    shutil.copy(empty_mlflow, home / "mlflow.db")
    printed = CliRunner().invoke(cli, ["claims", "tiny", "--json"], catch_exceptions=False)
    assert printed.exit_code == 0
    found: dict[str, Any] = json.loads(printed.stdout)
    assert [claim["claim"] for claim in found["claims"]] == [1, 2, 3, 4, 5, 6]
    folder = home / "reports" / "tiny"
    assert found["report"] == str(folder / "claims.html")
    assert "data:image/png;base64," in (folder / "claims.html").read_text()
    assert (
        "![Larger is better at equal compute](claims-1.png)" in (folder / "claims.md").read_text()
    )
    assert (folder / "claims-1.png").read_bytes().startswith(b"\x89PNG")
    assert found["is_tracked"]
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`tlc.key` LIKE '%/parent'")
    names = {file.path for file in client.list_artifacts(runs[0].info.run_id, "claims")}
    assert {"claims/claims.html", "claims/claims.md", "claims/claims-1.png"} <= names


def test_searches_of_other_seeds_are_pooled_and_others_refused(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    url = f"sqlite:///{home / 'study.db'}"
    one, two, same, other = (
        Study.open(make_search(name=name, **fields), url)
        for name, fields in (
            ("one", {}),
            ("two", {"seed": 1}),
            ("same", {}),
            ("other", {"seed": 2, "training__warmup_fraction": 0.2}),
        )
    )
    for study in (one, two):
        _measure(study, World())
    assert observe([one, two]).seeds == (0, 1)
    with pytest.raises(UserError, match="differ in training"):
        observe([one, other])
    with pytest.raises(UserError, match="same seed"):
        observe([one, same])


def test_enqueued_trials_have_no_configuration_until_they_are_asked_for(study: Study) -> None:
    addition = missing_trials(study.space, [])[0]
    study.optuna.enqueue_trial(addition.parameters)
    assert study.records() == []
    record = study.ask()
    assert record.configuration == addition.configuration
    assert CONFIGURATION in study.optuna.trials[record.number].user_attrs


def test_enqueued_trials_are_run_beside_those_of_the_file(study: Study) -> None:
    from ray.tune.search import Searcher

    from search.execution.searcher import StudySearcher

    study.tell_result(study.ask().number, made_up_result(0.6, 0.1))
    addition = missing_trials(study.space, study.records())[0]
    study.optuna.enqueue_trial(addition.parameters)
    sampler = FeasibleSampler(study.space, "random", seed=0, trials=1)
    study.optuna.sampler = sampler
    searcher = StudySearcher(
        study,
        sampler,
        unfinished=[],
        failure_of=lambda _: ("error", ""),
        trials=1,
        retries=1,
        deadline=math.inf,
        may_start=lambda _: True,
        on_change=lambda _: None,
        warn=print,
    )
    job = searcher.suggest("one")
    assert isinstance(job, dict)
    assert job["configurations"] == [addition.configuration.to_dict()]
    outcome = {"state": "complete", "result": made_up_result(0.7, 0.1), "curve": []}
    (number,) = job["numbers"]
    searcher.on_trial_complete("one", {"number": number, "outcome": json.dumps(outcome)})
    assert searcher.suggest("two") == Searcher.FINISHED


@pytest.mark.usefixtures("mlflow_made")
def test_missing_trials_run_in_the_given_study_and_leave_its_file_unchanged(
    tlc: Tlc, document: dict[str, Any]
) -> None:
    space = {
        "depth": 1,
        "width": 32,
        "budget": {"unit": "steps", "choices": [20]},
        "quantisation": {"choices": ["none", "rtn-8"]},
    }
    search = validate({**document, "space": space, "trials": 1, "hours": 0.5, "sampler": "random"})
    elsewhere = f"sqlite:///{tlc.folder / 'elsewhere.db'}"
    lacking = len(missing_trials(Study.open(search, elsewhere).space, []))
    assert lacking == 2
    run = tlc("claims", "tiny", "--complete", "--study", elsewhere)
    assert run.returncode == 0, run.stdout + run.stderr
    study = Study.load("tiny", elsewhere)
    assert [record.state for record in study.records()] == ["complete"] * lacking
    assert (study.search.trials, study.search.hours) == (1, 0.5)
    assert "tiny" not in study_names(tlc.study_url)
