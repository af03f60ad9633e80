"""Faults 8, 10 and 19: values that are no results, and results of other data."""

from __future__ import annotations

from pathlib import Path

from plain.arena import Arena, write_data
from plain.checker import Score, check
from plain.faults_of_processes import NOTICE_SECONDS
from plain.training import STEPS


def broken_loss(arena: Arena) -> Score:
    """The loss of one training explodes, of one becomes NaN, of one infinite.

    Perplexity is the exponential of the loss, so that what has exploded is reported as infinite.
    """
    arena.search.first = [{"width": width, "lr": 1e-3} for width in (32, 33, 34, 500, 600)]
    step = arena.rng.randint(60, 190)
    loss = {
        str(width): {"kind": kind, "step": step}
        for width, kind in ((32, "explodes"), (33, "nan"), (34, "inf"))
    }
    code = arena.finish(arena.start(faults={"loss": loss}))
    broken = {line[1] for line in arena.witness.lines() if line[0] == "broken"}
    after = {
        path: sum(s.path == path and s.number > step for s in arena.witness.steps())
        for path in broken
    }
    stopped = sum(count < STEPS - step for count in after.values())
    return check(
        arena,
        code,
        f"{len(broken)} broken, {stopped} stopped early, "
        f"{sum(after.values())} steps trained after the fault",
        steps_after_fault=after,
    )


def broken_compressor(arena: Arena) -> Score:
    """Compressors that give NaN, give a constant, are no smaller, raise, and hang."""
    behaviours = {
        "32": "nan", "33": "constant", "34": "not_smaller", "35": "raises", "36": "hangs"
    }  # fmt: skip
    arena.search.first = [{"width": int(width), "lr": 1e-3} for width in behaviours]
    arena.search.first.append({"width": 500, "lr": 1e-3})
    driver = arena.start(faults={"compressor": behaviours})
    arena.wait_line("told", 4, 150.0)
    try:
        arena.wait_line("told", 5, NOTICE_SECONDS)
        hanging = False
    except AssertionError:
        hanging = driver.poll() is None
    if hanging:
        arena.kill_driver(driver)
        driver = arena.start(faults={"compressor": {**behaviours, "36": "constant"}})
    code = arena.finish(driver)
    states = {}
    for record in arena.witness.told():
        behaviour = behaviours.get(record["path"].partition("-")[0])
        if behaviour:
            states[behaviour] = f"ended as complete, perplexity {record['perplexity']:g}"
    states.setdefault("raises", "ERROR")
    if hanging:
        states["hangs"] = f"not noticed within {NOTICE_SECONDS:g} s, until killed"
    words = "; ".join(f"{behaviour}: {state}" for behaviour, state in states.items())
    return check(arena, code, words, behaviours=states)


def changed_data(arena: Arena) -> Score:
    """The file of the data is another when an interrupted search goes on."""
    driver = arena.start()
    arena.wait_line("told", 2)
    arena.wait_steps(100)
    arena.interrupt(driver)
    done = {step.path for step in arena.witness.steps()}
    ended = {record["path"] for record in arena.witness.told()}
    write_data(Path(arena.search.data), arena.seed + 1000)
    again = arena.start()
    arena.wait_recovered()
    code = arena.finish(again)
    mixed = [line[1] for line in arena.witness.lines() if line[0] == "resumed"]
    with arena.witness.path.open("a") as file:
        file.writelines(f"broken {path} -\n" for path in mixed)
    others = {record["path"] for record in arena.witness.told()} - done
    return check(
        arena,
        code,
        f"not refused, exit code {code}: {len(ended)} trials on the old data, {len(mixed)} on "
        f"both, {len(others)} on the new, in one front",
        trained_on_both=len(mixed),
    )
