"""Long steps send heartbeats: no two passes of a model, and no two matrices, without one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch.nn.modules.module import register_module_forward_hook

from objectives.compression.model_file import ModelSpec
from objectives.compression.pipeline import compress
from objectives.compression.prune import prune
from objectives.data.arrays import Written
from objectives.data.batches import forward_arguments
from objectives.data.errors import DataError
from objectives.data.prepare import prepare_once
from objectives.measurement import flops
from objectives.measurement.score import logits_of
from objectives.models.decoding import write_texts
from objectives.models.forward import linear_layers
from objectives.store import heartbeat
from objectives.store.store import Store
from objectives.testing.tiny_models import (
    WORKLOADS,
    architecture_for,
    batch_for,
    dense_model,
    loss,
)
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.workload import Family

PASS = "a whole pass"


@contextmanager
def observed(model_class: type) -> Iterator[list[str]]:
    """What happens inside the block, in order: heartbeats, and passes of models of a class."""
    events: list[str] = []

    def passed(module: Any, *_: Any) -> None:
        if isinstance(module, model_class):
            events.append(PASS)

    with (
        register_module_forward_hook(passed),
        heartbeat.listening(lambda what, is_paused: events.append(what)),
    ):
        yield events


@pytest.mark.parametrize(
    ("quantisation", "pruning", "sparsity"),
    [
        (Quantisation.RTN_4, Pruning.UNSTRUCTURED, 0.5),
        (Quantisation.HQQ_4, Pruning.UNSTRUCTURED, 0.0),
        (Quantisation.GPTQ_4, Pruning.UNSTRUCTURED, 0.0),
        (Quantisation.STATIC_8, Pruning.STRUCTURED, 0.5),
        (Quantisation.SMOOTH_8, Pruning.LAYERS, 0.5),
    ],
)
def test_compression_is_never_silent_for_two_passes(
    quantisation: Quantisation, pruning: Pruning, sparsity: float, tmp_path: Path
) -> None:
    family = Family.LLAMA
    model, workload = dense_model(family, 2), WORKLOADS[family]
    spec = ModelSpec(
        architecture_for(family, 2, 64),
        workload,
        Compression(quantisation, 16, pruning, sparsity),
    )
    batches = [batch_for(workload, count=4, seed=seed) for seed in range(3)]
    with observed(type(model)) as events:
        pruned = prune(model, spec, batches, loss)
        compress(pruned, spec, batches, tmp_path)
    assert PASS in events
    assert (PASS, PASS) not in set(pairwise(events))
    if quantisation.method in ("rtn", "hqq", "gptq"):
        assert events.count("compressing") > len(linear_layers(pruned))


def test_a_slow_model_is_scored_part_by_part_with_heartbeats(monkeypatch: Any) -> None:
    model = dense_model(Family.LLAMA, 4)
    batch = batch_for(WORKLOADS[Family.LLAMA], count=6)
    with torch.inference_mode():
        whole = logits_of(model)(batch)
        each_pass = flops.count_forward_flops(model, forward_arguments(batch))
        monkeypatch.setattr(flops, "MAX_PASS_FLOPS", each_pass / 2.5)
        with observed(type(model)) as events:
            parts = logits_of(model)(batch)
    torch.testing.assert_close(parts, whole)
    # One row is counted, then there are three passes.
    assert events.count(PASS) == 1 + 3
    for one, other in pairwise(at for at, event in enumerate(events) if event == PASS):
        assert other - one > len(linear_layers(model))


def test_work_without_heartbeats_of_its_own_has_them_until_it_is_stuck(monkeypatch: Any) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL_SECONDS", 0.01)
    with observed(torch.nn.Module) as events:
        with heartbeat.beating(0.05):
            time.sleep(0.2)
        assert 1 <= len(events) <= 5
        events.clear()
        with heartbeat.beating(10.0):
            time.sleep(0.1)
        count = len(events)
        time.sleep(0.05)
    assert count >= 2
    assert len(events) == count


def test_data_that_is_prepared_in_a_trial_sends_heartbeats(
    monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL_SECONDS", 0.01)

    def write(folder: Path) -> Written:
        time.sleep(0.1)
        raise DataError("data: ended")

    with observed(torch.nn.Module) as events, pytest.raises(DataError, match="ended"):
        prepare_once(tmp_path, "data", write)
    assert events.count("preparing data") >= 3


def test_each_decoded_token_is_a_heartbeat() -> None:
    workload = WORKLOADS[Family.MBART]
    model = dense_model(Family.MBART, 1)
    tokenizer = Tokenizer(WordLevel({str(token): token for token in range(300)}))
    with observed(type(model)) as events:
        write_texts(model, batch_for(workload, count=2), tokenizer, start=(2,), beams=2, length=12)
    assert events.count("scoring") == events.count(PASS) >= 2


def test_transfers_and_checks_of_files_send_heartbeats(tmp_path: Path) -> None:
    store = Store("memory://heartbeats")

    def fill(folder: Path) -> None:
        for name in ("one", "two"):
            (folder / name).write_bytes(b"x" * (3 << 20))

    with observed(torch.nn.Module) as events:
        store.write("models/large", fill, is_final=True)
        with store.open("models/large") as folder:
            assert folder is not None
    assert events.count("transferring files of the store") >= 4
    assert events.count("checking files of the store") >= 2 * 2 * 3
