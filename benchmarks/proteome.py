"""The real input of the benchmarks: a bacterial proteome, from the wheel of pyhmmer.

2,100 proteins of a metagenome-assembled genome, 682,583 letters (`pyhmmer/tests/data/seqs`, extra
``bench``); the 28 over 1,022 residues are left out, so that every program does the same work.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from esmkit.errors import MissingDependencyError
from esmkit.sequences.proteins import Protein, read_fasta

FILE = "tests/data/seqs/938293.PRJEB85.HG003687.faa"
MOST_RESIDUES = 1022


def proteome(count: int | None = None, *, seed: int = 0) -> list[Protein]:
    """Return the proteins in file order, or ``count`` of them drawn at random, in file order."""
    spec = find_spec("pyhmmer")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            'the benchmarks embed the proteome that pyhmmer carries; `pip install "esmkit[bench]"`'
        )
    path = Path(spec.submodule_search_locations[0]) / FILE
    found = [protein for protein in read_fasta(path) if len(protein) <= MOST_RESIDUES]
    if count is None or count >= len(found):
        return found
    places = np.sort(np.random.default_rng(seed).permutation(len(found))[:count])
    return [found[place] for place in places]


def write_fasta(proteins: list[Protein], path: Path) -> Path:
    """Write proteins as FASTA and return the path."""
    path.write_text("".join(f">{p.id}\n{p.sequence.rstrip('*')}\n" for p in proteins))
    return path
