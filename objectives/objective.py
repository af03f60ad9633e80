"""One trial: train to the budget, compress, load back, measure. Works in a plain Python shell.

>>> from objectives.objective import Objective
>>> from spaces.loading import load
>>> from spaces.search_space import SearchSpace
>>> search = load("default")
>>> space = SearchSpace(search)
>>> Objective(search).evaluate(space.configuration((0,) * len(space.dimensions)))  # doctest: +SKIP
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from objectives.compression import model_file
from objectives.compression.pipeline import compress
from objectives.compression.prune import prune
from objectives.data.batches import Batch
from objectives.data.prepare import prepare
from objectives.data.prepared_data import PreparedData
from objectives.evaluation import Evaluation, package_versions
from objectives.failures import OUT_OF_MEMORY, TrialFailure, is_out_of_memory
from objectives.measurement.flops import count_forward_flops
from objectives.measurement.latency_cache import LatencyCache
from objectives.measurement.score import Score
from objectives.measurement.threads import torch_threads
from objectives.store.manifest import CHECKPOINTS, MODELS
from objectives.store.store import Store
from objectives.tasks import make_task
from objectives.tasks.base import Task
from objectives.training.distributed import WorkerGroup
from objectives.training.paths import Trainer, TrainingPath
from objectives.training.recovery import recovery_path
from objectives.training.stages import Stages
from objectives.training.trained_model import TrainedModel
from spaces.cost.configuration import Configuration, content_hash
from spaces.cost.families import parameters
from spaces.cost.size import dense_size_bytes, size_bytes
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations


class StoredTraining(NamedTuple):
    """What the store has of a chain of training.

    Args:
        model: Its final model.
        stable_path: Its stable path to the end.
    """

    model: bool
    stable_path: bool


class Objective:
    """What one trial of a search does.

    Args:
        search: The search file.
        data: Its prepared data; prepared here when not given.
        workers: The workers that train each model together; without them, this process trains.

    Raises:
        UserError: The data or the store cannot be used.
    """

    def __init__(
        self,
        search: SearchFile,
        data: PreparedData | None = None,
        workers: WorkerGroup | None = None,
    ) -> None:
        self._search = search
        where = Locations.of(search.storage)
        self.store = Store(where.store_url, max_bytes=where.store_max_bytes)
        self.store.remove_unfinished()
        self.data = data or prepare(search.data, search.task, where.data)
        self._task: Task = make_task(search, self.data)
        self._stages = Stages(search, self.data.fingerprint)
        self._workers = workers
        self._trainer = Trainer(
            self.store,
            torch.device("cuda" if torch.cuda.is_available() else "cpu"),
            checkpoint_seconds=search.training.checkpoint_seconds,
            workers=workers,
        )
        self.latency_cache = LatencyCache(search, self._task, self.store)

    def evaluate(self, configuration: Configuration) -> Evaluation:
        """Train, compress and measure a configuration.

        Raises:
            TrialFailure: It cannot give a result; the failure has a named state.
        """
        ((_, outcome),) = self.evaluate_each([configuration])
        if isinstance(outcome, TrialFailure):
            raise outcome
        return outcome

    def evaluate_each(
        self, configurations: Iterable[Configuration]
    ) -> Iterator[tuple[Configuration, Evaluation | TrialFailure]]:
        """Evaluate configurations one after another, training what they share once.

        The trained model stays in memory while the next configuration differs only in its
        compression, and the first of them that succeeds carries what the training took.

        Yields:
            Each configuration with its evaluation, or with the failure that ended it.
        """
        trained: TrainedModel | None = None
        for configuration in configurations:
            torch.set_num_threads(self._search.placement(configuration.architecture).cpus)
            try:
                self._check_latency(configuration)
                if trained is None or not configuration.shares_training(trained.configuration):
                    trained = self._train(configuration)
                evaluation = self._compress_and_measure(trained, configuration)
                # A failure records no cost: whoever succeeds first carries it.
                trained = trained.without_cost()
                yield configuration, evaluation
            except TrialFailure as failure:
                yield configuration, failure
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                yield configuration, TrialFailure(OUT_OF_MEMORY, str(error))

    def follow(self) -> None:
        """Train with rank 0, which evaluates, until it dismisses this worker."""
        assert self._workers is not None
        self._workers.follow(self._path)

    def stored_training(self, configurations: Iterable[Configuration]) -> list[StoredTraining]:
        """What the store has of the training of each configuration, from whatever search."""
        addresses = self.store.addresses(CHECKPOINTS)
        return [
            _stored(self._task.path(configuration), addresses) for configuration in configurations
        ]

    def _path(self, configuration: Configuration, key: str) -> TrainingPath:
        """The path with a key in the chain of a configuration."""
        torch.set_num_threads(self._search.placement(configuration.architecture).cpus)
        path = self._task.path(configuration)
        if configuration.canonical().compression.recovery > 0.0:
            path = self._recovery(configuration, path)
        found = {stage.key: stage for stage in path.chain}
        if key not in found:
            raise KeyError(f"{configuration} has no path {key} here: versions or machines differ")
        return found[key]

    def _recovery(self, configuration: Configuration, trained: TrainingPath) -> TrainingPath:
        return recovery_path(
            self._task.problem, self._stages, configuration, trained, self._calibration
        )

    def _check_latency(self, configuration: Configuration) -> None:
        """Refuse to train what is too slow, which an untrained model shows."""
        limit = self._search.constraints.max_latency_ms
        if limit is None:
            return
        latency = self.latency_cache.of_untrained(configuration)
        if latency.ms > limit:
            noisy = ", measured on a noisy machine" if latency.noisy else ""
            raise TrialFailure(
                "too_slow", f"{configuration}: {latency.ms:.3g} ms, more than {limit:g} ms{noisy}"
            )

    def _train(self, configuration: Configuration) -> TrainedModel:
        started = time.perf_counter()
        path = self._task.path(configuration)
        state, cost = self._trainer.reach(path)
        return TrainedModel(
            configuration,
            path,
            state.model.cpu().eval(),
            state,
            cost,
            time.perf_counter() - started,
        )

    def _prune(self, trained: TrainedModel, configuration: Configuration) -> TrainedModel:
        """What is left of a trained model: pruned, and trained on where the compression says so."""
        compression = configuration.canonical().compression
        if compression.recovery > 0.0:
            return self._recover(trained, configuration)
        model = prune(
            trained.model,
            configuration.architecture,
            self._search.workload,
            compression,
            self._calibration,
            self._task.problem.loss,
        )
        return replace(trained, model=model)

    def _recover(self, trained: TrainedModel, configuration: Configuration) -> TrainedModel:
        started = time.perf_counter()
        path = self._recovery(configuration, trained.path)
        state, cost = self._trainer.reach(path)
        seconds = time.perf_counter() - started
        return trained.continued(path, state, cost, seconds)

    def _compress_and_measure(
        self, trained: TrainedModel, configuration: Configuration
    ) -> Evaluation:
        pruned = self._prune(trained, configuration)
        address = self._model_address(configuration, trained.path.address)

        def fill(folder: Path) -> Evaluation:
            return self._compressed_and_measured(trained, pruned, configuration, address, folder)

        return self.store.write(address, fill, is_final=True)

    def _compressed_and_measured(
        self,
        trained: TrainedModel,
        pruned: TrainedModel,
        configuration: Configuration,
        address: str,
        folder: Path,
    ) -> Evaluation:
        started = time.perf_counter()
        search, architecture = self._search, configuration.architecture
        loaded = compress(
            pruned.model,
            architecture,
            search.workload,
            configuration.compression,
            self._calibration,
            folder,
        )
        compressed = time.perf_counter()
        # What is measured is what was saved: the model that a user would load.
        size = model_file.bytes_on_disk(folder)
        score = self._checked_score(loaded)
        latency = self.latency_cache.of_model(configuration, loaded)
        flops = count_forward_flops(loaded, self.example_inputs())
        measured = time.perf_counter()
        before = trained.state.history
        return Evaluation(
            metric=search.metric.name,
            score=score.value,
            score_low=score.low,
            score_high=score.high,
            examples=score.examples,
            loss=score.loss,
            dense_score=trained.state.validation["score"],
            dense_loss=trained.state.validation["loss"],
            pretraining_loss=before[-1]["validation"]["loss"]
            if search.task.has_fine_tuning
            else None,
            size_bytes=size,
            predicted_size_bytes=size_bytes(
                architecture, search.workload, configuration.compression
            ),
            dense_size_bytes=dense_size_bytes(architecture, search.workload),
            flops=flops,
            parameters=parameters(architecture, search.workload),
            latency=latency,
            training_flops=search.schedule.training_flops(
                configuration.budget,
                architecture,
                search.workload,
                recovery=configuration.canonical().compression.recovery,
            ),
            steps={
                "total": pruned.path.total_steps,
                "trained": pruned.cost.steps_trained,
                "reused": pruned.cost.steps_reused,
            },
            seconds={
                "train": pruned.seconds,
                "saved": pruned.cost.seconds_saved,
                **pruned.stage_seconds,
                "compress": compressed - started,
                "measure": measured - compressed,
            },
            model=address,
            checkpoint=pruned.path.address,
            stages=pruned.chain,
            data_fingerprint=self.data.fingerprint,
            versions=package_versions(),
        )

    @cached_property
    def _calibration(self) -> list[Batch]:
        """Made once: they are the same for every trial."""
        return self._task.calibration()

    def example_inputs(self) -> Batch:
        """Arguments of a forward pass on one input of full length."""
        return self._task.latency_input(1)

    def test(self, model_address: str) -> Score:
        """Score a stored compressed model on the test split.

        Raises:
            TrialFailure: The model is no longer in the store (``missing_model``).
        """
        with self.store.open(model_address) as folder:
            if folder is None:
                raise TrialFailure("missing_model", f"{model_address} is not in the store")
            return self.score(folder, "test")

    def score(self, folder: Path, split: str) -> Score:
        """Score a compressed model in a folder as trials are scored.

        On the machine of the search, the score of its validation split is the recorded one
        exactly. Other processors sum in another order, which can change the last digits.

        Args:
            folder: A stored model, or an exported one.
            split: ``validation`` or ``test``.

        Raises:
            ModelFileError: The folder holds no compressed model, or a damaged one.
        """
        with torch_threads(self._search.resources.cpus):
            return self._task.score(model_file.load(folder), split)

    def _model_address(self, configuration: Configuration, checkpoint: str) -> str:
        compression = asdict(configuration.canonical().compression)
        return f"{MODELS}/{content_hash({'of': checkpoint, 'compression': compression})}"

    def _checked_score(self, model: nn.Module) -> Score:
        score = self._task.score(model, "validation")
        if not math.isfinite(score.loss):
            raise TrialFailure("not_finite", f"the validation loss was {score.loss}")
        return score


def _stored(path: TrainingPath, addresses: set[str]) -> StoredTraining:
    first = path
    while first.parent is not None:
        first = first.parent
    return StoredTraining(path.address in addresses, first.address in addresses)
