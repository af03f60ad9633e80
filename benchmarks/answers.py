"""Seconds that the command line takes to answer over a study of 10,000 finished trials.

Beside each answer stands the same command over ten trials, which is the start-up. Making the study
takes about two minutes.

    python benchmarks/answers.py [--trials 10000]
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna

from search.grid import distributions, parameters_from
from search.study import Study
from spaces.loading import load

COMMANDS = (["best", "default", "--max-size-mb", "0.2"], ["frontier", "default"], ["list"])


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
            "p10_ms": 1.0, "p50_ms": 1.0, "p95_ms": 1.0, "reference_p50_ms": 1.0, "batch_size": 1,
            "sequence_length": 64, "threads": 1, "device": "cpu", "processor": "",
        },
        "flops": 10**6,
        "parameters": 10**5,
        "training_flops": 10**12,
        "steps": {"total": 100, "trained": 50, "reused": 50},
        "seconds": {"train": 1.0, "saved": 1.0, "compress": 1.0, "measure": 1.0},
        "model": "models/m",
        "checkpoint": "checkpoints/c",
    }  # fmt: skip


def fill(home: Path, trials: int) -> None:
    study = Study.open(load("default", [f"trials={trials}"]), f"sqlite:///{home / 'study.db'}")
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


def seconds(command: list[str], home: Path) -> float:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "search.cli", *command],
            env={**os.environ, "TLC_HOME": str(home)},
            capture_output=True,
            check=False,
        )
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as name:
        full, few = Path(name) / "full", Path(name) / "few"
        fill(full, trials)
        fill(few, 10)
        print(f"{'command':36} {trials:>8,} trials {'10 trials':>12}  beyond start-up")
        for command in COMMANDS:
            long, short = seconds(command, full), seconds(command, few)
            print(f"{' '.join(command):36} {long:13.2f} s {short:10.2f} s {long - short:11.2f} s")


if __name__ == "__main__":
    main()
