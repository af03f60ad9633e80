"""tlc's compressed files beside those of ONNX Runtime's own quantisers, of one trained model.

The model is the dense one of a trial of a finished search. tlc compresses it with its own methods;
``onnxruntime.quantization`` quantises its fp32 file: ``quantize_dynamic`` (int8 weights, ranges of
inputs at each call), ``quantize_static`` (QDQ, ranges of the same calibration batches), and
``MatMulNBitsQuantizer`` (4 bits, blocks of 32). All run in ONNX Runtime, on one thread, in turn
with the fp32 file, and are scored on validation by the task's own score.

    python benchmarks/quantisers.py classification 12 --study sqlite:////home/me/.tlc/study.db
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import onnx
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from torch import nn

from objectives.compression import model_file
from objectives.compression.pipeline import write_compressed
from objectives.data.batches import Batch, forward_arguments
from objectives.runtimes.onnx_runtime import OnnxRuntime, open_session
from objectives.store.store import Store
from objectives.tasks import make_task
from search.registry.export import complete_trial, prepared_data
from search.storage.study import Study
from spaces.cost.compression import Compression, Quantisation
from spaces.file.storage import Locations

METHODS = "none static-8 smooth-8 rtn-8 rtn-4 gptq-4 hqq-4"
HEADER = "| quantiser | bytes | ms | of fp32 | score | 95 % interval |"


class InOnnxRuntime(nn.Module):
    """A file as the task scores a model: it has logits, and a parameter that names its device."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.session = open_session(file, 1)
        self.names = [each.name for each in self.session.get_inputs()]
        self.device = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, **inputs: torch.Tensor) -> Any:
        # Inputs without padding may lack a mask.
        whole = torch.ones_like(next(iter(inputs.values())))
        arrays = {name: inputs.get(name, whole).numpy() for name in self.names}
        return SimpleNamespace(logits=torch.from_numpy(self.session.run(None, arrays)[0]))


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Calibration batches as ONNX Runtime reads them."""

    def __init__(self, batches: list[Batch]) -> None:
        self.arrays = iter(
            [{n: t.numpy() for n, t in forward_arguments(batch).items()} for batch in batches]
        )

    def get_next(self) -> Any:
        return next(self.arrays, None)


def of_onnxruntime(fp32: Path, batches: list[Batch]) -> Iterator[tuple[str, Path]]:
    """What ONNX Runtime's quantisers make of a file, after its own preprocessing."""
    folder, given = fp32.parent, fp32
    fp32 = folder / "preprocessed.onnx"
    quant_pre_process(given, fp32, skip_symbolic_shape=True)
    makers: dict[str, Callable[[Path], None]] = {
        "quantize_dynamic": lambda to: quantize_dynamic(
            fp32, to, per_channel=True, weight_type=QuantType.QInt8
        ),
        "quantize_static, QDQ": lambda to: quantize_static(
            fp32, to, Calibration(batches), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        ),
        "MatMulNBits": lambda to: _four_bits(fp32, to, ("MatMul",)),
        "MatMulNBits, Gather": lambda to: _four_bits(fp32, to, ("MatMul", "Gather")),
    }  # fmt: skip
    for name, make in makers.items():
        made = folder / f"{name.partition(',')[0]}-{len(name)}.onnx"
        try:
            make(made)
            yield f"onnxruntime, {name}", made
        except Exception as error:
            print(f"| onnxruntime, {name} | failed: {str(error).splitlines()[0][:80]} | | | | |")


def _four_bits(fp32: Path, to: Path, kinds: tuple[str, ...]) -> None:
    quantiser = MatMulNBitsQuantizer(
        onnx.load(str(fp32)), block_size=32, is_symmetric=True, accuracy_level=1,
        op_types_to_quantize=kinds, quant_axes=(("MatMul", 0), ("Gather", 1)),
    )  # fmt: skip
    quantiser.process()
    quantiser.model.save_model_to_file(str(to), False)


def ratio_of(model: nn.Module, dense: nn.Module, inputs: Batch) -> tuple[float, float]:
    """10th percentile in ms of a model, and as a fraction of that of another, called in turn."""
    times: tuple[list[float], list[float]] = [], []
    for number in range(65):
        for own, called in zip(times, (model, dense), strict=True):
            started = time.perf_counter()
            called(**inputs)
            if number >= 5:
                own.append((time.perf_counter() - started) * 1e3)
    one, other = (float(np.percentile(each, 10)) for each in times)
    return one, one / other


@click.command()
@click.argument("name")
@click.argument("trial", type=int)
@click.option("--study", "url", required=True, help="SQLAlchemy URL of the study.")
@click.option("--methods", default=METHODS, help="tlc's methods.")
def main(name: str, trial: int, url: str, methods: str) -> None:
    torch.set_num_threads(1)
    study = Study.load(name, url)
    record = complete_trial(study, trial)
    search = study.search.alone(record.configuration.checkpoint)
    task = make_task(search, prepared_data(study, record))
    batches, inputs = task.calibration(), task.latency_input(1)
    runtime = OnnxRuntime()
    with (
        tempfile.TemporaryDirectory() as root,
        Store(Locations.of(search.storage).store_url).open(record.result["model"]) as stored,
    ):
        if stored is None:
            raise click.ClickException(f"the model of trial {trial} is not in the store")
        spec = model_file.read_spec(stored)
        if spec.compression != Compression():
            raise click.ClickException(f"trial {trial} is {spec.compression}; give a dense one")
        trained = model_file.load(stored)
        print(f"{name} #{trial}: {record.configuration}\n")
        print(f"{HEADER}\n|{' --- |' * (HEADER.count('|') - 1)}", flush=True)
        files: dict[str, Path] = {}
        for method in map(Quantisation, methods.split()):
            (folder := Path(root) / method).mkdir()
            own = replace(spec, compression=Compression(method))
            write_compressed(trained, own, batches, folder)
            runtime.prepare(folder, forward_arguments(batches[0]), folder)
            files[f"tlc, {method}"] = folder / runtime.file
        dense_file = files["tlc, none"]
        files |= dict(of_onnxruntime(dense_file, batches))
        dense = InOnnxRuntime(dense_file)
        for quantiser, file in files.items():
            model = InOnnxRuntime(file)
            ms, of_fp32 = ratio_of(model, dense, inputs)
            score = task.score(model, "validation")
            print(
                f"| {quantiser} | {file.stat().st_size:,} | {ms:.3f} | {of_fp32:.2f} "
                f"| {score.value:.4g} | {score.low:.4g} to {score.high:.4g} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
