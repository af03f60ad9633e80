"""The contract of a task, as a test case for pytest: what a search relies on.

::

    class TestParity(TaskTestCase):
        @pytest.fixture(scope="class")
        def search(self):
            return "search.yaml"  # or a dictionary, with small sizes and budgets in steps
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pytest
import torch
from torch import nn

from objectives.completion import completed
from objectives.compression import model_file
from objectives.compression.model_file import ModelSpec
from objectives.compression.pipeline import write_compressed
from objectives.data.batches import forward_arguments, logits
from objectives.data.prepared_data import PreparedData
from objectives.measurement.flops import count_forward_flops
from objectives.measurement.score import Score
from objectives.tasks import make_task, prepare_for
from objectives.tasks.base import Task
from objectives.testing.training_paths import Interruption, interrupted, trainer
from objectives.training.path import TrainingPath
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.configuration import Configuration
from spaces.cost.families import layout
from spaces.cost.flops import forward_flops
from spaces.cost.metric import Metric
from spaces.cost.size import size_bytes
from spaces.errors import UserError
from spaces.grid.search_space import SearchSpace
from spaces.loading import SearchLike, read_search

STEPS = (0, 2, 1)
"""Whose losses are compared, in an order in which training does not ask for them."""
EVERY_STEP = 1e-9
"""Seconds between two checkpoints."""
MOST_ARCHITECTURES = 6
ROUNDING = 1e-9
SIZE_TOLERANCE = 0.01
"""Of a file's bytes, from those that are predicted: numbers in its JSON vary in length."""


