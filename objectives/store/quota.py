"""The quota of the store: the order in which entries are removed when it is exceeded."""

from __future__ import annotations

from objectives.store.manifest import Entry, parse_checkpoint_address


def removal_order(entries: list[Entry], pinned: set[str]) -> list[Entry]:
    """Entries from the least to the most useful, the oldest first among equals.

    1. checkpoints that have a later one on their path: only a shorter budget would need them;
    2. finished models, which the last checkpoint can make again;
    3. the last checkpoint of each path;
    4. pinned entries.
    """
    checkpoints = filter(None, (parse_checkpoint_address(e.address) for e in entries))
    last_steps = dict(sorted(checkpoints))

    def usefulness(entry: Entry) -> tuple[int, float]:
        path, step = parse_checkpoint_address(entry.address) or ("", 0)
        if entry.address in pinned:
            rank = 3
        elif entry.is_final:
            rank = 1
        else:
            rank = 2 if last_steps.get(path) == step else 0
        return rank, entry.modified

    return sorted(entries, key=usefulness)
