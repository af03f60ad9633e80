"""The plain search: Ray Tune distributes, Optuna decides, MLflow shows, as their pages say.

Fault tolerance (``FailureConfig``, ``Tuner.can_restore``, ``Tuner.restore``):
https://docs.ray.io/en/latest/tune/tutorials/tune-fault-tolerance.html
Several objectives: https://docs.ray.io/en/latest/tune/examples/optuna_example.html
MLflow: https://docs.ray.io/en/latest/tune/examples/tune-mlflow.html
A study that outlives its process: https://optuna.readthedocs.io/en/stable/tutorial/
20_recipes/001_rdb.html (also a journal: .../reference/generated/optuna.storages.JournalStorage)

    python -m plain.driver settings.json           # run the search, or go on with it
    python -m plain.driver settings.json results   # read what it has

The settings are what a user would write as constants at the top of such a script.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Settings:
    """The constants of one search."""

    name: str
    folder: str
    storage: str
    data: str
    ray_folder: str
    study: str
    tracking_uri: str
    seed: int = 0
    trials: int = 6
    concurrency: int = 2
    address: str | None = None
    first: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Settings:
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))


def open_storage(study: str) -> Any:
    """Optuna's storage at a URL, or in a journal file."""
    import optuna

    if study.endswith(".log"):
        from optuna.storages.journal import JournalFileBackend

        return optuna.storages.JournalStorage(JournalFileBackend(study))
    return optuna.storages.RDBStorage(study)


def tuner(settings: Settings) -> Any:
    """The search as it was interrupted, or a new one."""
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    from plain.training import train

    trainable = tune.with_resources(train, {"cpu": 1})
    before = f"{settings.storage}/{settings.name}"
    if tune.Tuner.can_restore(before):
        return tune.Tuner.restore(before, trainable, resume_unfinished=True, resume_errored=True)
    algorithm = OptunaSearch(
        metric=["perplexity", "size"],
        mode=["min", "min"],
        study_name=settings.name,
        storage=open_storage(settings.study),
        seed=settings.seed,
        points_to_evaluate=settings.first or None,
    )
    return tune.Tuner(
        trainable,
        param_space={
            "width": tune.randint(32, 1024),
            "lr": tune.loguniform(1e-4, 1e-2),
            "data": settings.data,
        },
        tune_config=tune.TuneConfig(
            search_alg=algorithm,
            num_samples=settings.trials,
            max_concurrent_trials=settings.concurrency,
            # A process for several trials: their imports take longer than their training.
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=settings.name,
            storage_path=settings.storage,
            failure_config=tune.FailureConfig(max_failures=3),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=2),
            callbacks=[
                MLflowLoggerCallback(
                    tracking_uri=settings.tracking_uri, experiment_name=settings.name
                )
            ],
            verbose=1,
        ),
    )


def main() -> None:
    """Run the search to its end and write down what Tune answers."""
    settings = Settings.read(Path(sys.argv[1]))
    import ray

    if settings.address:
        ray.init(address=settings.address, log_to_driver=False)
    else:
        ray.init(
            address="local",
            num_cpus=settings.concurrency,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=200_000_000,
            _temp_dir=settings.ray_folder,
        )
    search = tuner(settings)
    results = search.get_results() if sys.argv[2:] == ["results"] else search.fit()
    rows = [
        {
            "trial": (result.metrics or {}).get("trial_id"),
            "step": (result.metrics or {}).get("step"),
            "perplexity": (result.metrics or {}).get("perplexity"),
            "config": result.config,
            "checkpoint": result.checkpoint.path if result.checkpoint else None,
            "error": repr(result.error) if result.error else None,
        }
        for result in results
    ]
    (Path(settings.folder) / "results.json").write_text(json.dumps(rows))
    ray.shutdown()


if __name__ == "__main__":
    main()
