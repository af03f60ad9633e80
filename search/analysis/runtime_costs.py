"""The models of a frontier in other runtimes: the bytes of their files there, and their latency."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from objectives.measurement.latency import torch_threads
from objectives.measurement.runtime_bench import RuntimeBench
from objectives.runtimes.names import runtime_of
from objectives.tasks import make_task
from search.analysis.machine_costs import RuntimeCosts
from search.pareto import frontier
from search.registry.export import prepared_data, stored_model
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.compression import RuntimeName


def frontier_within(study: Study, limits: Mapping[str, float]) -> list[TrialRecord]:
    """The trials on the frontier of a search within limits.

    Args:
        limits: Highest value by cost, of what the search measured.
    """
    return [
        record
        for record in frontier(study.records(), study.search.criteria)
        if all(record.result[cost] <= limit for cost, limit in limits.items())
    ]


def runtime_costs(
    study: Study, records: Iterable[TrialRecord], runtimes: Sequence[RuntimeName]
) -> Iterator[RuntimeCosts]:
    """Measure the models of trials on this machine, under the conditions of the search.

    Raises:
        UserError: A package, a model or its data is missing.
    """
    made = {name: runtime_of(name) for name in runtimes}
    search = study.search
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
    with stored_model(study, record) as stored:
        cost = bench.measure(stored)
    latency, conditions = cost.latency, study.search.measurement
    return RuntimeCosts(
        trial=record.number,
        model=str(record.configuration),
        score=record.result["score"],
        machine=platform.node(),
        runtime=name,
        threads=conditions.threads,
        batch_size=conditions.batch_size,
        size_mb=cost.size_bytes / 1e6,
        latency_ms=latency.corrected_ms,
        of_reference=latency.p10_ms / latency.reference_p10_ms,
        noisy=latency.noisy,
    )
