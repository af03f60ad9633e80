"""Checks of a cluster: it has what a trial needs, and every node reaches what a search needs."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from objectives.completion import completed
from objectives.data.files.opening import files_of
from objectives.store.store import Store
from search.execution.cluster import (
    FIELDS,
    ClusterError,
    bundle,
    cluster,
    fitting,
    seconds_for_nodes,
    spans_machines,
)
from search.execution.gpus.discovery import gpu_notices, on_connected_cluster
from search.execution.listener import Listener
from search.execution.worker_setup import code_for_workers
from search.storage.database import study_names
from search.storage.errors import StudyError
from search.storage.study import Study
from spaces.errors import UserError
from spaces.file.own_task import OwnTask
from spaces.file.resources import Placement, Resources
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations, without_password
from spaces.grid.search_space import SearchSpace
from spaces.loading import is_opened

REACH_SECONDS = 120.0
"""Seconds in which a node must answer, including the start of its first worker."""
NEW_NODES_SECONDS = 10.0
"""Seconds between two looks for nodes that joined."""
WAIT_SECONDS = 2

log = logging.getLogger(__name__)


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
        if seconds_for_nodes(search.concurrency, search.address, resources) is None:
            placements = resources.placements(SearchSpace(search).largest_parameters)
            check_capacity(placements, wait_seconds=None)
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
    check_capacity(
        resources.placements(SearchSpace(search).largest_parameters),
        wait_seconds=seconds_for_nodes(search.concurrency, search.address, resources),
        info=listener.info,
    )
    if search.address or spans_machines():
        check_nodes(search)
        stack.enter_context(checking_new_nodes(search, listener.warn))
    return resources


def check_capacity(
    placements: Mapping[str, Placement],
    *,
    wait_seconds: float | None,
    info: Callable[[str], None] = lambda line: None,
) -> None:
    """Refuse placements that the connected cluster has no capacity for.

    Args:
        placements: Resources per model, by the field of the search file that sets them.
        wait_seconds: Longest time to wait for nodes that an autoscaler adds; None where the
            cluster does not grow.
        info: Called with a line that says what it waits for.

    Raises:
        ClusterError: No node, or not enough nodes, have what one trial needs.
    """
    if wait_seconds is not None:
        for placement in placements.values():
            if missing := "\n".join(_missing_capacity("resources", placement)):
                _wait_for(placement, missing, wait_seconds, info)
        return
    problems = [text for item in placements.items() for text in _missing_capacity(*item)]
    if problems:
        hint = "where an autoscaler adds nodes, give address and concurrency"
        raise ClusterError("\n".join([*problems, hint]))


def _wait_for(
    placement: Placement, missing: str, seconds: float, info: Callable[[str], None]
) -> None:
    """Reserve a placement for a moment, which an autoscaler sees and adds nodes for."""
    from ray.util.placement_group import placement_group, remove_placement_group

    each = ", ".join(f"{amount:g} {kind}" for kind, amount in bundle(placement).items())
    wanted = f"{placement.workers} × {each}" if placement.workers > 1 else each
    limit = f"{seconds / 60:.3g} minutes (resources.nodes_deadline_seconds)"
    info(f"waiting for an autoscaler to add nodes with {wanted}, for at most {limit} …")
    started = time.monotonic()
    group = placement_group([bundle(placement)] * placement.workers)
    try:
        while not group.wait(timeout_seconds=WAIT_SECONDS):
            if time.monotonic() - started > seconds:
                raise ClusterError(f"{missing}; no autoscaler added more within {limit}")
    finally:
        remove_placement_group(group)
    info(f"nodes with {wanted} are there, after {time.monotonic() - started:.0f} s")


def _missing_capacity(field: str, placement: Placement) -> Iterator[str]:
    """What a placement asks for and the nodes of the connected cluster lack."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = bundle(placement)
    for name, kind, scale in FIELDS:
        most = max(node.get(kind, 0.0) for node in nodes)
        if wanted.get(kind, 0.0) > most:
            yield (
                f"{field}.{name}: a trial asks for {wanted[kind] / scale:g} on one node, the "
                f"cluster has {most / scale:.3g}"
            )
            return
    workers = fitting(wanted, nodes)
    if workers < placement.workers:
        each = ", ".join(f"{amount:g} {kind}" for kind, amount in wanted.items())
        yield (
            f"{field}.workers: a model asks for {placement.workers} with {each} each, the "
            f"cluster has capacity for {workers}"
        )


def check_nodes(search: SearchFile) -> int:
    """Check that every node reaches the store, the study and the data; returns their number.

    Raises:
        ClusterError: With every fault of every node.
    """
    nodes = _alive()
    if faults := _faults_on(nodes, search):
        raise ClusterError("\n".join(faults))
    return len(nodes)


@contextmanager
def checking_new_nodes(search: SearchFile, warn: Callable[[str], None]) -> Iterator[None]:
    """Inside the block, check nodes that join the cluster, and warn with their faults."""
    known, over = set(_alive()), threading.Event()

    def check() -> None:
        while not over.wait(NEW_NODES_SECONDS):
            try:
                new = {node: host for node, host in _alive().items() if node not in known}
                known.update(new)
                for fault in _faults_on(new, search) if new else ():
                    warn(f"{fault}; it joined the cluster, and trials fail there")
            except Exception as error:
                # Whatever Ray or a store raises while one of them is away: the next node is seen.
                log.debug("new nodes were not checked: %s", error)

    thread = threading.Thread(target=check, name="new-nodes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(NEW_NODES_SECONDS)


def _alive() -> dict[str, str]:
    """Hosts of the nodes of the connected cluster, by Ray's ids."""
    import ray

    return {n["NodeID"]: n["NodeManagerAddress"] for n in ray.nodes() if n["Alive"]}


def _faults_on(nodes: Mapping[str, str], search: SearchFile) -> list[str]:
    """Faults of some nodes, each with its node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    store = Store(Locations.of(search.storage).store_url)
    token = secrets.token_hex(16)
    address, code = f"probe/{token}", code_for_workers(search.task)
    store.write(address, lambda folder: (folder / "token").write_text(token), is_final=True)
    try:
        asked = {}
        for node in nodes:
            strategy = NodeAffinitySchedulingStrategy(node, soft=False)
            task = ray.remote(num_cpus=0, scheduling_strategy=strategy)(faults_here)
            file = search.resolved().model_dump_json()
            asked[node] = partial(task.remote, file, address, token, code)
        # All of them at once.
        answers = {node: ask() for node, ask in asked.items()}
        return [
            f"{fault}, on node {nodes[node]} ({node[:8]})"
            for node, answer in answers.items()
            for fault in _got(answer, asked[node])
        ]
    finally:
        store.remove(address)


def _got(answer: Any, ask_again: Callable[[], Any]) -> list[str]:
    import ray

    ends = time.monotonic() + REACH_SECONDS
    while True:
        try:
            faults: list[str] = ray.get(answer, timeout=REACH_SECONDS)
            return faults
        except ray.exceptions.RayError as error:
            is_unknown = isinstance(error, ray.exceptions.TaskUnschedulableError)
            if not is_unknown or time.monotonic() > ends:
                # The last line of a traceback is the error.
                message = str(error).strip() or type(error).__name__
                return [f"cannot run tlc: {message.splitlines()[-1]}"]
        # The node of this process may not have heard yet of one that has just joined.
        time.sleep(WAIT_SECONDS)
        answer = ask_again()


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
