"""The cache of ``huggingface_hub``, which esmkit shares with every program that uses the Hub.

A model lies there as ``blobs`` (files, named by their hash), ``snapshots`` (a folder of links for each
commit) and ``refs`` (which commit a branch or a tag is).
"""

import contextlib
import os
import re
from pathlib import Path

from esmkit.encoder.checkpoints.trust import weight_files
from esmkit.errors import CheckpointError

__all__ = ["has_name", "hub_cached", "keep_name", "link", "snapshots", "storage"]

TRIES = 100
"""How often processes that make one link at once may come in each other's way."""


def storage(repo: str) -> Path:
    """Return the folder of a model in the cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser() / f"models--{repo.replace('/', '--')}"


def hub_cached(repo: str, revision: str | None, sha256: str | None = None) -> Path | None:
    """Return the snapshot folder of a model in the local Hugging Face cache, or None.

    A snapshot that lacks a file, of a download that was cut, is none.

    Parameters
    ----------
    repo : str
        ``owner/name``.
    revision : str or None
        A commit, a branch or a tag, looked for before ``main``.
    sha256 : str, optional
        Of the weight file, where it is known: then a snapshot of any commit that holds this file
        will do, and one that holds another, such as ``pytorch_model.bin``, is none.
    """
    from huggingface_hub import try_to_load_from_cache

    for wanted in dict.fromkeys((revision, "main")):
        config = try_to_load_from_cache(repo, "config.json", revision=wanted)
        if isinstance(config, str) and _is_whole(Path(config).parent, sha256):
            return Path(config).parent
    return next(iter(snapshots(repo, sha256)), None) if sha256 else None


def snapshots(repo: str, sha256: str | None = None) -> list[Path]:
    """Return the folders of all snapshots that are whole, whatever name they went by."""
    folders = sorted((storage(repo) / "snapshots").glob("*"))
    return [f for f in folders if (f / "config.json").is_file() and _is_whole(f, sha256)]


def _is_whole(folder: Path, sha256: str | None) -> bool:
    try:
        files = weight_files(folder)
    except CheckpointError:
        return False
    if sha256 is None:
        return True
    # Links lead to a file that has its hash for a name; what is none is hashed later on
    digest = files[0].resolve().name
    return [f.name for f in files] == ["model.safetensors"] and (
        digest == sha256 or not re.fullmatch(r"[0-9a-f]{64}", digest)
    )


def link(blob: Path, path: Path) -> None:
    """Put a file of ``blobs`` into a snapshot.

    Raises
    ------
    OSError
        If the cache cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.esmkit")  # the same for all: a killed process leaves it
    for last in (False,) * (TRIES - 1) + (True,):
        try:
            scratch.unlink(missing_ok=True)
            scratch.symlink_to(os.path.relpath(blob, path.parent))
            scratch.replace(path)
            return
        except (FileExistsError, FileNotFoundError):  # another process is making the same link
            if path.exists():
                return
            if last:
                raise
        except OSError:
            break
    try:
        if not path.exists():  # else another process was first
            blob.replace(path)  # without symbolic links, as on many a Windows, the file itself
    except FileNotFoundError:
        if not path.exists():
            raise


def has_name(repo: str, name: str) -> bool:
    """Say whether the cache knows which commit a branch or a tag is."""
    return (storage(repo) / "refs" / name).is_file()


def keep_name(repo: str, name: str, commit: str) -> None:
    """Note which commit a branch or tag is, once all of it is here."""
    ref = storage(repo) / "refs" / name
    with contextlib.suppress(OSError):  # then it is asked for again next time
        ref.parent.mkdir(parents=True, exist_ok=True)
        scratch = ref.with_name(f".{ref.name}.esmkit")
        scratch.write_text(commit, encoding="ascii")
        scratch.replace(ref)
