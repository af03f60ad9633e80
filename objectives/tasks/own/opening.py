"""Opening a user's own task: all that is known of it, and all that can be wrong with it, before any
training."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from objectives.data.batches import FORWARD_ARGUMENTS, Batch, forward_arguments
from objectives.data.columns import Columns, column_batch
from objectives.data.prepared_data import PreparedData
from objectives.failures import error_with_place
from objectives.models.build import build
from objectives.models.own import PROBES, read_own_layout, register
from objectives.tasks.base import Task
from objectives.tasks.own.errors import NAME, OwnTaskError, of_method
from objectives.tasks.own.importing import import_task, with_fields
from spaces.cost import metric
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning
from spaces.cost.layout import VOCABULARY, Layout
from spaces.cost.metric import Metric
from spaces.cost.own_model import OwnModel
from spaces.cost.workload import Family, Workload
from spaces.file.inputs.tables import SPLITS
from spaces.file.own_task import OpenedTask, OwnTask
from spaces.file.sources import Data

ROWS = 4
"""Of the batch on which loss and scores are tried."""


def open_task(
    task: OwnTask, root: Path, prunings: Iterable[Pruning] = (), *, is_distilled: bool = False
) -> OpenedTask:
    """Import a task, prepare its data, read the layout of its models, and try a small one.

    Args:
        root: Folder of prepared data.
        prunings: What its models are pruned by.
        is_distilled: Whether recovery learns from the model before compression.

    Raises:
        UserError: Something is wrong with it; the message says what.
    """
    imported = import_task(task.path)
    made = with_fields(imported.task_class, task.fields)
    prepared = made.prepare(task.name, imported.identity, Data(), root, None)
    batch = column_batch(prepared.columns("train"), np.arange(ROWS) % _rows(prepared, "train"))
    with of_method("model"):
        laid_out = read_own_layout(task.name, made.model, _traced(batch))
    _check_tokens(prepared, laid_out.sizes[VOCABULARY])
    description = OwnModel(
        task=task.name,
        fields=json.dumps(made.model_dump(mode="json"), sort_keys=True),
        code=imported.identity,
        layout=laid_out,
        is_parametrised=made.parametrised,
    ).to_json()
    register(description, made.model)
    depth, width, neurons = PROBES[0]
    architecture = Architecture.of(depth, width, feed_forward=neurons, decoder_depth=depth)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        workload = Workload(Family.OWN, 0, 1, own=description)
        with of_method("model"):
            model = build(architecture.shape, workload)
        outputs = _outputs(model, batch)
        _try_pruned(architecture, workload, batch, prunings)
        _try_loss(made, model, batch)
        if is_distilled:
            _try_predictions(made, model, batch)
        _try_scores(made, model, prepared)
    scored_by = _metric(made, outputs)
    vocabulary = laid_out.sizes[VOCABULARY]
    return OpenedTask(
        path=task.path,
        code=imported.identity,
        data=prepared.fingerprint,
        metric=scored_by.name,
        guessing=scored_by.guessing,
        perfect=scored_by.perfect,
        vocabulary_size=vocabulary,
        sequence_length=_sequence_length(model, batch, laid_out),
        classes=0 if outputs == vocabulary else outputs,
        model=description,
    )


def check_models(workload: Workload, architectures: Iterable[Architecture]) -> None:
    """Build models of a task without weights.

    Raises:
        UserError: One cannot be built, or has other weights than its layout.
    """
    for architecture in architectures:
        with of_method("model"), torch.device("meta"):
            build(architecture.shape, workload)


def _rows(prepared: PreparedData, split: str) -> int:
    return prepared.counts[f"{split} rows"]


def _check_tokens(prepared: PreparedData, vocabulary: int) -> None:
    """Refuse token ids that no embedding has."""
    for split in SPLITS:
        columns: Columns = prepared.columns(split)
        for name in ("input_ids", "decoder_input_ids"):
            if name not in columns:
                continue
            tokens = columns[name]
            if tokens.ndim != 2 or tokens.dtype.kind not in "iu":
                raise OwnTaskError(
                    f"{NAME}: data() gave {split} {name} of shape {list(tokens.shape)}; allowed "
                    "are whole numbers (rows, tokens)"
                )
            if tokens.min() < 0 or tokens.max() >= vocabulary:
                raise OwnTaskError(
                    f"{NAME}: data() gave {split} {name} from {tokens.min()} to {tokens.max()}; "
                    f"the model has an embedding of {vocabulary} tokens"
                )


def _outputs(model: nn.Module, batch: Batch) -> int:
    """Number of logits of a prediction."""
    if not forward_arguments(batch):
        raise OwnTaskError(
            f"{NAME}: data() gave the arrays {', '.join(batch)}, and none is an input of a model; "
            f"allowed are {', '.join(FORWARD_ARGUMENTS)}"
        )
    with of_method("model"), torch.no_grad():
        output = model(**forward_arguments(batch))
    found = getattr(output, "logits", None)
    if not isinstance(found, torch.Tensor) or found.ndim not in (2, 3) or len(found) != ROWS:
        shape = list(found.shape) if isinstance(found, torch.Tensor) else type(output).__name__
        raise OwnTaskError(
            f"{NAME}: model() returned a model with the output {shape}; its forward pass must "
            "return logits (rows, outputs) or (rows, tokens, outputs), as those of transformers do"
        )
    return found.shape[-1]


def _try_pruned(
    architecture: Architecture, workload: Workload, batch: Batch, prunings: Iterable[Pruning]
) -> None:
    """Run small models that lack the parts which pruning removes."""
    for pruning in prunings:
        shape = Compression(pruning=pruning, sparsity=0.5).shape_of(architecture)
        try:
            with torch.no_grad():
                build(shape, workload)(**forward_arguments(batch))
        except Exception as error:
            # The code of a user may raise anything.
            raise OwnTaskError(
                f"space.pruning: {pruning}: the model of this task does not run without these "
                f"parts: {error_with_place(error)}"
            ) from error


def _try_loss(task: Task, model: nn.Module, batch: Batch) -> None:
    with of_method("loss"):
        loss: Any = task.loss(model.train(), batch)
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or loss.grad_fn is None:
        raise OwnTaskError(
            f"{NAME}: loss() returned {_short(loss)}; it must return a tensor of one number that "
            "depends on the weights"
        )
    if not torch.isfinite(loss).all():
        raise OwnTaskError(
            f"{NAME}: loss() of an untrained model is {float(loss)}; it must be finite"
        )


def _try_predictions(task: Task, model: nn.Module, batch: Batch) -> None:
    """Try what recovery learns from the predictions of another model."""
    field = "training.recovery_distillation"
    if type(task).targets is Task.targets and "labels" not in batch:
        raise OwnTaskError(
            f"{field}: data() gave no array labels, so that the task needs targets(batch): the "
            "class of each prediction"
        )
    with of_method("predictions"), torch.no_grad():
        found: Any = task.predictions(model, batch)
    with of_method("targets"):
        targets: Any = task.targets(batch)
    # Of one number there is no distribution, and a label with a fraction is no class.
    if (
        found.ndim != 2
        or found.shape[1] < 2
        or targets.shape != found.shape[:1]
        or targets.is_floating_point()
    ):
        raise OwnTaskError(
            f"{field}: predictions() returned {_short(found)} and targets() {_short(targets)} of "
            f"{targets.dtype}; needed are logits (predictions, classes) of two classes or more, "
            "and the class of each prediction"
        )


def _try_scores(task: Task, model: nn.Module, prepared: PreparedData) -> None:
    rows = np.arange(ROWS) % _rows(prepared, "validation")
    batch = column_batch(prepared.columns("validation"), rows)
    with of_method("scores"), torch.inference_mode():
        scores: Any = task.scores(model.eval(), batch)
    if not isinstance(scores, torch.Tensor) or scores.ndim < 1 or len(scores) != ROWS:
        raise OwnTaskError(
            f"{NAME}: scores() returned {_short(scores)} for {ROWS} rows; it must return a tensor "
            "with a number for each row"
        )
    if not torch.isfinite(scores.double()).all():
        raise OwnTaskError(f"{NAME}: scores() of an untrained model are not finite: {scores}")
    if scores.ndim > 1 and type(task).value is Task.value:
        raise OwnTaskError(
            f"{NAME}: scores() returned {_short(scores)}; several numbers for a row need value()"
        )
    with of_method("value"):
        float(task.value(scores.double().numpy()))


def _short(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {list(value.shape)}"
    return type(value).__name__


def _metric(task: Task, outputs: int) -> Metric:
    if isinstance(task.metric, Metric):
        return task.metric
    known = {each.name: each for each in metric.of_classes(max(2, outputs))}
    if type(task).scores is not Task.scores:
        # What it measures on each row is averaged.
        known = {"accuracy": known["accuracy"]}
    known["perplexity"] = metric.perplexity(max(2, outputs))
    if task.metric not in known or outputs < 2:
        raise OwnTaskError(
            f"{NAME}: metric is {task.metric!r}; allowed are {', '.join(known)} (of models with "
            "two outputs or more), and tlc.Metric(name, guessing=…, perfect=…)"
        )
    return known[task.metric]


def _traced(batch: Batch) -> Batch | None:
    """What a forward pass is traced with, where it is neither tokens nor an image."""
    inputs = forward_arguments(batch)
    if {"input_ids", "pixel_values"} & inputs.keys() or not inputs:
        return None
    return {name: tensor[:1].to("meta") for name, tensor in inputs.items()}


def _sequence_length(model: nn.Module, batch: Batch, laid_out: Layout) -> int:
    """Tokens that the layers of a model have of each input."""
    stack = laid_out.stacks[0]
    output: Any = model.get_submodule(f"{stack.prefix}.0.{stack.feed_forward.output}")
    found: list[int] = []

    def count(_: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        found.append(arguments[0].numel() // (output.weight.shape[1] * ROWS))

    with output.register_forward_pre_hook(count), torch.no_grad():
        model(**forward_arguments(batch))
    return found[0]
