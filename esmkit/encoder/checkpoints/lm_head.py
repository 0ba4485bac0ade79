"""The masked-LM head that weights bring, or that a file holds which was fitted to them.

Its form is that of ESM-2: a linear map, GELU, a layer norm, and the decoder, which is the token
embedding of the encoder itself, with a bias. A head that is in a checkpoint and cannot be used is
never replaced by another: the fault is kept, and raised when the head is asked for.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from esmkit.encoder.checkpoints import Checkpoint, read_config, weight_files
from esmkit.encoder.checkpoints.fetch import sha256_of_file
from esmkit.encoder.checkpoints.known import DEFAULT, shipped_head
from esmkit.encoder.checkpoints.trust import refuse_packed
from esmkit.errors import CheckpointError
from esmkit.sequences.tokens import TOKENS
from esmkit.text import shorten

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["HeadWeights", "head_of", "read_fitted"]

PREFIX = "lm_head."
"""What the names of its tensors begin with in Hugging Face's format."""

DECODER = "decoder.weight"
"""Tensor of the decoder; it may be missing, for it is the embedding (tied)."""

EMBEDDING = "embeddings.word_embeddings.weight"

LAYER_NORM_EPS = 1e-5
"""Of ESM-2's layer norms, where a config does not say it."""

MOST_HEADER_BYTES = 2**20
"""Largest size of what is in a fitted file beside its numbers; names and facts take 2 kB."""


@dataclass(frozen=True)
class HeadWeights:
    """A masked-LM head, float32.

    Attributes
    ----------
    dense : torch.nn.Linear
        D to D.
    norm : torch.nn.LayerNorm
        Over D.
    bias : torch.Tensor, shape (33,)
        Of the decoder.
    decoder : torch.Tensor, shape (33, D), or None
        None where it is the encoder's token embedding.
    facts : dict
        Where it comes from, for the provenance of outputs.
    """

    dense: nn.Linear
    norm: nn.LayerNorm
    bias: "Tensor"
    decoder: "Tensor | None"
    facts: dict[str, Any]

    def to(self, device: torch.device) -> "HeadWeights":
        """Return the head on a device; the same one if it is there already."""
        if self.bias.device == device:
            return self
        tensors = {name: tensor.to(device) for name, tensor in self.tensors().items()}
        return _built(tensors, self.norm.eps, self.facts)

    def tensors(self) -> dict[str, "Tensor"]:
        """Return the tensors under the names of a fitted file, and the decoder where it has its own."""
        own = {} if self.decoder is None else {DECODER: self.decoder}
        return {
            "dense.weight": self.dense.weight.detach(),
            "dense.bias": self.dense.bias.detach(),
            "layer_norm.weight": self.norm.weight.detach(),
            "layer_norm.bias": self.norm.bias.detach(),
            "bias": self.bias,
            **own,
        }


