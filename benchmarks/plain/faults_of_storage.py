"""Faults 12, 17 and 18: a full disk, damaged checkpoints, torn records."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from plain.arena import Arena
from plain.checker import Score, check, tune_results
from plain.training import path_of

FULL_SECONDS = 60.0
"""Longer than three tries take: who makes room does not come at once."""


def full_disk(arena: Arena) -> Score:
    """The file system of Tune's storage is full for a minute, then has room again."""
    disk = arena.folder / "results"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], check=True)
    try:
        driver = arena.start()
        arena.wait_line("told", 2)
        arena.wait_steps(60)
        filler = disk / "filler"
        _fill(filler)
        time.sleep(FULL_SECONDS)
        alive = driver.poll() is None
        filler.unlink()
        first = arena.finish(driver)
        again = arena.start()
        code = arena.finish(again)
        words = "still running" if alive else "ended"
        score = check(
            arena,
            code,
            f"{words} after {FULL_SECONDS:g} s, exit code {first}; started again with room: "
            f"exit code {code}",
            first_code=first,
        )
    finally:
        arena.kill_all()
        subprocess.run(["umount", "-l", str(disk)], check=True)
    return score


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            return


@dataclass
class Damage:
    """What is done to a checkpoint, and what came of it."""

    kind: str
    path: str
    step: int
    result: str = ""


def damaged_checkpoints(arena: Arena) -> Score:
    """The last checkpoints of five trainings: flipped, truncated, zeroed at the end, swapped."""
    arena.search.trials = arena.search.concurrency = 5
    arena.search.first = [{"width": 256, "lr": 1e-3 + 1e-4 * number} for number in range(5)]
    driver = arena.start()

    def saved() -> dict[str, int]:
        found: dict[str, int] = {}
        for line in arena.witness.lines():
            if line[0] == "saved":
                _, path, step = line[1].split("/")
                found[path] = int(step)
        return found

    deadline = time.monotonic() + 120.0
    while len(saved()) < 5 or min(saved().values()) < 100:
        if time.monotonic() > deadline:
            raise AssertionError(f"no checkpoints\n{arena.output[-2000:]}")
        time.sleep(0.02)
    arena.interrupt(driver)
    kinds = ["flipped", "truncated", "zeroed", "swapped", "swapped"]
    # Tune knows which checkpoints it would go on from: not always the newest on the disk.
    arena.finish(arena.start("results"))
    known = {path_of(row["config"]): row["checkpoint"] for row in tune_results(arena)}
    files = [Path(known[path]) / "checkpoint.pt" for path in sorted(saved())]
    steps = [int(torch.load(file)["step"]) for file in files]
    # What was swapped holds the step of the other.
    steps[3], steps[4] = steps[4], steps[3]
    damages = [
        Damage(kind, path, step)
        for kind, path, step in zip(kinds, sorted(saved()), steps, strict=True)
    ]
    _flip(files[0], arena.rng.randrange(20_000, files[0].stat().st_size // 2))
    os.truncate(files[1], files[1].stat().st_size * 2 // 3)
    _zero_tail(files[2])
    _swap(files[3], files[4])
    before = len(arena.witness.lines())
    again = arena.start()
    code = arena.finish(again)
    after = arena.witness.lines()[before:]
    told = {record["path"] for record in arena.witness.told()}
    with arena.witness.path.open("a") as file:
        for damage in damages:
            loaded = [int(line[2]) for line in after if line[:2] == ["resumed", damage.path]]
            first = min((int(line[1]) for line in after if line[0] == damage.path), default=None)
            if damage.step in loaded:
                damage.result = "loaded without an error"
                file.write(f"broken {damage.path} -\n")
            elif damage.path not in told:
                damage.result = "the trial failed, its earlier checkpoint unused"
            else:
                damage.result = f"went on at step {first}"
    words = "; ".join(dict.fromkeys(f"{damage.kind}: {damage.result}" for damage in damages))
    return check(arena, code, words, damages=[damage.__dict__ for damage in damages])


def _flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x40
    path.write_bytes(content)


def _zero_tail(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-4096:] = bytes(4096)
    path.write_bytes(content)


def _swap(one: Path, other: Path) -> None:
    spare = one.with_suffix(".spare")
    shutil.move(one, spare)
    shutil.move(other, one)
    shutil.move(spare, other)


def torn_state(arena: Arena) -> Score:
    """Tune's state of an interrupted search has lost its second half."""
    driver = arena.start()
    arena.wait_line("told", 3)
    arena.interrupt(driver)
    newest = max(arena.experiment.glob("experiment_state-*.json"))
    os.truncate(newest, newest.stat().st_size // 2)
    again = arena.start()
    code = arena.finish(again)
    tried = len({step.path for step in arena.witness.steps()})
    return check(
        arena,
        code,
        f"exit code {code}; {tried} configurations tried for {arena.search.trials} asked for",
        tried=tried,
    )


def torn_journal(arena: Arena) -> Score:
    """The last line of Optuna's journal is torn while no process has it open."""
    arena.settings["study"] = str(arena.folder / "optuna.log")
    driver = arena.start()
    arena.wait_line("told", 3)
    arena.interrupt(driver)
    journal = Path(arena.search.study)
    os.truncate(journal, journal.stat().st_size - 10)
    again = arena.start()
    code = arena.finish(again)
    return check(arena, code, f"exit code {code}")
