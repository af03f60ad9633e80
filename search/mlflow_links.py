"""Addresses of pages of the MLflow UI, version 3.17."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit, urlunsplit

LOOPBACK = "127.0.0.1"
UI_PORT = 5000
"""Default port of ``tlc ui``."""


@dataclass(frozen=True)
class MlflowLinks:
    """Pages of one search, as relative addresses, which work on any server.

    Args:
        experiment: Identifier of the experiment.
        parent: Identifier of the search's run.
        trials: Identifiers of the trials' runs, by number.
    """

    experiment: str
    parent: str
    trials: Mapping[int, str]

    def trial(self, number: int) -> str:
        """The page of a trial; empty if it has no run."""
        run = self.trials.get(number)
        return "" if run is None else _page(f"experiments/{self.experiment}/runs/{run}")

    def search(self, tab: str = "") -> str:
        """The page of the search's run: its overview, or a tab such as ``model-metrics``."""
        page = f"experiments/{self.experiment}/runs/{self.parent}"
        return _page(f"{page}/{tab}" if tab else page)

    def view(self, key: str, *, charts: bool = False) -> str:
        """The runs of the experiment, as a saved view shows them."""
        return experiment_page(self.experiment, key, charts=charts)


def experiment_page(experiment: str, view: str = "", *, charts: bool = False) -> str:
    """The runs of an experiment as a table or as charts, optionally in a saved view."""
    options = {"viewStateShareKey": view} if view else {}
    options |= {"compareRunsMode": "CHART"} if charts else {}
    return _page(f"experiments/{experiment}/runs", **options)


def _page(path: str, **options: str) -> str:
    # The default workflow type is that of traces of language models.
    return f"#/{path}?{urlencode({'workflowType': 'machine_learning', **options})}"


def server_url(tracking_uri: str) -> str:
    """The URL of a tracking server without credentials; for a database, that of ``tlc ui``."""
    parts = urlsplit(tracking_uri)
    if parts.scheme not in ("http", "https"):
        return f"http://{LOOPBACK}:{UI_PORT}"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