def _shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a head."""
    return {
        "dense.weight": (width, width),
        "dense.bias": (width,),
        "layer_norm.weight": (width,),
        "layer_norm.bias": (width,),
        "bias": (len(TOKENS),),
    }


def head_of(checkpoint: Checkpoint) -> HeadWeights | CheckpointError | None:
    """Return the masked-LM head of a checkpoint: its own, else the one that esmkit has fitted to it.

    Parameters
    ----------
    checkpoint : Checkpoint

    Returns
    -------
    HeadWeights, CheckpointError or None
        The error says what is wrong with a head that the checkpoint holds; encoders are good without.
        None if there is no head.
    """
    try:
        return _own_head(checkpoint) or _shipped_head(checkpoint)
    except CheckpointError as error:
        return error


def _shipped_head(checkpoint: Checkpoint) -> HeadWeights | None:
    path = shipped_head(checkpoint.sha256)
    return None if path is None else read_fitted(path, checkpoint)


# ------------------------------------------------------------------------- heads of checkpoints


def _own_head(checkpoint: Checkpoint) -> HeadWeights | None:
    """Read the head that is among the weights."""
    where = f"the masked-LM head of {checkpoint.name!r} in {str(checkpoint.folder)!r}"
    stored: dict[str, Tensor] = {}
    embedding = None
    for path in weight_files(checkpoint.folder):
        with _opened(path) as (names, get):
            # transformers takes the names of the bare encoder and those of the whole model
            stored |= {n.removeprefix(PREFIX): get(n) for n in names if n.startswith(PREFIX)}
            embeddings = [n for n in names if n in (EMBEDDING, f"esm.{EMBEDDING}")]
            if embeddings:
                embedding = get(embeddings[0])
    if not stored:
        return None
    config = read_config(checkpoint.folder)
    width = int(config["hidden_size"])
    decoder = stored.pop(DECODER, None)
    tensors = _sound(stored, _shapes(width), where)
    if decoder is not None:
        own = _sound({DECODER: decoder}, {DECODER: (len(TOKENS), width)}, where)[DECODER]
        # A decoder other than the embedding is used, whatever the config says, as transformers does
        if embedding is None or not torch.equal(own, embedding.float()):
            tensors[DECODER] = own
    elif config.get("tie_word_embeddings") is False:
        raise CheckpointError(
            f"{where} is incomplete: its config.json says that it has a decoder of its own, and "
            "tensor 'lm_head.decoder.weight' is missing; copy or download it again"
        )
    return _built(tensors, _eps(config), {"source": "checkpoint"})


def _eps(config: Mapping[str, Any]) -> float:
    eps = config.get("layer_norm_eps")
    return LAYER_NORM_EPS if eps is None else float(eps)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[list[str], Callable[[str], "Tensor"]]]:
    """Open a file of weights: the names in it, and what reads one of them."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                yield list(file.keys()), file.get_tensor
        except SafetensorError as error:
            raise CheckpointError(
                f"cannot read {str(path)!r} ({error}); copy or download it again"
            ) from None
        return
    refuse_packed(path)
    # Read as it is asked for, where PyTorch can
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, ValueError):  # a file as of before PyTorch 1.6
        state = torch.load(path, map_location="cpu", weights_only=True)
    yield [name for name in state if isinstance(name, str)], lambda name: deepcopy(state[name])


def _sound(
    found: Mapping[str, "Tensor"], wanted: Mapping[str, tuple[int, ...]], where: str
) -> dict[str, "Tensor"]:
    """Return tensors as float32, or say which is missing, unknown, misshapen or not finite."""
    absent = sorted(set(wanted) - set(found))
    if absent:
        names = ", ".join(repr(name) for name in absent)
        raise CheckpointError(
            f"{where} is incomplete: {len(absent)} of its tensors are missing ({names}); copy, "
            "download or fit it again"
        )
    extra = sorted(set(found) - set(wanted))
    if extra:
        raise CheckpointError(
            f"{where} holds a tensor {shorten(extra[0])!r}, which the head of an ESM-2 does not "
            "have; give an ESM-2"
        )
    sound = {}
    for name, shape in wanted.items():
        tensor = found[name]
        if not isinstance(tensor, torch.Tensor):
            raise CheckpointError(
                f"{where} is damaged: {name!r} is not a tensor; copy or download it again"
            )
        if tuple(tensor.shape) != shape or not tensor.is_floating_point():
            raise CheckpointError(
                f"{where} does not fit the encoder: tensor {name!r} is {tuple(tensor.shape)} of "
                f"{str(tensor.dtype).removeprefix('torch.')}, not {shape} of floating-point "
                "numbers; copy, download or fit it again"
            )
        sound[name] = tensor.float()
        if not bool(torch.isfinite(sound[name]).all()):
            raise CheckpointError(
                f"{where} is damaged: tensor {name!r} holds NaN or infinity; copy, download or fit "
                "it again"
            )
    return sound


def _built(tensors: Mapping[str, "Tensor"], eps: float, facts: dict[str, Any]) -> HeadWeights:
    """Put the tensors into PyTorch's modules, which draw no random numbers for it."""
    width = len(tensors["dense.bias"])
    dense = nn.Linear(width, width, device="meta")
    norm = nn.LayerNorm(width, eps=eps, device="meta")
    for module, name in ((dense, "dense"), (norm, "layer_norm")):
        module.weight = nn.Parameter(tensors[f"{name}.weight"].detach(), requires_grad=False)
        module.bias = nn.Parameter(tensors[f"{name}.bias"].detach(), requires_grad=False)
    return HeadWeights(dense, norm, tensors["bias"].detach(), tensors.get(DECODER), facts)


# ------------------------------------------------------------------------------- fitted heads


