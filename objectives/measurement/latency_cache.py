"""The latency cost cache: one measurement per shape and machine type, kept with its conditions.

A forward pass takes as long with untrained weights as with trained ones, so a shape is measured
before anything is trained, and every trial and search on machines of this type reuses the figure.
A noisy measurement is not kept, and one that turns out to be, since the reference has been seen
much faster, is made again.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from objectives.compression import model_file
from objectives.compression.pipeline import write_compressed
from objectives.measurement.latency import MAX_SLOWDOWN, Latency, measure_latency, processor
from objectives.models.build import build
from objectives.store.locks import MeasurementLock
from objectives.store.store import Store
from objectives.tasks.base import Task
from spaces.cost.architecture import Architecture
from spaces.cost.configuration import Configuration, content_hash
from spaces.file.search_file import SearchFile

COSTS = "costs"
LATENCY = "latency.json"
BEST_REFERENCE = "usual.json"
LATENCY_FORMAT = 3
"""Raised when the same conditions would be measured in another way."""
REFERENCE_DEPTH, REFERENCE_WIDTH = 2, 128
"""Layers of each stack, and width, of the model that latencies are measured next to."""
MIN_IMPROVEMENT = 0.99
"""Share of the usual latency of the reference below which a new one takes its place."""


class LatencyCache:
    """LatencyCache of compressed models on this machine.

    Args:
        search: Names the workload and the conditions of measurement.
        task: Gives the inputs.
        store: Keeps the figures.
    """

    def __init__(self, search: SearchFile, task: Task, store: Store) -> None:
        self._search = search
        self._task = task
        self._store = store
        self._measurement_lock = MeasurementLock()
        self._inputs = task.latency_input(search.measurement.batch_size)

    def of_model(self, configuration: Configuration, model: nn.Module) -> Latency:
        """Latency of a compressed model: the cache's, if it was taken on a model of these shapes.

        Args:
            configuration: Says the architecture and the compression.
            model: The compressed model; measured when there is no such figure, and remembered
                unless the machine was noisy.

        Raises:
            TrialFailure: A time is not a positive number.
        """
        shapes = _shapes(model)
        known = self._read(configuration)
        if known is not None:
            if known[1] == shapes:
                return known[0]
            self._store.remove(self._address(configuration))
        return self._measure(configuration, model, shapes)

    def of_untrained(self, configuration: Configuration) -> Latency:
        """Latency of a configuration from an untrained model, or from the cache.

        Raises:
            TrialFailure: A time is not a positive number, or the compression does not work.
        """
        known = self._read(configuration)
        if known is not None:
            return known[0]
        torch.manual_seed(0)
        shape = configuration.compression.shape_of(configuration.architecture)
        model = build(shape, self._search.workload).eval()

        def compress(folder: Path) -> nn.Module:
            write_compressed(
                model,
                configuration.architecture,
                self._search.workload,
                configuration.compression.at_runtime,
                self._task.calibration(),
                folder,
            )
            return model_file.load(folder)

        compressed = self._store.use_temporary_folder(f"an untrained {configuration}", compress)
        return self._measure(configuration, compressed, _shapes(compressed))

    def _measure(self, configuration: Configuration, model: nn.Module, shapes: str) -> Latency:
        conditions = self._search.measurement
        usual = self._best_reference_ms()
        latency = measure_latency(
            model,
            self._reference,
            self._inputs,
            sequence_length=self._search.workload.sequence_length,
            threads=conditions.threads,
            repeats=conditions.repeats,
            measurement_lock=self._measurement_lock,
            best_reference_ms=usual,
        )
        if latency.best_reference_p10_ms < MIN_IMPROVEMENT * usual:
            self._write(self._address(), BEST_REFERENCE, {"p10_ms": latency.best_reference_p10_ms})
        if not latency.noisy:
            entry = {**asdict(latency), "shapes": shapes}
            self._write(self._address(configuration), LATENCY, entry)
        return latency

    def _read(self, configuration: Configuration) -> tuple[Latency, str] | None:
        with self._store.open(self._address(configuration)) as folder:
            if folder is None:
                return None
            entry = json.loads((folder / LATENCY).read_text())
        shapes = entry.pop("shapes")
        latency = Latency(**entry)
        latency = replace(
            latency,
            best_reference_p10_ms=min(latency.best_reference_p10_ms, self._best_reference_ms()),
        )
        # All of it was as slow, so that it did not show when it was measured.
        return None if latency.slowdown > MAX_SLOWDOWN else (latency, shapes)

    def _best_reference_ms(self) -> float:
        """The lowest latency of the reference under these conditions; infinite before the first."""
        with self._store.open(self._address()) as folder:
            if folder is None:
                return math.inf
            usual: float = json.loads((folder / BEST_REFERENCE).read_text())["p10_ms"]
        return usual

    def _write(self, address: str, name: str, entry: dict[str, Any]) -> None:
        def fill(folder: Path) -> None:
            (folder / name).write_text(json.dumps(entry))

        # The store keeps what is there, as whatever has the same address is the same elsewhere.
        self._store.remove(address)
        self._store.write(address, fill, is_final=True)

    def _address(self, configuration: Configuration | None = None) -> str:
        """Of a configuration's latency; without one, of what is usual for the reference."""
        key = {
            "format": LATENCY_FORMAT,
            "workload": asdict(self._search.workload),
            "conditions": self._search.measurement.model_dump(mode="json"),
            "processor": processor(next(iter(self._inputs.values())).device),
            "torch": torch.__version__,
        }
        if configuration is not None:
            key["architecture"] = asdict(configuration.architecture)
            key["compression"] = asdict(configuration.compression.at_runtime)
        return f"{COSTS}/{content_hash(key)}"

    @cached_property
    def _reference(self) -> nn.Module:
        torch.manual_seed(0)
        decoder_depth = REFERENCE_DEPTH if self._search.task.has_decoder else 0
        reference = Architecture.of(REFERENCE_DEPTH, REFERENCE_WIDTH, decoder_depth=decoder_depth)
        return build(reference.shape, self._search.workload).eval()


def _shapes(model: nn.Module) -> str:
    """Hash of all that decides how long a forward pass takes: layers and their shapes."""
    return content_hash(
        [
            [
                name,
                type(module).__name__,
                *(list(p.shape) for p in module.parameters(recurse=False)),
            ]
            for name, module in model.named_modules()
        ]
    )
