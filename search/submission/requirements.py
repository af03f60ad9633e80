"""The packages that the nodes of a cluster install for a job (Ray's ``runtime_env`` with pip)."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from urllib.parse import urlsplit

from fsspec.registry import known_implementations
from packaging.requirements import Requirement

from spaces.file.storage import Storage

PACKAGE = "tlc-search"
LEFT_OUT = {"ray", PACKAGE}
"""The cluster's own Ray, and tlc, whose code is sent with the job."""


def pinned_requirements(storage: Storage) -> list[str]:
    """Direct and transitive requirements of tlc, pinned to the versions that are installed here.

    They include the drivers of the study's database and of the store, such as psycopg and s3fs.
    """
    pinned: dict[str, str] = {}
    waiting = [Requirement(PACKAGE), *_drivers(storage)]
    known: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        key = (requirement.name.lower(), frozenset(requirement.extras))
        if key in known:
            continue
        known.add(key)
        try:
            found = distribution(requirement.name)
        except PackageNotFoundError:
            continue
        # A local version, such as 2.13.0+cpu, is not on PyPI.
        pinned[found.metadata["Name"]] = found.version.partition("+")[0]
        waiting += [
            inner
            for inner in map(Requirement, found.requires or [])
            if _applies(inner, requirement.extras)
        ]
    return sorted(f"{name}=={version}" for name, version in pinned.items() if name not in LEFT_OUT)


def _drivers(storage: Storage) -> list[Requirement]:
    drivers = []
    if urlsplit(storage.study or "").scheme.startswith("postgresql"):
        drivers.append(f"{PACKAGE}[postgres]")
    filesystem = known_implementations.get(urlsplit(storage.store or "").scheme)
    if filesystem is not None:
        drivers.append(filesystem["class"].partition(".")[0])
    return list(map(Requirement, drivers))


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ["", *extras])