def read_fitted(path: Path, checkpoint: Checkpoint) -> HeadWeights:
    """Read a head that ``esmkit score fit`` has written.

    Parameters
    ----------
    path : Path
        safetensors: ``dense.weight`` (D, D), ``dense.bias`` (D,), ``layer_norm.weight`` and
        ``layer_norm.bias`` (D,), ``bias`` (33,), float32, and the metadata ``facts``, a JSON object.
    checkpoint : Checkpoint
        The encoder it is to stand on.

    Raises
    ------
    CheckpointError
        If there is no such file, it is no such head, or was fitted to another encoder.
    """
    where = f"the masked-LM head in {str(path)!r}"
    config = read_config(checkpoint.folder)
    width = int(config["hidden_size"])
    facts, tensors = _read_safetensors(path, where, width)
    fitted_to = facts.pop("encoder_sha256", None)
    if fitted_to != checkpoint.sha256:
        other = f"SHA-256 {shorten(fitted_to, 13)}" if isinstance(fitted_to, str) else "not named"
        raise CheckpointError(
            f"{where} was fitted to another encoder ({other}) than {checkpoint.name!r} (SHA-256 "
            f"{checkpoint.sha256[:12]}…); load that encoder, or fit a head to this one with "
            "`esmkit score fit`"
        )
    name = facts.pop("name", None)
    facts = {
        "source": "fitted",
        "name": name if isinstance(name, str) and name else path.stem,
        "sha256": sha256_of_file(path),
        **{key: value for key, value in facts.items() if key not in ("source", "sha256")},
    }
    if not isinstance(facts.get("note"), str):
        facts["note"] = _note(facts)
    return _built(tensors, _eps(config), facts)


def _note(facts: Mapping[str, Any]) -> str:
    """Return what anyone who uses a fitted head should know, in one sentence."""
    on = facts.get("trained_on")
    return (
        f"the masked-LM head {facts['name']!r} is not ESM-2's own: it was fitted"
        f"{f' on {on}' if isinstance(on, str) else ''}{_quality(facts.get('perplexity'))}; load "
        f"{DEFAULT.repo} with a network for the original"
    )


def _quality(sources: Any) -> str:
    """Say how well a head guesses hidden residues of the sets of proteins that were held out."""
    sources = sources if isinstance(sources, dict) else {}
    kept = [s for s in sources.values() if isinstance(s, dict)]
    found: list[Any] = [s.get("perplexity") for s in kept]
    letters: list[Any] = [s.get("letters") for s in kept]
    if not found or not all(isinstance(x, (int, float)) for x in (*found, *letters)):
        return ""
    sets = (
        f" on {len(found)} sets of proteins held out" if len(found) > 1 else " on proteins held out"
    )
    return f" (masked perplexity {_range(found)}{sets}, letters alone {_range(letters)})"


def _range(numbers: list[float]) -> str:
    low, high = f"{min(numbers):.1f}", f"{max(numbers):.1f}"
    return low if low == high else f"{low} to {high}"


def _read_safetensors(path: Path, where: str, width: int) -> tuple[dict, dict[str, "Tensor"]]:
    from safetensors import SafetensorError, safe_open

    shapes = _shapes(width)
    broken = CheckpointError(
        f"{str(path)!r} is not a masked-LM head, or it is damaged; give a file that `esmkit score "
        "fit` wrote"
    )
    try:
        with safe_open(path, "pt") as file:
            names, metadata = list(file.keys()), file.metadata() or {}
            size = {name: tuple(file.get_slice(name).get_shape()) for name in names}
            for name in names:  # before a number is read: a file may be of any size
                if name in shapes and size[name] != shapes[name]:
                    raise CheckpointError(
                        f"{where} does not fit the encoder: tensor {name!r} is {size[name]}, not "
                        f"{shapes[name]}; fit a head to this encoder with `esmkit score fit`"
                    )
            found = {name: file.get_tensor(name) for name in names if name in shapes}
            extra = [name for name in names if name not in shapes]
            found |= {name: torch.zeros(()) for name in extra}
    except (SafetensorError, OSError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise broken from None
    if not set(names) & set(shapes):
        raise broken
    try:
        facts = json.loads(metadata.get("facts", ""))
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise CheckpointError(
            f"{where} does not say what it was fitted to (metadata 'facts'); give a file that "
            "`esmkit score fit` wrote"
        )
    return facts, _sound(found, shapes, where)
