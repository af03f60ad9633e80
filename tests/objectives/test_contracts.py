"""The contract suites find what is broken, and name it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from torch import nn

from objectives.compression.quantise.methods import METHODS, Quantise
from objectives.compression.quantise.weights import QuantisedWeight, StoredWeight
from objectives.failures import TrialFailure
from objectives.store.store import Store
from objectives.testing.pytest_compressors import CompressorTestCase, compress_tiny
from objectives.testing.pytest_stores import StoreTestCase
from objectives.testing.pytest_tasks import TaskTestCase, TriedTask
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.workload import Family
from tests.own_package import own_document, write_package

ROUND = METHODS["rtn"]
USED = CompressorTestCase.test_the_compressed_model_can_be_used
LOST = CompressorTestCase.test_no_matrix_is_lost
BYTES = CompressorTestCase.test_the_bytes_are_those_that_are_predicted
CHANGED = CompressorTestCase.test_the_given_model_stays_unchanged


def with_scales(factor: float) -> Quantise:
    def quantise(*args: Any, **options: Any) -> dict[str, StoredWeight]:
        found: dict[str, StoredWeight] = {}
        for name, weight in ROUND(*args, **options).items():
            assert isinstance(weight, QuantisedWeight)
            found[name] = replace(weight, scales=weight.scales * factor)
        return found

    return quantise


def dense(model: nn.Module, names: list[str], *_: Any, **__: Any) -> Mapping[str, StoredWeight]:
    return {name: model.get_parameter(name).detach() for name in names}


def in_place(*args: Any, **options: Any) -> Mapping[str, StoredWeight]:
    model, names, *_ = args
    with torch.no_grad():
        for name in names:
            model.get_parameter(name).mul_(0.5)
    return ROUND(*args, **options)


def cannot(*_: Any, **__: Any) -> Mapping[str, StoredWeight]:
    raise TrialFailure("unknown_layers", "made up")


@pytest.mark.parametrize(
    ("quantise", "family", "check", "word"),
    [
        (with_scales(0.0), Family.MODERNBERT_CLASSIFIER, LOST, "zeros"),
        (with_scales(0.0), Family.VIT, USED, "constant"),
        # Embeddings that give the logits hide what the layers lost.
        (with_scales(0.0), Family.LLAMA, LOST, "zeros"),
        (with_scales(float("nan")), Family.VIT, USED, "finite"),
        (dense, Family.VIT, BYTES, "are predicted"),
        (in_place, Family.VIT, CHANGED, "changed"),
        (lambda *_, **__: 1 / 0, Family.VIT, None, "compression_error.*ZeroDivisionError"),
    ],
)  # fmt: skip
def test_a_broken_compressor_is_named(
    quantise: Quantise, family: Family, check: Any, word: str, tmp_path: Path
) -> None:
    def run() -> None:
        compressed = compress_tiny(Compression(Quantisation.RTN_8), family, tmp_path, quantise)
        check(CompressorTestCase(), compressed)

    with pytest.raises(AssertionError, match=word):
        run()


def test_a_compressor_may_refuse_with_a_state_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match="refused: unknown_layers: made up"):
        compress_tiny(Compression(Quantisation.RTN_8), Family.VIT, tmp_path, cannot)


class CutsFiles(MemoryFileSystem):  # type: ignore[misc]
    """Loses the last byte of each file."""

    protocol = "cuts"

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        self.pipe_file(rpath, Path(lpath).read_bytes()[:-1])


class WritesInPlace(Store):
    """Fills a folder that readers see already."""

    def write(self, address: str, fill: Any, *, is_final: bool) -> Any:
        super().write(address, lambda folder: (folder / "data.bin").touch(), is_final=is_final)
        return fill(Path(self.location(address)))


_numbers = itertools.count()


@contextmanager
def own_task(folder: Path, *changes: tuple[str, str], **space: Any) -> Iterator[TriedTask]:
    """The task of a user's package with changes, and with some dimensions."""
    package = f"tried{next(_numbers)}"
    write_package(folder, package, *changes)
    document = own_document(package)
    document["space"] |= {"depth": 1, "width": 32} | space
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield TriedTask(document, folder)


class TestOwnTask(TaskTestCase):
    """As a test of the user's own, but for the package that it writes."""

    @pytest.fixture(scope="class")
    def tried(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TriedTask]:
        with own_task(tmp_path_factory.mktemp("own"), width={"choices": [32, 64]}) as tried:
            yield tried


RANDOM_LOSS = (
    "    def model(",
    "    def loss(self, model, batch):\n"
    "        return super().loss(model, batch) * (1 + 0.1 * np.random.random())\n\n    def model(",
)
COUNTED_PASSES = (
    "        states = self.symbols(input_ids)",
    "        self.passes = getattr(self, 'passes', 0) + 1\n"
    "        states = (1 + self.passes / 100) * self.symbols(input_ids)",
)
OTHER_WIDTH = (
    "=architecture.feed_forward", "=architecture.feed_forward + (architecture.width == 128)",
)  # fmt: skip
MORE_FLOPS = (
    "self.head(self.norm(states)[:, 0])",
    "self.head(self.norm(states)[:, 0]) + 0 * (states[:, 0] @ self.head.weight.T)",
)


@pytest.mark.parametrize(
    ("change", "check", "word"),
    [
        (RANDOM_LOSS, "test_the_loss_of_a_step_is_deterministic", "it is not deterministic"),
        (COUNTED_PASSES, "test_training_resumes_exactly", "it does not resume exactly"),
        (OTHER_WIDTH, "test_sizes_are_those_of_the_arithmetic", "1x128: its sizes are not known"),
        (MORE_FLOPS, "test_sizes_are_those_of_the_arithmetic", "FLOPs, and by arithmetic"),
    ],
)
def test_a_broken_task_is_named(
    change: tuple[str, str], check: str, word: str, tmp_path: Path
) -> None:
    with own_task(tmp_path, change, width={"choices": [32, 128, 160]}) as tried:
        test = getattr(TaskTestCase(), check)
        needed = {"tmp_path": tmp_path} if "tmp_path" in signature(test).parameters else {}
        with pytest.raises(AssertionError, match=word):
            test(tried, **needed)


def test_a_broken_store_is_named(tmp_path: Path) -> None:
    fsspec.register_implementation("cuts", CutsFiles, clobber=True)
    case = StoreTestCase()
    with pytest.raises(AssertionError, match=r"the listing is not|other bytes"):
        case.test_an_entry_is_read_as_it_was_written(Store(f"cuts://{tmp_path}"))
    with pytest.raises(AssertionError, match="not atomic"):
        case.test_a_failed_write_leaves_nothing(WritesInPlace(str(tmp_path)))
