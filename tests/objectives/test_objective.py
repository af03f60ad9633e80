"""One trial in a plain Python shell: no Ray, no Optuna, no MLflow."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from objectives.measurement.latency import measure_latency
from objectives.models.build import build
from objectives.objective import Objective
from objectives.store.locks import MeasurementLock
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration
from spaces.cost.workload import Family, Workload
from spaces.file.search_file import SearchFile

BASE = Configuration(Architecture.of(1, 32), 40, Compression())


@pytest.mark.usefixtures("home")
def test_an_evaluation_records_its_conditions(
    make_search: Callable[..., SearchFile],
) -> None:
    evaluation = Objective(make_search()).evaluate(BASE)
    assert evaluation.score_low > 0.5  # two classes: clearly better than chance
    assert evaluation.metric == "accuracy"
    assert evaluation.score == evaluation.dense_score
    assert evaluation.loss == pytest.approx(evaluation.dense_loss, rel=1e-4)
    assert evaluation.examples == 100
    assert evaluation.size_bytes == pytest.approx(evaluation.predicted_size_bytes, rel=0.02)
    assert evaluation.latency.threads == 1
    assert evaluation.latency.p10_ms <= evaluation.latency.p50_ms <= evaluation.latency.p95_ms
    assert 0 < evaluation.latency.reference_p10_ms <= evaluation.latency.reference_p50_ms
    assert (
        evaluation.to_dict()["latency_ms"]
        == evaluation.latency.corrected_ms
        <= evaluation.latency.p10_ms
    )
    assert evaluation.steps == {"total": 80, "trained": 80, "reused": 0}
    assert [stage["name"] for stage in evaluation.stages] == ["stable", "decay", "fine-tuning"]
    stable, _, fine_tuning = evaluation.stages
    assert stable["tokens"] == 32 * 16 * 16
    assert fine_tuning["epochs"] == 2.0
    # Sentences of four to eleven words are padded to at most sixteen tokens.
    assert 4 * 640 < fine_tuning["tokens"] < 16 * 640
    assert evaluation.versions["torch"] == torch.__version__
    json.dumps(evaluation.to_dict(), allow_nan=False)


@pytest.mark.usefixtures("home")
def test_a_further_score_is_that_of_a_search_by_it(make_search: Callable[..., SearchFile]) -> None:
    objectives = ["accuracy", "macro-f1", "matthews", "size_mb"]
    # A model that errs, so that the scores differ.
    poor = replace(BASE, compression=Compression(Quantisation.RTN_2))
    result = Objective(make_search(objectives=objectives)).evaluate(poor).to_dict()
    alone = Objective(make_search(name="f1", objectives=["macro-f1", "size_mb"])).evaluate(poor)
    assert result["macro-f1"] == alone.score
    assert (result["macro-f1_low"], result["macro-f1_high"]) == (alone.score_low, alone.score_high)
    assert 0.0 < result["matthews"] < result["score"]
    assert set(result["further_scores"]) == {"macro-f1", "matthews"}


@pytest.mark.usefixtures("home")
def test_a_second_compression_trains_nothing(make_search: Callable[..., SearchFile]) -> None:
    objective = Objective(make_search())
    objective.evaluate(BASE)
    pruned = Compression(Quantisation.RTN_4, 32, Pruning.STRUCTURED, 0.5)
    evaluation = objective.evaluate(replace(BASE, compression=pruned))
    assert evaluation.steps == {"total": 80, "trained": 0, "reused": 80}
    assert evaluation.seconds["saved"] > 0
    assert evaluation.compression_ratio > 4


@pytest.mark.usefixtures("home")
def test_training_of_an_earlier_search_is_found(make_search: Callable[..., SearchFile]) -> None:
    asked = [BASE, replace(BASE, budget=20), replace(BASE, architecture=Architecture.of(2, 32))]
    objective = Objective(make_search())
    assert objective.stored_training(asked) == [(False, False)] * 3
    objective.evaluate(BASE)
    later = Objective(make_search(name="another"))
    # The shorter budget leaves the stable path of the longer one, and lacks its decay.
    assert later.stored_training(asked) == [(True, True), (False, True), (False, False)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose store keeps the training that several tests share."""
    return tmp_path_factory.mktemp("trained")


