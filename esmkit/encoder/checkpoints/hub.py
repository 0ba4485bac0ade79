"""The Hugging Face Hub, or a mirror of it: what is here of it, what is there, and bringing it.

Everything goes by the addresses of single files, which every mirror has. Files land in the cache
of ``huggingface_hub``, in its layout, where other programs find them.
"""

import contextlib
import re
import threading
import time
from pathlib import Path

from esmkit.encoder.checkpoints.cached import has_name, keep_name, link, storage
from esmkit.encoder.checkpoints.download import (
    AGAIN,
    LONGEST_WAIT,
    STALL_SECONDS,
    RemoteFile,
    bring,
)
from esmkit.encoder.checkpoints.trust import MAX_INDEX_BYTES, read_config, read_json
from esmkit.encoder.checkpoints.web import (
    Answer,
    certificates,
    has_token,
    head,
    named,
    seconds_to_wait,
)
from esmkit.errors import CheckpointError
from esmkit.text import Say, shorten, silent

__all__ = ["PROBE_SECONDS", "hub_answers", "hub_download", "hub_is_asked"]

PROBE_SECONDS = 3.0
"""How long the Hub may take to answer before it counts as unreachable."""

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Weight files, the better kind first; in parts they have a table ``NAME.index.json``."""

_OTHERWISE = (
    "give another model, or if it holds esm2_*.pt of fair-esm, download that and give its path"
)

TRIES = 3
"""How often a question is asked that the Hub answers with a fault of its own."""

FIRST_WAIT = 0.3
"""Seconds before a question is asked again; they double."""


def hub_is_asked() -> bool:
    """Say whether the user lets the Hub be asked: ``HF_HUB_OFFLINE`` is not set."""
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE


def hub_answers(repo: str, revision: str | None, timeout: float | None = None) -> bool:
    """Ask the Hub for a model's config, at most ``timeout`` seconds long (PROBE_SECONDS).

    Returns
    -------
    bool
        False if the Hub cannot be reached in time or ``HF_HUB_OFFLINE`` is set.

    Raises
    ------
    CheckpointError
        If the Hub does not have the model, does not give it to this user, is out of order, or
        is not what answers.
    """
    if not hub_is_asked():
        return False
    patience = PROBE_SECONDS if timeout is None else timeout
    outcome: list[RemoteFile | Exception | None] = []

    def ask() -> None:
        try:
            outcome.append(_look(repo, "config.json", revision, patience))
        except Exception as error:  # told apart by whoever waits, below
            outcome.append(error)

    # Name resolution knows no timeout of its own: the thread is left behind if it hangs.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    if outcome and isinstance(outcome[0], CheckpointError):
        raise outcome[0]
    return bool(outcome) and isinstance(outcome[0], RemoteFile)


def hub_download(
    repo: str, revision: str | None, sha256: str | None = None, say: Say = silent
) -> Path:
    """Download config and weights from the Hub into the Hugging Face cache.

    What is there already, in whole or in part, is not fetched again.

    Parameters
    ----------
    repo : str
        ``owner/name``.
    revision : str or None
        A commit, a branch or a tag; None for ``main``.
    sha256 : str, optional
        Of the weight file, where it is known: another one is not even begun.
    say : callable
        Told of an earlier download that goes on.

    Returns
    -------
    Path
        The snapshot's folder.

    Raises
    ------
    CheckpointError
        If anything is missing, does not arrive, or is not what it should be.
    """
    config = _found(repo, "config.json", revision)
    if config is None:
        raise CheckpointError(_no_config(repo))
    folder = _store(repo, config, say=say).parent
    read_config(folder)  # before gigabytes of another architecture are fetched
    for file in _weights(repo, config.commit, folder, say):
        _store(repo, file, sha256, say)
    _keep_names(repo, revision, config.commit)
    return folder


def _keep_names(repo: str, revision: str | None, commit: str) -> None:
    """Note the names of a commit that is here: without ``main`` other programs do not find it."""
    if revision != commit:
        keep_name(repo, revision or "main", commit)
    elif not has_name(repo, "main"):
        with contextlib.suppress(Exception):  # nothing that this program needs
            main = _look(repo, "config.json", None, PROBE_SECONDS)
            if main and main.commit == commit:
                keep_name(repo, "main", commit)


def _weights(repo: str, commit: str, folder: Path, say: Say) -> list[RemoteFile]:
    """Return the weight files of a model on the Hub: safetensors before pickled, whole before parts."""
    for name in WEIGHTS:
        whole = _found(repo, name, commit)
        if whole:
            return [whole]
        index = _found(repo, f"{name}.index.json", commit)
        if index is None:
            continue
        table = read_json(_store(repo, index, say=say), MAX_INDEX_BYTES).get("weight_map")
        parts = sorted({str(p) for p in table.values()}) if isinstance(table, dict) else []
        files = []
        for part in parts:
            plain = re.fullmatch(r"[\w-][\w.-]*\.(safetensors|bin)", part)
            file = _found(repo, part, commit) if plain else None
            if file is None:
                raise CheckpointError(
                    f"{index.name} of {repo!r} on {_hub()} names {shorten(part)!r}, which is not a "
                    "weight file there; give another model"
                )
            files.append(file)
        if files:
            return files
    raise CheckpointError(
        f"{repo!r} on {_hub()} holds no weights of PyTorch ({' or '.join(WEIGHTS)}, whole or in "
        f"parts); {_OTHERWISE}"
    )


def _store(repo: str, file: RemoteFile, sha256: str | None = None, say: Say = silent) -> Path:
    """Bring a file into the cache, and return its path in the snapshot."""
    place = storage(repo)
    blob = place / "blobs" / file.etag
    path = place / "snapshots" / file.commit / file.name
    if path.exists():
        return path
    if sha256 and re.fullmatch(r"[0-9a-f]{64}", file.etag) and file.etag != sha256:
        raise CheckpointError(
            f"what {_hub()} offers as {file.name} of {repo!r} is not what its authors published "
            f"(SHA-256 {file.etag[:12]}…, not {sha256[:12]}…), so it is not fetched; use another "
            "mirror, or give a folder with `model`"
        )
    if not blob.exists():
        bring(file, blob, sha256, say)
    try:
        link(blob, path)
    except OSError as error:
        raise CheckpointError(
            f"cannot write to the Hugging Face cache {str(place)!r} ({error.strerror or error}); "
            "set HF_HOME to a folder that can be written"
        ) from None
    return path


def _found(repo: str, name: str, revision: str | None) -> RemoteFile | None:
    """Return what the Hub says of a file; None if the model has none of that name."""
    try:
        return _look(repo, name, revision, STALL_SECONDS)
    except CheckpointError:
        raise
    except Exception as error:  # the libraries beneath have many kinds, and change them
        raise CheckpointError(
            f"could not download {repo!r} from {_hub()} ({named(error)}){AGAIN}"
        ) from None


def _look(repo: str, name: str, revision: str | None, timeout: float) -> RemoteFile | None:
    """Ask for a file's size and hash, or None; a fault of the server's is given another chance.

    Raises
    ------
    CheckpointError
        If the answer is no, or is none of a Hub.
    Exception
        Of any kind, if nobody answers.
    """
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(repo, name, revision=revision)
    end = time.monotonic() + timeout
    for again in range(TRIES):
        wait, last = FIRST_WAIT * 2**again, again == TRIES - 1
        try:
            answer = head(url, max(0.1, end - time.monotonic()))
        except Exception as error:
            dropped = type(error).__name__ in ("RemoteProtocolError", "ReadError")
            if _is_certain(error):
                raise CheckpointError(_cannot_ask(error)) from None
            if not dropped or last or time.monotonic() + wait > end:
                raise
        else:
            if answer.status < 400:
                return _file(repo, name, url, answer)
            if answer.status == 404 and name != "config.json":
                return None
            asked = seconds_to_wait(answer.headers)
            wait = wait if asked is None else asked
            passing = answer.status in (408, 429) or answer.status >= 500
            if not passing or last or wait > LONGEST_WAIT or time.monotonic() + wait > end:
                raise CheckpointError(_refusal(repo, revision, answer, asked))
        time.sleep(wait)
    raise AssertionError  # the last try returns or raises


def _file(repo: str, name: str, url: str, answer: Answer) -> RemoteFile:
    """Read what a Hub says of a file, which something else in its place does not."""
    headers = answer.headers
    commit = headers.get("X-Repo-Commit", "")
    etag = (headers.get("X-Linked-Etag") or headers.get("ETag", "")).removeprefix("W/").strip('"')
    if answer.status >= 300 and "X-Linked-Etag" not in headers:
        raise CheckpointError(
            f"{_hub()} redirects {name} of {repo!r} in circles; check HF_ENDPOINT, or give the "
            "folder of a model with `model`"
        )
    if not re.fullmatch(r"[\w-]{1,128}", commit) or not re.fullmatch(r"[\w-][\w.-]{0,127}", etag):
        raise CheckpointError(
            f"what answers in place of {_hub()} is something else, such as the log-in page of a "
            "network or a proxy; log in there, check HF_ENDPOINT, or give the folder of a model "
            "with `model`"
        )
    own = headers.get("Content-Length", "") if answer.status < 300 else ""
    text = headers.get("X-Linked-Size", own)
    size = int(text) if re.fullmatch(r"\d{1,18}", text) else None
    if size == 0:
        raise CheckpointError(f"{name} of {repo!r} on {_hub()} is empty; give another model")
    return RemoteFile(name, url, etag, size, commit)


def _is_certain(error: Exception) -> bool:
    """Say whether nobody answers for a reason that waiting, or a cable, does not mend.

    Such as a proxy (socks) for which a package is missing, or an address that is none.
    """
    of_network = isinstance(error, OSError) or type(error).__module__.startswith("http")
    return (
        not of_network
        or type(error).__name__ in ("InvalidURL", "UnsupportedProtocol", "InvalidProxyURL")
        or "CERTIFICATE_VERIFY_FAILED" in str(error)
    )


def _hub() -> str:
    from huggingface_hub import constants

    if constants.ENDPOINT == "https://huggingface.co":
        return "the Hugging Face Hub"
    return f"the Hub at {shorten(constants.ENDPOINT)!r} (HF_ENDPOINT)"


def _no_config(repo: str) -> str:
    return f"{repo!r} on {_hub()} has no config.json, so esmkit cannot read it from there; {_OTHERWISE}"


def _cannot_ask(error: Exception) -> str:
    advice = "check HF_ENDPOINT and the proxy variables"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        advice = f"set {certificates()} to the certificates of your network"
    return f"cannot ask {_hub()} ({named(error)}); {advice}, or give the folder of a model with `model`"


def _refusal(repo: str, revision: str | None, answer: Answer, wait: float | None) -> str:
    """Say in one sentence what the Hub has refused."""
    status, code = answer.status, answer.headers.get("X-Error-Code", "")
    if code == "EntryNotFound":
        return _no_config(repo)
    if code == "RevisionNotFound":
        return f"{_hub()} has {repo!r}, but not its revision {revision!r}; use another mirror"
    if code == "GatedRepo" or status == 403:
        return (
            f"{_hub()} does not give out {repo!r} to just anybody (HTTP {status}); ask for access on "
            "its page there, and set HF_TOKEN to a token of your account"
        )
    if status == 401 and has_token():
        return (
            f"{_hub()} does not let the token in HF_TOKEN have {repo!r} (HTTP 401); check the name "
            "and the token"
        )
    if status in (401, 404):
        return (
            f"{_hub()} has no open model {repo!r}; check the name (`esmkit weights list` shows those "
            "esmkit knows), or set HF_TOKEN if it is a private one"
        )
    later = f" in {wait:.0f} s" if wait else " later"
    return (
        f"{_hub()} is out of order or overloaded (HTTP {status}); try again{later}, or give the "
        "folder of a model with `model`"
    )
