"""tlc from Python: run a search, and use its results.

>>> import tlc
>>> results = tlc.run("search.yaml")  # doctest: +SKIP
>>> results.best(max_size_mb=2)  # doctest: +SKIP

docs/python.md has an example of each function. Nothing is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from objectives.tasks.base import Task
    from search.api.choice import NoModelWithinLimits
    from search.api.function_results import FunctionResults
    from search.api.results import Results
    from search.api.running import open_results as open
    from search.api.running import plan, run, searches
    from search.functions.trial import Trial
    from search.results.prediction import PredictionError
    from search.samplers.frontier.sampler import FrontierSampler
    from search.storage.errors import BusyStudy, NoSuchStudy, StudyError
    from spaces.cost.architecture import Architecture
    from spaces.cost.metric import Metric
    from spaces.errors import UserError
    from spaces.file.search_file import SearchFile
    from spaces.functions.search import FunctionSearch, FunctionSearchError
    from spaces.loading import SearchFileError

__all__ = [
    "Architecture",
    "BusyStudy",
    "FrontierSampler",
    "FunctionResults",
    "FunctionSearch",
    "FunctionSearchError",
    "Metric",
    "NoModelWithinLimits",
    "NoSuchStudy",
    "PredictionError",
    "Results",
    "SearchFile",
    "SearchFileError",
    "StudyError",
    "Task",
    "Trial",
    "UserError",
    "open",
    "plan",
    "run",
    "searches",
]

_HOMES = {
    "Architecture": "spaces.cost.architecture",
    "BusyStudy": "search.storage.errors",
    "FrontierSampler": "search.samplers.frontier.sampler",
    "FunctionResults": "search.api.function_results",
    "FunctionSearch": "spaces.functions.search",
    "FunctionSearchError": "spaces.functions.search",
    "Metric": "spaces.cost.metric",
    "NoModelWithinLimits": "search.api.choice",
    "NoSuchStudy": "search.storage.errors",
    "PredictionError": "search.results.prediction",
    "Results": "search.api.results",
    "SearchFile": "spaces.file.search_file",
    "SearchFileError": "spaces.loading",
    "StudyError": "search.storage.errors",
    "Task": "objectives.tasks.base",
    "Trial": "search.functions.trial",
    "UserError": "spaces.errors",
    "open": "search.api.running",
    "plan": "search.api.running",
    "run": "search.api.running",
    "searches": "search.api.running",
}
"""The module of each name."""


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(home)
    except ModuleNotFoundError as error:
        package = home.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        # Such as a script search.py, whose folder Python searches first.
        raise ImportError(
            f"another module named {package!r} hides the package of tlc: rename it"
        ) from error
    found = getattr(module, "open_results" if name == "open" else name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
