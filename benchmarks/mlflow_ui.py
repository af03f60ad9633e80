"""Seconds until MLflow's pages show a search of 1,000 trials, beside its plain API.

Makes a study of made-up but well-formed trials, sends it to a fresh MLflow on SQLite, starts the
server as ``tlc ui`` does, and opens its pages in a headless Chromium. No network is needed.

    python benchmarks/mlflow_ui.py [--trials 1000] [--pictures FOLDER]
"""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import requests
from playwright.sync_api import sync_playwright

from search.mlflow_links import LOOPBACK, Links, experiment_page
from search.storage.optuna_space import distributions, parameters_from
from search.storage.study import Study
from search.tracking.client import quiet_client
from search.tracking.remote_state import PARENT, look
from search.tracking.saved_views import FRONTIER, TRIALS
from search.tracking.server import command, environment
from search.tracking.tracker import mirror
from spaces.cost.configuration import Configuration
from spaces.file.places import Places, places
from spaces.file.search_file import Storage
from spaces.loading import load

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
FAILED = 0.03
"""Share of the trials that fail."""
POINTS = 30
"""Points of each curve of the training loss."""


def result(configuration: Configuration, size_mb: float, rng: random.Random) -> dict[str, object]:
    """What a worker could have reported: larger and longer is better, with noise."""
    loss = 0.35 + 0.4 * size_mb**-0.25 + 20 / configuration.budget + rng.gauss(0, 0.03)
    score = min(0.99, max(0.05, math.exp(-loss)))
    steps = int(configuration.budget)
    return {
        "metric": "accuracy",
        "score": score,
        "score_low": score - 0.03,
        "score_high": score + 0.03,
        "examples": 1000,
        "loss": loss,
        "dense_score": min(0.99, score + 0.01),
        "dense_loss": loss - 0.01,
        "size_mb": size_mb,
        "size_bytes": round(1e6 * size_mb),
        "predicted_size_bytes": round(1e6 * size_mb),
        "dense_size_bytes": round(4e6 * size_mb),
        "compression_ratio": 4.0,
        "latency_ms": 0.5 + 3 * size_mb,
        "flops": round(1e7 * size_mb),
        "parameters": round(3e5 * size_mb),
        "training_flops": 10**9 * steps,
        "steps": {"total": steps, "trained": steps // 2, "reused": steps - steps // 2},
        "seconds": {"train": steps / 100, "saved": steps / 100, "compress": 0.5, "measure": 0.5},
        "model": f"models/{configuration.hash[:16]}",
        "checkpoint": f"checkpoints/{configuration.hash[:16]}/{steps:08}",
    }


def made_up_study(url: str, trials: int) -> Study:
    """A study of finished trials on two workers, a few of which failed."""
    study = Study.open(load("default", [f"trials={trials}"]), url)
    facts = {"fingerprint": "0123456789abcdef" * 4, "label_names": [], "counts": {}}
    study.set_data(facts)
    rng = random.Random(0)
    grid = distributions(study.space)
    began = datetime.now() - timedelta(seconds=5 * trials)
    made = []
    for number in range(trials):
        point = study.space.random_point(rng)
        configuration = study.space.configuration(point)
        attributes: dict[str, object] = {"configuration": configuration.to_dict()}
        if rng.random() < FAILED:
            attributes["failure"] = {"state": "diverged", "message": "the loss is not finite"}
            trial = optuna.trial.create_trial(
                state=optuna.trial.TrialState.FAIL,
                params=parameters_from(study.space, point),
                distributions=grid,
                user_attrs=attributes,
            )
        else:
            size = study.space.cost(configuration).size_mb
            values = result(configuration, size, rng)
            steps = int(configuration.budget)
            attributes["result"] = values
            attributes["curve"] = [
                [steps * k // POINTS, 3.0 * k**-0.3 + rng.gauss(0, 0.02)]
                for k in range(1, POINTS + 1)
            ]
            trial = optuna.trial.create_trial(
                params=parameters_from(study.space, point),
                distributions=grid,
                values=[values["score"], size],
                user_attrs=attributes,
            )
        trial.datetime_start = began + timedelta(seconds=5 * number)
        trial.datetime_complete = trial.datetime_start + timedelta(seconds=rng.uniform(4, 10))
        made.append(trial)
    study.optuna.add_trials(made)
    return study


@contextmanager
def served(where: Places) -> Iterator[str]:
    """The server that ``tlc ui`` starts, on a free port."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    server = f"http://{LOOPBACK}:{port}"
    process = subprocess.Popen(
        command(where, port), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    try:
        for _ in range(600):
            try:
                requests.get(f"{server}/health", timeout=1).raise_for_status()
                break
            except requests.RequestException:
                time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait()


def seconds(action: Callable[[], object]) -> float:
    """The shortest of three, in seconds."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return min(times)


def asked(server: str, experiment: str, parent: str) -> list[tuple[str, float]]:
    """Seconds of the plain API, in the calls that the pages make."""
    api = f"{server}/api/2.0/mlflow"
    search = {"experiment_ids": [experiment], "max_results": 100}
    best = {**search, "order_by": ["metrics.accuracy DESC"]}
    run = {"run_id": parent}
    artefact = {"run_uuid": parent, "path": "frontier/frontier.html"}
    return [
        ("API: 100 runs, the newest", seconds(lambda: _post(f"{api}/runs/search", search))),
        ("API: 100 runs, the best", seconds(lambda: _post(f"{api}/runs/search", best))),
        ("API: the search's run", seconds(lambda: _get(f"{api}/runs/get", run))),
        ("API: frontier.html", seconds(lambda: _get(f"{server}/get-artifact", artefact))),
    ]


def _post(url: str, body: dict[str, object]) -> None:
    requests.post(url, json=body, timeout=60).raise_for_status()


def _get(url: str, query: dict[str, str]) -> None:
    requests.get(url, params=query, timeout=60).raise_for_status()


def looked_at(server: str, links: Links, folder: Path | None) -> list[tuple[str, float]]:
    """Seconds until a browser shows what a page is for; a picture of each, if there is a folder."""
    row, chart = ".ag-center-cols-container .ag-row", ".js-plotly-plot .scatterlayer path"
    pages = [
        ("page: the experiment", experiment_page(links.experiment), row),
        ("page: frontier, as a view", links.view(FRONTIER), row),
        ("page: all trials, as a view", links.view(TRIALS), row),
        ("page: charts of trials", links.view(TRIALS, charts=True), chart),
        ("page: the search's run", links.search(), "text=are finished"),
        ("page: its charts", links.search("model-metrics"), chart),
        ("page: a trial", links.trial(0), "text=Parameters ("),
    ]
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        raise SystemExit("no chromium on PATH")
    times = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        # The first page also loads MLflow's scripts, which are then in the browser's cache.
        page.goto(f"{server}/{experiment_page(links.experiment)}")
        page.locator(row).first.wait_for(timeout=120_000)

        def shown(address: str, wanted: str, frame: str = "") -> None:
            page.goto("about:blank")
            page.goto(f"{server}/{address}")
            place = page.frame_locator(frame) if frame else page
            place.locator(wanted).first.wait_for(timeout=60_000)

        def note(name: str, took: float) -> None:
            times.append((name, took))
            if folder is not None:
                page.wait_for_timeout(1500)
                page.screenshot(path=folder / f"{len(times)}.png")

        for name, address, wanted in pages:
            note(name, seconds(lambda a=address, w=wanted: shown(a, w)))
        artefact = links.search("artifacts/frontier/frontier.html")
        point = ".scatterlayer path.point"
        note("page: frontier.html", seconds(lambda: shown(artefact, point, "iframe")))
        browser.close()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each page")
    options = parser.parse_args()
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        os.environ["TLC_HOME"] = name
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        where = places(Storage())
        study = made_up_study(where.study_url, options.trials)
        client = quiet_client(where.tracking_uri)
        # Its tables take seconds to make, once.
        client.search_experiments()
        started, cpu = time.perf_counter(), time.process_time()
        mirror(study, where)
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        print(
            f"{'sending ' + format(options.trials, ',') + ' trials':28} {wall:8.2f} s "
            f"({cpu:.1f} s of them computing)"
        )
        started = time.perf_counter()
        mirror(study, where)
        print(f"{'sending nothing new':28} {time.perf_counter() - started:8.2f} s")
        seen = look(client, study.search.name, study.mark, where)
        links = Links(seen.experiment, seen.runs[PARENT], seen.trials)
        with served(where) as server:
            rows = asked(server, links.experiment, links.parent)
            rows += looked_at(server, links, options.pictures)
        for label, took in rows:
            print(f"{label:28} {took:8.2f} s")


if __name__ == "__main__":
    main()
