"""Bytes and latency of stored models in a runtime, as they are deployed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from objectives.data.batches import Batch
from objectives.measurement.latency import Latency, measure_latency
from objectives.measurement.slowdown import UNKNOWN_REFERENCE, ReferenceTimes
from objectives.runtimes.base import Forward, Runtime
from objectives.runtimes.reference_model import store_reference
from spaces.cost.workload import Workload
from spaces.file.space import Measurement


@dataclass(frozen=True)
class RuntimeCost:
    """What a model costs in a runtime.

    Args:
        size_bytes: Bytes of the file that the runtime executes.
    """

    size_bytes: int
    latency: Latency


@dataclass
class RuntimeBench:
    """Measures stored models in a runtime, each call next to one of a dense reference model in it.

    Args:
        workload: Of the reference model.
        conditions: Under which latency is measured.
        inputs: Arguments of a forward pass on a batch of full length.
        traced: The same of two or more sequences.
        folder: An existing folder for the files of the runtime.
        best_reference: The best times of the reference model so far.
    """

    runtime: Runtime
    workload: Workload
    conditions: Measurement
    inputs: Batch
    traced: Batch
    folder: Path
    best_reference: ReferenceTimes = UNKNOWN_REFERENCE

    def measure(self, stored: Path) -> RuntimeCost:
        """Bytes and latency of a stored model.

        Raises:
            TrialFailure: A time is not a positive number.
            UserError: The runtime cannot run it.
        """
        target = self.folder / "model"
        forward = self._opened(stored, target)
        size = self.runtime.bytes_on_disk(target)
        shutil.rmtree(target)
        latency = measure_latency(
            forward,
            self._reference,
            self.inputs,
            sequence_length=self.workload.sequence_length,
            threads=self.conditions.threads,
            repeats=self.conditions.repeats,
            best_reference=self.best_reference,
        )
        self.best_reference = latency.best_reference
        return RuntimeCost(size, latency)

    @cached_property
    def _reference(self) -> Forward:
        stored = self.folder / "stored"
        store_reference(self.workload, stored)
        return self._opened(stored, self.folder / "reference")

    def _opened(self, stored: Path, target: Path) -> Forward:
        target.mkdir()
        self.runtime.prepare(stored, self.traced, target)
        return self.runtime.open(target, threads=self.conditions.threads)
