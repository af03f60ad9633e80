"""Runtimes: the file of a compressed model carries its codes, and gives the model's logits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch

from objectives.compression import model_file
from objectives.compression.quantise.rtn import round_to_nearest
from objectives.compression.quantise.weights import QuantisedWeight, dequantise
from objectives.data.batches import forward_arguments
from objectives.runtimes import names
from objectives.runtimes.base import Runtime
from objectives.runtimes.block_codes import in_blocks
from objectives.runtimes.names import runtime_of
from objectives.runtimes.onnx_operators import INT8_ACTIVATIONS
from objectives.runtimes.onnx_runtime import OnnxRuntime
from objectives.runtimes.onnx_size import onnx_bytes
from objectives.runtimes.openvino_runtime import OpenVinoRuntime
from objectives.testing.pytest_runtimes import RuntimeTestCase, spec_of, store_tiny
from objectives.testing.tiny_models import batch_for
from spaces.cost.compression import Compression, Pruning, Quantisation, RuntimeName
from spaces.cost.families import layout
from spaces.cost.onnx.size import runtime_bytes
from spaces.cost.workload import Family
from spaces.errors import UserError

Q, P = Quantisation, Pruning
FAMILY = Family.ROBERTA_MASKED_LM
"""Its token embedding gives the logits; its linear layers have biases."""

COMPRESSIONS = [
    *(Compression(quantisation) for quantisation in Q if not quantisation.is_mixed),
    Compression(Q.MIXED_3),
    # Groups that fill no block of a kernel, that are larger than a row, and that none divides.
    *(Compression(q, group) for q in (Q.RTN_4, Q.HQQ_4, Q.RTN_8) for group in (48, 128, 24)),
    Compression(Q.HQQ_2, 12),
    Compression(Q.RTN_4, 32, P.UNSTRUCTURED, 0.5),
    Compression(Q.HQQ_4, 32, P.SEMI_STRUCTURED, 0.5),
]
# One of each kind of node, and all others where all tests run.
USUAL = [Compression(q) for q in (Q.NONE, Q.BF16, Q.STATIC_8, Q.RTN_8, Q.GPTQ_4, Q.HQQ_2)]
CASES = [
    each if each in USUAL else pytest.param(each, marks=pytest.mark.slow) for each in COMPRESSIONS
]

OPENVINO_COMPRESSIONS = [
    *map(Compression, (Q.NONE, Q.BF16, Q.STATIC_8, Q.SMOOTH_8, Q.RTN_8, Q.HQQ_4, Q.RTN_2)),
    # Groups that fill no block, and that are larger than a row.
    Compression(Q.HQQ_4, 24),
    Compression(Q.RTN_4, 128),
]

ONNX = OnnxRuntime()


@pytest.mark.usefixtures("one_thread")
class TestOnnxRuntime(RuntimeTestCase):
    @pytest.fixture(scope="class")
    def runtime(self) -> OnnxRuntime:
        return ONNX

    # An export takes seconds; those of other families are in test_exports.
    @pytest.fixture(scope="class", params=[FAMILY, Family.VIT], ids=str)
    def family(self, request: pytest.FixtureRequest) -> Family:
        return Family(request.param)

    @pytest.fixture(params=CASES, ids=lambda c: f"{c} {c.group_size}")
    def compression(self, request: pytest.FixtureRequest) -> Compression:
        assert isinstance(request.param, Compression)
        return request.param


@pytest.mark.usefixtures("one_thread")
class TestOpenVino(RuntimeTestCase):
    @pytest.fixture(scope="class")
    def runtime(self) -> OpenVinoRuntime:
        return OpenVinoRuntime(ONNX.graphs)

    @pytest.fixture(scope="class", params=[FAMILY, Family.VIT], ids=str)
    def family(self, request: pytest.FixtureRequest) -> Family:
        return Family(request.param)

    @pytest.fixture(params=OPENVINO_COMPRESSIONS, ids=lambda c: f"{c} {c.group_size}")
    def compression(self, request: pytest.FixtureRequest) -> Compression:
        assert isinstance(request.param, Compression)
        return request.param


@pytest.mark.usefixtures("one_thread")
class TestTorch(RuntimeTestCase):
    @pytest.fixture(scope="class")
    def runtime(self) -> Runtime:
        return runtime_of(RuntimeName.TORCH)

    @pytest.fixture(scope="class")
    def family(self) -> Family:
        return FAMILY

    @pytest.fixture(params=[Q.NONE, Q.STATIC_8, Q.HQQ_4])
    def compression(self, request: pytest.FixtureRequest) -> Compression:
        return Compression(request.param)


def prepared(
    compression: Compression, folder: Path, runtime: OnnxRuntime = ONNX
) -> onnx.ModelProto:
    spec = spec_of(compression, FAMILY)
    store_tiny(spec, folder)
    inputs = forward_arguments(batch_for(spec.workload, count=4))
    runtime.prepare(folder, inputs, folder)
    return onnx.load(str(folder / OnnxRuntime.file))


@pytest.mark.parametrize("quantisation", [Q.RTN_4, Q.GPTQ_3, Q.HQQ_4])
def test_four_bits_run_as_codes(quantisation: Quantisation, tmp_path: Path) -> None:
    kinds = Counter(
        node.op_type for node in prepared(Compression(quantisation), tmp_path).graph.node
    )
    # Six of the layer, one of the head, and the logits, whose matrix is the token embedding.
    assert kinds["MatMulNBits"] == 8
    assert kinds["GatherBlockQuantized"] == 3


@pytest.mark.parametrize("quantisation", [Q.RTN_8, Q.RTN_6, Q.RTN_4, Q.HQQ_4, Q.RTN_2])
def test_codes_and_scales_are_those_of_the_stored_model(
    quantisation: Quantisation, tmp_path: Path
) -> None:
    compression = Compression(quantisation)
    written = prepared(compression, tmp_path).graph.initializer
    tensors = {each.name: torch.tensor(onnx.numpy_helper.to_array(each)) for each in written}
    stored = model_file.read_weights(tmp_path, spec_of(compression, FAMILY))
    codes = {name: w for name, w in stored.items() if isinstance(w, QuantisedWeight)}
    assert len(codes) == 10
    for name, weight in codes.items():
        packed = in_blocks(weight)
        assert torch.equal(tensors[f"{name}.codes"], packed.data)
        assert torch.equal(tensors[f"{name}.scales"], weight.scales)
        parts = torch.arange(0, 8, packed.blocks.bits)
        unpacked = (packed.data.int()[..., None] >> parts) & (2 * packed.half - 1)
        assert torch.equal(unpacked.flatten(1) - packed.half, weight.codes.int())
    # A tied matrix is there once.
    assert sum(name.endswith(".codes") for name in tensors) == len(codes)


def test_blocks_repeat_the_scales_of_their_group() -> None:
    weight = round_to_nearest(torch.randn(3, 100), bits=4, group_size=48)
    packed = in_blocks(weight)
    assert packed.blocks.size == 16
    assert packed.scales[0].tolist() == weight.scales[0, [0, 0, 0, 1, 1, 1, 2]].tolist()
    assert dequantise(weight).shape == (3, packed.columns)


@pytest.mark.parametrize(
    "compression",
    [
        *map(Compression, (Q.NONE, Q.BF16, Q.SMOOTH_8, Q.RTN_8, Q.RTN_3, Q.HQQ_2)),
        Compression(Q.HQQ_4, 24),
        Compression(Q.HQQ_4, 32, P.SEMI_STRUCTURED, 0.5),
    ],
    ids=lambda c: f"{c} {c.group_size}",
)
def test_the_bytes_are_known_before_training(compression: Compression, tmp_path: Path) -> None:
    spec = spec_of(compression, FAMILY)
    prepared(compression, tmp_path)
    written = ONNX.bytes_on_disk(tmp_path)
    graph = ONNX.graph(
        spec.shape, spec.workload, forward_arguments(batch_for(spec.workload, count=4))
    )
    predicted = onnx_bytes(graph, layout(spec.shape, spec.workload), compression)
    assert predicted == written
    # Of a model this small, the graph is a tenth.
    arithmetic = runtime_bytes(
        spec.architecture, spec.workload, compression, RuntimeName.ONNX_RUNTIME
    )
    assert arithmetic == pytest.approx(written, rel=0.03)


def test_of_mixed_bits_the_most_bytes_are_known(tmp_path: Path) -> None:
    compression = Compression(Q.MIXED_3)
    spec = spec_of(compression, FAMILY)
    prepared(compression, tmp_path)
    inputs = forward_arguments(batch_for(spec.workload, count=4))
    graph = ONNX.graph(spec.shape, spec.workload, inputs)
    most = onnx_bytes(graph, layout(spec.shape, spec.workload), compression)
    assert ONNX.bytes_on_disk(tmp_path) < most


def test_codes_of_eight_bits_run_where_inputs_are_rounded_too(tmp_path: Path) -> None:
    model = prepared(Compression(Q.RTN_8), tmp_path, OnnxRuntime(INT8_ACTIVATIONS, ONNX.graphs))
    assert sum(node.op_type == "MatMulNBits" for node in model.graph.node) == 8


def test_a_runtime_without_its_packages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(names.PACKAGES, RuntimeName.OPENVINO, ("onnx", "no_such_package"))
    with pytest.raises(UserError, match="openvino needs no_such_package: pip install"):
        runtime_of(RuntimeName.OPENVINO)


@pytest.mark.parametrize("quantisation", [Q.NONE, Q.STATIC_8, Q.RTN_4, Q.HQQ_2])
def test_the_bytes_of_openvino_are_known_before_training(
    quantisation: Quantisation, tmp_path: Path
) -> None:
    compression = Compression(quantisation)
    spec = spec_of(compression, FAMILY)
    store_tiny(spec, tmp_path)
    inputs = forward_arguments(batch_for(spec.workload, count=4))
    runtime = OpenVinoRuntime(ONNX.graphs)
    (folder := tmp_path / "runtime").mkdir()
    runtime.prepare(tmp_path, inputs, folder)
    predicted = runtime_bytes(spec.architecture, spec.workload, compression, RuntimeName.OPENVINO)
    # Weights that are equal, such as untrained biases, are written once.
    assert predicted == pytest.approx(runtime.bytes_on_disk(folder), rel=0.05)
