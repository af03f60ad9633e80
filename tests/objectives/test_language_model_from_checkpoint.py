"""Causal language models that start from a Llama with grouped-query attention, tied or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from objectives.data.batches import logits
from objectives.objective import Objective
from objectives.tasks import prepare_for
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration
from spaces.cost.flops import forward_flops
from spaces.file.search_file import SearchFile
from spaces.loading import SearchFileError
from tests.checkpoint_searches import (
    checkpoint_of,
    original,
    search_of,
    start_of,
    task_of,
    with_old_numbers,
)
from tests.checkpoints import DEPTH, WIDTH, save_checkpoint, texts_of


def search_from(folder: Path, document: dict[str, Any], **space: Any) -> SearchFile:
    return search_of(
        folder,
        folder / "store",
        {"name": "causal-lm"},
        {"unlabelled": document["data"]["unlabelled"], "sequence_length": 16},
        {"depth": DEPTH, "width": WIDTH, "budget": {"choices": [20.0]}, **space},
    )


@pytest.mark.parametrize("is_tied", [True, False])
def test_a_language_model_is_cut_down_trained_and_measured(
    is_tied: bool, document: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    folder = save_checkpoint(
        tmp_path / "tiny", "llama_lm", texts_of(corpus), tie_word_embeddings=is_tied
    )
    search = search_from(folder, document)
    objective = Objective(search, prepare_for(search, tmp_path / "data"))
    compression = Compression(Quantisation.RTN_8, 32, Pruning.STRUCTURED, 0.5)
    configuration = Configuration(checkpoint_of(search).architecture(2, 16), 20.0, compression)
    found = objective.evaluate(configuration)
    assert found.size_bytes == pytest.approx(found.predicted_size_bytes, rel=0.01)
    shape = compression.shape_of(configuration.architecture)
    assert found.flops == pytest.approx(forward_flops(shape, search.workload), rel=0.01)
    # 20 steps learn more than a guess among all pieces.
    assert found.score < 0.7 * search.workload.vocabulary_size


def test_the_whole_checkpoint_gives_the_outputs_of_the_checkpoint(
    document: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    folder = save_checkpoint(tmp_path / "tiny", "llama_lm", texts_of(corpus))
    search = search_from(folder, document)
    task = task_of(search, tmp_path / "data")
    assert task.start is not None
    start = start_of(task, checkpoint_of(search).architecture(DEPTH, WIDTH))
    batch = task.batch(0)
    with torch.inference_mode():
        whole = task.start.opened.load()(
            input_ids=with_old_numbers(batch, task)["input_ids"]
        ).logits
        found = logits(start, batch)
    assert torch.allclose(found, whole[..., original(task)], atol=1e-5)


def test_another_vocabulary_is_refused(
    document: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    folder = save_checkpoint(tmp_path / "tiny", "llama_lm", texts_of(corpus))
    with pytest.raises(SearchFileError, match="perplexities of different vocabularies cannot be"):
        search_from(folder, document, vocabulary=280)
