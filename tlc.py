"""tlc from Python: run a search, and use its results.

>>> import tlc
>>> results = tlc.run("search.yaml")  # doctest: +SKIP
>>> results.best(max_size_mb=2)  # doctest: +SKIP

docs/python.md has an example of each function. Nothing is imported before it is used.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from objectives.tasks.base import Task
    from search.api.choice import NoModelWithinLimits
    from search.api.function_results import FunctionResults
    from search.api.results import Results
    from search.api.running import compare, plan, run, searches
    from search.api.running import open_results as open
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
    "compare",
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
    "compare": "search.api.running",
    "open": "search.api.running",
    "plan": "search.api.running",
    "run": "search.api.running",
    "searches": "search.api.running",
}
"""The module of each name."""


_PACKAGES = ("spaces", "objectives", "search")


class HiddenPackage(ImportError):
    """A module of the user has the name of a package of tlc, and is found first."""


def main() -> None:
    """The command line."""
    try:
        command_line = _imported("search.cli.main")
    except HiddenPackage as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    command_line.main()


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(_imported(home), "open_results" if name == "open" else name)
    globals()[name] = found
    return found


def _imported(module: str) -> Any:
    try:
        return import_module(module)
    except Exception as error:
        # What importing a module of the user raises depends on what it does.
        for package in _PACKAGES:
            spec = find_spec(package)
            where = spec.origin if spec is not None else None
            own = os.path.join(os.path.dirname(__file__), package, "__init__.py")
            # Such as a script search.py, whose folder Python searches first.
            if where is not None and os.path.realpath(where) != os.path.realpath(own):
                raise HiddenPackage(
                    f"{where} hides the package {package!r} of tlc: rename it, or remove its "
                    "folder from PYTHONPATH"
                ) from error
        raise


def __dir__() -> list[str]:
    return __all__
