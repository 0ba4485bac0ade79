"""Embeddings made by transformers alone, right ones and planted mistakes; nothing of esmkit's is used.

Hidden states are those of ``EsmModel``, called as its documentation says, and pooled by hand.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from transformers import EsmModel, EsmTokenizer

from esmkit.sequences.proteins import Protein
from oracles.checkpoints import random_sequence

Vectors = dict[str, np.ndarray]


class Maker:
    """transformers' own model and tokenizer of a checkpoint in a folder."""

    def __init__(self, folder: Any) -> None:
        self.folder = folder
        self.model = EsmModel.from_pretrained(folder, add_pooling_layer=False).eval()
        self.tokenizer = EsmTokenizer.from_pretrained(folder)
        self.last = self.model.config.num_hidden_layers

    def ids(self, text: str, **options: Any) -> torch.Tensor:
        return self.tokenizer(text, return_tensors="pt", **options)["input_ids"]

    @torch.inference_mode()
    def states(self, ids: torch.Tensor, mask: Any = None, model: Any = None) -> list[torch.Tensor]:
        """Hidden states 0..N of one sequence, each (T, D)."""
        model = model or self.model
        mask = torch.ones_like(ids) if mask is None else mask
        found = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        return [state[0].float() for state in found.hidden_states]

    @torch.inference_mode()
    def before_norm(self, text: str) -> torch.Tensor:
        """The last layer's output, which the final norm takes."""
        kept: list[torch.Tensor] = []
        norm = self.model.encoder.emb_layer_norm_after
        hook = norm.register_forward_pre_hook(lambda module, given: kept.append(given[0]))
        Maker.states(self, self.ids(text))
        hook.remove()
        return kept[0][0]

    def means(self, proteins: dict[str, str], layer: int | None = None, **options: Any) -> Vectors:
        """The right thing: the mean over residues, BOS and EOS left out."""
        layer = self.last if layer is None else layer
        return {
            name: self.states(self.ids(text), **options)[layer][1:-1].mean(0).numpy()
            for name, text in proteins.items()
        }

    @torch.inference_mode()
    def pooled(
        self,
        proteins: dict[str, str],
        pool: Callable[[torch.Tensor], torch.Tensor],
        layer: int = -1,
    ) -> Vectors:
        return {n: pool(self.states(self.ids(t))[layer]).numpy() for n, t in proteins.items()}

    @torch.inference_mode()
    def batch(
        self, proteins: dict[str, str], pool: Any, *, masked: bool = True, size: int | None = None
    ) -> Vectors:
        """Padded batches in the order given; ``pool`` takes states (T, D) and the mask (T,)."""
        names = list(proteins)
        found = {}
        size = size or len(names)
        for start in range(0, len(names), size):
            chosen = names[start : start + size]
            given = self.tokenizer([proteins[n] for n in chosen], return_tensors="pt", padding=True)
            ids, mask = given["input_ids"], given["attention_mask"]
            shown = mask if masked else torch.ones_like(mask)
            out = self.model(input_ids=ids, attention_mask=shown).last_hidden_state
            for name, states, real in zip(chosen, out, mask, strict=True):
                found[name] = pool(states, real).numpy()
        return found

    def changed(self, change: Callable[[Any], None]) -> Any:
        model = copy.deepcopy(self.model)
        change(model)
        return model


def proteins_of(lengths: tuple[int, ...], letters: str = "") -> list[Protein]:
    """Return proteins of these lengths, the fifth letter of each replaced by one of `letters`."""
    found = []
    for number, length in enumerate(lengths):
        text = "M" + random_sequence(length - 1, number)
        if letters:
            letter = letters[number % len(letters)]
            text = f"{text[:4]}{letter}{text[5:]}"
        found.append(Protein(f"P{number}", text))
    return found


def written(path: Path, vectors: Vectors) -> Path:
    """Write HDF5 with a dataset for each protein, and return the path."""
    with h5py.File(path, "w", track_order=True) as file:
        for name, vector in vectors.items():
            file[name] = vector
    return path


