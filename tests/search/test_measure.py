"""``tlc measure``: the frontier in other runtimes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search.storage.study import Study
from tests.search.conftest import Tlc


@pytest.mark.slow
def test_models_are_measured_in_each_runtime(finished: Tlc) -> None:
    members = json.loads(finished.ask("frontier", "tiny", "--json").stdout)["members"]
    limit = str(members[0]["size_mb"] * 1.0001)
    run = finished.ask("measure", "tiny", "--max-size-mb", limit, "--json")
    assert run.returncode == 0, run.stderr
    rows = json.loads(run.stdout)
    assert [row["runtime"] for row in rows] == ["torch", "onnxruntime", "openvino"]
    assert {row["trial"] for row in rows} == {members[0]["trial"]}
    packed, onnx, openvino = rows
    assert packed["size_mb"] == members[0]["size_mb"]
    # The graph of a model this small has thousands of bytes beside its codes.
    assert 0 < onnx["size_mb"] - packed["size_mb"] < 0.05
    # The graph of OpenVINO is text.
    assert 0 < openvino["size_mb"] - packed["size_mb"] < 0.3
    assert min(row["latency_ms"] for row in rows) > 0
    assert min(row["of_reference"] for row in rows) > 0


def test_the_whole_frontier_is_printed(finished: Tlc) -> None:
    members = json.loads(finished.ask("frontier", "tiny", "--json").stdout)["members"]
    printed = finished.ask("measure", "tiny", "--runtime", "torch").stdout.splitlines()
    assert len(printed) == 1 + len(members)
    assert "of reference" in printed[0]


def test_a_search_without_models_within_limits_is_named(finished: Tlc) -> None:
    run = finished.ask("measure", "tiny", "--max-size-mb", "0.0001")
    assert run.returncode == 3
    assert "no feasible complete trial within limits" in run.stderr


@pytest.fixture
def copied(finished: Tlc, tmp_path: Path) -> Tlc:
    """A copy of the finished search, which may be changed."""
    shutil.copytree(finished.folder, tmp_path / "copy")
    return Tlc(tmp_path / "copy")


def study_of(tlc: Tlc) -> Study:
    return Study.load("tiny", f"sqlite:///{tlc.folder / 'home' / 'study.db'}")


def measured_there(folder: Path, to: Path, *options: str) -> Path:
    """A file of measurements, as another machine writes it."""
    command = [sys.executable, str(folder / "load_and_run.py"), "--measure", str(to)]
    run = subprocess.run(
        [*command, "--machine", "board", "--repeats", "3", *options], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return to


def test_measurements_of_another_machine_stand_beside_those_of_this_one(
    copied: Tlc, tmp_path: Path
) -> None:
    exported = tmp_path / "exported"
    run = copied.ask("export", "tiny", "--frontier", "--to", str(exported))
    assert run.returncode == 0, run.stderr
    members = json.loads(copied.ask("frontier", "tiny", "--json").stdout)["members"]
    folders = [exported / f"trial-{member['trial']}" for member in members]
    assert sorted(exported.iterdir()) == sorted(folders)
    file = measured_there(folders[0], tmp_path / "there.json", "--threads", "2")
    for _ in range(2):
        run = copied.ask("import-measurements", "tiny", str(file))
        assert run.returncode == 0, run.stderr
    (row,) = json.loads(copied.ask("measure", "tiny", "--imported", "--json").stdout)
    weights = folders[0] / "model.safetensors"
    assert (row["machine"], row["runtime"], row["threads"]) == ("board", "transformers", 2)
    assert row["size_mb"] * 1e6 == pytest.approx(weights.stat().st_size)
    assert (row["trial"], row["score"]) == (members[0]["trial"], members[0]["score"])
    limit = str(members[0]["size_mb"] * 1.0001)
    both = copied.ask("measure", "tiny", "--runtime", "torch", "--max-size-mb", limit).stdout
    assert "board, batch 1, threads 2" in both
    assert len(both.splitlines()) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "models/of-another-search"}, "exported from another search"),
        ({"threads": 0}, "threads: Input should be greater than or equal to 1"),
        ({"format": 2}, "format"),
        ({"surplus": 1}, "surplus"),
    ],
)
def test_what_is_no_measurement_of_the_search_is_refused(
    change: dict[str, Any], message: str, copied: Tlc, tmp_path: Path
) -> None:
    address = study_of(copied).records()[0].result["model"]
    runtime = {
        "runtime": "onnxruntime", "version": "1", "sha256": "0" * 64, "size_bytes": 1,
        "min_ms": 1.0, "p10_ms": 1.0, "p50_ms": 1.0,
    }  # fmt: skip
    document = {
        "format": 1, "model": address, "machine": "board", "processor": "any", "threads": 1,
        "batch_size": 1, "sequence_length": 8, "repeats": 1, "measured": [runtime],
    }  # fmt: skip
    (file := tmp_path / "there.json").write_text(json.dumps({**document, **change}))
    run = copied.ask("import-measurements", "tiny", str(file))
    assert run.returncode == 2
    assert message in run.stderr
