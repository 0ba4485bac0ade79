"""transformers' ``EsmModel`` from a checkpoint, exactly as it is, with every tensor accounted for."""

import contextlib
import pickle
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import transformers
from transformers import EsmConfig, EsmForMaskedLM, EsmModel
from transformers.utils import logging as transformers_logging

from esmkit.encoder.checkpoints import Checkpoint, encoder_options, weight_files
from esmkit.errors import CheckpointError

__all__ = ["load_masked_lm", "load_network", "use_eager_attention"]


def _float32() -> dict[str, Any]:
    """Return what asks ``from_pretrained`` for float32: ``dtype`` since transformers 4.56."""
    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    return {"dtype" if version >= (4, 56) else "torch_dtype": torch.float32}


def use_eager_attention(network: EsmModel) -> None:
    """Have a network compute its attention step by step, so that it can return its maps.

    Before transformers 4.54 a float32 ``EsmModel`` knew no other way, and had no method to choose.
    """
    if hasattr(network, "set_attn_implementation"):
        network.set_attn_implementation("eager")


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silence loading bars and warnings: missing tensors are checked, and named, here."""
    verbosity = transformers_logging.get_verbosity()
    bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bar:
            transformers_logging.enable_progress_bar()


def _short(key: str) -> str:
    """Return the name of a tensor without the prefix of its file, as transformers 5 has it."""
    return key.removeprefix(f"{EsmModel.base_model_prefix}.")


def _by_unpickling(error: BaseException | None) -> bool:
    """Say whether unpickling failed; transformers 4 raises an OSError in its place."""
    while error is not None and not isinstance(error, pickle.UnpicklingError):
        error = error.__cause__ or error.__context__
    return error is not None


def load_network(checkpoint: Checkpoint) -> tuple[EsmModel, bool]:
    """Load transformers' EsmModel as it is, and make sure every tensor came from the file.

    Returns
    -------
    network : transformers.EsmModel
        float32, on the CPU.
    has_contact_head : bool

    Raises
    ------
    CheckpointError
        If the file is broken, incomplete or does not fit its config.
    """
    name = f"{checkpoint.name!r} in {str(checkpoint.folder)!r}"
    files = weight_files(checkpoint.folder)
    options = encoder_options(checkpoint.folder, files)
    try:
        with _quiet_transformers():
            loaded: Any = EsmModel.from_pretrained(
                checkpoint.folder,
                # Not the file's own: it may ask for other weights, for kernels (code) of the Hub,
                # for quantisation, and for whatever transformers adds to the list.
                config=EsmConfig(**options, hidden_dropout_prob=0.0),
                use_safetensors=files[0].suffix == ".safetensors",
                weights_only=True,
                add_pooling_layer=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named below
                local_files_only=True,
                **_float32(),
            )
            network, info = loaded
    except Exception as error:  # transformers and safetensors raise many kinds for a broken file
        if _by_unpickling(error):  # PyTorch's own text advises to run the code in the file
            raise CheckpointError(
                f"{name} holds Python objects that are not tensors, and esmkit does not run code "
                "from weight files; give weights only, best as model.safetensors"
            ) from None
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise CheckpointError(
            f"cannot load {name} ({type(error).__name__}: {reason}); copy or download it again"
        ) from error
    for key, found, wanted in sorted(info["mismatched_keys"], key=str):
        raise CheckpointError(
            f"{name} does not fit its config.json: tensor {_short(key)!r} is {tuple(found)}, not "
            f"{tuple(wanted)}; copy or download both again"
        )
    extra = [key for key in info["unexpected_keys"] if "encoder.layer." in key]
    if extra:
        raise CheckpointError(
            f"{name} does not fit its config.json: it holds layers the config does not have, such "
            f"as {min(extra)!r}; copy or download both again"
        )
    missing = {_short(key) for key in info["missing_keys"]}
    contact_head = {key for key in missing if key.startswith("contact_head.")}
    # Newer files leave the rotary frequencies out; transformers then computes them. Before 5.0 it
    # made a table of absolute positions too, which a network with rotary ones never reads.
    unread = ("inv_freq", "position_embeddings.weight")
    missing -= contact_head | {key for key in missing if key.endswith(unread)}
    if missing:
        raise CheckpointError(
            f"{name} is incomplete: {len(missing)} tensor(s) are missing, such as "
            f"{min(missing)!r}; copy or download it again"
        )
    for key, tensor in network.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{name} is damaged: tensor {key!r} holds NaN or infinity")
    return network, not contact_head


def load_masked_lm(
    checkpoint: Checkpoint, network: EsmModel, fitted: Mapping[str, torch.Tensor] | None = None
) -> EsmForMaskedLM:
    """Load transformers' EsmForMaskedLM as it is, to compare with.

    Parameters
    ----------
    checkpoint : Checkpoint
        With a masked-LM head, unless one was fitted.
    network : transformers.EsmModel
        What :func:`load_network` returned for it; it becomes the encoder of the result.
    fitted : mapping of str to torch.Tensor, optional
        A fitted head under the names of its file, in place of that of the checkpoint.
    """
    whole: Any
    if fitted is not None:
        with torch.device("meta"):  # draws no random numbers
            whole = EsmForMaskedLM(network.config)
        embedding: Any = network.get_input_embeddings().weight
        whole.lm_head.load_state_dict({"decoder.weight": embedding.detach(), **fitted}, assign=True)
    else:
        files = weight_files(checkpoint.folder)
        with _quiet_transformers():
            whole = EsmForMaskedLM.from_pretrained(
                checkpoint.folder,
                config=network.config,
                use_safetensors=files[0].suffix == ".safetensors",
                weights_only=True,
                local_files_only=True,
                **_float32(),
            )
    whole.esm = network  # the same numbers, once in memory
    return whole
