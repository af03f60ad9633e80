"""Seconds that the command line takes to answer over a study of 10,000 finished trials.

Beside each answer stands the same command over ten trials, which is the start-up. Making the study
takes about two minutes.

    python benchmarks/answers.py [--trials 10000]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from made_up import fill

COMMANDS = (["best", "default", "--max-size-mb", "0.2"], ["frontier", "default"], ["list"])


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
