"""Write a trained network as a checkpoint, so that all of esmkit, and transformers, can load it."""

from pathlib import Path

from esmkit.errors import OptionError, OutputError
from esmkit.reference.encoder import (
    CONTACT,
    EMBEDDING,
    INVERSE_FREQUENCIES,
    LAYER_MODULES,
    Affine,
    Array,
)
from esmkit.reference.training.model import MaskedLm

__all__ = ["save_checkpoint"]


def save_checkpoint(model: MaskedLm, folder: str | Path) -> Path:
    """Write weights and configuration in Hugging Face format into a new or empty folder.

    ``esmkit.load(folder)`` then takes it as any ESM-2, masked-LM head included, and so does
    ``transformers.EsmForMaskedLM.from_pretrained``. Numbers are kept as float32.

    Parameters
    ----------
    model : MaskedLm
        Its hidden width F is four times its width D, as in every ESM-2.
    folder : path

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    OptionError
        If F is not 4 D: the format has no room for it.
    OutputError
        If there is something in the folder already.

    Examples
    --------
    >>> from esmkit.reference.training import random_masked_lm
    >>> model = random_masked_lm(0, layers=1, heads=2, width=8, hidden=32)
    >>> esmkit.load(save_checkpoint(model, "small"), "cpu").width
    8
    """
    import torch

    from esmkit.encoder.checkpoints.convert import esm2_config, write_folder

    folder, encoder = Path(folder), model.encoder
    width, hidden = encoder.embedding.shape[1], len(encoder.layers[0].expand.bias)
    if hidden != 4 * width:
        raise OptionError(f"hidden {hidden} with width {width}: a checkpoint needs {4 * width}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists already; give a new or empty folder")
    arrays: dict[str, Array] = {f"esm.{EMBEDDING}": encoder.embedding}

    def add(name: str, affine: Affine) -> None:
        arrays[name + ".weight"], arrays[name + ".bias"] = affine.weight, affine.bias

    for number, layer in enumerate(encoder.layers):
        attention = layer.attention
        parts = [layer.attention_norm, attention.query, attention.key, attention.value]
        parts += [attention.output, layer.feed_forward_norm, layer.expand, layer.contract]
        prefix = f"esm.encoder.layer.{number}."
        for name, part in zip(LAYER_MODULES, parts, strict=True):
            add(prefix + name, part)
        arrays[f"{prefix}attention.self.{INVERSE_FREQUENCIES}"] = encoder.inverse_frequencies
    add("esm.encoder.emb_layer_norm_after", encoder.final_norm)
    if encoder.contact is not None:
        add(f"esm.{CONTACT}", encoder.contact)
    add("lm_head.dense", model.dense)
    add("lm_head.layer_norm", model.norm)
    arrays["lm_head.bias"] = model.bias
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: torch.from_numpy(array.copy()).float() for name, array in arrays.items()}
    config = esm2_config(len(encoder.layers), encoder.heads, width)
    write_folder(folder, tensors, {**config, "architectures": ["EsmForMaskedLM"]})
    return folder
