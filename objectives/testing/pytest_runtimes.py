"""The contract of a runtime, as a test case for pytest.

::

    class TestOnnxRuntime(RuntimeTestCase):
        @pytest.fixture(scope="class")
        def runtime(self):
            return OnnxRuntime()

        @pytest.fixture(scope="class", params=[Family.VIT])
        def family(self, request):
            return request.param

        @pytest.fixture(params=[Compression(Quantisation.RTN_4)], ids=str)
        def compression(self, request):
            return request.param
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from objectives.compression import model_file
from objectives.compression.model_file import CompressedWeights, ModelSpec
from objectives.compression.pipeline import write_compressed
from objectives.compression.prune import prune
from objectives.compression.quantise.rtn import round_to_nearest
from objectives.compression.quantise.static_int8 import row_scales
from objectives.compression.quantise.weights import QuantisedWeight, StaticInt8Weight, StoredWeight
from objectives.data.batches import Batch, forward_arguments, logits
from objectives.runtimes.base import Runtime
from objectives.testing.tiny_models import WORKLOADS, architecture_for, batch_for, dense_model, loss
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.families import layout
from spaces.cost.layout import Role, Weight
from spaces.cost.workload import Family
from spaces.errors import UserError

TOLERANCE = 1e-5
"""Largest difference between two logits, as a fraction of the largest logit: that of sums in
another order."""
INT8_TOLERANCE = 0.05
"""The same where inputs of layers are rounded: one between two codes may round either way."""
ACTIVATION_STEP, ACTIVATION_ZERO = 0.05, 128
"""Scale and zero of the inputs of static int8 layers."""


class RuntimeTestCase:
    """What a runtime has to do with a compressed model of any family: compute its logits, also on
    inputs of another shape; or refuse it by name."""

    @pytest.fixture(scope="class")
    def runtime(self) -> Runtime:
        """The runtime; a subclass overrides it."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def family(self) -> Family:
        """The family of models; a subclass overrides it."""
        raise NotImplementedError

    @pytest.fixture
    def compression(self) -> Compression:
        """The compression; a subclass overrides it."""
        raise NotImplementedError

    def test_its_logits_are_those_of_the_stored_model(
        self, runtime: Runtime, family: Family, compression: Compression, tmp_path: Path
    ) -> None:
        """On a batch of full length, and on one input of half the length."""
        spec, name = spec_of(compression, family), f"{compression} of {family}"
        store_tiny(spec, tmp_path)
        full = forward_arguments(batch_for(spec.workload, count=4, seed=1))
        try:
            (folder := tmp_path / "runtime").mkdir()
            runtime.prepare(tmp_path, full, folder)
        except UserError as refusal:
            pytest.skip(f"refused: {refusal}")
        assert runtime.bytes_on_disk(folder) == sum(f.stat().st_size for f in folder.iterdir())
        forward = runtime.open(folder, threads=1)
        model = model_file.load(tmp_path)
        is_int8 = compression.quantisation.is_static
        for batch in (full, _shorter(full)):
            with torch.inference_mode():
                expected = logits(model, batch).numpy()
            found = np.asarray(forward(**batch))
            assert found.shape == expected.shape, f"{name}: logits of the shape {found.shape}"
            largest = np.abs(found - expected).max() / np.abs(expected).max()
            allowed = INT8_TOLERANCE if is_int8 else TOLERANCE
            assert largest <= allowed, f"{name}: logits differ by {largest:.1e} of the largest"


def spec_of(compression: Compression, family: Family) -> ModelSpec:
    """A model of one layer and of a width of 64."""
    return ModelSpec(architecture_for(family, 1, 64), WORKLOADS[family], compression)


def store_tiny(spec: ModelSpec, folder: Path) -> None:
    """Compress a small untrained model into a folder."""
    batches = [batch_for(spec.workload, count=4)]
    pruned = prune(dense_model(spec.workload.family, 1), spec, batches, loss)
    if spec.compression.quantisation.is_static:
        model_file.save(folder, _static(pruned, spec), spec)
    else:
        write_compressed(pruned, spec, batches, folder)


def _shorter(batch: Batch) -> Batch:
    """One input, of half the length where it has one."""
    return {
        name: tensor[:1, : tensor.shape[1] // 2] if tensor.ndim == 2 else tensor[:1]
        for name, tensor in batch.items()
    }


def _static(model: nn.Module, spec: ModelSpec) -> CompressedWeights:
    """Static int8 weights with a given range of inputs: to find ranges takes seconds."""
    weights: Iterable[Weight] = layout(spec.shape, spec.workload).weights()
    stored: dict[str, StoredWeight] = {}
    for weight in weights:
        tensor = model.get_parameter(weight.name).detach()
        stored[weight.name] = tensor
        if weight.role is Role.EMBEDDING:
            stored[weight.name] = round_to_nearest(tensor, bits=8, group_size=32)
        elif weight.role is Role.LINEAR:
            scales = row_scales(tensor)
            codes = (tensor / scales).round().clamp(-127, 127).to(torch.int8)
            is_smooth = spec.compression.quantisation is Quantisation.SMOOTH_8
            stored[weight.name] = StaticInt8Weight(
                QuantisedWeight(codes, scales, 8, tensor.shape[1]),
                ACTIVATION_STEP,
                ACTIVATION_ZERO,
                torch.full((tensor.shape[1],), 1.5) if is_smooth else None,
            )
    return CompressedWeights(stored, {})
