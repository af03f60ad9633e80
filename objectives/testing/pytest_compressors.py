"""The contract of a compressor, as a test case for pytest.

::

    class TestRoundToNearest(CompressorTestCase):
        @pytest.fixture(scope="class")
        def compression(self):
            return Compression(Quantisation.RTN_4)

A quantiser that is not yet in ``METHODS`` is given by the fixture ``quantise``; it is tested in
place of the method of the compression, whose format and bits it stores.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from objectives.compression import model_file
from objectives.compression.model_file import ModelSpec
from objectives.compression.pipeline import CONSTANT_DEVIATION, write_compressed
from objectives.compression.prune import prune
from objectives.compression.quantise.methods import METHODS, Quantise
from objectives.compression.quantise.weights import (
    QuantisedWeight,
    StaticInt8Weight,
    StoredWeight,
    dequantise,
)
from objectives.data.batches import Batch, logits
from objectives.failures import TrialFailure
from objectives.testing.tiny_models import (
    TAGGERS,
    WORKLOADS,
    architecture_for,
    batch_for,
    dense_model,
    loss,
)
from spaces.cost.compression import Compression
from spaces.cost.families import layout
from spaces.cost.layout import Role
from spaces.cost.size import size_bytes
from spaces.cost.workload import Family

SIZE_TOLERANCE = 0.01
"""Of the file's bytes, from those that are predicted: numbers in its JSON vary in length."""
FAULTS = ("compression_error", "constant", "not_finite", "malformed")
"""States of failures that are faults of a compressor, and no refusals."""


@dataclass(frozen=True)
class Compressed:
    """What a compressor made of a model.

    Args:
        folder: Its file.
        before: The dense model's weights before they were given to the compressor.
    """

    spec: ModelSpec
    folder: Path
    dense: nn.Module
    before: dict[str, torch.Tensor]
    batches: list[Batch]

    def loaded(self) -> nn.Module:
        """The model of its file."""
        try:
            return model_file.load(self.folder)
        except model_file.ModelFileError as error:
            raise AssertionError(f"{self.name}: the model does not load: {error}") from error

    @property
    def name(self) -> str:
        """The compression and the family."""
        return f"{self.spec.compression} of {self.spec.workload.family}"


class CompressorTestCase:
    """What a way to compress has to do with models of every family: give a model that loads, whose
    outputs can be right, in a file of the predicted bytes; or refuse it with a named state."""

    @pytest.fixture(scope="class")
    def compression(self) -> Compression:
        """The compression; a subclass overrides it."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def quantise(self, compression: Compression) -> Quantise | None:
        """How linear layers are quantised, where it is not the method of the compression."""
        return None

    @pytest.fixture(
        scope="class", params=[family for family in WORKLOADS if family not in TAGGERS], ids=str
    )
    def family(self, request: pytest.FixtureRequest) -> Family:
        """The family of models: of two with the same layers, one."""
        return Family(request.param)

    @pytest.fixture(scope="class")
    def compressed(
        self,
        compression: Compression,
        quantise: Quantise | None,
        family: Family,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> Compressed:
        """What the compressor makes of a model of the family."""
        folder = tmp_path_factory.mktemp("compressed")
        return compress_tiny(compression, family, folder, quantise)

    def test_the_compressed_model_can_be_used(self, compressed: Compressed) -> None:
        """It loads, and its outputs have their shape, are finite, and depend on the inputs."""
        spec, name = compressed.spec, compressed.name
        model = compressed.loaded()
        with torch.inference_mode():
            outputs = torch.cat([logits(model, b).flatten(0, -2) for b in compressed.batches])
        expected = spec.workload.outputs
        assert outputs.shape[1] == expected, (
            f"{name}: {outputs.shape[1]} outputs a prediction, not {expected}: malformed"
        )
        assert torch.isfinite(outputs).all(), f"{name}: outputs are not finite"
        deviation = float(outputs.std(0).max())
        assert deviation >= CONSTANT_DEVIATION, f"{name}: outputs are constant"

    def test_no_matrix_is_lost(self, compressed: Compressed) -> None:
        """Every quantised matrix has weights that are not zero: outputs may vary without it."""
        stored = model_file.read_weights(compressed.folder, compressed.spec)
        described = layout(compressed.spec.shape, compressed.spec.workload).weights()
        matrices = [weight.name for weight in described if weight.role is not Role.DENSE]
        zeros = [name for name in matrices if not _dense(stored[name]).any()]
        assert not zeros, f"{compressed.name}: all weights of {zeros[0]} are zeros"

    def test_the_bytes_are_those_that_are_predicted(self, compressed: Compressed) -> None:
        """Arithmetic knows the bytes of its file before training."""
        spec = compressed.spec
        written = model_file.bytes_on_disk(compressed.folder)
        predicted = size_bytes(spec.architecture, spec.workload, spec.compression)
        # Of mixed bits the most is predicted that the codes may take.
        fewest = 0.0 if spec.compression.quantisation.is_mixed else predicted
        is_known = fewest - SIZE_TOLERANCE * written <= written <= predicted * (1 + SIZE_TOLERANCE)
        assert is_known, (
            f"{compressed.name}: {written:,} bytes on disk, {predicted:,} are predicted"
        )

    def test_the_given_model_stays_unchanged(self, compressed: Compressed) -> None:
        """Other compressions of the same trained model follow."""
        after = compressed.dense.state_dict()
        changed = [
            n for n, tensor in compressed.before.items() if not torch.equal(tensor, after[n])
        ]
        assert not changed, f"{compressed.name}: the compressor changed {changed[0]} of its input"


def compress_tiny(
    compression: Compression, family: Family, folder: Path, quantise: Quantise | None = None
) -> Compressed:
    """Compress a small untrained model of a family into a folder; the test is skipped where the
    compressor refuses it.

    Args:
        quantise: How linear layers are quantised; by default by the method of the compression.

    Raises:
        AssertionError: The compressor failed, and did not refuse it with a state of its own.
    """
    workload = WORKLOADS[family]
    # The graph of static int8 takes seconds to make, and longer with each layer.
    depth = 1 if compression.quantisation.is_static else 2
    spec = ModelSpec(architecture_for(family, depth, 64), workload, compression)
    dense, batches = copy.deepcopy(dense_model(family, depth)), [batch_for(workload, count=4)]
    before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    method = compression.quantisation.method
    with pytest.MonkeyPatch.context() as patch:
        if quantise is not None:
            patch.setitem(METHODS, method, quantise)
        try:
            write_compressed(prune(dense, spec, batches, loss), spec, batches, folder)
        except TrialFailure as failure:
            if failure.state in FAULTS:
                raise AssertionError(f"{compression} of {family}: {failure}") from failure
            pytest.skip(f"refused: {failure}")
    return Compressed(spec, folder, dense, before, batches)


def _dense(weight: StoredWeight) -> torch.Tensor:
    if isinstance(weight, StaticInt8Weight):
        weight = weight.weight
    return dequantise(weight) if isinstance(weight, QuantisedWeight) else weight
