"""Two workers train a model as one process does, with the same checkpoints."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from objectives.data.batches import BatchShard, sentence_pair_batch
from objectives.data.prepare import prepare
from objectives.data.prepared_data import PreparedData
from objectives.failures import TrialFailure
from objectives.objective import Objective
from objectives.store.store import Store
from objectives.tasks import make_task
from objectives.tasks.translation import Translation
from objectives.training import stages
from objectives.training.distributed import WorkerGroup
from objectives.training.learning_problem import LearningProblem
from objectives.training.path import TrainingState
from objectives.training.recovery import recovery_path
from objectives.training.replica import TrainingProcess
from objectives.training.trainer import Trainer
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from tests.objectives.follower import FollowRequest, exact, join, make_workers

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
WEIGHTS, LOSSES = 2e-3, 1e-5
"""Tolerances. Adam divides by the root of its second moment, so rounding errors decide where
weights with a gradient near zero go; that hardly changes the losses."""


@pytest.fixture(scope="module", autouse=True)
def exact_training() -> Iterator[None]:
    """Train exactly, and undo what ``exact`` changes."""
    before = torch.get_num_threads(), stages.fastest_precision, Translation.dropout
    torch.set_num_threads(1)
    exact()
    yield
    threads, stages.fastest_precision, Translation.dropout = before
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A second process; this one is rank 0."""
    rendezvous = tmp_path_factory.mktemp("group") / "rendezvous"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.objectives.follower", str(rendezvous)], cwd=ROOT
    )
    join(rendezvous, rank=0)
    yield
    dist.broadcast_object_list([None], 0)
    dist.destroy_process_group()
    assert process.wait(timeout=60) == 0


class TrainingRun:
    """A search whose models are trained in a folder, by one process or by two."""

    def __init__(self, search: SearchFile, folder: Path, prepared: Path) -> None:
        self.search = search
        self.folder = folder
        self.data: PreparedData = prepare(search.data, search.task, prepared)
        self.task = make_task(search, self.data)

    def train(
        self, configuration: Configuration, name: str, workers: WorkerGroup | None = None
    ) -> TrainingState:
        """The end of a configuration's path, in a store of some name."""
        store, processes = Store(str(self.folder / name)), workers or TrainingProcess(CPU)
        trainer = Trainer(store, processes, checkpoint_seconds=1e9)
        path = self.task.path(configuration)
        if configuration.compression.recovery:
            path = recovery_path(
                self.task, self.task.stages, configuration, path, self.task.calibration()
            )
        state, self.cost = trainer.train(path)
        return state

    @contextmanager
    def two_workers(self, *, shards: bool, broken_step: int | None = None) -> Iterator[WorkerGroup]:
        """Both processes as workers."""
        request = FollowRequest(
            self.search.model_dump_json(), self.data.folder, shards, broken_step
        )
        dist.broadcast_object_list([request], 0)
        workers = make_workers(shards=shards)
        yield workers
        workers.release()


@pytest.fixture
def training(
    make_task_search: Callable[..., SearchFile],
    second: None,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., TrainingRun]:
    prepared = tmp_path_factory.getbasetemp() / "prepared"
    return lambda name, **fields: TrainingRun(make_task_search(name, **fields), tmp_path, prepared)


def configuration(budget: float, **compression: Any) -> Configuration:
    return Configuration(
        Architecture.of(2, 64, decoder_depth=1), budget, Compression(**compression)
    )


def check_same(one: TrainingState, other: TrainingState) -> None:
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], atol=WEIGHTS, rtol=0.0)
    assert other.validation["loss"] == pytest.approx(one.validation["loss"], rel=1e-3)
    steps, losses = zip(*one.progress.curve, strict=True)
    assert steps == tuple(step for step, _ in other.progress.curve)
    assert [loss for _, loss in other.progress.curve] == pytest.approx(losses, rel=1e-3)
    first = one.history[0]["curve"][0][1]
    assert other.history[0]["curve"][0][1] == pytest.approx(first, rel=LOSSES)


@pytest.mark.parametrize("task", ["masked-lm", "causal-lm", "translation"])
@pytest.mark.parametrize("shards", [False, True], ids=["ddp", "fsdp"])
def test_two_workers_train_what_one_process_does(
    task: str, shards: bool, training: Callable[[str], TrainingRun]
) -> None:
    made = training(task)
    alone = made.train(configuration(10), "alone")
    with made.two_workers(shards=shards) as workers:
        together = made.train(configuration(10), "together", workers)
    check_same(alone, together)


@pytest.mark.parametrize(
    ("task", "workers"), [("masked-lm", ""), ("translation", ""), ("causal-lm", "ddp"),
                          ("causal-lm", "fsdp")],
)  # fmt: skip
def test_micro_batches_and_layers_that_are_computed_again_train_what_a_whole_step_does(
    task: str, workers: str, training: Callable[..., TrainingRun]
) -> None:
    whole = training(task).train(configuration(10), "whole")
    made = training(task, training__micro_batch_size=2, training__activation_checkpointing=True)
    if workers:
        with made.two_workers(shards=workers == "fsdp") as group:
            divided = made.train(configuration(10), "divided", group)
    else:
        divided = made.train(configuration(10), "divided")
    check_same(whole, divided)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [False, True], ids=["ddp", "fsdp"])
