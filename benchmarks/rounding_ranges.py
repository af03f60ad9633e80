"""Rounding to nearest: the ranges of neural-compressor and those of tlc, at equal bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from unittest.mock import patch

import torch
from neural_compressor.torch.algorithms.weight_only.utility import quant_tensor
from torch import nn

from objectives.compression import pipeline
from objectives.compression.model_file import ModelSpec
from objectives.compression.pipeline import write_compressed
from objectives.compression.quantise.methods import METHODS, ROUND_EMBEDDINGS, each_matrix
from objectives.compression.quantise.rtn import round_to_nearest
from objectives.compression.quantise.weights import QuantisedWeight
from objectives.objective import Objective
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.workload import Workload


def compare_ranges(
    dense: nn.Module,
    architecture: Architecture,
    workload: Workload,
    objective: Objective,
    scratch: Path,
) -> None:
    """Print the validation loss that rounding a dense model adds, by bits and range."""
    unused, all_codes = (each_matrix(_rounded(full_range=full)) for full in (False, True))
    least_error = each_matrix(round_to_nearest)
    variants = {
        "one code unused": (unused, unused),
        "all codes": (all_codes, all_codes),
        "all codes, ranges of least error for embeddings": (all_codes, least_error),
        "all codes, ranges of least error": (least_error, least_error),
        "`rtn`": (METHODS["rtn"], ROUND_EMBEDDINGS),
    }
    quantisations = (Quantisation.RTN_2, Quantisation.RTN_3, Quantisation.RTN_4)
    print("\n| added loss of rounding, nats | " + " | ".join(quantisations) + " |")
    print("|" + " --- |" * (1 + len(quantisations)))
    folder = scratch / "rounded"

    def loss(quantisation: Quantisation) -> float:
        rmtree(folder, ignore_errors=True)
        write_compressed(
            dense, ModelSpec(architecture, workload, Compression(quantisation)), [], folder
        )
        return objective.score(folder, "validation").loss

    before = loss(Quantisation.NONE)
    for name, (of_linears, of_embeddings) in variants.items():
        with (
            patch.dict(METHODS, {"rtn": of_linears}),
            patch.object(pipeline, "ROUND_EMBEDDINGS", of_embeddings),
        ):
            added = [f"{loss(quantisation) - before:+.4f}" for quantisation in quantisations]
        print(f"| {name} | " + " | ".join(added) + " |")


def _rounded(*, full_range: bool) -> Callable[..., QuantisedWeight]:
    def round_to_nearest(weight: torch.Tensor, *, bits: int, group_size: int) -> QuantisedWeight:
        group_size = min(group_size, weight.shape[1])
        codes, scales, _ = quant_tensor(
            weight.detach().clone(), bits=bits, group_size=group_size, scheme="sym",
            return_int=True, full_range=full_range,
        )  # fmt: skip
        return QuantisedWeight(
            codes.to(torch.int8), scales.reshape(len(weight), -1).half(), bits, group_size
        )

    return round_to_nearest
