"""What runs an exported model: ONNX Runtime, or transformers."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager, redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .decoding import decode
from .errors import ModelError

Inputs = dict[str, Any]
"""Arrays by the name of the model's input, int64 tokens or float32 pixels."""

AUTO_CLASSES = {
    "classification": "AutoModelForSequenceClassification",
    "regression": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "masked-lm": "AutoModelForMaskedLM",
    "causal-lm": "AutoModelForCausalLM",
    "translation": "AutoModelForSeq2SeqLM",
    "summarisation": "AutoModelForSeq2SeqLM",
    "image-classification": "AutoModelForImageClassification",
}
"""The class of transformers for each task."""


class Runtime(Protocol):
    """What runs a model."""

    def logits(self, inputs: Inputs) -> Any:
        """Logits ``(batch, classes)`` or ``(batch, sequence, outputs)``, float32."""

    def generate(self, inputs: Inputs) -> list[list[int]]:
        """The tokens that the model generates for each row, with the prompt before them."""


class OnnxRuntime:
    """``model.onnx`` in ONNX Runtime."""

    file = "model.onnx"
    packages = ("onnxruntime",)

    def __init__(self, folder: Path, task: dict[str, Any], *, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(folder / self.file), options, providers=["CPUExecutionProvider"]
        )
        self._names = [each.name for each in self._session.get_inputs()]
        self._task = task

    def logits(self, inputs: Inputs) -> Any:
        """As ``Runtime``."""
        return self._session.run(["logits"], {name: inputs[name] for name in self._names})[0]

    def generate(self, inputs: Inputs) -> list[list[int]]:
        """As ``Runtime``."""
        rows = [
            {name: array[index : index + 1] for name, array in inputs.items()}
            for index in range(len(inputs["input_ids"]))
        ]
        return [self._generate(each) for each in rows]

    def _generate(self, row: Inputs) -> list[int]:
        has_decoder = "decoder_input_ids" in self._names
        start, *forced = self._task["target_start"]
        prompt = [start] if has_decoder else row["input_ids"][0].tolist()
        if has_decoder:
            length = int(row["attention_mask"].sum())
            row = {name: array[:, :length] for name, array in row.items()}

        def next_logits(beams: Any) -> Any:
            if not has_decoder:
                return self.logits({"input_ids": beams})[:, -1]
            repeated = {name: np.repeat(array, len(beams), 0) for name, array in row.items()}
            return self.logits({**repeated, "decoder_input_ids": beams})[:, -1]

        return decode(
            next_logits,
            prompt,
            forced=forced if has_decoder else [],
            beams=self._task["beams"],
            length=self._task["target_length"] or self._task["sequence_length"],
            end=self._task["tokens"]["end"],
        )


class Transformers:
    """``model.safetensors`` in transformers and torch."""

    file = "model.safetensors"
    packages = ("transformers", "torch")

    def __init__(
        self, folder: Path, task: dict[str, Any], model_class: Any = None, *, threads: int = 0
    ) -> None:
        import torch
        import transformers

        if threads:
            torch.set_num_threads(threads)
        transformers.logging.disable_progress_bar()
        auto_class = model_class or getattr(transformers, AUTO_CLASSES[task["name"]])
        with _without_progress_bars():
            self._model = auto_class.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
            ).eval()

    def logits(self, inputs: Inputs) -> Any:
        """As ``Runtime``."""
        import torch

        with torch.inference_mode(), _without_progress_bars():
            return self._model(**_tensors(inputs)).logits.float().numpy()

    def generate(self, inputs: Inputs) -> list[list[int]]:
        """As ``Runtime``; its settings are those of ``generation_config.json``."""
        import torch

        with torch.inference_mode(), _without_progress_bars():
            generated = self._model.generate(**_tensors(inputs))
        rows: list[list[int]] = generated.tolist()
        return rows


RUNTIMES: dict[str, type[OnnxRuntime] | type[Transformers]] = {
    "onnxruntime": OnnxRuntime,
    "transformers": Transformers,
}
"""The runtimes in the order of preference."""


def can_run(folder: Path, name: str) -> bool:
    """Whether the file and the packages of a runtime are there."""
    runtime = RUNTIMES[name]
    return (folder / runtime.file).is_file() and all(map(find_spec, runtime.packages))


def open_runtime(
    folder: Path, task: dict[str, Any], name: str | None, *, threads: int = 0
) -> Runtime:
    """Load a model in a runtime; by default, the first whose file and packages are there.

    Args:
        threads: CPU threads; by default as many as the runtime chooses.

    Raises:
        ModelError: None can be used, or it does not read the files.
    """
    reasons = []
    for each, runtime in RUNTIMES.items():
        if name not in (None, each):
            continue
        lacking = [package for package in runtime.packages if find_spec(package) is None]
        if not (folder / runtime.file).is_file():
            reasons.append(f"{each}: {folder / runtime.file} is missing")
        elif lacking:
            reasons.append(f"{each}: pip install {' '.join(lacking)}")
        else:
            try:
                return runtime(folder, task, threads=threads)
            except ImportError as error:
                reasons.append(f"{each}: {error}")
    raise ModelError("; ".join(reasons) or f"there is no runtime {name!r}: {', '.join(RUNTIMES)}")


def _without_progress_bars() -> AbstractContextManager[Any]:
    """compressed-tensors draws them when it loads a model and when it first runs it."""
    return redirect_stderr(io.StringIO())


def _tensors(inputs: Inputs) -> Inputs:
    import torch

    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()}