@pytest.mark.parametrize(
    ("quantisation", "budget"),
    [
        *(
            pytest.param(quantisation, 40, marks=pytest.mark.slow)
            for quantisation in Quantisation
            if quantisation.bits > 2 and quantisation != Quantisation.STATIC_8
        ),
        (Quantisation.STATIC_8, 40),
        # At two bits a model of 40 steps falls to chance, one of 160 does not.
        pytest.param(Quantisation.RTN_2, 160, marks=pytest.mark.slow),
    ],
)
def test_every_quantisation_works_on_sentences_of_any_length(
    quantisation: Quantisation,
    budget: float,
    make_search: Callable[..., SearchFile],
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TLC_HOME", str(trained))
    compression = Compression(quantisation, 32, Pruning.STRUCTURED, 0.5)
    configuration = replace(BASE, budget=budget, compression=compression)
    evaluation = Objective(make_search()).evaluate(configuration)
    assert evaluation.score_low > 0.5
    assert evaluation.size_bytes == pytest.approx(evaluation.predicted_size_bytes, rel=0.02)


@pytest.mark.slow
def test_a_seed_of_training_gives_the_same_model_in_every_search(
    make_search: Callable[..., SearchFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searches share a store by the seed of a configuration, whatever their own seed is."""
    pruned = Compression(Quantisation.RTN_4, 32, Pruning.STRUCTURED, 0.5)
    configuration = replace(BASE, compression=pruned, seed=1)
    losses = []
    for seed in (0, 1):
        monkeypatch.setenv("TLC_HOME", str(tmp_path / str(seed)))
        result = Objective(make_search(seed=seed)).evaluate(configuration)
        losses.append((result.loss, result.dense_loss, result.pretraining_loss))
    assert losses[0] == losses[1]


@pytest.mark.usefixtures("home")
def test_the_measured_model_is_the_stored_one(make_search: Callable[..., SearchFile]) -> None:
    objective = Objective(make_search())
    evaluation = objective.evaluate(BASE)
    folder = Path(objective.store.location(evaluation.model))
    files = ("model.safetensors", "config.json")
    assert sum((folder / name).stat().st_size for name in files) == evaluation.size_bytes
    assert objective.test(evaluation.model).examples == 100


def test_training_waits_while_a_latency_is_measured(tmp_path: Path) -> None:
    steps: list[float] = []
    stop = threading.Event()

    def train() -> None:
        measurement_lock = MeasurementLock(tmp_path)
        while not stop.is_set():
            with measurement_lock.training():
                steps.append(time.monotonic())
                time.sleep(0.002)

    trainers = [threading.Thread(target=train) for _ in range(2)]
    for trainer in trainers:
        trainer.start()
    time.sleep(0.1)
    with MeasurementLock(tmp_path).measurement():
        began = time.monotonic()
        time.sleep(0.1)
        ended = time.monotonic()
    time.sleep(0.05)
    stop.set()
    for trainer in trainers:
        trainer.join()
    assert not any(began < step < ended for step in steps)
    assert any(step < began for step in steps)
    assert any(step > ended for step in steps)


def test_a_larger_model_is_measured_as_slower() -> None:
    workload = Workload(Family.MODERNBERT_CLASSIFIER, 300, 32, classes=2)
    small = build(Architecture.of(1, 64).shape, workload).eval()
    large = build(Architecture.of(8, 256).shape, workload).eval()
    latency = measure_latency(
        large,
        small,
        {"input_ids": torch.randint(5, 300, (1, 32))},
        sequence_length=32,
        threads=1,
        repeats=20,
    )
    assert latency.p10_ms > 2 * latency.reference_p10_ms
