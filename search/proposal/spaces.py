"""The space and the training of a first search, by its task, its data and the machine."""

from __future__ import annotations

import math
from typing import Any

from search.proposal.machine import Machine

PRECISIONS = ["none", "static-8", "rtn-8", "rtn-4", "rtn-3"]
"""Quantisation that costs most to least bytes."""
CHARACTERS_OF_A_TOKEN = 3.5
LEAST_STEPS = 100
FINE_TUNING_STEPS = 800
"""All epochs of fine-tuning together have about this many steps, where the data is large."""
MOST_EPOCHS, LEAST_EPOCHS = 10, 2
MANY_EXAMPLES = 5_000
"""From which on R-Drop, which takes a second pass over each batch, gains little."""
LEAST_HELD_OUT = 10
LEAST_MODEL_STEPS = 10

PRETRAINED = ("classification", "regression", "token-classification")
LANGUAGE_MODELS = ("causal-lm", "masked-lm")


def batch_size(task: str, machine: Machine) -> int:
    """Examples of a step."""
    usual = 16 if task in LANGUAGE_MODELS else 32
    return usual * 4 if machine.gpus else usual


def space_of(task: str, facts: dict[str, float], machine: Machine) -> dict[str, Any]:
    """Sizes of models that are trained from random weights.

    Args:
        facts: ``tokens`` and ``examples`` of the training split, where they are known.
    """
    depth: dict[str, Any] = {"low": 1, "high": 2 if task in (*PRETRAINED, "translation") else 3}
    width: dict[str, Any] = {"choices": [32, 64, 128]}
    if machine.gpus:
        depth, width = {"low": 2, "high": 8, "step": 2}, {"low": 128, "high": 512, "step": 128}
    high = most_steps(task, facts, machine)
    return {
        "depth": depth,
        "width": width,
        "budget": {"unit": "steps", "choices": sorted({max(LEAST_STEPS, high // 4), high})},
        "quantisation": {"choices": PRECISIONS},
        "pruning": "structured",
        "sparsity": {"choices": [0.0, 0.25, 0.5]},
    }


def most_steps(task: str, facts: dict[str, float], machine: Machine) -> int:
    """Steps of the largest budget: as many passes over the data as usually still help."""
    batch = batch_size(task, machine)
    factor = 5 if machine.gpus else 1
    if task in PRETRAINED:
        # More were no better for classifiers with little text: docs/tasks.md.
        return 250 * factor
    if task in LANGUAGE_MODELS:
        passes, a_pass, most = 4, facts["tokens"] / (batch * facts["length"]), 1600
    elif task == "image-classification":
        passes, a_pass, most = 20, facts["examples"] / batch, 800
    else:
        passes, a_pass, most = 8, facts["examples"] / batch, 2000
    return max(LEAST_STEPS, min(most * factor, math.ceil(passes * a_pass / 50) * 50))


def training_of(task: str, facts: dict[str, float], machine: Machine) -> dict[str, Any]:
    """The section ``training``."""
    batch = batch_size(task, machine)
    if task in LANGUAGE_MODELS:
        return {"batch_size": batch, "learning_rate": 4e-3, "weight_decay": 0.3}
    if task not in PRETRAINED:
        return {"batch_size": batch, "learning_rate": 2e-3}
    examples = int(facts["examples"])
    held_out = 0.1 if examples * 0.1 >= LEAST_HELD_OUT else 0
    epoch = max(1, math.ceil(examples * (1 - held_out) / batch))
    epochs = max(LEAST_EPOCHS, min(MOST_EPOCHS, round(FINE_TUNING_STEPS / epoch)))
    epochs = max(epochs, math.ceil(LEAST_MODEL_STEPS / epoch))
    settings: dict[str, Any] = {"epochs": epochs, "held_out": held_out, "learning_rate": 1e-3}
    if examples > MANY_EXAMPLES:
        settings["r_drop"] = 0
    return {"batch_size": batch, "learning_rate": 2e-3, "fine_tuning": settings}


def smaller(space: dict[str, Any]) -> dict[str, Any] | None:
    """The next smaller space: half the steps, then one size less; None of the smallest."""
    budgets = space["budget"]["choices"]
    if max(budgets) >= 2 * LEAST_STEPS:
        halves = sorted({max(LEAST_STEPS, each // 2) for each in budgets})
        return {**space, "budget": {**space["budget"], "choices": halves}}
    widths = space["width"].get("choices", [])
    if len(widths) > 1:
        return {**space, "width": {"choices": widths[:-1]}}
    return None
