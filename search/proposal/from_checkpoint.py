"""A first search whose models start from a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from objectives.data.defaults import with_default_sizes
from search.proposal.spaces import LEAST_STEPS, PRECISIONS, PRETRAINED
from spaces.cost.checkpoint import Checkpoint
from spaces.file.model import FOLDER, Model
from spaces.file.sources import Data
from spaces.loading import from_document

BATCH = 16
LEARNING_RATE = 1e-4
PASSES = (1, 2)
"""Over the training examples, of the budgets."""
MOST_STEPS = 2000
GROUP = 32
"""Weights of a group of quantisation, which a width is not below."""
VOCABULARIES = (4000, 8000)
"""Pieces that are kept, beside all; perplexities of several cannot be compared."""
OF_THE_CHECKPOINT = (
    "unlabelled", "vocabulary_size", "sequence_length", "target_length", "image_size", "patch_size",
    "channels",
)  # fmt: skip
"""Fields of ``data`` that a checkpoint has itself, or that a search without pre-training lacks."""


def checkpoint_name(given: str) -> str:
    """A checkpoint as a search file names it: folders begin with ``./`` or the like."""
    return f"./{given}" if Path(given).is_dir() and not given.startswith(FOLDER) else given


def from_checkpoint(
    document: Mapping[str, Any], facts: Mapping[str, float], checkpoint: str, folder: Path
) -> tuple[dict[str, Any], Model, Data]:
    """The same search with models that start from a checkpoint.

    Args:
        document: A search of models from random weights.
        facts: As of ``space_of``.
        checkpoint: As a search file names it.
        folder: Of prepared data, into which data sets are downloaded.

    Returns:
        The search, and its model and its data with what was found in the checkpoint.

    Raises:
        UserError: The checkpoint is missing, damaged or not suited to the task.
    """
    # It imports torch.
    from objectives.models.checkpoint.resolve import resolved

    task = document["task"]["name"]
    lost = [key for key in OF_THE_CHECKPOINT if key != "unlabelled" or task in PRETRAINED]
    model = {"from": checkpoint}
    # Its sizes are not known before it is opened.
    space = {"depth": 1, "width": 1, "budget": document["space"]["budget"]}
    started: dict[str, Any] = {
        "name": document["name"],
        "task": document["task"],
        "data": {key: value for key, value in document["data"].items() if key not in lost},
        "model": model,
        **{key: value for key, value in document.items() if key not in ("name", "task", "data")},
        "training": {"batch_size": BATCH, "learning_rate": LEARNING_RATE},
    }
    search = from_document({**started, "space": space})
    assert search.model is not None
    opened = resolved(search.model, search.task, search.data)
    sized = with_default_sizes(opened.data, search.task, folder, opened.tokenizer)
    known = opened.model.checkpoint
    assert known is not None
    started["space"] = _space(task, facts, known)
    if 0 < known.positions < sized.sequence_length:
        started["data"]["sequence_length"] = known.positions
        sized = sized.model_copy(update={"sequence_length": known.positions})
    return started, opened.model, sized


def _space(task: str, facts: Mapping[str, float], checkpoint: Checkpoint) -> dict[str, Any]:
    """Half of the layers to all, half of the heads to all, and less of the vocabulary."""
    stack = checkpoint.stack
    unit = stack.group * stack.head_width
    groups = checkpoint.attention // unit
    widths = {unit * math.ceil(groups * part) for part in (0.5, 0.75, 1.0)}
    examples = facts["examples"]
    if task in ("causal-lm", "masked-lm"):
        examples = facts["tokens"] / facts["length"]
    a_pass = math.ceil(examples / BATCH)
    steps = sorted({max(LEAST_STEPS, min(MOST_STEPS, count * a_pass)) for count in PASSES})
    space: dict[str, Any] = {
        "depth": {"low": math.ceil(checkpoint.depth / 2), "high": checkpoint.depth},
        "width": {"choices": sorted(w for w in widths if w >= min(GROUP, checkpoint.attention))},
        "budget": {"unit": "steps", "choices": steps},
        "quantisation": {"choices": PRECISIONS},
    }
    if task in PRETRAINED and checkpoint.vocabulary > 2 * max(VOCABULARIES):
        space["vocabulary"] = {"choices": [*VOCABULARIES, checkpoint.vocabulary]}
    return space
