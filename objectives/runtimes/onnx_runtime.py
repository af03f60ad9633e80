"""ONNX Runtime: a model is one file of its graph and its codes."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from objectives.compression import model_file
from objectives.data.batches import Batch
from objectives.runtimes import onnx_file
from objectives.runtimes.base import Forward
from objectives.runtimes.onnx_graph import graph_of_shape
from objectives.runtimes.onnx_operators import EXACT
from spaces.cost.architecture import Shape
from spaces.cost.configuration import content_hash
from spaces.cost.workload import Workload

EXPORTERS = ("torch", "transformers", "onnxscript", "onnx-ir")
"""Packages that a graph depends on."""
Graphs = MutableMapping[str, bytes]
"""Graphs without weights, by a hash of what they depend on."""


class OnnxRuntime:
    """As ``Runtime``; the graph of a shape is made once.

    Args:
        accuracy: As of ``objectives.runtimes.onnx_operators.CodeOperators``.
        graphs: Graphs to use and to add to; by default none that others know.
    """

    file = "model.onnx"
    marks: tuple[str, ...] = ()
    """What tells its graphs from others of the same shape."""

    def __init__(self, accuracy: int = EXACT, graphs: Graphs | None = None) -> None:
        self._accuracy = accuracy
        self.graphs: Graphs = {} if graphs is None else graphs

    def prepare(self, stored: Path, inputs: Batch, folder: Path) -> None:
        """As ``Runtime``."""
        spec = model_file.read_spec(stored)
        weights = model_file.read_weights(stored, spec)
        graph = self.graph(spec.shape, spec.workload, inputs)
        model = onnx_file.with_weights(graph, weights, accuracy=self._accuracy)
        onnx_file.write(model, folder / self.file, {})

    def graph(self, shape: Shape, workload: Workload, inputs: Batch) -> bytes:
        """The graph of a shape without weights."""
        key = content_hash([asdict(shape), asdict(workload), exporter_versions(), *self.marks])
        if key not in self.graphs:
            self.graphs[key] = self._exported(shape, workload, inputs)
        return self.graphs[key]

    def _exported(self, shape: Shape, workload: Workload, inputs: Batch) -> bytes:
        return graph_of_shape(shape, workload, inputs)

    def open(self, folder: Path, *, threads: int) -> Forward:
        """As ``Runtime``."""
        session = open_session(folder / self.file, threads)

        def forward(**inputs: torch.Tensor) -> Any:
            return session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0]

        return forward

    def bytes_on_disk(self, folder: Path) -> int:
        """As ``Runtime``."""
        return sum(each.stat().st_size for each in folder.glob(f"{self.file}*"))


def exporter_versions() -> dict[str, str]:
    """Versions of what a graph depends on."""
    return {name: version(name) for name in EXPORTERS}


def open_session(file: Path, threads: int) -> Any:
    """A session of ONNX Runtime on a file, on so many CPU threads."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(str(file), options, providers=providers)
