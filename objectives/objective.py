"""One trial: train to the budget, prune, compress, load back, measure. Needs no cluster."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from objectives.compression import model_file
from objectives.compression.model_file import ModelSpec
from objectives.compression.pipeline import COMPRESSION_VERSION, compress
from objectives.compression.prune import prune
from objectives.data.batches import Batch
from objectives.data.prepared_data import PreparedData
from objectives.device import usual_device
from objectives.failures import OUT_OF_MEMORY, TrialFailure, is_out_of_memory
from objectives.measurement.cost_meters import CostMeters, meters_of
from objectives.measurement.evaluation import Evaluation
from objectives.measurement.flops import count_forward_flops
from objectives.measurement.latency import torch_threads
from objectives.measurement.latency_cache import LatencyCache
from objectives.measurement.score import Score
from objectives.store.manifest import CHECKPOINTS, MODELS
from objectives.store.store import Store
from objectives.tasks import make_task, prepare_for
from objectives.tasks.labelled.teachers import Teachers
from objectives.tasks.variants import TaskVariants
from objectives.training.distributed import WorkerGroup
from objectives.training.path import FINE_TUNING, TrainingPath
from objectives.training.recovery import recovery_path
from objectives.training.replica import TrainingProcess
from objectives.training.speed import SpeedCache
from objectives.training.trainer import TrainedModel, Trainer
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration, content_hash
from spaces.cost.families import parameters
from spaces.cost.onnx.size import runtime_bytes
from spaces.cost.units import BudgetUnit
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations


class Objective:
    """Evaluates configurations of a search.

    Args:
        search: The search file.
        data: Its prepared data; prepared here when not given.
        workers: The workers that train each model together; without them, this process trains.
        speeds: Steps per second of architectures, for budgets in seconds; those that are not given
            are measured here.

    Raises:
        UserError: The data or the store cannot be used.
    """

    def __init__(
        self,
        search: SearchFile,
        data: PreparedData | None = None,
        workers: WorkerGroup | None = None,
        speeds: Mapping[Architecture, float] | None = None,
    ) -> None:
        where = Locations.of(search.storage)
        self.store = Store(where.store_url, max_bytes=where.store_max_bytes)
        self.store.remove_unfinished()
        self._search = search
        self.data = data or prepare_for(search, where.data)
        self.workload = search.workload
        self._workers = workers
        process = workers or TrainingProcess(
            usual_device(), memory_gb_of=lambda each: search.placement(each).memory_gb
        )
        self._device = process.device
        self.speed_cache = SpeedCache(
            self.store,
            process,
            path_of=lambda architecture: self._tasks.with_vocabulary(
                architecture.vocabulary
            ).timed_path(architecture),
            placement_of=search.placement,
            known=dict(speeds or {}),
        )
        steps_per_second = self.speed_cache.steps_per_second
        self._trainer = Trainer(
            self.store, process, checkpoint_seconds=search.training.checkpoint_seconds
        )
        self.teachers = Teachers(
            self.store, self._trainer, lambda seed: self._tasks.with_seed(seed)
        )
        self._tasks = TaskVariants(
            lambda data, training: make_task(
                search.with_training(training), data, steps_per_second, self.teachers
            ),
            self.data,
            lambda vocabulary: prepare_for(search, where.data, vocabulary),
        )
        self._task = self._tasks.usual
        self._schedule = self._task.stages.schedule
        # Its tokens are in every vocabulary.
        smallest = min(search.space.vocabulary.values) if search.space.vocabulary else 0
        self._timed_task = self._tasks.with_vocabulary(smallest)
        self.latency_cache = LatencyCache(
            self.workload,
            search.measurement,
            self._timed_task.latency_input(search.measurement.batch_size),
            self._timed_task.calibration,
            self.store,
        )
        meters = meters_of(
            search.criteria.costs,
            self.latency_cache,
            large_batch=lambda: self._timed_task.latency_input(search.measurement.large_batch_size),
            decoding=lambda: self._timed_task.decoding(search.measurement),
        )
        self.meters = CostMeters(meters, search.constraints.limits)

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
        """Evaluate configurations one after another, and train what they have in common once.

        The trained model stays in memory while the next configuration differs only in its
        compression. The first of these that succeeds records the cost of the training.

        Yields:
            Each configuration with its evaluation, or with the failure that ended it.
        """
        trained: TrainedModel | None = None
        for configuration in configurations:
            self._set_threads(configuration)
            try:
                self.meters.check_limits(configuration)
                if trained is None or not configuration.shares_training(trained.configuration):
                    trained = self._train(configuration)
                evaluation = self._compress_and_measure(trained, configuration)
                # A failure records no cost: the next configuration that succeeds does.
                trained = trained.without_cost()
                yield configuration, evaluation
            except TrialFailure as failure:
                yield configuration, failure
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                yield configuration, TrialFailure(OUT_OF_MEMORY, str(error))

    def _set_threads(self, configuration: Configuration) -> None:
        torch.set_num_threads(self._search.placement(configuration.architecture).cpus)

    def _train(self, configuration: Configuration) -> TrainedModel:
        self._tasks.of(configuration).stages.check_budget(configuration)
        started = time.perf_counter()
        if self._search.training.distillation is not None:
            self.teachers.prepare(configuration.seed)
        path = self._tasks.of(configuration).path(configuration)
        state, cost = self._trainer.train(path)
        seconds = time.perf_counter() - started
        return TrainedModel(configuration, path, state.model, state, cost, seconds)

    def _compress_and_measure(
        self, trained: TrainedModel, configuration: Configuration
    ) -> Evaluation:
        pruned = self._prune(trained, configuration)
        compression = asdict(configuration.canonical().compression)
        # Recoveries of other settings have the same compression and other weights.
        identity = {"of": pruned.path.address, "compression": compression}
        key = content_hash({"version": COMPRESSION_VERSION, **identity})
        address = f"{MODELS}/{key}"

        def fill(folder: Path) -> Evaluation:
            started = time.perf_counter()
            spec = self._spec(configuration)
            loaded = compress(pruned.model, spec, self._tasks.calibration(configuration), folder)
            compressed = time.perf_counter()
            evaluation = self._measure(trained, pruned, configuration, loaded, folder, address)
            measured = time.perf_counter()
            seconds = {"compress": compressed - started, "measure": measured - compressed}
            return replace(evaluation, seconds=evaluation.seconds | seconds)

        return self.store.write(address, fill, is_final=True)

    def _predicted_bytes(self, architecture: Architecture, compression: Compression) -> int:
        runtime = self._search.measurement.runtime
        return runtime_bytes(architecture, self.workload, compression, runtime)

    def _prune(self, trained: TrainedModel, configuration: Configuration) -> TrainedModel:
        """Prune a trained model, and train it further where the compression has a recovery."""
        if configuration.canonical().compression.recovery > 0.0:
            started = time.perf_counter()
            path = self._recovery_path(configuration, trained.path)
            state, cost = self._trainer.train(path)
            return trained.continued(path, state, cost, time.perf_counter() - started)
        spec = self._spec(configuration.canonical())
        calibration = self._tasks.calibration(configuration)
        model = prune(trained.model, spec, calibration, self._tasks.of(configuration).loss)
        return replace(trained, model=model)

    def _measure(
        self,
        trained: TrainedModel,
        pruned: TrainedModel,
        configuration: Configuration,
        loaded: nn.Module,
        folder: Path,
        address: str,
    ) -> Evaluation:
        """Measure a compressed model as it was loaded from its folder."""
        architecture, compression = configuration.architecture, configuration.compression
        task = self._tasks.of(configuration)
        score = task.score(loaded, "validation")
        if not math.isfinite(score.loss):
            raise TrialFailure("not_finite", f"the validation loss was {score.loss}")
        has_fine_tuning = self._search.training.fine_tuning is not None
        history, cost = trained.state.history, pruned.cost
        return Evaluation(
            metric=self._search.metric.name,
            score=score.value,
            score_low=score.low,
            score_high=score.high,
            examples=score.examples,
            loss=score.loss,
            dense_score=trained.state.validation["score"],
            dense_loss=trained.state.validation["loss"],
            pretraining_loss=history[-1]["validation"]["loss"] if has_fine_tuning else None,
            size_bytes=self.latency_cache.size_bytes(folder),
            predicted_size_bytes=self._predicted_bytes(architecture, compression),
            dense_size_bytes=self._predicted_bytes(architecture, Compression()),
            flops=count_forward_flops(loaded, self.example_inputs()),
            parameters=parameters(architecture, self.workload),
            latency=self.latency_cache.of_model(configuration, loaded, folder),
            measured_costs=self.meters.of_model(configuration, loaded, folder),
            training_flops=self._training_flops(
                pruned, recovery=configuration.canonical().compression.recovery
            ),
            dense_training_flops=self._training_flops(trained, recovery=0.0),
            steps_per_second=self.speed_cache.steps_per_second(architecture)
            if self._schedule.unit is BudgetUnit.SECONDS
            else None,
            steps={
                "total": cost.steps_trained + cost.steps_reused,
                "trained": cost.steps_trained,
                "reused": cost.steps_reused,
            },
            seconds={"train": pruned.seconds, "saved": cost.seconds_saved} | pruned.stage_seconds,
            model=address,
            checkpoint=pruned.path.address,
            stages=pruned.chain,
            data_fingerprint=task.prepared.fingerprint,
            score_details=dict(score.details),
            further_scores={
                each.name: self._tasks.further_score(configuration, each.name, loaded)
                for each in self._search.criteria.further_metrics
            },
        )

    def _training_flops(self, model: TrainedModel, *, recovery: float) -> int:
        """FLOPs of the training that a model really had."""
        return self._schedule.training_flops(
            model.configuration.budget,
            model.configuration.architecture,
            self.workload,
            fine_tuning_steps=model.steps_of(FINE_TUNING),
            recovery=recovery,
        )

    def _spec(self, configuration: Configuration) -> ModelSpec:
        return ModelSpec(configuration.architecture, self.workload, configuration.compression)

    def example_inputs(self) -> Batch:
        """Arguments of a forward pass on one input of full length."""
        return self._timed_task.latency_input(1)

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

        On the machine of the search, the score on ``validation`` is exactly the recorded one. Other
        processors sum in another order, which can change the last digits.

        Raises:
            ModelFileError: The folder holds no compressed model, or a damaged one.
        """
        vocabulary = model_file.read_spec(folder).architecture.vocabulary
        with torch_threads(self._search.resources.cpus):
            model = model_file.load(folder, self._device)
            return self._tasks.with_vocabulary(vocabulary).score(model, split)

    def references(self, splits: list[str]) -> list[dict[str, Any]]:
        """The references of the task, each with its size and its score on some splits."""
        with torch_threads(self._search.resources.cpus):
            return [reference.measure(splits) for reference in self._task.references()]

    def stored_training(self, configurations: Iterable[Configuration]) -> list[tuple[bool, bool]]:
        """Whether the store has each configuration's final model, and its whole stable path."""
        addresses = self.store.addresses(CHECKPOINTS)
        chains = [self._tasks.of(each).path(each).chain for each in configurations]
        return [(each[0].address in addresses, each[-1].address in addresses) for each in chains]

    def follow(self) -> None:
        """Train together with rank 0, which evaluates, until it dismisses this worker."""
        assert self._workers is not None
        self._workers.follow(self._path)

    def _path(self, configuration: Configuration, key: str) -> TrainingPath:
        """The path with a key in a configuration's chain of training."""
        self._set_threads(configuration)
        timed = self._tasks.of(configuration).timed_path(configuration.architecture)
        if key == timed.key:
            return timed
        path = self._tasks.of(configuration).path(configuration)
        found = {stage.key: stage for stage in path.chain}
        if configuration.canonical().compression.recovery > 0.0:
            recovery = self._recovery_path(configuration, path)
            found |= {stage.key: stage for stage in recovery.chain}
        if key not in found:
            raise KeyError(f"{configuration} has no path {key} here: versions or machines differ")
        return found[key]

    def _recovery_path(self, configuration: Configuration, trained: TrainingPath) -> TrainingPath:
        task = self._tasks.of(configuration)
        calibration = self._tasks.calibration(configuration)
        return recovery_path(task, task.stages, configuration, trained, calibration)
