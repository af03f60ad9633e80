"""Tokens and FLOPs of training are those of the batches as they are padded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from torch.utils.flop_counter import FlopCounterMode

from objectives.data.batch_lengths import batch_lengths
from objectives.data.encoding import PAD
from objectives.data.prepare import prepare
from objectives.models.build import build
from objectives.tasks import make_task
from search.storage.budget_facts import BATCHES
from search.storage.study import Study
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile

STEPS = 20


@pytest.mark.parametrize(
    "name",
    ["classification", "regression", "token-classification", "translation", "summarisation"],
)
def test_training_counts_what_is_computed_and_read(
    name: str, make_task_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_task_search(name)
    task = make_task(search, prepare(search.data, search.task, home / "data"))
    architecture = Architecture.of(
        1, 32, decoder_depth=int(name in ("translation", "summarisation"))
    )
    model = build(architecture.shape, task.workload)
    model.config._attn_implementation = "eager"  # torch counts these products in both passes
    tokens = 0
    with FlopCounterMode(display=False) as counter:
        for step in range(STEPS):
            task.loss_at(model, step).backward()
            batch = task.batch(step)
            tokens += int(batch["attention_mask"].sum())
            if "targets" in batch:
                tokens += int((batch["targets"] != PAD).sum())
    schedule = task.stages.schedule
    lengths = schedule.lengths() if schedule.lengths else None
    assert lengths is not None
    assert tokens == pytest.approx(STEPS * search.training.batch_size * lengths.tokens, rel=0.03)

    def counted(of: object) -> float:
        # The steps of a classifier are those of fine-tuning, whose batches are padded.
        assert isinstance(of, type(schedule))
        if name in ("translation", "summarisation"):
            return of.training_flops(STEPS, architecture, task.workload)
        with_steps, without = (
            of.training_flops(10, architecture, task.workload, fine_tuning_steps=steps)
            for steps in (STEPS, 0)
        )
        return with_steps - without

    assert counter.get_total_flops() == pytest.approx(counted(schedule), rel=0.05)
    assert counted(replace(schedule, lengths=None)) > 1.2 * counted(schedule)


def test_search_and_workers_train_the_same_steps(
    make_task_search: Callable[..., SearchFile], home: Path
) -> None:
    budget = {"unit": "tokens", "choices": [20_000]}
    search = make_task_search("translation", space__budget=budget)
    data = prepare(search.data, search.task, home / "data")
    lengths = batch_lengths(data, "translation", search.training.batch_size)
    assert lengths is not None
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    study.set_data({**data.describe(), BATCHES: asdict(lengths)})
    architecture = Architecture.of(1, 32, decoder_depth=1)
    configuration = Configuration(architecture, 20_000.0, Compression())
    steps = study.space.steps(20_000.0, architecture)
    assert steps == make_task(search, data).stages.steps(configuration)
    assert steps.pretraining == int(20_000 / (16 * lengths.tokens))


def test_language_models_and_images_have_no_padding(
    make_task_search: Callable[..., SearchFile], home: Path
) -> None:
    for name in ("causal-lm", "image-classification"):
        search = make_task_search(name)
        data = prepare(search.data, search.task, home / "data")
        assert batch_lengths(data, name, 16) is None
