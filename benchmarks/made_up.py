"""A study of finished trials with synthetic results, for benchmarks that read one."""

from __future__ import annotations

import random
from pathlib import Path

import optuna

from search.storage.optuna_space import distributions, parameters_from
from search.storage.study import Study
from spaces.loading import load


def result(rng: random.Random, size_mb: float) -> dict[str, object]:
    score = rng.random()
    return {
        "metric": "accuracy",
        "score": score,
        "score_low": score - 0.03,
        "score_high": score + 0.03,
        "examples": 1000,
        "loss": 1.0,
        "dense_score": score,
        "dense_loss": 1.0,
        "size_mb": size_mb,
        "size_bytes": round(1e6 * size_mb),
        "predicted_size_bytes": round(1e6 * size_mb),
        "dense_size_bytes": round(4e6 * size_mb),
        "compression_ratio": 4.0,
        "latency_ms": 1.0,
        "latency": {
            "min_ms": 1.0, "p10_ms": 1.0, "p50_ms": 1.0, "p95_ms": 1.0, "reference_min_ms": 1.0,
            "reference_p10_ms": 1.0, "reference_p50_ms": 1.0, "best_reference_p10_ms": 1.0,
            "best_reference_min_ms": 1.0, "conditions": "", "noisy": False,
            "batch_size": 1, "sequence_length": 64, "threads": 1, "device": "cpu", "processor": "",
            "runtime": "torch",
        },
        "flops": 10**6,
        "parameters": 10**5,
        "training_flops": 10**12,
        "dense_training_flops": 10**12,
        "steps": {"total": 100, "trained": 50, "reused": 50},
        "stages": [
            {
                "name": "stable", "steps": 100, "epochs": 1.5, "tokens": 100_000, "seconds": 4.0,
                "held_out": [],
                "best_epoch": None,
            }
        ],
        "seconds": {"train": 1.0, "saved": 1.0, "compress": 1.0, "measure": 1.0},
        "model": "models/m",
        "checkpoint": "checkpoints/c",
    }  # fmt: skip


def fill(home: Path, trials: int) -> None:
    study = Study.open(
        load("classification", [f"trials={trials}"]), f"sqlite:///{home / 'study.db'}"
    )
    rng = random.Random(0)
    grid = distributions(study.space)
    made = []
    for _ in range(trials):
        point = study.space.random_point(rng)
        configuration = study.space.configuration(point)
        size = study.space.cost(configuration).size_mb
        values = result(rng, size)
        made.append(
            optuna.trial.create_trial(
                params=parameters_from(study.space, point),
                distributions=grid,
                values=[values["score"], size],
                user_attrs={
                    "configuration": configuration.to_dict(),
                    "result": values,
                    "curve": [[step, 1.0] for step in range(60)],
                },
            )
        )
    study.optuna.add_trials(made)
