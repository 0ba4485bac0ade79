"""Plant mistakes in embeddings with the real weights, and see what `verify --against` calls them.

Embeddings are made by transformers alone (`tests/oracles/planted.py`), right ones and one with each
mistake, of several sets of proteins; each file is held against the model, and the verdict against
what was planted.

    python tests/reliability/planted_mistakes.py --set 3 --set peptides --only "sum" --only "random"

A verdict is *named* if its main cause is what was planted and nothing else, *not known* if it says
so, and *wrong* otherwise: another cause, one too many, or a right file accused. Ends with 1 if any
is wrong. Prints what was said of each, and at the end a table in Markdown.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import esmkit
from oracles.planted import (
    Maker,
    Vectors,
    cut,
    fine_tuned,
    mistakes,
    rolled,
    seeded,
    shuffled,
    stacked,
    without_dropout,
    written,
)

Make = Callable[[Maker, dict[str, str]], Vectors]

SETS = ("1", "3", "10", "40", "peptides", "near", "copies", "long")

MOVED = "shifted|shuffled|swapped|reverse order|order of length"

SAME = ("these are this model's",)


class Remembering(Maker):
    """A maker that computes the states of a sequence once."""

    def __init__(self, folder: Any) -> None:
        super().__init__(folder)
        self._kept: dict[tuple[int, ...], list[torch.Tensor]] = {}

    def states(self, ids: torch.Tensor, mask: Any = None, model: Any = None) -> list[torch.Tensor]:
        if mask is not None or model is not None:
            return super().states(ids, mask, model)
        key = tuple(ids[0].tolist())
        if key not in self._kept:
            self._kept[key] = super().states(ids)
        return self._kept[key]


def proteins_of(name: str) -> list[esmkit.Protein]:
    """Return one of the sets of proteins."""
    demo = list(esmkit.data.demo_proteins())
    chains = [esmkit.Protein(chain.id, chain.sequence) for chain in esmkit.data.ts50()]

    def joined(some: list[esmkit.Protein], length: int) -> str:
        return "".join(chain.sequence for chain in some)[:length]

    first = demo[0].sequence
    return {
        "1": lambda: demo[:1],
        "3": lambda: demo[:3],
        "10": lambda: demo[:10],
        "40": lambda: chains[:40],
        "peptides": lambda: [
            esmkit.Protein(f"p{i}", demo[i % 10].sequence[3 * i : 3 * i + 5 + i % 9])
            for i in range(12)
        ],
        "near": lambda: [
            demo[0],
            *(
                esmkit.Protein(f"m{i}", f"{first[: 6 * i]}W{first[6 * i + 1 :]}")
                for i in range(1, 9)
            ),
        ],
        "copies": lambda: [
            *demo[:4],
            *(esmkit.Protein(f"copy{i}", demo[i].sequence) for i in range(2)),
        ],
        "long": lambda: [
            demo[0],
            esmkit.Protein("L1", joined(chains[:12], 1_040)),
            esmkit.Protein("L2", joined(chains[12:24], 1_101)),
        ],
    }[name]()


def right() -> dict[str, tuple[tuple[str, ...], Make]]:
    """Right embeddings, made and stored in several ways."""

    def stored(change: Callable[[np.ndarray], np.ndarray]) -> Make:
        return lambda m, p: stacked(m.means(p), change)

    bfloat16 = lambda x: torch.from_numpy(x).bfloat16().float().numpy()  # noqa: E731
    pooled = lambda h, mask: h[1 : int(mask.sum()) - 1].mean(0)  # noqa: E731
    rows = lambda m, p: {n: m.states(m.ids(t))[-1][1:-1].numpy() for n, t in p.items()}  # noqa: E731
    return {
        "right": (SAME, lambda m, p: m.means(p)),
        "right, padded batches": (SAME, lambda m, p: m.batch(p, pooled, size=4)),
        "right, stored in float16": (SAME, stored(lambda x: x.astype(np.float16))),
        "right, stored in bfloat16": (SAME, stored(bfloat16)),
        "right, in steps of 8 bits": (SAME, stored(in_steps)),
        "right, 3 decimals": (SAME, stored(lambda x: np.round(x, 3))),
        "right, in float64": (SAME, stored(lambda x: x.astype(np.float64))),
        "right, residues": (SAME, rows),
        "right, residues in float16": (
            SAME,
            lambda m, p: {n: x.astype(np.float16) for n, x in rows(m, p).items()},
        ),
        "right, tokens": (
            SAME,
            lambda m, p: {n: m.states(m.ids(t))[-1].numpy() for n, t in p.items()},
        ),
    }


def in_steps(vectors: np.ndarray) -> np.ndarray:
    """Return vectors as int8 and a scale for each keep them."""
    scale = np.abs(vectors).max(axis=1, keepdims=True) / 127
    return (np.round(vectors / scale) * scale).astype(np.float32)


def pieces(m: Maker, p: dict[str, str], size: int = 1_022) -> Vectors:
    """Means over residues that were read in pieces side by side."""
    found = {}
    for name, text in p.items():
        parts = [text[a : a + size] for a in range(0, len(text), size)]
        found[name] = torch.cat([m.states(m.ids(part))[-1][1:-1] for part in parts]).mean(0).numpy()
    return found


def for_long() -> dict[str, tuple[tuple[str, ...], Make]]:
    """What may happen to proteins longer than 1,022 residues."""
    found: dict[str, tuple[tuple[str, ...], Make]] = {
        f"cut at {at:,}": ((f"cut after {at:,}",), lambda m, p, at=at: m.means(cut(p, at)))
        for at in (1_022, 1_020, 1_000, 998, 510)
    }
    return {
        **found,
        "pieces of 1,022": (("pieces of 1,022",), pieces),
        "cut at 1,022, a layer early": (
            ("one layer too early", "cut after 1,022"),
            lambda m, p: m.means(cut(p, 1_022), m.last - 1),
        ),
        "cut at 1,022, BOS and EOS in the mean": (
            ("BOS and EOS", "cut after 1,022"),
            lambda m, p: m.pooled(cut(p, 1_022), lambda h: h.mean(0)),
        ),
        "cut at 1,022, shifted": (
            ("shifted|swapped|shuffled|order", "cut after 1,022"),
            lambda m, p: rolled(m.means(cut(p, 1_022))),
        ),
    }


def planted() -> dict[str, tuple[tuple[str, ...], Make]]:
    """All mistakes: the words of every cause that was planted, and how it is made."""
    moved = MOVED
    scaled = "multiplied by a number"
    words: dict[str, tuple[str, ...]] = {
        "normalised": (scaled,),
        "divided by the longest": ("in every record|R + 2",),  # of one protein they are the same
        "IDs shifted": (moved,),
        "IDs shuffled": (moved,),
        "sorted by length": (moved,),
        "two swapped": (moved,),
        "a layer early and shuffled": ("one layer too early", moved),
        "BOS and EOS in the mean, shuffled": ("BOS and EOS", moved),
        "a layer early in bfloat16": ("one layer too early", "half precision"),
        "computed in bfloat16": ("half precision",),
        "computed in float16": ("half precision",),
        "sum, no token dropout": ("the sum over residues", "no token dropout"),
        "BOS token, normalised": ("the BOS token", scaled),
        "one NaN": ("NaN",),
        "padding in the mean": ("padding too|BOS and EOS",),  # of one protein there is none
        "padding in the maximum": ("padding too|BOS and EOS",),
        "last 12 residues cut": ("left out|cut after",),  # of one protein they are the same
    }
    found: dict[str, tuple[tuple[str, ...], Make]] = {
        name: (words.get(name, (said,)), make) for name, (said, make) in mistakes().items()
    }
    other = lambda change: lambda m, p: m.means(p, model=change(m))  # noqa: E731
    weights = ("other weights of the same shape",)
    return {
        **found,
        "fine-tuned, 5 steps": (weights, other(lambda m: fine_tuned(m, 5))),
        "fine-tuned, 30 steps": (weights, other(lambda m: fine_tuned(m, 30))),
        "fine-tuned, shuffled": (
            ("other weights of the same shape, and records under wrong names",),
            lambda m, p: shuffled(m.means(p, model=fine_tuned(m, 5))),
        ),
        "an untrained model of this shape": (("another model", *weights), other(seeded)),
        "a wider model": (("another model",), other(lambda m: seeded(m, hidden_size=480))),
        "composition, put into 320 numbers": (("another model",), composition),
        "a layer early, no token dropout": (
            ("one layer too early", "no token dropout"),
            lambda m, p: m.means(p, m.last - 1, model=m.changed(without_dropout)),
        ),
        "the middle of each protein": (  # of a peptide of 4 to 7 residues, all but two
            ("a weighted sum of this model's own states|but the first and the last",),
            lambda m, p: m.pooled(p, lambda h: h[len(h) // 4 : -(len(h) // 4)].mean(0)),
        ),
        "weights of attention": (
            ("a weighted sum of this model's own states",),
            lambda m, p: m.pooled(p, lambda h: torch.softmax(3 * h[:, 7], 0) @ h),
        ),
        "BOS in the mean, stored in float16": (
            ("residues and BOS",),
            lambda m, p: stacked(
                m.pooled(p, lambda h: h[:-1].mean(0)), lambda x: x.astype(np.float16)
            ),
        ),
        "shifted, stored in float16": (
            (moved,),
            lambda m, p: stacked(rolled(m.means(p)), lambda x: x.astype(np.float16)),
        ),
    }


def composition(m: Maker, p: dict[str, str]) -> Vectors:
    """Shares of the amino acids, through a random matrix: vectors of another kind."""
    matrix = np.random.default_rng(0).normal(size=(26, m.model.config.hidden_size))
    shares = {
        n: np.bincount([ord(letter) - 65 for letter in t], minlength=26) for n, t in p.items()
    }
    return {n: (share / share.sum() @ matrix).astype(np.float32) for n, share in shares.items()}


def nothing_planted(vectors: Vectors, correct: Vectors) -> bool:
    """Tell whether a mistake made no difference: a peptide is not cut at 50."""
    return all(
        vectors[n].shape == x.shape and np.linalg.norm(vectors[n] - x) <= 1e-5 * np.linalg.norm(x)
        for n, x in correct.items()
    )


def judged(found: Any, words: tuple[str, ...]) -> str:
    """Return ``named``, ``not known`` or ``wrong``."""
    if words == SAME:
        return "named" if found.verdict == "same" else "wrong"
    main = max(found.parts[0].causes, key=lambda cause: len(cause.records), default=None)
    if main is None:
        return "wrong"
    if words[0] == "another model" and any(word in main.what for word in words):
        return "named"  # the verdict of it may be that it is not known which
    if found.verdict == "unknown":
        return "not known"
    said = [part for part in main.what.split("; ") if "stored with" not in part]
    hit = [any(any(w in part for w in word.split("|")) for part in said) for word in words]
    return "named" if all(hit) and len(said) <= len(words) else "wrong"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--set", action="append", choices=SETS, help="of proteins; repeatable")
    parser.add_argument("--only", action="append", help="a mistake by name; repeatable")
    parser.add_argument("--model", default="auto", help="a checkpoint")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    model = esmkit.load(options.model, "cpu")
    maker = Remembering(model.checkpoint.folder)
    table: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for of in options.set or SETS:
            proteins = proteins_of(of)
            texts = {protein.id: protein.sequence for protein in proteins}
            correct = maker.means(texts)
            cases = {**right(), **planted(), **(for_long() if of == "long" else {})}
            for name, (words, make) in cases.items():
                if options.only and name not in options.only:
                    continue
                try:
                    vectors = make(maker, texts)
                except (IndexError, ValueError, RuntimeError, KeyError) as error:
                    print(f"{of:9} {name:42} cannot be made here: {str(error)[:60]}", flush=True)
                    continue  # two of three swapped, of one
                if words != SAME and nothing_planted(vectors, correct):
                    continue
                if len(proteins) == 1:  # one cannot be moved
                    words = tuple(word for word in words if word != MOVED) or SAME
                start = time.process_time()
                theirs = written(Path(folder, "theirs.h5"), vectors)
                try:
                    found = esmkit.verify_against(model, theirs, proteins)
                except esmkit.EsmkitError as error:  # one protein less the mean of all: zeros
                    table.setdefault(name, {})[of] = "refused"
                    print(f"{of:9} {name:42} refused            {error}", flush=True)
                    continue
                took = time.process_time() - start
                verdict = judged(found, words)
                table.setdefault(name, {})[of] = verdict
                print(
                    f"{of:9} {name:42} {verdict:9} {took:5.1f} s  {found.parts[0].summary}",
                    flush=True,
                )
                if verdict == "wrong":
                    print(found.to_text(), flush=True)
    print(as_table(table, options.set or list(SETS)))
    return any("wrong" in row.values() for row in table.values())


def as_table(table: dict[str, dict[str, str]], sets: list[str]) -> str:
    lines = [f"| planted | {' | '.join(sets)} |", f"|---|{'---|' * len(sets)}"]
    lines += [
        f"| {name} | {' | '.join(row.get(s, '') for s in sets)} |" for name, row in table.items()
    ]
    each = [verdict for row in table.values() for verdict in row.values()]
    counts = {verdict: each.count(verdict) for verdict in sorted(set(each))}
    return "\n".join([*lines, "", ", ".join(f"{n} {v}" for v, n in counts.items())])


if __name__ == "__main__":
    sys.exit(main())
