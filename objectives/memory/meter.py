"""The cost ``memory_mb`` of a search: peak memory of its models, measured and kept in a store."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from torch import nn

from objectives.compression.model_file import ModelSpec
from objectives.compression.pipeline import write_untrained
from objectives.data.batches import Batch, doubled
from objectives.memory.probe import MemoryProbe
from objectives.runtimes.base import Runtime
from objectives.runtimes.names import runtime_of
from objectives.runtimes.reference_model import store_reference
from objectives.runtimes.stored_graphs import StoredGraphs
from objectives.store.store import Store
from spaces.cost.configuration import Configuration, content_hash
from spaces.cost.families import training_key
from spaces.cost.workload import Workload
from spaces.file.space import Measurement

MEMORY = "memory.json"
MEMORY_FORMAT = 1
"""Raised when the same conditions would be measured in another way."""


@dataclass
class MemoryMeter:
    """Peak memory of the compressed models of a search, as a ``CostMeter``.

    Args:
        inputs: Arguments of a forward pass on a batch of full length.
        calibration: Returns calibration batches, to compress untrained models.
        store: Keeps what was measured of untrained models.
    """

    workload: Workload
    conditions: Measurement
    inputs: Batch
    calibration: Callable[[], list[Batch]]
    store: Store

    def of_model(self, configuration: Configuration, model: nn.Module, stored: Path) -> float:
        """Megabytes of a compressed model, from the folder that it is stored in.

        Raises:
            TrialFailure: The process that ran it died.
        """
        return self._measure(stored)

    def of_untrained(self, configuration: Configuration) -> float:
        """Megabytes of a configuration, from an untrained model, or from the store.

        Raises:
            TrialFailure: The process that ran it died, or the compression failed.
        """
        address = self._address(configuration)
        with self.store.open(address) as folder:
            if folder is not None:
                return float(json.loads((folder / MEMORY).read_text()))
        spec = ModelSpec(configuration.architecture, self.workload, configuration.compression)

        def measure(folder: Path) -> float:
            write_untrained(spec, self.calibration(), folder)
            return self._measure(folder)

        peak = self.store.use_temporary_folder(f"an untrained {configuration}", measure)
        self.store.write(
            address, lambda folder: (folder / MEMORY).write_text(json.dumps(peak)), is_final=True
        )
        return peak

    def _measure(self, stored: Path) -> float:
        def measure(folder: Path) -> float:
            self._runtime.prepare(stored, self._traced, folder)
            return self._probe.peak_mb(folder)

        return self.store.use_temporary_folder("the file of a runtime", measure)

    @cached_property
    def _probe(self) -> MemoryProbe:
        reference = self._folder / "reference"
        reference.mkdir()
        with tempfile.TemporaryDirectory() as stored:
            store_reference(self.workload, Path(stored))
            self._runtime.prepare(Path(stored), self._traced, reference)
        runtime, threads = self.conditions.runtime, self.conditions.threads
        return MemoryProbe(runtime, reference, self.inputs, threads, self._folder)

    @cached_property
    def _temporary(self) -> tempfile.TemporaryDirectory[str]:
        """It lives as long as the meter."""
        return tempfile.TemporaryDirectory(prefix="tlc-memory-")

    @property
    def _folder(self) -> Path:
        return Path(self._temporary.name)

    @cached_property
    def _runtime(self) -> Runtime:
        return runtime_of(self.conditions.runtime, StoredGraphs(self.store))

    @cached_property
    def _traced(self) -> Batch:
        return doubled(self.inputs)

    def _address(self, configuration: Configuration) -> str:
        # A runtime has the name of its package.
        packages = dict.fromkeys(("torch", "transformers", self.conditions.runtime))
        key = {
            "format": MEMORY_FORMAT,
            "cost": "memory_mb",
            "workload": asdict(self.workload),
            "conditions": self.conditions.model_dump(
                mode="json", include={"runtime", "batch_size", "threads"}
            ),
            "architecture": training_key(configuration.architecture, self.workload),
            "compression": asdict(replace(configuration.canonical().compression, recovery=0.0)),
            "versions": [version(name) for name in packages],
        }
        return f"costs/{content_hash(key)}"
