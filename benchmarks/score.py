"""Every site hidden in turn: esmkit beside transformers and fair-esm's script, on the same weights.

    python -m benchmarks score

All get the default checkpoint's encoder with one masked-LM head, drawn at random: how long it takes
does not depend on its values. All return the logits of each hidden residue; ``agreement`` compares
them. Loading the model and one warm-up are not counted.

- Hugging Face is ``EsmForMaskedLM`` with SDPA, one copy at a time or in batches of copies, those of
  several proteins sorted by length.
- fair-esm is the loop for ``masked-marginals`` of its ``examples/variant-prediction/predict.py``: one
  pass for each token, BOS and EOS too.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import run_in_turn, table
from benchmarks.proteome import proteome
from esmkit.sequences.tokens import MASK, PAD, encode

Work = Callable[[], list[NDArray[np.float32]]]

SETS = ("one protein of 300 residues", "one protein of 100 residues", "40 peptides")
"""What is scored; the peptides are the first 20 to 59 residues of proteins."""

WARM_UP = "MKTVRQERLKSIVRILERSKEPVSGAQLAEELS"


def sequences(which: str) -> list[str]:
    """Return the sequences of a set, from the proteome."""
    found = [protein.sequence.rstrip("*") for protein in proteome()]
    if which == SETS[2]:
        return [sequence[: 20 + i] for i, sequence in enumerate(found[:40])]
    residues = int(which.split()[3])
    return [next(sequence for sequence in found if len(sequence) >= residues)[:residues]]


def write_checkpoint(folder: Path) -> None:
    """Write the default checkpoint with a masked-LM head that is drawn at random."""
    import torch
    from transformers import EsmForMaskedLM

    from esmkit.encoder.checkpoints import resolve

    torch.manual_seed(0)
    network = EsmForMaskedLM.from_pretrained(resolve("auto").folder)
    network.save_pretrained(folder)


def esmkit_masked(folder: Path, which: str, weights: str, *, compiled: bool | None = None) -> Work:
    """What ``model.log_probabilities`` and ``esmkit score`` run on."""
    import esmkit
    from esmkit.encoder.masked import masked_logits

    model = esmkit.load(weights, compiled=compiled)
    given = [(encode(x), range(1, len(x) + 1)) for x in sequences(which)]
    warm_up = encode(WARM_UP)
    list(masked_logits(model, [(warm_up, range(1, len(warm_up) - 1))]))
    return lambda: list(masked_logits(model, given))


def hugging_face(folder: Path, which: str, weights: str, *, tokens: int) -> Work:
    """``EsmForMaskedLM`` with SDPA: at most that many tokens a batch, at least one copy."""
    import torch
    from transformers import EsmForMaskedLM

    network = EsmForMaskedLM.from_pretrained(weights, attn_implementation="sdpa").eval()
    ids = [encode(x) for x in sequences(which)]

    def run(batch: list[tuple[int, int]]) -> list[NDArray[np.float32]]:
        longest = max(len(ids[protein]) for protein, _ in batch)
        given = torch.full((len(batch), longest), PAD)
        for row, (protein, place) in enumerate(batch):
            given[row, : len(ids[protein])] = torch.from_numpy(ids[protein])
            given[row, place] = MASK
        padded = {} if not bool((given == PAD).any()) else {"attention_mask": (given != PAD).long()}
        with torch.inference_mode():
            logits = network(given, **padded).logits
        return [logits[row, place].numpy() for row, (_, place) in enumerate(batch)]

    def work() -> list[NDArray[np.float32]]:
        found = [np.zeros((len(x) - 2, 33), np.float32) for x in ids]
        order = sorted(range(len(ids)), key=lambda protein: -len(ids[protein]))
        copies = [
            (protein, place) for protein in order for place in range(1, len(ids[protein]) - 1)
        ]
        while copies:
            count = max(1, tokens // len(ids[copies[0][0]]))
            batch, copies = copies[:count], copies[count:]
            for (protein, place), logits in zip(batch, run(batch), strict=True):
                found[protein][place - 1] = logits
        return found

    run([(0, 1)])
    return work


def fair_esm(folder: Path, which: str, weights: str) -> Work:
    """The loop of fair-esm's ``predict.py``, which goes on with logarithms of probabilities."""
    import torch
    from esm import Alphabet
    from esm.model.esm2 import ESM2

    network = ESM2(6, 320, 20).eval()
    network.load_state_dict(fair_esm_state(Path(weights)), strict=False)
    alphabet = Alphabet.from_architecture("ESM-1b")
    convert: Any = alphabet.get_batch_converter()
    chosen = sequences(which)

    def run(sequence: str, most: int | None = None) -> NDArray[np.float32]:
        _, _, tokens = convert([("protein", sequence)])
        rows = []
        for i in range(tokens.size(1) if most is None else most):
            masked = tokens.clone()
            masked[0, i] = alphabet.mask_idx
            with torch.no_grad():
                rows.append(torch.log_softmax(network(masked)["logits"], dim=-1)[:, i])
        return torch.cat(rows).numpy()[1:-1]

    run(chosen[0], most=1)
    return lambda: [run(sequence) for sequence in chosen]


