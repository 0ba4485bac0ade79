"""A file and the name of a chain to a :class:`Structure`; a folder to all of its chains."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from esmkit.arguments import checked
from esmkit.errors import InputError
from esmkit.structure.around import around
from esmkit.structure.confidence import usable_plddt
from esmkit.structure.contents import StructureFile
from esmkit.structure.files import read_file
from esmkit.structure.letters import letter_of
from esmkit.structure.placing import place
from esmkit.structure.record import Structure
from esmkit.structure.residues import Chain, Residue, read_chain
from esmkit.text import missing

__all__ = ["chains_of", "read_structure", "read_structures", "split_chain"]

ENDINGS = (".pdb", ".ent", ".cif", ".mmcif")
"""Names of structure files in a folder, each also with ``.gz``."""

LISTED_CHAINS = 12
"""How many chains a message lists; a ribosome has eighty."""


def split_chain(text: str) -> tuple[Path, str | None]:
    r"""Split a text ``FILE:CHAIN`` into its parts.

    Without a chain, or if such a file exists, there is no chain.

    Raises
    ------
    InputError
        If nothing follows the colon.

    Examples
    --------
    >>> split_chain("1ake.cif:A")[1]
    'A'
    >>> split_chain(r"C:\data\1ake.cif")[1] is None
    True
    """
    path, colon, chain = text.rpartition(":")
    is_drive = len(path) == 1 and path.isalpha() and not Path(path).exists()
    if not colon or not path or is_drive or "/" in chain or "\\" in chain or _exists(text):
        return Path(text), None
    if not chain:
        raise InputError(
            f"{text!r} names no chain after the colon; write FILE:CHAIN, such as 1ake.pdb:A"
        )
    return Path(path), chain


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


@checked
def chains_of(path: str | Path, *, model: int | None = None) -> list[Chain]:
    """List the chains of a structure file and what each of them is.

    Parameters
    ----------
    path : str or pathlib.Path
    model : int, optional
        Number of the model in the file; default is the first.

    Returns
    -------
    list of Chain

    Raises
    ------
    InputError
        If the file cannot be read as a structure.

    Examples
    --------
    >>> print(*chains_of(esmkit.data.demo_structure().path), sep=", ")
    A (protein, 76 residues)
    """
    found = read_file(path, model)
    return [read_chain(found, chain)[0] for chain in found.chains]


@checked
def read_structure(
    path: str | Path,
    chain: str | None = None,
    *,
    model: int | None = None,
    predicted: bool = False,
) -> Structure:
    """Read one protein chain of a PDB or mmCIF file, plain or gzip.

    The sequence is the full one (SEQRES, entity_poly_seq) where the file has it; otherwise that
    of the residues with coordinates, with X for the gaps in the numbering. Modified residues have
    the letter of their parent (MSE is M); of alternate locations the one with the highest
    occupancy counts; ligands and waters are left out. Secondary structure is that of the chain among
    the other protein chains that the file has in the same model: strands pair across chains.

    Parameters
    ----------
    path : str or pathlib.Path
        The file; it may name the chain too, ``FILE:CHAIN``.
    chain : str, optional
        The authors' name of the chain. Not needed if there is one protein chain only.
    model : int, optional
        Number of the model in the file; default is the first.
    predicted : bool
        Take B-factors for pLDDT although the file does not say that it is predicted.

    Returns
    -------
    Structure

    Raises
    ------
    InputError
        If the file cannot be read, the chain is not there or is no protein, there are several
        protein chains and none was named, or the chain has no Cβ atoms.

    See Also
    --------
    read_structures : All chains of the files of a folder.
    chains_of : What is in a file.

    Examples
    --------
    >>> path = esmkit.data.demo_structure().path
    >>> read_structure(path, "A")
    Structure(1ubi_A: 76 residues, 76 resolved)
    >>> read_structure(f"{path}:A").secondary_structure[:20]
    '-EEEEEETTS-EEEEE--TT'
    """
    if chain is None:
        path, chain = split_chain(str(path))
    found = read_file(path, model)
    if chain is None:
        chain = _only_protein(found)
    asked = str(chain).strip()
    chain = found.also.get(asked, asked)
    if chain not in found.chains:
        raise InputError(f"{str(path)!r} has no chain {chain!r}; it has {_listed(found)}")
    structure = _build(
        found, chain, {name: read_chain(found, name) for name in found.chains}, predicted
    )
    if chain == asked or not found.labels:
        return structure
    note = f"{asked!r} is the label of this chain; its authors call it {chain!r}"
    return replace(structure, notes=(note, *structure.notes))


@checked
def read_structures(
    folder: str | Path,
    *,
    model: int | None = None,
    predicted: bool = False,
    report: list[tuple[Path, str]] | None = None,
) -> Iterator[Structure]:
    """Read every protein chain of every structure file in a folder, sorted by file name.

    Parameters
    ----------
    folder : str or pathlib.Path
        Its files ``.pdb``, ``.ent``, ``.cif`` and ``.mmcif``, each also with ``.gz``, are read.
    model : int, optional
        Number of the model in each file; default is the first.
    predicted : bool
        Take B-factors for pLDDT although a file does not say that it is predicted.
    report : list, optional
        Gets ``(path, reason)`` for each file that cannot be used, and for each chain of nucleic
        acid. Without it such a file is an error.

    Yields
    ------
    Structure
        IDs are unique: the second ``1ubi_A`` is ``1ubi_A~2``.

    Raises
    ------
    InputError
        If the folder is not there or has no structure files; without ``report`` also if one of
        them cannot be used.

    See Also
    --------
    read_structure : One chain of one file.

    Examples
    --------
    >>> structures = read_structures(esmkit.data.ts50_folder())
    >>> next(structures)  # each is read when its turn comes
    Structure(1ahs_A: 126 residues, 126 resolved)
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(missing(folder, "folder"))
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.name.lower().removesuffix(".gz").endswith(ENDINGS)
    ]
    if not paths:
        raise InputError(
            f"{str(folder)!r} has no structure files; put files there that end in "
            f"{', '.join(ENDINGS)}, or these with .gz"
        )
    seen: dict[str, int] = {}
    for path in paths:
        try:
            structures = _all_proteins(path, model, predicted, report)
        except InputError as error:
            if report is None:
                raise
            report.append((path, str(error)))
            continue
        for structure in structures:
            seen[structure.id] = number = seen.get(structure.id, 0) + 1
            yield structure if number == 1 else replace(structure, id=f"{structure.id}~{number}")


