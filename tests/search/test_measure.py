"""``tlc measure``: the frontier in other runtimes."""

from __future__ import annotations

import json

from tests.search.conftest import Tlc


def test_models_are_measured_in_each_runtime(finished: Tlc) -> None:
    members = json.loads(finished.ask("frontier", "tiny", "--json").stdout)["members"]
    limit = str(members[0]["size_mb"] * 1.0001)
    run = finished.ask("measure", "tiny", "--max-size-mb", limit, "--json")
    assert run.returncode == 0, run.stderr
    rows = json.loads(run.stdout)
    assert [(row["trial"], row["runtime"]) for row in rows] == [
        (members[0]["trial"], "torch"), (members[0]["trial"], "onnxruntime"),
    ]  # fmt: skip
    packed, onnx = rows
    assert packed["size_mb"] == members[0]["size_mb"]
    # The graph of a model this small has thousands of bytes beside its codes.
    assert 0 < onnx["size_mb"] - packed["size_mb"] < 0.05
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