def residues_of(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return states[1 : int(mask.sum()) - 1].mean(0)


def noisy(scale: float) -> Callable[[Any], None]:
    """Change weights a little, as fine-tuning does."""

    def change(model: Any) -> None:
        random = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                size = parameter.std() if parameter.numel() > 1 else torch.tensor(0.0)
                parameter += scale * size * torch.randn(parameter.shape, generator=random)

    return change


def fine_tuned(maker: Maker, steps: int) -> Any:
    """A copy of the model after a few steps of training: which half of a protein it is."""
    model = copy.deepcopy(maker.model)
    random = np.random.default_rng(0)
    head = torch.nn.Linear(model.config.hidden_size, 1)
    torch.nn.init.normal_(head.weight, std=0.02, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=1e-4)
    for _ in range(steps):
        text = "".join(random.choice(list("ACDEFGHIKLMNPQRSTVWY"), 60))
        states = model(input_ids=maker.ids(text)).last_hidden_state[0, 1:-1]
        wanted = (torch.arange(60) < 30).float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(head(states)[:, 0], wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def seeded(maker: Maker, **changes: Any) -> Any:
    """A model that was never trained, of the same shape but for the changes."""
    config = copy.deepcopy(maker.model.config)
    for name, value in changes.items():
        setattr(config, name, value)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return EsmModel(config, add_pooling_layer=False).eval()


def without_dropout(model: Any) -> None:
    model.config.token_dropout = False
    model.embeddings.token_dropout = False


def exact_rotary(model: Any) -> None:
    for name, buffer in model.named_buffers():
        if name.endswith("inv_freq"):
            count = len(buffer)
            buffer.copy_(1.0 / 10_000 ** (torch.arange(0, 2 * count, 2).double() / (2 * count)))


def rolled(vectors: Vectors, by: int = 1) -> Vectors:
    names, rows = list(vectors), list(vectors.values())
    return dict(zip(names, rows[by:] + rows[:by], strict=True))


def shuffled(vectors: Vectors) -> Vectors:
    names, rows = list(vectors), list(vectors.values())
    order = np.random.default_rng(1).permutation(len(rows))
    if len(rows) > 1 and (order == np.arange(len(rows))).all():  # so it is of three
        order = np.roll(order, 1)
    return {name: rows[i] for name, i in zip(names, order, strict=True)}


def sorted_by_length(vectors: Vectors, proteins: dict[str, str]) -> Vectors:
    order = sorted(proteins, key=lambda n: len(proteins[n]))
    return {name: vectors[of] for name, of in zip(proteins, order, strict=True)}


def swapped(vectors: Vectors) -> Vectors:
    found = dict(vectors)
    first, second = list(found)[1:3]
    found[first], found[second] = found[second], found[first]
    return found


def stacked(vectors: Vectors, change: Callable[[np.ndarray], np.ndarray]) -> Vectors:
    rows = change(np.stack(list(vectors.values())))
    return dict(zip(vectors, rows, strict=True))


def cut(proteins: dict[str, str], at: int) -> dict[str, str]:
    return {name: text[:at] for name, text in proteins.items()}


def mapped(proteins: dict[str, str], change: Callable[[str], str]) -> dict[str, str]:
    return {name: change(text) for name, text in proteins.items()}


def half(maker: Maker, proteins: dict[str, str], dtype: torch.dtype) -> Vectors:
    return maker.means(proteins, model=maker.changed(lambda m: m.to(dtype)))


def mistakes() -> dict[str, tuple[str, Callable[[Maker, dict[str, str]], Vectors]]]:
    """Each mistake by name: words of the verdict that names it, and how it is made."""
    unit = lambda v: stacked(v, lambda x: x / np.linalg.norm(x, axis=1, keepdims=True))  # noqa: E731
    text_order = lambda x: x[:, sorted(range(x.shape[1]), key=str)]  # noqa: E731
    return {
        "one layer early": (
            "one layer too early",
            lambda m, p: m.means(p, m.last - 1),
        ),
        "first layer": ("hidden state 1 and not", lambda m, p: m.means(p, 1)),
        "token embedding": ("the token embedding", lambda m, p: m.means(p, 0)),
        "before the final norm": (
            "before the final norm",
            lambda m, p: {n: m.before_norm(t)[1:-1].mean(0).numpy() for n, t in p.items()},
        ),
        "mean of two layers": (
            "the mean of hidden states",
            lambda m, p: {
                n: np.mean([m.means({n: t}, k)[n] for k in (m.last - 1, m.last)], axis=0)
                for n, t in p.items()
            },
        ),
        "BOS and EOS in the mean": (
            "the mean over residues, BOS and EOS",
            lambda m, p: m.pooled(p, lambda h: h.mean(0)),
        ),
        "BOS in the mean": (
            "the mean over residues and BOS",
            lambda m, p: m.pooled(p, lambda h: h[:-1].mean(0)),
        ),
        "EOS in the mean": (
            "the mean over residues and EOS",
            lambda m, p: m.pooled(p, lambda h: h[1:].mean(0)),
        ),
        "padding in the mean": (
            "padding too",
            lambda m, p: m.batch(p, lambda h, mask: h.mean(0)),
        ),
        "padding in the mean, but BOS": (
            "the mean over all tokens but BOS, padding too",
            lambda m, p: m.batch(p, lambda h, mask: h[1:-1].mean(0)),
        ),
        "padding in the maximum": (
            "the maximum over all tokens, padding too",
            lambda m, p: m.batch(p, lambda h, mask: h.max(0)[0]),
        ),
        "divided by all tokens": (
            "divided by R + 2",
            lambda m, p: m.pooled(p, lambda h: h[1:-1].sum(0) / len(h)),
        ),
        "divided by the longest": (
            "in every record",
            lambda m, p: {
                n: x / (2 + max(map(len, p.values())))
                for n, x in m.pooled(p, lambda h: h[1:-1].sum(0)).items()
            },
        ),
        "no attention mask": (
            "no attention mask",
            lambda m, p: m.batch(p, residues_of, masked=False),
        ),
        "no attention mask, batches of 2": (
            "no attention mask",
            lambda m, p: m.batch(p, residues_of, masked=False, size=2),
        ),
        "sum": ("the sum over residues", lambda m, p: m.pooled(p, lambda h: h[1:-1].sum(0))),
        "maximum": (
            "the maximum over residues",
            lambda m, p: m.pooled(p, lambda h: h[1:-1].max(0)[0]),
        ),
        "minimum": (
            "the minimum over residues",
            lambda m, p: m.pooled(p, lambda h: h[1:-1].min(0)[0]),
        ),
        "median": (
            "the median over residues",
            lambda m, p: m.pooled(p, lambda h: h[1:-1].median(0)[0]),
        ),
        "standard deviation": (
            "the standard deviation over residues",
            lambda m, p: m.pooled(p, lambda h: h[1:-1].std(0)),
        ),
        "residues scaled to length 1": (
            "each scaled to length 1 before",
            lambda m, p: m.pooled(
                p, lambda h: torch.nn.functional.normalize(h[1:-1], dim=-1).mean(0)
            ),
        ),
        "logarithm": (
            "a function that keeps their order",
            lambda m, p: stacked(m.means(p), lambda x: np.sign(x) * np.log1p(np.abs(x))),
        ),
        "final norm twice": (
            "after the final norm a second time",
            lambda m, p: m.pooled(
                p, lambda h: m.model.encoder.emb_layer_norm_after(h.clone())[1:-1].mean(0)
            ),
        ),
        "BOS token": ("the BOS token", lambda m, p: m.pooled(p, lambda h: h[0])),
        "EOS token": ("the EOS token", lambda m, p: m.pooled(p, lambda h: h[-1])),
        "one token off": (
            "tokens counted from 0",
            lambda m, p: m.pooled(p, lambda h: h[:-2].mean(0)),
        ),
        "last residue lost": (
            "all residues but the last",
            lambda m, p: m.pooled(p, lambda h: h[1:-2].mean(0)),
        ),
        "no special tokens": (
            "without BOS and EOS",
            lambda m, p: {
                n: m.states(m.ids(t, add_special_tokens=False))[-1].mean(0).numpy()
                for n, t in p.items()
            },
        ),
        "no token dropout": (
            "no token dropout",
            lambda m, p: m.means(p, model=m.changed(without_dropout)),
        ),
        "rotary frequencies anew": (
            "rotary frequencies computed anew",
            lambda m, p: m.means(p, model=m.changed(exact_rotary)),
        ),
        "computed in bfloat16": ("bfloat16", lambda m, p: half(m, p, torch.bfloat16)),
        "computed in float16": ("float16", lambda m, p: half(m, p, torch.float16)),
        "normalised": ("normalised (L2)", lambda m, p: unit(m.means(p))),
        "centred": (
            "centred",
            lambda m, p: stacked(m.means(p), lambda x: x - x.mean(0)),
        ),
        "standardised": (
            "standardised",
            lambda m, p: stacked(m.means(p), lambda x: (x - x.mean(0)) / x.std(0)),
        ),
        "columns sorted as text": (
            "sorted as text",
            lambda m, p: stacked(m.means(p), text_order),
        ),
        "IDs shifted": ("shifted by 1 place", lambda m, p: rolled(m.means(p))),
        "IDs shuffled": ("under each other's names", lambda m, p: shuffled(m.means(p))),
        "sorted by length": (
            "in the order of length",
            lambda m, p: sorted_by_length(m.means(p), p),
        ),
        "two swapped": ("1 pair swapped", lambda m, p: swapped(m.means(p))),
        "a star at the end": (
            "such as the * that ends",
            lambda m, p: m.means(mapped(p, lambda t: t + "*")),
        ),
        "small letters": (
            "small letters",
            lambda m, p: m.means(mapped(p, str.lower)),
        ),
        "read in reverse": ("read in reverse", lambda m, p: m.means(mapped(p, lambda t: t[::-1]))),
        "first methionine cut": (
            "methionine, left out",
            lambda m, p: m.means(mapped(p, lambda t: t.removeprefix("M"))),
        ),
        "rare letters as X": (
            "written as X",
            lambda m, p: m.means(mapped(p, lambda t: t.translate(str.maketrans("BOUZ", "XXXX")))),
        ),
        "cut at 50": ("cut after 50 residues", lambda m, p: m.means(cut(p, 50))),
        "other weights": (
            "other weights of the same shape",
            lambda m, p: m.means(p, model=m.changed(noisy(0.02))),
        ),
        "random": (
            "random numbers",
            lambda m, p: stacked(
                m.means(p), lambda x: np.random.default_rng(7).normal(size=x.shape)
            ),
        ),
        "brought to 0 to 1": (
            "min-max",
            lambda m, p: stacked(m.means(p), lambda x: (x - x.min(0)) / (x.max(0) - x.min(0))),
        ),
        "the first of each batch": (
            "the vector of another protein",
            lambda m, p: stacked(m.means(p), lambda x: x[np.arange(len(x)) // 4 * 4]),
        ),
        "first 12 residues cut": (
            "residues at the beginning left out",
            lambda m, p: m.means(mapped(p, lambda t: t[12:])),
        ),
        "last 12 residues cut": (
            "residues at the end left out",
            lambda m, p: m.means(mapped(p, lambda t: t[:-12])),
        ),
        "a tag in front": (
            "before the first residue",
            lambda m, p: m.means(mapped(p, lambda t: "MGSSHHHHHHSSGLVPRGSH" + t)),
        ),
        "a tag behind": (
            "a tag after the last residue",
            lambda m, p: m.means(mapped(p, lambda t: t + "LEHHHHHH")),
        ),
        "L written as I": (
            "one letter written as another",
            lambda m, p: m.means(mapped(p, lambda t: t.replace("L", "I"))),
        ),
        "the same for all": (
            "the same vector",
            lambda m, p: stacked(m.means(p), lambda x: np.repeat(x[:1], len(x), 0)),
        ),
        "one NaN": ("NaN", lambda m, p: stacked(m.means(p), _one_nan)),
        "a layer early and shuffled": (
            "one layer too early",
            lambda m, p: shuffled(m.means(p, m.last - 1)),
        ),
        "BOS and EOS in the mean, shuffled": (
            "BOS and EOS; vectors under each other's names",
            lambda m, p: shuffled(m.pooled(p, lambda h: h.mean(0))),
        ),
        "a layer early, stored in float16": (
            "one layer too early",
            lambda m, p: stacked(m.means(p, m.last - 1), lambda x: x.astype(np.float16)),
        ),
        "a layer early in bfloat16": (
            "one layer too early",
            lambda m, p: m.means(p, m.last - 1, model=m.changed(lambda k: k.to(torch.bfloat16))),
        ),
        "sum, no token dropout": (
            "the sum over residues",
            lambda m, p: {
                n: v * len(p[n]) for n, v in m.means(p, model=m.changed(without_dropout)).items()
            },
        ),
        "BOS token, normalised": (
            "the BOS token",
            lambda m, p: unit(m.pooled(p, lambda h: h[0])),
        ),
    }


def _one_nan(rows: np.ndarray) -> np.ndarray:
    rows = rows.copy()
    rows[1, 3] = np.nan
    return rows
