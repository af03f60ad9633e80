"""Token dropout and R-Drop regularise fine-tuning, and only that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from objectives.data.encoding import MASK, SPECIAL_TOKENS, START
from objectives.data.prepare import prepare
from objectives.data.token_dropout import drop_tokens
from objectives.tasks import make_task
from objectives.tasks.base import Task
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.loading import SearchFileError

CONFIGURATION = Configuration(Architecture.of(1, 32), 20, Compression())


@pytest.fixture
def task(
    make_search: Callable[..., SearchFile], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Task]:
    """The classification task with some fields of fine-tuning replaced."""
    prepared = tmp_path_factory.getbasetemp() / "prepared"

    def make(**fields: Any) -> Task:
        changed = {f"training__fine_tuning__{name}": value for name, value in fields.items()}
        search = make_search(**changed)
        return make_task(search, prepare(search.data, search.task, prepared))

    return make


def test_a_fraction_of_the_tokens_is_masked_anew_in_each_step_and_view() -> None:
    first_word = len(SPECIAL_TOKENS)
    ids = torch.arange(first_word, first_word + 6000).view(100, 60)
    ids[:, 0] = START
    dropped = drop_tokens(ids, 0.3, seed=0, step=5)
    changed = dropped != ids
    assert 0.27 < float(changed[:, 1:].float().mean()) < 0.33
    assert bool((dropped[changed] == MASK).all())
    assert bool((dropped[:, 0] == START).all())
    assert torch.equal(dropped, drop_tokens(ids, 0.3, seed=0, step=5))
    for other in ({"seed": 1}, {"step": 6}, {"view": 1}):
        assert not torch.equal(dropped, drop_tokens(ids, 0.3, **{"seed": 0, "step": 5, **other}))
    assert drop_tokens(ids, 0.0, seed=0, step=5) is ids


def test_only_training_batches_lose_tokens(task: Callable[..., Task]) -> None:
    made = task(token_dropout=0.4)
    assert any(bool((made.batch(step)["input_ids"] == MASK).any()) for step in range(3))
    assert not any(bool((batch["input_ids"] == MASK).any()) for batch in made.calibration())
    batch, whole = made.batch(1), task().batch(1)
    assert torch.equal(batch["attention_mask"], whole["attention_mask"])
    assert torch.equal(batch["labels"], whole["labels"])
    # Pre-training masks by its own rule.
    stable = made.path(CONFIGURATION).chain[-1]
    assert stable.key == task().path(CONFIGURATION).chain[-1].key


def test_r_drop_adds_the_divergence_of_two_passes(task: Callable[..., Task]) -> None:
    settings = {"token_dropout": 0.4, "label_smoothing": 0.1}
    made = task(r_drop=3.0, **settings)
    model = made.path(CONFIGURATION).build().eval()
    batch = made.batch(1)
    views = [batch["input_ids"], batch["second_input_ids"]]
    assert not torch.equal(*views)
    outputs = [
        model(input_ids=view, attention_mask=batch["attention_mask"]).logits for view in views
    ]
    labels = batch["labels"]
    mean = sum(functional.cross_entropy(o, labels, label_smoothing=0.1) for o in outputs) / 2
    p, q = (o.softmax(-1) for o in outputs)
    # Twice the symmetric divergence is the sum of (p - q) * log(p / q).
    divergence = ((p - q) * (p / q).log()).sum(-1).mean() / 2
    loss = made.loss(model, batch)
    torch.testing.assert_close(loss, mean + 3.0 * divergence)
    assert float(divergence) > 0
    # Each row has its own dropout, so that the passes differ without token dropout too.
    made, model = task(r_drop=3.0), model.train()
    batch = made.batch(1)
    assert torch.equal(batch["input_ids"], batch["second_input_ids"])
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    torch.manual_seed(0)
    with_divergence = made.loss(model, batch)
    torch.manual_seed(0)
    assert float(with_divergence) > float(task(r_drop=1e-9).loss(model, batch)) + 1e-4


def test_r_drop_doubles_the_compute_of_fine_tuning(task: Callable[..., Task]) -> None:
    def flops(made: Task, steps: int) -> int:
        return made.stages.schedule.training_flops(
            20, CONFIGURATION.architecture, made.workload, fine_tuning_steps=steps
        )

    plain, twice = task(), task(r_drop=1.0)
    assert flops(twice, 0) == flops(plain, 0)
    assert flops(twice, 7) - flops(twice, 0) == 2 * (flops(plain, 7) - flops(plain, 0))


def test_r_drop_without_dropout_is_refused(
    make_search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    fields = {"training__fine_tuning__r_drop": 1.0, "training__fine_tuning__dropout": 0.0}
    with pytest.raises(SearchFileError, match=r"fine_tuning\.r_drop: 1 compares two"):
        make_search(**fields)
    make_search(**fields, training__fine_tuning__token_dropout=0.1)