def fair_esm_state(folder: Path) -> dict[str, Any]:
    """Return the tensors of a folder, head included, under fair-esm's names."""
    from safetensors.torch import load_file

    from benchmarks.weights import FAIR_ESM_NAMES

    state = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        new = name.removeprefix("esm.").removeprefix("encoder.")
        if name.startswith("lm_head"):
            new = new.replace("decoder.", "")
        else:
            new = new.replace("layer.", "layers.", 1)
            theirs = next((theirs for theirs in FAIR_ESM_NAMES if theirs in new), None)
            new = new if theirs is None else new.replace(theirs, FAIR_ESM_NAMES[theirs])
        state[new] = tensor
    state["lm_head.weight"] = state["embed_tokens.weight"]
    return state


PROGRAMS: dict[str, Callable[..., Work]] = {
    "esmkit": esmkit_masked,
    "esmkit --no-compile": partial(esmkit_masked, compiled=False),
    "Hugging Face, SDPA, one by one": partial(hugging_face, tokens=1),
    "Hugging Face, SDPA, 1,024 tokens a batch": partial(hugging_face, tokens=1_024),
    "Hugging Face, SDPA, 4,096 tokens a batch": partial(hugging_face, tokens=4_096),
    "Hugging Face, SDPA, 16,384 tokens a batch": partial(hugging_face, tokens=16_384),
    "fair-esm, predict.py's loop": fair_esm,
}


def agreement(which: str, weights: str) -> dict[str, float]:
    """Return the largest difference of each program's log probabilities from esmkit's."""
    results = {}
    for name, prepare in PROGRAMS.items():
        logits = np.concatenate(prepare(Path(), which=which, weights=weights)()).astype(np.float64)
        largest = logits.max(-1, keepdims=True)
        results[name] = logits - largest - np.log(np.exp(logits - largest).sum(-1, keepdims=True))
    ours = results["esmkit"]
    return {name: float(np.abs(found - ours).max()) for name, found in results.items()}


def report(rounds: int) -> list[str]:
    """Run everything and return a table for each set."""
    lines = ["Every site hidden in turn; logits of the hidden residues in memory."]
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder))
        apart = agreement(SETS[2], folder)
        for which in SETS:
            sites = sum(map(len, sequences(which)))
            given: dict[str, object] = {"which": which, "weights": folder}
            results = run_in_turn("benchmarks.score", list(PROGRAMS), given, rounds)
            lines += ["", f"{which[0].upper()}{which[1:]}, {sites:,} sites:", ""]
            lines += table(results, "esmkit")
    lines += ["", "Largest difference of a log probability from esmkit's, on the peptides: "]
    lines[-1] += "; ".join(f"{n} {x:.1e}" for n, x in apart.items() if n != "esmkit") + "."
    return lines
