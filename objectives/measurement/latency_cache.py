"""The latency cache: one measurement per shape and machine type, kept with its conditions.

A forward pass takes as long with untrained weights as with trained ones, so a shape is measured
before any training, and every trial and search on machines of this type reuses the result. A noisy
measurement is not kept. One that turns out to be noisy, because the reference has since been
measured much faster, is repeated.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from objectives.compression import model_file
from objectives.compression.model_file import ModelSpec
from objectives.compression.pipeline import write_untrained
from objectives.data.batches import Batch, doubled
from objectives.device import CPU, device_of
from objectives.measurement.latency import Latency, measure_latency, processor
from objectives.measurement.slowdown import MAX_SLOWDOWN, ReferenceTimes
from objectives.measurement.timed import ForwardPass, Timed
from objectives.runtimes.base import Forward, Runtime
from objectives.runtimes.names import decoder_of, runtime_of
from objectives.runtimes.reference_model import store_reference
from objectives.runtimes.stored_graphs import StoredGraphs
from objectives.store.store import Store
from spaces.cost.compression import RuntimeName
from spaces.cost.configuration import Configuration, content_hash
from spaces.cost.families import training_key
from spaces.cost.workload import Workload
from spaces.file.space import Measurement

COSTS = "costs"
LATENCY = "latency.json"
BEST_REFERENCE = "best_reference.json"
LATENCY_FORMAT = 6
"""Raised when the same conditions would be measured in another way."""
OF_REFERENCE = ("runtime", "batch_size", "threads", "repeats")
"""Fields of ``measurement`` that the time of the reference depends on."""
SHORT_HASH = 16
"""Digits that tell conditions of one study apart."""


@dataclass
class LatencyCache:
    """Latencies of compressed models on this machine, kept in a store.

    Args:
        inputs: Arguments of a forward pass on a batch of full length.
        calibration: Returns calibration batches, to compress untrained models.
        timed: What of the models is timed; by default a forward pass on ``inputs``, which is what
            is always timed of the reference.
    """

    workload: Workload
    conditions: Measurement
    inputs: Batch
    calibration: Callable[[], list[Batch]]
    store: Store
    timed: Timed | None = None

    def of_model(self, configuration: Configuration, model: nn.Module, stored: Path) -> Latency:
        """Latency of a compressed model: the cached one, if it is of a model of these shapes.

        It is measured when it is not cached, and cached unless the machine was noisy.

        Args:
            model: As it was loaded from the folder ``stored``.

        Raises:
            TrialFailure: A time is not a positive number.
        """
        shapes = _shapes(model)
        cached = self._cached(configuration)
        if cached is not None:
            if cached[1] == shapes:
                return cached[0]
            self.store.remove(self._address(configuration))
        return self._measure(configuration, self._timed_in_runtime(model, stored), shapes)

    def size_bytes(self, stored: Path) -> int:
        """Bytes of the file of a stored model that the runtime executes.

        Raises:
            UserError: The runtime cannot run it.
        """
        if self._is_torch:
            return model_file.bytes_on_disk(stored)

        def measure(folder: Path) -> int:
            self._runtime.prepare(stored, self._traced, folder)
            return self._runtime.bytes_on_disk(folder)

        return self.store.use_temporary_folder("the file of a runtime", measure)

    def of_untrained(self, configuration: Configuration) -> Latency:
        """Latency of a configuration from an untrained model, or from the cache.

        Raises:
            TrialFailure: A time is not a positive number, or the compression failed.
        """
        cached = self._cached(configuration)
        if cached is not None:
            return cached[0]
        compression = configuration.compression.at_runtime(self.conditions.runtime)
        spec = ModelSpec(configuration.architecture, self.workload, compression)

        def compress(folder: Path) -> tuple[Forward, str]:
            write_untrained(spec, self.calibration(), folder)
            loaded = model_file.load(folder)
            return self._timed_in_runtime(loaded, folder), _shapes(loaded)

        compressed = self.store.use_temporary_folder(f"an untrained {configuration}", compress)
        return self._measure(configuration, *compressed)

    @cached_property
    def _timed(self) -> Timed:
        return self.timed or ForwardPass(self.inputs)

    @property
    def _is_torch(self) -> bool:
        return self.conditions.runtime is RuntimeName.TORCH

    @cached_property
    def _runtime(self) -> Runtime:
        return runtime_of(self.conditions.runtime, StoredGraphs(self.store))

    @cached_property
    def _traced(self) -> Batch:
        return doubled(self.inputs)

    def _timed_in_runtime(self, model: nn.Module, stored: Path) -> Forward:
        """What is timed of a stored model, in the runtime."""
        if not self._timed.decodes or self._is_torch:
            return self._forward(model, stored)
        decoder = decoder_of(self.conditions.runtime, StoredGraphs(self.store))
        return self._opened(decoder, stored)

    def _forward(self, model: nn.Module, stored: Path) -> Forward:
        """The forward pass of a stored model in the runtime, on the CPU."""
        if not self._is_torch:
            return self._opened(self._runtime, stored)
        return model if device_of(model) == CPU else model_file.load(stored)

    def _opened(self, runtime: Runtime, stored: Path) -> Forward:
        def opened(folder: Path) -> Forward:
            runtime.prepare(stored, self._traced, folder)
            return runtime.open(folder, threads=self.conditions.threads)

        return self.store.use_temporary_folder("the file of a runtime", opened)

    def _measure(self, configuration: Configuration, model: Forward, shapes: str) -> Latency:
        best = self._best_reference()
        latency = measure_latency(
            model,
            self._reference,
            self.inputs,
            sequence_length=self.workload.sequence_length,
            threads=self.conditions.threads,
            repeats=self._timed.repeats(self.conditions.repeats),
            best_reference=best,
            conditions=content_hash(self._key())[:SHORT_HASH],
            timer_of=self._timed.timer,
        )
        latency = replace(latency, runtime=self.conditions.runtime, **self._timed.conditions)
        if latency.best_reference != best:
            self._write(self._address(), BEST_REFERENCE, latency.best_reference._asdict())
        if not latency.noisy:
            entry = {**asdict(latency), "shapes": shapes}
            self._write(self._address(configuration), LATENCY, entry)
        return latency

    def _cached(self, configuration: Configuration) -> tuple[Latency, str] | None:
        """The cached latency of a configuration, and the shapes of its model."""
        entry = self._read(self._address(configuration), LATENCY)
        if entry is None:
            return None
        shapes = entry.pop("shapes")
        latency = Latency(**entry)
        best = latency.best_reference.with_faster(self._best_reference())
        latency = replace(
            latency, best_reference_p10_ms=best.p10_ms, best_reference_min_ms=best.min_ms
        )
        # A machine that was evenly slow during the whole measurement shows only afterwards.
        return None if latency.slowdown > MAX_SLOWDOWN else (latency, shapes)

    def _best_reference(self) -> ReferenceTimes:
        """Best times of the reference under these conditions; infinite before the first."""
        return ReferenceTimes(**self._read(self._address(), BEST_REFERENCE) or {})

    def _read(self, address: str, name: str) -> dict[str, Any] | None:
        with self.store.open(address) as folder:
            return None if folder is None else json.loads((folder / name).read_text())

    def _write(self, address: str, name: str, entry: dict[str, Any]) -> None:
        def fill(folder: Path) -> None:
            (folder / name).write_text(json.dumps(entry))

        # The store does not overwrite an address.
        self.store.remove(address)
        self.store.write(address, fill, is_final=True)

    def _address(self, configuration: Configuration | None = None) -> str:
        """Address of a configuration's latency, or without one of the reference's best."""
        key = self._key()
        if configuration is not None:
            key["timed"] = [type(self._timed).__name__, dict(self._timed.conditions)]
            key["architecture"] = training_key(configuration.architecture, self.workload)
            key["compression"] = asdict(
                configuration.compression.at_runtime(self.conditions.runtime)
            )
        return f"{COSTS}/{content_hash(key)}"

    def _key(self) -> dict[str, Any]:
        """What the reference's latency depends on."""
        return {
            "format": LATENCY_FORMAT,
            "workload": asdict(self.workload),
            "conditions": self.conditions.model_dump(mode="json", include=set(OF_REFERENCE)),
            "processor": processor(next(iter(self.inputs.values())).device),
            "torch": torch.__version__,
        }

    @cached_property
    def _reference(self) -> Forward:
        def opened(folder: Path) -> Forward:
            store_reference(self.workload, folder)
            return self._forward(model_file.load(folder), folder)

        return self.store.use_temporary_folder("the reference model", opened)


def _shapes(model: nn.Module) -> str:
    """Hash of all that determines the time of a forward pass: layers and their shapes."""
    layers = [
        (name, type(module).__name__, [list(p.shape) for p in module.parameters(recurse=False)])
        for name, module in model.named_modules()
    ]
    return content_hash(layers)