def _all_proteins(
    path: Path, model: int | None, predicted: bool, report: list[tuple[Path, str]] | None
) -> list[Structure]:
    found = read_file(path, model)
    every = {chain: read_chain(found, chain) for chain in found.chains}
    chains = [summary for summary, *_ in every.values()]
    proteins = [chain.chain for chain in chains if chain.kind == "protein"]
    if not proteins:
        _only_protein(found)  # says what is there instead
    structures = []
    for name in proteins:
        try:
            structures.append(_build(found, name, every, predicted))
        except InputError as error:
            if report is None:
                raise
            report.append((path, str(error)))
    if report is not None:
        report.extend(
            (path, f"chain {chain} is no protein") for chain in chains if "nucleic" in chain.kind
        )
    return structures


def _listed(found: StructureFile, kind: str = "") -> str:
    chains = [read_chain(found, chain)[0] for chain in found.chains]
    chains = [str(chain) for chain in chains if kind in chain.kind]
    more = len(chains) - LISTED_CHAINS
    return ", ".join(chains[:LISTED_CHAINS]) + (f" and {more:,} more" if more > 0 else "")


def _only_protein(found: StructureFile) -> str:
    chains = [read_chain(found, chain)[0] for chain in found.chains]
    proteins = [chain.chain for chain in chains if chain.kind == "protein"]
    name = str(found.path)
    if not proteins:
        raise InputError(f"{name!r} has no protein chain; it has {_listed(found)}")
    if len(proteins) > 1:
        raise InputError(
            f"{name!r} has {len(proteins)} protein chains: {_listed(found, 'protein')}; name one, "
            f"as in {found.path.name}:{proteins[0]}"
        )
    return proteins[0]


