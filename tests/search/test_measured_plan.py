"""A plan that measures untrained models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from search.api.measured_plan import measured_plan
from search.cli.main import cli
from spaces.errors import UserError
from spaces.file.search_file import SearchFile


@pytest.mark.usefixtures("home")
def test_a_plan_measures_what_the_search_limits(
    make_search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    search = make_search(
        space__width=32, space__depth={"choices": [1, 4]}, space__quantisation="none",
        space__sparsity=0.0, constraints__max_latency_ms=1e4,
    )  # fmt: skip
    (found,) = measured_plan(search)
    assert (found.cost.name, found.shapes, found.measured, found.within) == ("latency_ms", 2, 2, 2)
    assert 0.0 < found.least < found.greatest
    assert str(found).startswith("latency: ")
    assert str(found).endswith(" ms; 2 shapes measured")

    file = tmp_path / "search.yaml"
    file.write_text(json.dumps(search.to_dict()))
    planned = CliRunner().invoke(cli, ["plan", str(file), "--no-data", "--measure", "--json"])
    assert planned.exit_code == 0, planned.output
    (again,) = json.loads(planned.stdout)["measured"]
    assert (again["cost"], again["measured"], again["error"]) == ("latency_ms", 2, None)

    with pytest.raises(UserError, match="name no cost that is measured"):
        measured_plan(make_search())
