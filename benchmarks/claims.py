"""Two measurements of docs/explain/claims.md: ``python -m benchmarks.claims``, about a minute.

What is lost when heads are taken away, one at a time and a layer's together; and whether attention
weights say which residues a guess depends on. On proteins held out from every fit of esmkit.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

import esmkit
from esmkit.reference.recurrent import LETTERS
from esmkit.sequences import TOKENS

KNOWN = [TOKENS.index(letter) for letter in LETTERS]
LONGEST = 200  # residues, so that a pass is quick
FAR = 6  # residues apart at least, where what is near is left out


def interval(values: Sequence[float] | NDArray[np.float64], digits: int = 2) -> str:
    """Return a mean with its 95 % interval by a bootstrap over proteins, 2,000 resamples."""
    values = np.asarray(values, float)
    means = np.random.default_rng(0).choice(values, (2_000, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def losses(model, proteins, usual, without: Sequence[str]) -> NDArray[np.float64]:
    """Return the loss at every tenth residue, hidden, of each protein, with heads at their means."""
    hidden = {protein.id: range(4, len(protein), 10) for protein in proteins}
    edit = {f"{head}.output": usual for head in without}
    found = []
    for seen in model.trace(proteins, mask=hidden, edit=edit):
        places = [place for place in seen.mask if seen.sequence[place] in LETTERS]
        right = [LETTERS.index(seen.sequence[place]) for place in places]
        logits = torch.as_tensor(seen.logits[places][:, KNOWN]).double()
        found.append(-logits.log_softmax(dim=1)[range(len(places)), right].mean().item())
    return np.array(found)


def removal(model, proteins) -> dict[str, str]:
    """Return by how much the loss grows without some heads: two drawn of each layer, and layers."""
    usual = esmkit.inside.mean_of(model, esmkit.data.demo_proteins(), "L*.head_output")
    layers = range(model.layers)
    every = {n: [f"L{n}H{head}" for head in range(model.heads)] for n in layers}
    draw = np.random.default_rng(0)
    single = [str(head) for n in layers for head in draw.choice(every[n], 2, replace=False)]
    whole = losses(model, proteins, usual, [])
    apart = {head: losses(model, proteins, usual, [head]) - whole for head in single}
    worst = max(apart, key=lambda head: apart[head].mean())
    said = {"loss, all heads in place": interval(whole)}
    said[f"one head, mean of {len(single)} drawn"] = interval(np.mean([*apart.values()], axis=0), 3)
    said[f"one head, the largest of these ({worst})"] = interval(apart[worst], 3)
    for n in layers:
        said[f"all heads of layer {n}"] = interval(losses(model, proteins, usual, every[n]) - whole)
    everything = [head for heads in every.values() for head in heads]
    said["all heads"] = interval(losses(model, proteins, usual, everything) - whole)
    return said


def weights_and_influence(model, proteins) -> dict[str, str]:
    """Return rank correlations of attention from a hidden residue with what its guess depends on.

    The latter is the norm of the gradient of the 20 log-probabilities (one random mixture of them)
    with respect to the embedding of each other residue.
    """
    draw = np.random.default_rng(0)
    names = (
        "mean of all heads",
        "mean of the last layer",
        "largest of all heads",
        "distance alone",
    )
    found: dict[tuple[str, int], list[float]] = {(n, f): [] for n in names for f in (1, FAR)}
    for protein in proteins:
        at = len(protein) // 2
        mixture = torch.from_numpy(draw.normal(size=len(LETTERS)))
        seen = model.trace(protein, keep="L*.weights", mask=[at])
        slope = seen.gradient(
            lambda s, at=at, mixture=mixture: (
                s.logits[at, KNOWN].double().log_softmax(dim=-1) @ mixture
            ),
            of=["embedding"],
            dtype="float32",
        )["embedding"]
        influence = np.linalg.norm(slope, axis=1)
        rows = np.stack([seen[f"L{n}.weights"][:, at] for n in range(model.layers)])  # (N, H, R)
        distance = np.abs(np.arange(len(protein)) - at)
        guesses = (rows.mean((0, 1)), rows[-1].mean(0), rows.max((0, 1)), -distance)
        for name, guess in zip(names, guesses, strict=True):
            for far in (1, FAR):
                there = distance >= far
                found[name, far].append(
                    float(np.asarray(spearmanr(guess[there], influence[there]))[0])
                )
    said = {1: "all other residues", FAR: f"{FAR} or more apart"}
    return {f"{name}, {said[far]}": interval(values) for (name, far), values in found.items()}


def main() -> None:
    """Print both."""
    warnings.simplefilter("ignore")  # the weights are named below
    torch.set_num_threads(1)
    model = esmkit.load()
    print(model.checkpoint.name)
    proteins = [p for p in esmkit.data.training_proteins("held_out") if len(p) <= LONGEST]
    for name, value in removal(model, proteins[:20]).items():
        print(f"{name}: {value}", flush=True)
    for name, value in weights_and_influence(model, proteins[:24]).items():
        print(f"{name}: {value}", flush=True)


if __name__ == "__main__":
    main()