class TriedTask:
    """A task under test.

    Args:
        search: A search of it, in any form.
        folder: Of its data.

    Raises:
        UserError: The task cannot be used; the message says why.
    """

    def __init__(self, search: SearchLike, folder: Path) -> None:
        self.search, _ = completed(read_search(search), folder / "data")
        self._folder = folder

    @cached_property
    def space(self) -> SearchSpace:
        """The space of the search."""
        return SearchSpace(self.search)

    @cached_property
    def configuration(self) -> Configuration:
        """The first configuration of the space, at the smallest budget, without compression."""
        first = self.space.configuration(next(self.space.points()))
        budget = min(self.search.space.budget.values)
        return replace(first, budget=budget, compression=Compression(), training=())

    @cached_property
    def data(self) -> PreparedData:
        """Its prepared data."""
        return prepare_for(self.search, self._folder / "data")

    def task(self, seed: int | None = None) -> Task:
        """The task as a new process has it, with a seed of training."""
        made = make_task(self.search, self.data)
        return made if seed is None else made.bound(replace(made.context, seed=seed))

    def path(self) -> TrainingPath:
        """The path of the configuration, as a new process has it."""
        return self.task().path(self.configuration)

    def architectures(self) -> list[Architecture]:
        """Some architectures of the space, evenly spread."""
        every = self.space.architectures()
        step = -(-len(every) // MOST_ARCHITECTURES)
        return every[::step]

    def model(self, task: Task, architecture: Architecture) -> nn.Module:
        """An untrained model in evaluation mode, with the same weights in each call."""
        torch.manual_seed(self.search.seed)
        try:
            return task.build(architecture.shape).eval()
        except UserError as error:
            raise AssertionError(f"{architecture}: its sizes are not known: {error}") from error


class TaskTestCase:
    """What a task has to do so that trials can share its training, resume it, and be compared."""

    @pytest.fixture(scope="class")
    def search(self) -> SearchLike:
        """A search of the task: a path, a dictionary or a search file. A subclass overrides it.

        Its sizes should be small: each test trains or scores the smallest model.
        """
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def tried(self, search: SearchLike, tmp_path_factory: pytest.TempPathFactory) -> TriedTask:
        """The task of the search."""
        return TriedTask(search, tmp_path_factory.mktemp("task"))

    def test_the_loss_of_a_step_is_deterministic(self, tried: TriedTask) -> None:
        """It depends on the weights, the seed and the step alone, in any order and process."""
        for one, other in zip(tried.path().chain, tried.path().chain, strict=True):
            expected = _losses(one, STEPS)
            for again in (_losses(one, sorted(STEPS)), _losses(other, STEPS)):
                for step, loss in expected.items():
                    assert math.isfinite(loss), f"{one.name}: the loss of step {step} is {loss}"
                    assert again[step] == loss, (
                        f"{one.name}: the loss of step {step} is {loss}, and then {again[step]}: "
                        "it is not deterministic"
                    )

    def test_training_resumes_exactly(self, tried: TriedTask, tmp_path: Path) -> None:
        """Training that is interrupted in its first and last stage gives the same weights."""
        whole, _ = trainer(tmp_path / "whole").train(tried.path())
        for stage in {each.name: each for each in (tried.path().chain[-1], tried.path())}.values():
            cut = interrupted(tried.path(), at=stage.length // 2, stage=stage.name)
            with pytest.raises(Interruption):
                trainer(tmp_path / "cut", every=EVERY_STEP).train(cut)
        resumed, cost = trainer(tmp_path / "cut", every=EVERY_STEP).train(tried.path())
        expected, found = whole.model.state_dict(), resumed.model.state_dict()
        different = [name for name in expected if not torch.equal(expected[name], found[name])]
        assert not different, (
            f"{different[0]} differs after training was interrupted: it does not resume exactly"
        )
        left = tried.path().length - tried.path().length // 2
        assert cost.steps_trained == left, (
            f"{cost.steps_trained} steps are trained after {left} were left: training does not "
            "resume where it was interrupted"
        )

    def test_what_determines_training_is_in_its_key(self, tried: TriedTask) -> None:
        """Trials with the same key share checkpoints."""
        configuration, seed = tried.configuration, tried.search.seed + 1
        path = tried.path()
        assert path.key == tried.path().key, "another process has another key of the same training"
        other = tried.task(seed).path(configuration.with_seed(seed))
        assert path.key != other.key, "another seed has the same key of training"
        deeper = replace(configuration.architecture, depth=configuration.architecture.depth + 1)
        other = tried.task().path(replace(configuration, architecture=deeper))
        assert path.key != other.key, "another architecture has the same key of training"

    def test_sizes_are_those_of_the_arithmetic(self, tried: TriedTask, tmp_path: Path) -> None:
        """Weights, FLOPs and bytes are known before training, of every architecture."""
        task, workload = tried.task(), tried.search.workload
        inputs = forward_arguments(task.latency_input(1))
        for architecture in tried.architectures():
            model = tried.model(task, architecture)
            expected = {w.name: w.shape for w in layout(architecture.shape, workload).weights()}
            found = {name: tuple(each.shape) for name, each in model.named_parameters()}
            for name in {**expected, **found}:
                assert expected.get(name) == found.get(name), (
                    f"{architecture}: the size of {name} is {found.get(name)}, and by arithmetic "
                    f"{expected.get(name)}"
                )
            counted = count_forward_flops(model, inputs)
            predicted = forward_flops(architecture.shape, workload)
            assert counted == predicted, (
                f"{architecture}: a forward pass takes {counted:,} FLOPs, and by arithmetic "
                f"{predicted:,}"
            )
        for quantisation in (Quantisation.NONE, Quantisation.RTN_4):
            spec = ModelSpec(architecture, workload, Compression(quantisation))
            write_compressed(model, spec, task.calibration(), tmp_path / quantisation)
            written = model_file.bytes_on_disk(tmp_path / quantisation)
            size = size_bytes(architecture, workload, spec.compression)
            assert abs(written - size) <= SIZE_TOLERANCE * written, (
                f"{architecture} {quantisation}: its size on disk is {written:,} bytes, and by "
                f"arithmetic {size:,}"
            )

    def test_scores_are_well_formed(self, tried: TriedTask) -> None:
        """They are finite, lie in their intervals, and are the same in each call."""
        task = tried.task()
        model = tried.model(task, tried.configuration.architecture)
        for split in ("validation", "test"):
            score = task.score(model, split)
            _check(f"the score on {split}", score, tried.search.metric)
            assert math.isfinite(score.loss), f"the loss on {split} is {score.loss}"
        assert tried.task().score(model, split) == score, f"the score on {split} changes"

    def test_references_are_well_formed(self, tried: TriedTask) -> None:
        """Baselines have names, bytes, and scores of the task's metric; the smallest is first."""
        references = list(tried.task().references())
        names = [each.name for each in references]
        assert len({*names}) == len(names), f"two references have one name: {', '.join(names)}"
        sizes = [each.size_bytes for each in references]
        assert sizes == sorted(sizes), f"the smallest reference is not the first: bytes {sizes}"
        assert min(sizes, default=0) >= 0, f"a reference has {min(sizes)} bytes"
        for each in references:
            _check(f"the score of {each.name}", each.score("validation"), tried.search.metric)

    def test_batches_suit_the_model(self, tried: TriedTask) -> None:
        """Calibration batches have one shape, and latency is measured with any batch size."""
        task = tried.task()
        model = tried.model(task, tried.configuration.architecture)
        shapes = [
            {name: tuple(each.shape) for name, each in forward_arguments(batch).items()}
            for batch in task.calibration()
        ]
        assert all(each == shapes[0] for each in shapes), f"calibration has the shapes {shapes}"
        with torch.inference_mode():
            for rows in (1, 3):
                outputs = logits(model, task.latency_input(rows))
                assert len(outputs) == rows, f"latency_input({rows}) gives {len(outputs)} rows"
                assert torch.isfinite(outputs).all(), "an untrained model's outputs are not finite"


def _losses(stage: TrainingPath, steps: tuple[int, ...] | list[int]) -> dict[int, float]:
    """Losses of a stage's untrained model, each of a copy of its own, as training asks for them."""
    torch.manual_seed(stage.seed)
    model = stage.build().train()
    return dict(_each_loss(stage, model, steps))


def _each_loss(
    stage: TrainingPath, model: nn.Module, steps: tuple[int, ...] | list[int]
) -> Iterator[tuple[int, float]]:
    for step in steps:
        torch.manual_seed(step)
        yield step, stage.loss_at(copy.deepcopy(model), step).item()


def _check(what: str, score: Score, metric: Metric) -> None:
    assert math.isfinite(score.value), f"{what} is {score.value}: it is not finite"
    assert score.low <= score.value <= score.high, (
        f"{what} is {score.value}, outside of its interval, {score.low} to {score.high}"
    )
    is_possible = metric.quality(score.value) <= 1.0 + ROUNDING
    assert is_possible, f"{what}, {score.value}, is better than perfect, {metric.perfect}"
    assert score.examples > 0, f"{what} is that of no example"
