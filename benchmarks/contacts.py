"""Contact maps: esmkit beside fair-esm's ``predict_contacts``, on the same weights.

    python -m benchmarks contacts

The 50 chains of TS50, or the demo proteins up to 1,022 residues; one map in memory per protein,
no files. fair-esm runs as in its README: a batch converter, and batches of 1 or of 8.
"""

from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import run_in_turn, table
from esmkit.data import demo_proteins, ts50
from esmkit.sequences.proteins import Protein


def proteins(which: str) -> list[Protein]:
    """Return the chains of TS50, or the demo proteins that fit the model."""
    if which == "TS50":
        return [structure.protein for structure in ts50()]
    return [protein for protein in demo_proteins() if len(protein) <= 1022]


def esmkit_contacts(folder: Path, which: str) -> Callable[[], None]:
    """``Esm2.contacts``, streamed."""
    import esmkit

    chosen = proteins(which)
    model = esmkit.load()
    model.contacts(chosen[0])  # the first pass of a process is slow, whatever it is

    def work() -> None:
        for result in model.contacts(chosen):
            assert len(result.probability) == len(result.sequence)

    return work


def fair_esm(folder: Path, which: str, batch: int = 1) -> Callable[[], None]:
    """``model.predict_contacts`` of fair-esm."""
    import torch
    from esm import Alphabet
    from esm.model.esm2 import ESM2

    from benchmarks.weights import fair_esm_state

    chosen = proteins(which)
    shape, state = fair_esm_state()
    network = ESM2(*shape).eval()
    network.load_state_dict(state, strict=False)
    convert = Alphabet.from_architecture("ESM-1b").get_batch_converter()

    def work() -> None:
        for start in range(0, len(chosen), batch):
            part = chosen[start : start + batch]
            _, _, tokens = convert([(p.id, p.sequence) for p in part])
            with torch.no_grad():
                maps = network.predict_contacts(tokens).numpy()
            assert len(maps) == len(part)

    with torch.no_grad():
        network.predict_contacts(convert([(chosen[0].id, chosen[0].sequence)])[2])
    return work


def fair_esm_batches(folder: Path, which: str) -> Callable[[], None]:
    """The same in batches of 8, in the order of the file."""
    return fair_esm(folder, which, batch=8)


PROGRAMS = {
    "esmkit": esmkit_contacts,
    "fair-esm, one at a time": fair_esm,
    "fair-esm, batches of 8": fair_esm_batches,
}


def report(rounds: int) -> list[str]:
    """Run everything and return a table for each set of proteins."""
    lines = []
    for which in ("TS50", "demo proteins"):
        found = proteins(which)
        lines += ["", f"{which}: {len(found)} chains, {sum(map(len, found)):,} residues:", ""]
        results = run_in_turn("benchmarks.contacts", list(PROGRAMS), {"which": which}, rounds)
        lines += table(results, next(iter(PROGRAMS)))
    return lines
