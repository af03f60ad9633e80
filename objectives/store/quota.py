"""What goes first when the store is full: the order in which its entries are removed."""

from __future__ import annotations

from objectives.store.manifest import Entry, parse_checkpoint_address


def removal_order(entries: list[Entry], pinned: set[str]) -> list[Entry]:
    """Entries from the least to the most useful, the oldest first among equals.

    Points of a path that a later point has passed go first: only a shorter budget would need them.
    Then finished models, which a resume point can make again; then each path's last resume point;
    pinned entries last.
    """
    last_step: dict[str, int] = {}
    for path, step in filter(None, (parse_checkpoint_address(entry.address) for entry in entries)):
        last_step[path] = max(last_step.get(path, -1), step)

    def usefulness(entry: Entry) -> tuple[int, float]:
        point = parse_checkpoint_address(entry.address)
        if entry.address in pinned:
            rank = 3
        elif entry.is_final:
            rank = 1
        else:
            rank = 2 if point is not None and point[1] == last_step[point[0]] else 0
        return rank, entry.modified

    return sorted(entries, key=usefulness)