def _build(
    found: StructureFile,
    chain: str,
    every: dict[str, tuple[Chain, list[Residue], list[str]]],
    predicted: bool,
) -> Structure:
    summary, residues, more = every[chain]
    what = f"chain {chain!r} of {str(found.path)!r}"
    if not residues:
        raise InputError(
            f"{what} is no protein: {summary}; the protein chains are "
            f"{_listed(found, 'protein') or 'none'}"
        )
    sequence, positions, found_notes = place(found, chain, residues)
    notes = [*found.notes.get(chain, []), *found_notes, *more]
    size = len(sequence)
    numbers = np.full(size, "", dtype=object)
    numbers[positions] = [residue.author_number for residue in residues]
    atoms = {name: _positions(residues, name) for name in ("N", "CA", "C", "O", "CB", "SG")}
    letters = [letter_of(residue.name, found.parents) for residue in residues]
    is_glycine = np.array([letter == "G" for letter in letters])
    without = ~np.isfinite(atoms["CB"][:, 0]) & ~is_glycine
    if without.any() and without.sum() == (~is_glycine).sum():
        ideal = ideal_cb(atoms["N"], atoms["CA"], atoms["C"])
        atoms["CB"][without] = ideal[without]
        without &= ~np.isfinite(atoms["CB"][:, 0])
        if without.sum() == (~is_glycine).sum():
            raise InputError(
                f"{what} has no Cβ atoms, between which contacts are measured (is it a Cα trace?); "
                "give a file with all atoms"
            )
        notes.append("no residue has a Cβ (a backbone alone); ideal ones were put on N, Cα and C")
    if without.any():
        notes.append(f"{without.sum()} residue(s) without Cβ count as not resolved")
    atoms["CB"][is_glycine] = atoms["CA"][is_glycine]

    def rows(*names: str) -> np.ndarray:
        array = np.full((size, len(names), 3), np.nan)
        array[positions] = np.stack([atoms[name] for name in names], axis=1)
        return array

    plddt = None
    if found.predicted_by or predicted:
        b_factors = np.full(size, np.nan)
        b_factors[positions] = [residue.b_factor for residue in residues]
        plddt, note = usable_plddt(b_factors)
        notes += [
            f"it is predicted, by {found.predicted_by or 'a program unknown'}; {note}"
        ] * bool(note)
    backbone = rows("N", "CA", "C", "O")
    others = (residues for name, (_, residues, _) in every.items() if name != chain)
    other_backbone, other_letters, in_place = around(backbone, others, found.parents)
    if in_place:
        notes.append(
            f"{in_place} other chain(s) lie where this one is (models written as chains?); "
            "secondary structure is computed without them"
        )
    return Structure(
        id=_name(found.path, chain),
        path=found.path,
        chain=chain,
        model=found.model,
        sequence=sequence,
        residue_numbers=tuple(numbers),
        backbone=backbone,
        cb=rows("CB")[:, 0],
        sg=rows("SG")[:, 0],
        notes=tuple(notes),
        plddt=plddt,
        around=other_backbone,
        around_letters=other_letters,
    )


def ideal_cb(n: np.ndarray, ca: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return where Cβ is bonded to Cα if lengths and angles are ideal (L-amino acids).

    Parameters
    ----------
    n, ca, c : numpy.ndarray
        float64, (R, 3), Å: N, Cα, C.

    Returns
    -------
    numpy.ndarray
        float64, (R, 3), Å; NaN where an atom is not there.

    References
    ----------
    Dauparas et al. 2022, Science 378, 49 (ProteinMPNN), supplement: the three coefficients.

    Examples
    --------
    >>> ubiquitin = esmkit.data.demo_structure()
    >>> n, ca, c = ubiquitin.backbone[:, :3].swapaxes(0, 1)
    >>> error = np.linalg.norm(ideal_cb(n, ca, c) - ubiquitin.cb, axis=1)
    >>> print(f"{np.median(error):.2f} Å")
    0.08 Å
    """
    one, two = ca - n, c - ca
    across = np.cross(one, two)
    return ca - 0.58273431 * across + 0.56802827 * one - 0.54067466 * two


def _positions(residues: list[Residue], name: str) -> np.ndarray:
    missing = (np.nan, np.nan, np.nan)
    return np.array([residue.atoms.get(name, missing) for residue in residues], dtype=np.float64)


def _name(path: Path, chain: str) -> str:
    """Return the ID: the file's name without its endings, and the chain; no blanks or controls."""
    name = path.name
    for ending in (".gz", *ENDINGS):
        if name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
    name = f"{name}_{chain}" if chain else name
    return "".join(c if c.isprintable() and not c.isspace() else "_" for c in name)
