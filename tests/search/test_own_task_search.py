"""A search of a task and a model from a user's package, on a Ray cluster of two nodes."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Iterator

import pytest
import ray
import torch
import yaml
from ray.cluster_utils import Cluster

import tlc as tlc_module
from objectives.data.prepared_data import find_prepared_data
from spaces.file.storage import Locations
from tests.own_package import own_document, write_package
from tests.search.conftest import Tlc, mlflow_runs
from tests.waiting import wait_for

PACKAGE = "own_elsewhere"
RECORDING = (
    "    def model(",
    "    log: str\n\n"
    "    def loss(self, model, batch):\n"
    "        import os, ray\n\n"
    "        if ray.is_initialized():\n"
    "            node = ray.get_runtime_context().get_node_id()\n"
    "            with open(self.log, 'a') as file:\n"
    "                file.write(f'{os.getpid()} {node} {__file__}\\n')\n"
    "        return super().loss(model, batch)\n\n"
    "    def model(",
)
"""A loss that records where it is computed: in which process, on which node, from which file."""


@pytest.fixture
def two_nodes() -> Iterator[Cluster]:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    yield cluster
    if ray.is_initialized():
        ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_made")
def test_it_is_searched_on_two_nodes_and_resumed_after_its_driver_was_killed(
    two_nodes: Cluster, tlc: Tlc, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tlc.folder / "package"
    folder.mkdir()
    write_package(folder, PACKAGE, RECORDING)
    log = tlc.folder / "losses.txt"
    document = own_document(PACKAGE, log=str(log))
    document |= {"trials": 4, "concurrency": 2, "sampler": "random"}
    # One worker finishes a trial sooner than two that start together.
    (tlc.folder / "search.yaml").write_text(yaml.safe_dump({**document, "concurrency": 1}))

    paths = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    driver = tlc.start("run", "search.yaml", "--address", two_nodes.address, PYTHONPATH=paths)

    def finished() -> int:
        return sum(record.is_finished for record in tlc.study(PACKAGE).records())

    wait_for("a trial", lambda: log.exists() and finished() > 0, 120, every=0.2)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert 0 < finished() < 4

    for name, value in tlc.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(folder)
    ray.init(address=two_nodes.address, log_to_driver=False)
    results = tlc_module.run(document, progress=False)
    study = tlc.study(PACKAGE)
    states = [record.state for record in study.records()]
    assert states == ["complete"] * 4
    computed = [line.split(" ", 2) for line in log.read_text().splitlines()]
    # This process tried one batch before the first trial.
    places = {(node, file) for pid, node, file in computed if int(pid) != os.getpid()}
    assert len({node for node, _ in places}) == 2
    assert all("tlc-tasks-" in file for _, file in places), "workers import what was sent to them"
    where = Locations.of(study.search.storage)
    parent, nested = mlflow_runs(where, PACKAGE)
    assert len(nested) == 4
    assert parent.data.params["task"] == f"{PACKAGE}.tasks:FirstSymbol"
    assert parent.data.params["task.length"] == "8"

    exported = results.export(tlc.folder / "model", trial=0).folder
    reader = importlib.import_module(f"{PACKAGE}.reader").Reader.from_pretrained(exported).eval()
    rows = find_prepared_data(where.data, study.record(0).result["data_fingerprint"])
    assert rows is not None
    examples = rows.columns("validation")
    predicted = reader(torch.from_numpy(examples["input_ids"].copy())).logits.argmax(-1).numpy()
    score = float((predicted == examples["labels"]).mean())
    assert score == pytest.approx(study.record(0).result["score"])
    card = (exported / "README.md").read_text()
    assert f"from {PACKAGE}.reader import Reader" in card
    assert "load_and_run" not in card
