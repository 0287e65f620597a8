"""Checkpoints on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from maskstream.core.checkpoint_folder import (
    CONFIG_FILE,
    INDEX_FILE,
    PROCESSOR_FILES,
    TOKENIZER_FILES,
    WEIGHTS_FILE,
)
from maskstream.core.errors import CheckpointError

MULTIPLEX_FILE = "sam3.1_multiplex.pt"
"""What ``facebook/sam3.1`` holds in place of a folder."""

_FILES = (
    CONFIG_FILE,
    WEIGHTS_FILE,
    INDEX_FILE,
    "model-*-of-*.safetensors",
    MULTIPLEX_FILE,
    *TOKENIZER_FILES,
    *PROCESSOR_FILES,
)


def download(name: str, revision: str | None, token: str | None) -> Path:
    """The folder, or the official file, on this machine that a checkpoint is in then.

    Args:
        name: as in ``facebook/sam3``.
        revision: branch, tag or commit.
        token: for gated models; None takes the usual one.

    Raises:
        CheckpointError: there is no such thing, or the hub refuses it or cannot be reached.
    """
    where = f"{name} on the Hugging Face hub" + (f" at {revision}" if revision else "")
    try:
        folder = snapshot_download(
            name, revision=revision, token=token, allow_patterns=list(_FILES)
        )
    except GatedRepoError as error:
        raise CheckpointError(
            f"{where} is gated: ask for access on its page, then run 'hf auth login' "
            "or set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{where}: there is no such revision") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{where} does not exist, or it is private and the token may not see it"
        ) from error
    except HFValidationError as error:
        raise CheckpointError(f"{name!r} is not a valid hub name: {error}") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError) as error:
        raise CheckpointError(
            f"{where} is not in the cache and the hub cannot be reached; "
            "connect, or give the path of a downloaded folder"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise CheckpointError(f"{where} cannot be downloaded: {error}") from error
    official = Path(folder) / MULTIPLEX_FILE
    return official if official.is_file() else Path(folder)
