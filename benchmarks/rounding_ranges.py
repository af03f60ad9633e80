"""Rounding to nearest: the ranges of neural-compressor and those of tlc, at equal bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

import torch
from neural_compressor.torch.algorithms.weight_only.utility import quant_tensor
from torch import nn

from objectives.compression.model_file import ModelSpec
from objectives.compression.pipeline import write_compressed
from objectives.compression.quantise.methods import METHODS, Quantise, each_matrix
from objectives.compression.quantise.weights import QuantisedWeight, StoredWeight
from objectives.data.batches import Batch
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
    all_codes, searched = each_matrix(_rounded(full_range=True)), METHODS["rtn"]
    variants = {
        "one code unused": each_matrix(_rounded(full_range=False)),
        "all codes": all_codes,
        "all codes, ranges of least error for embeddings": _by_role(all_codes, searched),
        "all codes, ranges of least error": searched,
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
    for name, method in variants.items():
        with _rounding_by(method):
            added = [f"{loss(quantisation) - before:+.4f}" for quantisation in quantisations]
        print(f"| {name} | " + " | ".join(added) + " |")


def _by_role(of_linears: Quantise, of_embeddings: Quantise) -> Quantise:
    def quantise(
        model: nn.Module, names: list[str], batches: list[Batch], **options: int
    ) -> Mapping[str, StoredWeight]:
        modules = [model.get_submodule(name.removesuffix(".weight")) for name in names]
        are_embeddings = any(isinstance(module, nn.Embedding) for module in modules)
        method = of_embeddings if are_embeddings else of_linears
        return method(model, names, batches, **options)

    return quantise


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


@contextmanager
def _rounding_by(method: Quantise) -> Iterator[None]:
    before = METHODS["rtn"]
    METHODS["rtn"] = method
    try:
        yield
    finally:
        METHODS["rtn"] = before
