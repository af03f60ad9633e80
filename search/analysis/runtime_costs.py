"""The models of a frontier in other runtimes: the bytes of their files there, and their latency."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from objectives.measurement.latency import torch_threads
from objectives.measurement.runtime_bench import RuntimeBench
from objectives.runtimes.names import runtime_of
from objectives.store.store import Store
from objectives.tasks import make_task
from search.pareto import frontier
from search.registry.export import ExportError, prepared_data
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.compression import RuntimeName
from spaces.file.storage import Locations


class RuntimeCosts(BaseModel):
    """What a model of the frontier costs in a runtime.

    Args:
        latency_ms: 10th percentile, corrected for a slowed machine.
        of_reference: The same divided by that of the dense reference model in this runtime.
    """

    trial: int
    model: str
    score: float
    runtime: str
    size_mb: float
    latency_ms: float
    of_reference: float
    noisy: bool


def runtime_costs(
    study: Study, runtimes: Sequence[RuntimeName], limits: Mapping[str, float]
) -> Iterator[RuntimeCosts]:
    """Measure models on the frontier of a search, under its conditions of measurement.

    Args:
        limits: Highest value by cost, of what the search measured.

    Raises:
        UserError: A package, a model or its data is missing.
    """
    made = {name: runtime_of(name) for name in runtimes}
    search = study.search
    records = [
        record
        for record in frontier(study.records(), search.criteria)
        if all(record.result[cost] <= limit for cost, limit in limits.items())
    ]
    with tempfile.TemporaryDirectory() as root, torch_threads(search.measurement.threads):
        benches: dict[tuple[RuntimeName, str], RuntimeBench] = {}
        for record in records:
            checkpoint = record.configuration.checkpoint
            for name, runtime in made.items():
                if (name, checkpoint) not in benches:
                    folder = Path(root) / str(len(benches))
                    folder.mkdir()
                    alone = search.alone(checkpoint)
                    task = make_task(alone, prepared_data(study, record))
                    benches[name, checkpoint] = RuntimeBench(
                        runtime,
                        alone.workload,
                        search.measurement,
                        task.latency_input(search.measurement.batch_size),
                        task.latency_input(2),
                        folder,
                    )
                yield _measured(study, record, name, benches[name, checkpoint])


def _measured(
    study: Study, record: TrialRecord, name: RuntimeName, bench: RuntimeBench
) -> RuntimeCosts:
    store = Locations.of(study.search.storage).store_url
    with Store(store).open(record.result["model"]) as stored:
        if stored is None:
            raise ExportError(
                f"the model of trial {record.number} is not in the store {store}: it belongs to "
                "another TLC_HOME, or was deleted to keep the store's quota"
            )
        cost = bench.measure(stored)
    latency = cost.latency
    return RuntimeCosts(
        trial=record.number,
        model=str(record.configuration),
        score=record.result["score"],
        runtime=name,
        size_mb=cost.size_bytes / 1e6,
        latency_ms=latency.corrected_ms,
        of_reference=latency.p10_ms / latency.reference_p10_ms,
        noisy=latency.noisy,
    )
