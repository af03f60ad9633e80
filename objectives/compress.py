"""Compress a trained model: prune, quantise, save, load back, and check what came back."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from objectives import artefact
from objectives.artefact import CompressedWeights
from objectives.batches import Batch
from objectives.failures import TrialFailure
from objectives.pruning import prune_structured, prune_unstructured
from objectives.quantisation import QuantisedWeight, round_to_nearest
from objectives.static_int8 import StaticWeight, calibrate
from spaces.architecture import Architecture
from spaces.compression import Compression, Pruning, Quantisation
from spaces.shapes import Workload
from spaces.size import dense_size_bytes

LEAST_AGREEMENT = 0.95
"""Share of inputs on which eight bits must answer like the model before quantisation."""
NEAR_TIE = 0.05
"""Share of the range of an input's logits within which two answers count as tied."""

CONSTANT_DEVIATION = 1e-6


class CompressionFailure(TrialFailure):
    """A compressor that failed or returned rubbish; the trained model stays as it was.

    States: ``compression_error``, ``not_finite``, ``constant``, ``malformed``, ``not_smaller``,
    ``disagrees``.
    """


def compress(
    model: nn.Module,
    architecture: Architecture,
    workload: Workload,
    compression: Compression,
    calibration: list[Batch],
    folder: Path,
) -> nn.Module:
    """Compress a classifier into a folder and load it back.

    Args:
        model: The trained classifier, on the CPU; it is left as it is.
        architecture: Its shape.
        workload: Its vocabulary, sequence length and classes.
        compression: What to do.
        calibration: Labelled training batches of one shape.
        folder: Where to write; must not exist.

    Returns:
        The model as loaded from the folder.

    Raises:
        TrialFailure: With a named state, when a step failed or its result is not usable.
    """
    pruned = write_compressed(model, architecture, workload, compression, calibration, folder)
    loaded = artefact.load(folder)
    check(loaded, pruned, workload, compression, calibration)
    _check_size(folder, architecture, workload, compression)
    return loaded


def write_compressed(
    model: nn.Module,
    architecture: Architecture,
    workload: Workload,
    compression: Compression,
    calibration: list[Batch],
    folder: Path,
) -> nn.Module:
    """Compress a classifier into a folder, without judging what came of it.

    Returns:
        The model after pruning and before quantisation.

    Raises:
        TrialFailure: ``compression_error``, when a step failed.
    """
    try:
        pruned = _prune(model, architecture, compression, calibration)
        weights = _quantise(pruned, compression, calibration)
        artefact.save(folder, weights, architecture, workload, compression)
    except (TrialFailure, torch.OutOfMemoryError):
        raise
    except Exception as error:
        # A compressor may raise anything; it costs this trial and no other.
        raise CompressionFailure(
            "compression_error", f"{compression}: {type(error).__name__}: {error}"
        ) from error
    return pruned


def check(
    loaded: nn.Module,
    unquantised: nn.Module,
    workload: Workload,
    compression: Compression,
    calibration: list[Batch],
) -> None:
    """Refuse a compressed model that cannot be right.

    Args:
        loaded: The compressed model.
        unquantised: The model before quantisation (after pruning).
        workload: For the shape of the answers.
        compression: What was done.
        calibration: Inputs to try.

    Raises:
        CompressionFailure: ``malformed``, ``not_finite``, ``constant`` or ``disagrees``.
    """
    answers = torch.cat([_logits(loaded, batch) for batch in calibration])
    inputs = sum(len(batch["input_ids"]) for batch in calibration)
    if answers.shape != (inputs, workload.classes):
        raise CompressionFailure(
            "malformed", f"logits of shape {tuple(answers.shape)}, not {(inputs, workload.classes)}"
        )
    if not torch.isfinite(answers).all():
        raise CompressionFailure("not_finite", f"{compression} gave logits that are not finite")
    if float(answers.std(0).max()) < CONSTANT_DEVIATION:
        raise CompressionFailure("constant", f"{compression} gives all inputs the same logits")
    if compression.quantisation.bits == 8:
        before = torch.cat([_logits(unquantised, batch) for batch in calibration])
        agreement = _agreement(before, answers)
        if agreement < LEAST_AGREEMENT:
            raise CompressionFailure(
                "disagrees", f"{compression} answers {agreement:.0%} of inputs as before"
            )


def _agreement(before: torch.Tensor, after: torch.Tensor) -> float:
    """Share of rows whose new answer was the old one, or tied with it."""
    old_score_of_new = before.gather(1, after.argmax(-1, keepdim=True)).squeeze(1)
    best, worst = before.max(-1).values, before.min(-1).values
    return float((old_score_of_new >= best - NEAR_TIE * (best - worst)).float().mean())


def _check_size(
    folder: Path, architecture: Architecture, workload: Workload, compression: Compression
) -> None:
    if compression.quantisation is Quantisation.NONE and compression.sparsity == 0.0:
        return
    size, dense = artefact.bytes_on_disk(folder), dense_size_bytes(architecture, workload)
    if size >= dense:
        raise CompressionFailure(
            "not_smaller", f"{compression} takes {size:,} bytes, dense fp32 {dense:,}"
        )


def _prune(
    model: nn.Module, architecture: Architecture, compression: Compression, batches: list[Batch]
) -> nn.Module:
    if compression.sparsity == 0.0:
        return model.eval()
    if compression.pruning is Pruning.STRUCTURED:
        return prune_structured(model, architecture, compression.sparsity, batches)
    return prune_unstructured(model, compression.sparsity)


def _quantise(
    model: nn.Module, compression: Compression, calibration: list[Batch]
) -> CompressedWeights:
    dense = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    matrices = {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Embedding)
    }
    is_sparse = compression.unstructured_sparsity > 0.0
    kept = {
        name: dense[name] != 0
        for name, module in matrices.items()
        if is_sparse and isinstance(module, nn.Linear)
    }
    method = compression.quantisation.method
    static: dict[str, StaticWeight] = {}
    if method == "static":
        static = {f"{name}.weight": value for name, value in calibrate(model, calibration).items()}
    quantised: dict[str, QuantisedWeight] = {}
    if method != "none":
        bits = compression.quantisation.bits
        for name in matrices.keys() - static.keys():
            quantised[name] = round_to_nearest(
                dense[name], bits=bits, group_size=compression.group_size
            )
    for name in (*quantised, *static):
        del dense[name]
    return CompressedWeights(dense, quantised, static, kept)


def _logits(model: nn.Module, batch: Batch) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits
    return logits
