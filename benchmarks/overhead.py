"""Overhead of a trial, the seconds outside training, compression and measurement: tlc and Ray Tune.

All rows run the same tiny trials with tlc's own objective, on the same cores, in one run of this
script. ``Ray Tune`` is ``Tuner(fn)`` with its defaults, which starts a process for each trial;
``Ray Tune, reuse_actors`` keeps the processes, as tlc does. The overhead of a trial is the wall
time of all trials times the number of workers, minus the seconds inside the objective, divided by
the number of trials. It includes the start of the worker processes and excludes the start of Ray.

    python benchmarks/overhead.py [--trials 24]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from objectives.data.prepare import prepare
from search.execution.cluster import cluster
from search.storage.trials import TrialRecord
from spaces.file.search_file import SearchFile
from spaces.file.storage import Storage
from spaces.loading import validate

WORKERS = os.cpu_count() or 1

WORDS = ["red", "green", "blue", "one", "two", "three", "sun", "moon", "star", "sea"]


def search_file(folder: Path, trials: int) -> SearchFile:
    rng = random.Random(0)
    for name, count in (("train", 400), ("dev", 100), ("test", 100)):
        rows = []
        for index in range(count):
            words = [*rng.choices(WORDS, k=8), f"{name}{index}"]
            rows.append(f"{' '.join(words)}\t{words[0] < 'on'}")
        (folder / f"{name}.tsv").write_text("\n".join(rows))
    text = [" ".join(rng.choices(WORDS, k=9)) for _ in range(3000)]
    (folder / "text.txt").write_text("\n".join(text))
    return validate(
        {
            "name": "overhead",
            "task": {"name": "classification", "classes": 2},
            "data": {
                "unlabelled": {"source": "files", "train": str(folder / "text.txt")},
                "labelled": {
                    "source": "files",
                    "train": str(folder / "train.tsv"),
                    "validation": str(folder / "dev.tsv"),
                    "test": str(folder / "test.tsv"),
                    "columns": ["text", "label"],
                },
                "vocabulary_size": 300,
                "sequence_length": 16,
            },
            "space": {
                "depth": {"low": 1, "high": 4},
                "width": {"low": 32, "high": 128, "step": 32},
                "budget": {"choices": [20, 40]},
                "quantisation": {"choices": ["none", "rtn-8", "rtn-4"]},
            },
            "training": {"batch_size": 16, "fine_tuning": {"epochs": 1}},
            "measurement": {"repeats": 10},
            "sampler": "random",
            "trials": trials,
        }
    )


def inside_seconds(result: dict[str, Any]) -> float:
    return float(sum(result["seconds"][stage] for stage in ("train", "compress", "measure")))


def overhead(wall: float, results: list[dict[str, Any]]) -> float:
    inside = sum(map(inside_seconds, results))
    return (WORKERS * wall - inside) / len(results)


def with_tlc(search: SearchFile) -> tuple[float, list[TrialRecord]]:
    """Overhead of a trial, and the trials; from the start of the first to the end of the last."""
    from search.execution.listener import Listener
    from search.execution.run import run

    records = run(search, Listener()).study.records()
    started = min(record.started for record in records if record.started)
    finished = max(record.finished for record in records if record.finished)
    wall = (finished - started).total_seconds()
    return overhead(wall, [record.result for record in records]), records


def with_ray_tune(
    search: SearchFile, records: list[TrialRecord], data: str, scratch: str, *, reuse_actors: bool
) -> float:
    """Overhead of a trial when Ray Tune alone runs the same trials."""
    with cluster(search.address):
        from ray import tune

        text = search.model_dump_json()

        def trial(config: dict[str, Any]) -> None:
            from pathlib import Path

            from ray import tune

            from objectives.data.prepared_data import open_prepared_data
            from objectives.objective import Objective
            from spaces.cost.configuration import Configuration
            from spaces.file.search_file import SearchFile

            objective = Objective(
                SearchFile.model_validate_json(text), open_prepared_data(Path(data))
            )
            evaluation = objective.evaluate(Configuration.from_dict(config["configuration"]))
            tune.report({"result": json.dumps(evaluation.to_dict())})

        configurations = [record.configuration.to_dict() for record in records]
        tuner = tune.Tuner(
            trial,
            param_space={"configuration": tune.grid_search(configurations)},
            tune_config=tune.TuneConfig(reuse_actors=reuse_actors),
            run_config=tune.RunConfig(storage_path=scratch, verbose=0),
        )
        started = time.perf_counter()
        grid = tuner.fit()
        wall = time.perf_counter() - started
    return overhead(wall, [json.loads(result.metrics["result"]) for result in grid])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=24)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TLC_HOME"] = str(folder / "home")
        search = search_file(folder, trials)
        tlc, records = with_tlc(search)
        data = prepare(search.data, search.task, folder / "home" / "data")
        print(
            f"{trials} trials, {WORKERS} workers; overhead of a trial in seconds, and tlc's ratio:"
        )
        print(f"  {'tlc':24} {tlc:.2f}")
        for name, reuse_actors in (("Ray Tune", False), ("Ray Tune, reuse_actors", True)):
            # A store of its own: nothing that was trained before is reused.
            store = Storage(store=str(folder / f"store-{reuse_actors}"))
            again = search.model_copy(update={"storage": store})
            scratch = str(folder / f"tune-{reuse_actors}")
            peer = with_ray_tune(
                again, records, str(data.folder), scratch, reuse_actors=reuse_actors
            )
            print(f"  {name:24} {peer:.2f}   {tlc / peer:.3f}")


if __name__ == "__main__":
    main()
