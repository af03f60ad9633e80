"""Recorded tables, and samplers replayed against them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace as with_fields
from pathlib import Path

import numpy as np
import pytest

from search.replay.replay import FixedOrder, replay
from search.replay.row_samplers import ROW_SAMPLERS, FrontierRowSampler, replays
from search.replay.table import Table, TableError
from search.replay.table_design import design_space_of
from search.replay.table_export import write_table
from search.storage.optuna_space import parameters_from
from search.storage.study import Study
from spaces.file.sampler_names import SAMPLERS
from spaces.file.search_file import SearchFile
from tests.search.conftest import Tlc, made_up_result

Write = Callable[..., Path]


def lines() -> list[dict[str, float]]:
    """Two depths, three widths, three budgets and six compressions of a made-up law."""
    made = []
    for depth in (1, 3):
        for width in (16, 48, 96):
            for budget in (50, 100, 400):
                for bits in (32, 6, 2):
                    for sparsity in (0.0, 0.7):
                        learnt = (
                            np.log2(depth) / 20 + np.log2(width / 16) / 8 + np.log2(budget) / 30
                        )
                        kept = (0.4 if bits == 2 else 1.0) * (1.0 - 0.3 * sparsity)
                        weights = 12 * depth * width**2 + 500 * width
                        made.append(
                            {
                                "depth": depth,
                                "width": width,
                                "seed": 0,
                                "budget_steps": budget,
                                "bits": bits,
                                "sparsity": sparsity,
                                "accuracy": round(0.2 + learnt * kept, 5),
                                "loss": 1.0,
                                "size_bytes": round(weights * (1 - sparsity) * bits / 8),
                                "latency_ms": 1.0,
                                "params": weights,
                                "train_seconds_stable": budget * weights / 1e6,
                                "train_seconds_cooldown": 0.25 * budget * weights / 1e6,
                                "compress_eval_seconds": 0.1,
                            }
                        )
    return made


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_table(rows: list[dict[str, float]], name: str = "made.csv") -> Path:
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
        path = tmp_path / name
        data = text.getvalue().encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write_table


@pytest.fixture
def table(write: Write) -> Table:
    return Table.read(write(lines()))


def test_a_table_is_read_with_the_levels_that_it_has(write: Write) -> None:
    rows = [row for k, row in enumerate(lines()) if k % 5]
    table = Table.read(write(rows, "made.csv.gz"))
    assert table.name == "made"
    assert len(table) == len(rows)
    assert table.levels["width"] == (16, 48, 96)
    assert "seed" not in table.levels  # one value: nothing to choose
    assert table.hypervolume(np.arange(len(table))) > 0
    assert table.hypervolume(np.array([], dtype=int)) == 0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda rows: [{k: v for k, v in r.items() if k != "bits"} for r in rows],
            "no column bits",
        ),
        (lambda rows: [*rows, rows[0]], "two rows have the same depth"),
        (lambda rows: [rows[0] | {"accuracy": "nan"}, *rows[1:]], "line 2: accuracy is 'nan'"),
        (lambda rows: [rows[0] | {"size_bytes": 0}, *rows[1:]], "must be a number above 0"),
        (lambda rows: [rows[0] | {"loss": "high"}, *rows[1:]], "loss is 'high'"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(
    write: Write, change: Callable[..., list[dict[str, float]]], complaint: str
) -> None:
    with pytest.raises(TableError, match=complaint):
        Table.read(write(change(lines())))


def test_a_compressed_table_that_is_cut_or_damaged_is_refused(write: Write) -> None:
    path = write(lines(), "made.csv.gz")
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:20] + bytes(100) + whole[120:], b"no gzip"):
        path.write_bytes(damaged)
        with pytest.raises(TableError, match=r"made\.csv\.gz: cannot be read as a table"):
            Table.read(path)


@pytest.mark.parametrize("sampler", ROW_SAMPLERS)
@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[:1],
        lambda rows: [row | {"size_bytes": 1000} for row in rows],
        lambda rows: [row | {"accuracy": 0.5} for row in rows],
    ],
    ids=["one row", "one size", "one accuracy"],
)
def test_a_table_without_a_frontier_is_not_replayed(
    sampler: str, write: Write, change: Callable[..., list[dict[str, float]]]
) -> None:
    table = Table.read(write(change(lines())))
    with pytest.raises(TableError, match=r"made: no row is .* give a table of several sizes"):
        replays(table, sampler, seeds=1, workers=1, sharing=True, until=0.9)


def test_a_model_that_is_worse_than_guessing_is_a_row_as_any_other(write: Write) -> None:
    rows = lines()
    rows[0]["accuracy"] = -0.2
    table = Table.read(write(rows))
    assert table.accuracy.min() == -0.2
    made = replay(table, FrontierRowSampler(table, 0), workers=1, sharing=True)
    assert made.hypervolume[-1] == pytest.approx(1.0)


def test_sharing_pays_for_a_prefix_once(table: Table) -> None:
    wanted = {"depth": 1, "width": 16, "bits": 32, "sparsity": 0.0}
    rows = np.flatnonzero([all(r[k] == v for k, v in wanted.items()) for r in lines()])
    assert len(rows) == 3  # budgets 50, 100, 400
    c = table.columns
    stable, cooldown = c["train_seconds_stable"][rows], c["train_seconds_cooldown"][rows]
    scratch = replay(table, FixedOrder(rows), workers=1, sharing=False)
    assert scratch.seconds[-1] == pytest.approx((stable + cooldown + 0.1).sum())
    shared = replay(table, FixedOrder(rows), workers=1, sharing=True)
    assert shared.seconds[-1] == pytest.approx(stable.max() + (cooldown + 0.1).sum())
    # The other way round the longest path comes first, and contains the others.
    backwards = replay(table, FixedOrder(rows[::-1]), workers=1, sharing=True)
    assert backwards.seconds[-1] == pytest.approx(shared.seconds[-1])


def test_a_trial_waits_for_training_of_another(table: Table) -> None:
    rows = np.array([0, 1])  # two compressions of one run
    both = replay(table, FixedOrder(rows), workers=2, sharing=True)
    training = sum(table.columns[f"train_seconds_{part}"][0] for part in ("stable", "cooldown"))
    assert both.seconds[1:] == pytest.approx([training + 0.1] * 2)
    assert both.busy_seconds == pytest.approx(training + 0.2)


def with_recipes() -> list[dict[str, float]]:
    """The same law with learning rates, of which one is the best, and two decay fractions."""
    return [
        row
        | {"learning_rate": rate, "decay_fraction": decay}
        | {"accuracy": row["accuracy"] - 0.05 * np.log10(rate / 1e-3) ** 2}
        for rate in (1e-4, 1e-3, 1e-2)
        for decay in (0.1, 0.2)
        for row in lines()
        if row["budget_steps"] == 50
    ]


def test_further_columns_are_dimensions_of_training(write: Write) -> None:
    table = Table.read(write(with_recipes()))
    assert table.settings == ("learning_rate", "decay_fraction")
    assert table.levels["learning_rate"] == (1e-4, 1e-3, 1e-2)
    # One stable path for each learning rate, which both decay fractions share.
    runs, paths = len(np.unique(table.run)), len(np.unique(table.stable_path))
    assert runs == 2 * paths == 2 * 3 * len(np.unique(table.architecture))
    made = replay(table, FrontierRowSampler(table, 0), workers=1, sharing=True, until=0.9)
    rates = table.columns["learning_rate"][made.rows]
    assert (rates == 1e-3).sum() > len(rates) / 3


def test_every_sampler_of_a_search_can_be_replayed() -> None:
    assert set(ROW_SAMPLERS) == {*SAMPLERS, "oracle"}


@pytest.mark.parametrize("sampler", ["frontier", "tpe", "nsgaii", "random", "grid", "oracle"])
@pytest.mark.parametrize("workers", [1, 5])
def test_no_sampler_repeats_a_row_or_stops_before_the_goal(
    table: Table, sampler: str, workers: int
) -> None:
    made = replay(table, ROW_SAMPLERS[sampler](table, 0), workers=workers, sharing=True, until=0.99)
    assert made.hypervolume[-1] >= 0.99
    assert len(set(made.rows.tolist())) == len(made.rows)
    assert (np.diff(made.hypervolume) >= -1e-12).all()


def median_trials(table: Table, sampler: str) -> float:
    made = replays(table, sampler, seeds=3, workers=1, sharing=True, until=0.99)
    return float(np.median([len(each.seconds) - 1 for each in made.replays]))


@pytest.mark.slow
def test_samplers_with_a_model_reach_the_frontier_in_half_of_the_trials_of_chance(
    table: Table,
) -> None:
    trials = {name: median_trials(table, name) for name in ("oracle", "frontier", "tpe", "random")}
    assert trials["random"] > 0.75 * len(table)  # as far as enumeration goes
    assert trials["frontier"] < 0.45 * len(table)
    assert trials["tpe"] < 0.55 * len(table)
    assert trials["oracle"] < trials["frontier"] < 0.6 * trials["random"]


def test_the_same_seed_gives_the_same_replay(table: Table) -> None:
    first, second = (
        replay(table, FrontierRowSampler(table, 3), workers=3, sharing=True, until=0.9)
        for _ in range(2)
    )
    assert first.rows.tolist() == second.rows.tolist()


def test_a_sampler_learns_nothing_from_rows_that_it_has_not_tried(table: Table) -> None:
    """The frontier sampler on a table whose untried rows are all wrong chooses as before."""
    honest = replay(table, FrontierRowSampler(table, 0), workers=1, sharing=True, until=0.9)
    columns = dict(table.columns)
    untried = np.setdiff1d(np.arange(len(table)), honest.rows)
    for name in ("accuracy", "train_seconds_stable", "compress_eval_seconds"):
        columns[name] = columns[name].copy()
        columns[name][untried] = 0.3
    wrong = with_fields(table, columns=columns)
    sampler = FrontierRowSampler(wrong, 0)
    chosen = []
    for _ in honest.rows:
        row = sampler.ask()
        assert row is not None
        chosen.append(row)
        sampler.tell(row)
    assert chosen == honest.rows.tolist()


@pytest.mark.parametrize("workers", [1, 5])
def test_the_frontier_sampler_needs_fewer_seconds_than_chance(table: Table, workers: int) -> None:
    def seconds(sampler: str) -> float:
        made = replays(table, sampler, seeds=3, workers=workers, sharing=True, until=0.95)
        return made.seconds_to(0.95)[1]

    assert seconds("frontier") < 0.75 * seconds("random")


def test_a_search_of_several_methods_is_a_table_with_a_row_for_each_trial(
    make_search: Callable[..., SearchFile], home: Path, empty_database: Path, tmp_path: Path
) -> None:
    home.mkdir()
    shutil.copy(empty_database, home / "study.db")
    search = make_search(space__depth={"choices": [1]}, space__width={"choices": [32]})
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    for point in study.space.points():
        study.optuna.enqueue_trial(parameters_from(study.space, point))
    seconds = {"stable": 4.0, "cooldown": 1.0, "compress": 0.1, "measure": 0.1}
    for number in range(16):
        record = study.ask()
        compression = record.configuration.compression
        result = made_up_result(
            0.5 + 0.01 * number, compression.quantisation.bits - compression.sparsity
        )
        study.tell_result(record.number, {**result, "seconds": seconds})
    path = tmp_path / "methods.csv"
    with path.open("w") as out:
        # static-8 and rtn-8 have the same bits.
        assert write_table(study, out) == 16
    table = Table.read(path)
    assert len(table) == 16
    assert set(table.texts("quantisation")) == {"none", "static-8", "rtn-8", "rtn-4"}
    # Whether activations are quantised is a feature of its own.
    assert set(design_space_of(table).compressions[:, 1]) == {0.0, 1.0}
    for sampler in ("frontier", "tpe"):
        made = replay(table, ROW_SAMPLERS[sampler](table, 0), workers=1, sharing=True)
        assert made.hypervolume[-1] == pytest.approx(1.0)
    path.write_text(path.read_text().replace("static-8", "statistic-8"))
    with pytest.raises(TableError, match="quantisation is 'statistic-8', which tlc does not know"):
        Table.read(path)


def test_the_command_line_prints_writes_and_draws(tlc: Tlc, write: Write) -> None:
    path = str(write(lines()))
    arguments = ("--sampler", "frontier", "--sampler", "random", "--seeds", "2", "--out", "out")
    done = tlc.ask("replay", path, *arguments)
    assert done.returncode == 0, done.stderr
    assert "seconds to 98%" in done.stdout
    written = json.loads((tlc.folder / "out" / "replay.json").read_text())
    assert written["rows"] == len(lines())
    samplers = {entry["sampler"]: entry for entry in written["replays"]}
    median = samplers["frontier"]["seconds_to"]["95%"]["median"]
    low, high = samplers["frontier"]["seconds_to"]["95%"]["quartiles"]
    assert low <= median <= high
    assert (tlc.folder / "out" / "replay.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_line_refuses_a_file_that_is_not_a_table(tlc: Tlc) -> None:
    (tlc.folder / "not.csv").write_text("a,b\n1,2\n")
    refused = tlc.ask("replay", "not.csv")
    assert refused.returncode == 2
    assert "no column depth" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert tlc.ask("replay", "missing.csv").returncode == 2


def test_an_output_path_that_is_no_folder_is_refused(tlc: Tlc, write: Write) -> None:
    path = str(write(lines()))
    for out in (path, f"{path}/below"):
        refused = tlc.ask("replay", path, "--seeds", "1", "--out", out)
        assert refused.returncode == 2
        assert "--out" in refused.stderr
        assert "Traceback" not in refused.stderr
