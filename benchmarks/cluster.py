"""A search on a Ray cluster of two nodes that loses a node and gains another.

The script starts a head and a worker node on this machine with token authentication, submits a
search through the Jobs API, follows its log, kills the worker node during a trial and adds another.
At the end it prints how often each trial is in the study, and the steps that were trained again.

    python benchmarks/cluster.py
"""

from __future__ import annotations

import collections
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from search.storage.study import Study
from search.storage.trials import TrialRecord

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults.nodes import Nodes
from tests.faults.ports import free_port

BIN = Path(sys.executable).parent
NAME = "preempted"


class Cluster:
    """Nodes as processes of this machine."""

    def __init__(self, folder: Path) -> None:
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        self.port, self.dashboard = free_port(), free_port()
        self.address = f"http://127.0.0.1:{self.dashboard}"
        self.environment = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self._folder = folder
        self._nodes: list[subprocess.Popen[bytes]] = []

    def head(self) -> subprocess.Popen[bytes]:
        return self._start(
            "--head", f"--port={self.port}", "--num-cpus=1", f"--dashboard-port={self.dashboard}",
            "--dashboard-host=127.0.0.1",
        )  # fmt: skip

    def worker(self) -> subprocess.Popen[bytes]:
        return self._start(f"--address=127.0.0.1:{self.port}", "--num-cpus=1")

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        log = (self._folder / f"node{len(self._nodes)}.log").open("wb")
        node = subprocess.Popen(
            [
                str(BIN / "ray"),
                "start",
                "--block",
                "--object-store-memory=100000000",
                # All nodes share one machine, on which the default port is free only once.
                f"--dashboard-agent-listen-port={free_port()}",
                # A node deletes its temporary folder, which must not be that of another node.
                f"--temp-dir={self._folder / f'node{len(self._nodes)}'}",
                *options,
            ],
            env=self.environment,
            stdout=log,
            stderr=log,
        )
        self._nodes.append(node)
        return node

    def tlc(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            [str(BIN / "tlc"), *words], env=self.environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise SystemExit(f"tlc {' '.join(words)}: {done.returncode}\n{done.stderr}")
        return done.stdout

    def close(self) -> None:
        for node in self._nodes:
            if node.poll() is None:
                Nodes.lose(node)


def wait(what: str, condition: collections.abc.Callable[[], bool], seconds: float = 300) -> None:
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise SystemExit(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.5)
    say(f"{what} (after {time.monotonic() - started:.1f} s)")


def say(text: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')}  {text}")


def is_up(cluster: Cluster) -> bool:
    done = subprocess.run(
        [str(BIN / "ray"), "job", "list", f"--address={cluster.address}"],
        env=cluster.environment, capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 0


@click.command()
@click.option("--trials", default=24, show_default=True)
def main(trials: int) -> None:
    """Run the search and print what happened to it."""
    with tempfile.TemporaryDirectory(prefix="tlc-cluster-") as name:
        folder = Path(name)
        cluster = Cluster(folder)
        try:
            run(cluster, folder, trials)
        finally:
            cluster.close()


def run(cluster: Cluster, folder: Path, trials: int) -> None:
    cluster.head()
    worker = cluster.worker()
    wait("the cluster answers", lambda: is_up(cluster))
    study_url = f"sqlite:///{folder / 'study.db'}"
    words = [
        "images", f"--set=name={NAME}", f"--set=trials={trials}", "--set=hours=1",
        "--set=space.budget={unit: steps, choices: [800, 1600]}", "--set=sampler=random",
        "--set=training.checkpoint_seconds=1", f"--set=storage.study={study_url}",
        f"--set=storage.store={folder / 'store'}",
        f"--set=storage.mlflow=sqlite:///{folder / 'mlflow.db'}",
        "--address", cluster.address, "--no-requirements",
    ]  # fmt: skip
    refused_without_token(cluster, words)
    refused_where_a_node_lacks_it(cluster, words)
    started = time.monotonic()
    say(f"submitted {cluster.tlc('submit', *words).strip()} in {time.monotonic() - started:.1f} s")
    following = subprocess.Popen(
        [str(BIN / "tlc"), "logs", NAME, "-f", "--address", cluster.address],
        env=cluster.environment, stdout=(folder / "followed.txt").open("w"),
    )  # fmt: skip

    def records() -> list[TrialRecord]:
        try:
            return Study.load(NAME, study_url).records()
        except Exception:
            return []

    def complete() -> int:
        return sum(record.is_complete for record in records())

    wait("a quarter is done", lambda: complete() >= trials // 4)
    wait("two trials run", lambda: sum(not r.is_finished for r in records()) >= 2)
    time.sleep(2.0)
    caught = [r.number for r in records() if not r.is_finished]
    Nodes.lose(worker)
    say(f"killed the worker node; running then: {caught}")
    before = complete()
    wait("the head continues alone", lambda: complete() >= before + 2)
    cluster.worker()
    say("added another worker node")
    wait(
        "the search ends",
        lambda: (
            cluster.tlc("status", NAME, "--address", cluster.address).strip()
            not in ("running", "pending")
        ),
        900,
    )
    following.wait(timeout=60)
    report(cluster, records(), caught, folder)


def refused_without_token(cluster: Cluster, words: list[str]) -> None:
    environment = {k: v for k, v in cluster.environment.items() if not k.startswith("RAY_AUTH")}
    done = subprocess.run(
        [str(BIN / "tlc"), "submit", *words], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    say(f"without the token: exit {done.returncode}: {done.stderr.strip().splitlines()[0][:150]}")


def refused_where_a_node_lacks_it(cluster: Cluster, words: list[str]) -> None:
    done = subprocess.run(
        [str(BIN / "tlc"), "submit", *words, "--set=name=lacking", "--set=storage.store=/proc/tlc"],
        env=cluster.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    say(f"a store that cannot be written: exit {done.returncode}: {done.stderr.strip()[:200]}")


def report(cluster: Cluster, records: list[TrialRecord], caught: list[int], folder: Path) -> None:
    click.echo("\nthe log, as followed:")
    lines = (folder / "followed.txt").read_text().splitlines()
    click.echo("\n".join(f"  {line[:140]}" for line in [*lines[:6], "…", *lines[-14:]]))
    numbers = collections.Counter(record.number for record in records if record.is_finished)
    states = collections.Counter(record.state for record in records)
    click.echo(f"\nstate of the job: {cluster.tlc('status', NAME, '--address', cluster.address)}")
    click.echo(
        f"finished trials: {len(numbers)}; more than once: "
        f"{[n for n, count in numbers.items() if count > 1]}; states: {dict(states)}"
    )
    for record in records:
        if record.number in caught and record.is_complete:
            steps = record.result["steps"]
            click.echo(f"trial {record.number}, which ran when the node died: {json.dumps(steps)}")


if __name__ == "__main__":
    main()
