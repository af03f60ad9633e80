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
from dataclasses import asdict

import torch
from torch import nn

from objectives import artefact
from objectives.compress import compress
from objectives.data import PreparedData, prepare
from objectives.evaluation import Evaluation, package_versions
from objectives.failures import TrialFailure
from objectives.flops import count_forward_flops
from objectives.latency import Latency, measure_latency
from objectives.locks import Lane
from objectives.model import build_classifier
from objectives.paths import Trainer
from objectives.store import MODELS, Store
from objectives.task import Score, Task
from objectives.tasks.classification import Classification
from spaces.architecture import Architecture
from spaces.configuration import Configuration, content_hash
from spaces.places import places
from spaces.search_file import SearchFile
from spaces.shapes import parameters
from spaces.size import dense_size_bytes, size_bytes

REFERENCE = Architecture.of(depth=2, width=128)
"""Shape of the model that latencies are measured next to."""


class Objective:
    """What one trial of a search does.

    Args:
        search: The search file.
        data: Its prepared data; prepared here when not given.

    Raises:
        UserError: The data or the store cannot be used.
    """

    def __init__(self, search: SearchFile, data: PreparedData | None = None) -> None:
        self._search = search
        where = places(search.storage)
        self.store = Store(where.store_url, max_bytes=where.store_max_bytes)
        self.data = data or prepare(search.data, search.task, where.data)
        self._task: Task = Classification(search, self.data)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._trainer = Trainer(
            self.store, self._device, checkpoint_seconds=search.training.checkpoint_seconds
        )
        self._lane = Lane()
        torch.manual_seed(0)
        self._reference = build_classifier(REFERENCE, search.workload).eval()

    def evaluate(self, configuration: Configuration) -> Evaluation:
        """Train, compress and measure a configuration.

        Raises:
            TrialFailure: It cannot give a result; the failure has a named state.
        """
        torch.set_num_threads(self._search.resources.cpus)
        try:
            return self._evaluate(configuration)
        except torch.OutOfMemoryError as error:
            raise TrialFailure("out_of_memory", str(error)) from error

    def _evaluate(self, configuration: Configuration) -> Evaluation:
        started = time.perf_counter()
        path = self._task.path(configuration)
        point, account = self._trainer.reach(path)
        trained = time.perf_counter()
        model = point.model.cpu().eval()
        address = self._model_address(configuration, path.address)
        with self.store.staging() as staging:
            folder = staging / "model"
            compress(
                model,
                configuration.architecture,
                self._search.workload,
                configuration.compression,
                self._task.calibration(),
                folder,
            )
            compressed = time.perf_counter()
            # What is measured is what was saved: the model that a user would load.
            loaded = artefact.load(folder)
            size = artefact.bytes_on_disk(folder)
            score = self._checked_score(loaded)
            latency = self._latency(loaded)
            flops = count_forward_flops(loaded, self._task.latency_input(1))
            self.store.publish(folder, address, is_final=True)
        measured = time.perf_counter()
        chain = [*point.history, point.facts(path)]
        low, high = score.interval
        return Evaluation(
            accuracy=score.accuracy,
            accuracy_low=low,
            accuracy_high=high,
            examples=score.examples,
            loss=score.loss,
            dense_accuracy=point.validation["accuracy"],
            pretraining_loss=chain[-2]["validation"].get("loss") if len(chain) > 1 else None,
            size_bytes=size,
            predicted_size_bytes=size_bytes(
                configuration.architecture, self._search.workload, configuration.compression
            ),
            dense_size_bytes=dense_size_bytes(configuration.architecture, self._search.workload),
            flops=flops,
            parameters=parameters(configuration.architecture, self._search.workload),
            latency=latency,
            training_flops=self._search.schedule.training_flops(
                configuration.budget, configuration.architecture, self._search.workload
            ),
            steps={
                "total": path.total_steps,
                "trained": account.steps_trained,
                "reused": account.steps_reused,
            },
            seconds={
                "train": trained - started,
                "saved": account.seconds_saved,
                "compress": compressed - trained,
                "measure": measured - compressed,
            },
            model=address,
            checkpoint=path.address,
            stages=chain,
            data_fingerprint=self.data.fingerprint,
            versions=package_versions(),
        )

    def test(self, model_address: str) -> Score:
        """Score a stored compressed model on the test split.

        Raises:
            TrialFailure: The model is no longer in the store (``missing_model``).
        """
        with self.store.open(model_address) as folder:
            if folder is None:
                raise TrialFailure("missing_model", f"{model_address} is not in the store")
            return self._task.score(artefact.load(folder), "test")

    def _model_address(self, configuration: Configuration, checkpoint: str) -> str:
        compression = asdict(configuration.canonical().compression)
        return f"{MODELS}/{content_hash({'of': checkpoint, 'compression': compression})}"

    def _checked_score(self, model: nn.Module) -> Score:
        score = self._task.score(model, "validation")
        if not math.isfinite(score.loss):
            raise TrialFailure("not_finite", f"the validation loss was {score.loss}")
        return score

    def _latency(self, model: nn.Module) -> Latency:
        conditions = self._search.measurement
        return measure_latency(
            model,
            self._reference,
            self._task.latency_input(conditions.batch_size),
            threads=conditions.threads,
            repeats=conditions.repeats,
            lane=self._lane,
        )