def test_two_workers_stop_fine_tuning_where_one_process_does(
    shards: bool, training: Callable[..., TrainingRun]
) -> None:
    # With so low a learning rate the first epoch is as good as all others.
    settings = {
        "epochs": 12, "patience": 2, "held_out": 0.2, "dropout": 0.0,
        "token_dropout": 0.2, "r_drop": 1.0, "learning_rate": 1e-7,
    }  # fmt: skip
    made = training("classification", training__fine_tuning=settings, training__batch_size=40)
    alone = made.train(configuration(10), "alone")
    with made.two_workers(shards=shards) as workers:
        together = made.train(configuration(10), "together", workers)
    assert alone.has_ended
    assert together.progress.step == alone.progress.step == 3 * 8
    check_same(alone, together)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [False, True], ids=["ddp", "fsdp"])
def test_a_path_continues_with_another_number_of_workers(
    shards: bool, training: Callable[[str], TrainingRun]
) -> None:
    made = training("causal-lm")
    alone = made.train(configuration(40), "alone")

    made.train(configuration(20), "one, two")
    with made.two_workers(shards=shards) as workers:
        more = made.train(configuration(40), "one, two", workers)
        assert made.cost.steps_reused == 16  # the stable part of the shorter budget
        made.train(configuration(20), "two, one", workers)
    fewer = made.train(configuration(40), "two, one")

    assert made.cost.steps_reused == 16
    check_same(alone, more)
    check_same(alone, fewer)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [False, True], ids=["ddp", "fsdp"])
def test_workers_keep_pruned_weights_zero(
    shards: bool, training: Callable[[str], TrainingRun]
) -> None:
    made = training("causal-lm")
    pruned = configuration(
        10,
        quantisation=Quantisation.RTN_8,
        pruning=Pruning.UNSTRUCTURED,
        sparsity=0.5,
        recovery=5.0,
    )
    with made.two_workers(shards=shards) as workers:
        together = made.train(pruned, "together", workers).model.state_dict()
    alone = made.train(pruned, "alone").model.state_dict()
    zeros = sum(int((weight == 0).sum()) for weight in alone.values())
    assert zeros > 10_000
    assert sum(int((weight == 0).sum()) for weight in together.values()) == zeros


@pytest.mark.slow
@pytest.mark.parametrize("shards", [False, True], ids=["ddp", "fsdp"])
def test_two_workers_recover_from_one_teacher(
    shards: bool, training: Callable[..., TrainingRun]
) -> None:
    made = training(
        "masked-lm", space__recovery={"choices": [0, 6]}, training__recovery_distillation={}
    )
    pruned = configuration(10, quantisation=Quantisation.RTN_3, sparsity=0.5, recovery=6.0)
    alone = made.train(pruned, "alone")
    with made.two_workers(shards=shards) as workers:
        together = made.train(pruned, "together", workers)
    check_same(alone, together)


@pytest.mark.parametrize("shards", [False, True], ids=["ddp", "fsdp"])
def test_a_loss_that_is_not_finite_on_one_worker_stops_all_in_a_named_state(
    shards: bool, training: Callable[[str], TrainingRun]
) -> None:
    made = training("causal-lm")
    with made.two_workers(shards=shards, broken_step=13) as workers:
        with pytest.raises(TrialFailure) as caught:
            made.train(configuration(20), "broken", workers)
        assert caught.value.state == "not_finite"
        assert "step 13" in caught.value.message
        # The workers can train the next model.
        assert made.train(configuration(10), "next", workers).progress.step == 2


def test_an_objective_is_evaluated_by_workers(
    training: Callable[[str], TrainingRun], home: Path
) -> None:
    made = training("causal-lm")
    with made.two_workers(shards=True) as workers:
        objective = Objective(made.search, made.data, workers)
        result = objective.evaluate(configuration(20, quantisation=Quantisation.RTN_8))
    assert result.steps == {"total": 20, "trained": 20, "reused": 0}
    assert result.score < 400


def test_workers_measure_the_speed_at_which_they_train_together(
    training: Callable[[str], TrainingRun], home: Path
) -> None:
    made = training("causal-lm")
    with made.two_workers(shards=False) as workers:
        objective = Objective(made.search, made.data, workers)
        assert objective.speed_cache.of(Architecture.of(1, 32)).steps_per_second > 1.0
        # The same workers then train.
        assert objective.evaluate(configuration(20)).steps["trained"] == 20


@pytest.mark.parametrize("task", ["classification", "masked-lm", "image-classification"])
def test_the_mean_over_the_shards_is_the_loss_of_the_batch(
    task: str, training: Callable[..., TrainingRun]
) -> None:
    fields = {}
    if task == "classification":
        fields = {"training__fine_tuning": {"token_dropout": 0.2, "r_drop": 1.0}}
    made = training(task, **fields)
    check_shards(made.task, made.task.path(configuration(20)).build().eval())


def test_shards_are_weighted_by_their_numbers_of_tokens(
    training: Callable[[str], TrainingRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = training("translation")
    pairs = made.data.sentence_pairs("train")
    shortest_first = np.argsort(pairs.target_lengths)
    rows = np.concatenate([shortest_first[:4], shortest_first[-4:]])
    batch = sentence_pair_batch(pairs, rows)
    monkeypatch.setattr(Translation, "batch", lambda *_: batch)
    counts = [made.task.terms(BatchShard(index, 4).of(batch)) for index in range(4)]
    assert counts[0] < counts[3]
    check_shards(made.task, made.task.path(configuration(20)).build().eval())


def check_shards(problem: LearningProblem, model: nn.Module) -> None:
    with torch.no_grad():
        whole = problem.loss_at(model, 3)
        shards = [problem.loss_at(model, 3, BatchShard(index, 4)) for index in range(4)]
    assert len({round(float(part), 6) for part in shards}) == 4
    torch.testing.assert_close(torch.stack(shards).mean(), whole, atol=0.0, rtol=1e-5)
