"""Checks before training that every node of a cluster reaches what a search needs."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from operator import itemgetter
from typing import Any

from objectives.completion import completed
from objectives.data.files.opening import files_of
from objectives.store.store import Store
from search.execution.cluster import ClusterError, check_capacity, cluster, spans_machines
from search.execution.gpus.discovery import gpu_notices, on_connected_cluster
from search.execution.listener import Listener
from search.execution.worker_setup import code_for_workers
from search.storage.database import study_names
from search.storage.errors import StudyError
from search.storage.study import Study
from spaces.errors import UserError
from spaces.file.own_task import OwnTask
from spaces.file.resources import Resources
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations, without_password
from spaces.grid.search_space import SearchSpace
from spaces.loading import is_opened

REACH_SECONDS = 120.0
"""Seconds in which a node must answer, including the start of its first worker."""


def check_cluster(search: SearchFile) -> int:
    """Connect to a search's cluster and check every node; returns the number of nodes.

    Raises:
        UserError: The cluster or a location cannot be reached, here or from a node.
    """
    where = Locations.of(search.storage)
    Store(where.store_url).check_writable()
    if not is_opened(search):
        search, _ = completed(search, where.data)
    Study.open_as_recorded(search, where.study_url)
    with cluster(search.address):
        resources = on_connected_cluster(search.resources, search.concurrency)
        check_capacity(resources.placements(SearchSpace(search).largest_parameters))
        return check_nodes(search)


def connect(search: SearchFile, stack: ExitStack, listener: Listener) -> Resources:
    """Connect to Ray for as long as a stack is open, and check that trials can run there.

    Returns:
        Resources of trials, as the cluster decides on what the search leaves out.

    Raises:
        ClusterError: The cluster cannot be reached, or lacks what a trial needs.
    """
    at = f"connecting to Ray at {search.address}" if search.address else "starting Ray"
    listener.info(f"{at} …")
    stack.enter_context(cluster(search.address))
    resources = on_connected_cluster(search.resources, search.concurrency)
    for line in gpu_notices(search.resources.gpus, resources.gpus):
        listener.info(line)
    check_capacity(resources.placements(SearchSpace(search).largest_parameters))
    if search.address or spans_machines():
        check_nodes(search)
    return resources


def check_nodes(search: SearchFile) -> int:
    """Check that every node reaches the store, the study and the data; returns their number.

    Raises:
        ClusterError: With every fault of every node.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    store = Store(Locations.of(search.storage).store_url)
    token = secrets.token_hex(16)
    address, code = f"probe/{token}", code_for_workers(search.task)
    store.write(address, lambda folder: (folder / "token").write_text(token), is_final=True)
    try:
        asked = {}
        for node in filter(itemgetter("Alive"), ray.nodes()):
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = ray.remote(num_cpus=0, scheduling_strategy=strategy)(faults_here)
            asked[node["NodeManagerAddress"], node["NodeID"]] = task.remote(
                search.resolved().model_dump_json(), address, token, code
            )
        faults = [
            f"{fault}, on node {host} ({identity[:8]})"
            for (host, identity), answer in asked.items()
            for fault in _got(answer)
        ]
    finally:
        store.remove(address)
    if faults:
        raise ClusterError("\n".join(faults))
    return len(asked)


def _got(answer: Any) -> list[str]:
    import ray

    try:
        faults: list[str] = ray.get(answer, timeout=REACH_SECONDS)
    except ray.exceptions.RayError as error:
        # The last line of a traceback is the error.
        message = str(error).strip() or type(error).__name__
        return [f"cannot run tlc: {message.splitlines()[-1]}"]
    return faults


def faults_here(search: str, address: str, token: str, code: bytes) -> list[str]:
    """Messages about what this node does not reach.

    Args:
        search: The search file as JSON.
        address: Of an entry in the store.
        token: What the entry's file ``token`` holds.
        code: The source of a user's own task.
    """
    file = SearchFile.model_validate_json(search)
    where = Locations.of(file.storage)
    faults = []
    if _read(where.store_url, address) != token:
        faults.append(
            f"storage.store: {where.store_url} is not the store that the driver uses; give a URL "
            "or a folder that all nodes share"
        )
    try:
        # Only the driver uses the study, but the driver of a job may run on any node.
        if file.name not in study_names(where.study_url):
            faults.append(
                f"storage.study: {without_password(where.study_url)} has no study {file.name!r}"
            )
    except StudyError as error:
        faults.append(str(error))
    if isinstance(file.task, OwnTask):
        faults += _faults_of_task(file.task, code)
    return faults + [
        f"{field}: {path} is not there"
        for field, path in file.local_paths()
        if "://" not in path and not files_of(path)
    ]


def _faults_of_task(task: OwnTask, code: bytes) -> list[str]:
    """Why a user's own task cannot be imported here, or is another one."""
    from objectives.tasks.own.importing import own_task
    from objectives.tasks.own.shipping import install

    try:
        install(code)
        own_task(task)
    except UserError as error:
        return str(error).splitlines()
    return []


def _read(url: str, address: str) -> str:
    try:
        with Store(url).open(address) as folder:
            return "" if folder is None else (folder / "token").read_text()
    except Exception:
        # Each fsspec backend raises classes of its own.
        return ""
