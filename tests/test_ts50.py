"""TS50: esmkit's reading of its files against labels.tsv, which data/make_ts50.py computed with
numpy and with mkdssp 4.2.2 (data/ts50/README.md)."""

import csv
from pathlib import Path

import numpy as np
import pytest

from esmkit.data import demo_proteins, demo_structure, ts50, ts50_folder
from esmkit.structure import Structure

RANGES = {"short": (6, 11), "medium": (12, 23), "long": (24, 10**6)}
THREE = str.maketrans("HGIEBTS-", "HHHEECCC")


@pytest.fixture(scope="module")
def labels() -> dict[str, dict[str, str]]:
    with (ts50_folder() / "labels.tsv").open() as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    assert len(rows) == 50
    return {row["id"]: row for row in rows}


def counts(structure: Structure) -> dict[str, int]:
    separation = np.abs(np.subtract.outer(np.arange(len(structure)), np.arange(len(structure))))
    both = structure.resolved[:, None] & structure.resolved[None, :]
    contacts = structure.contacts()
    np.testing.assert_array_equal(contacts, contacts.T)
    found = {"length": len(structure), "resolved": int(structure.resolved.sum())}
    found["disulfides"] = len(structure.disulfides)
    for name, (low, high) in RANGES.items():
        inside = np.triu((separation >= low) & (separation <= high) & both)
        found[f"pairs_{name}"] = int(inside.sum())
        found[f"contacts_{name}"] = int((contacts & inside).sum())
    for letter in "HEGB":
        found[letter] = structure.secondary_structure.count(letter)
    return found


def test_every_chain_has_the_numbers_of_its_labels(labels: dict[str, dict[str, str]]):
    structures = ts50()
    assert [s.id for s in structures] == list(labels)
    for structure in structures:
        found = counts(structure)
        assert {k: str(v) for k, v in found.items()} == {k: labels[structure.id][k] for k in found}


def test_the_published_totals():
    totals = [counts(structure) for structure in ts50()]
    total = {key: sum(row[key] for row in totals) for key in totals[0]}
    assert total["length"] == 6860
    assert total["resolved"] == 6858  # 1i8n 44 and 2xr6 275 have no Cβ
    assert (min(t["length"] for t in totals), max(t["length"] for t in totals)) == (79, 173)
    assert total["disulfides"] == 43
    assert sum(t["disulfides"] > 0 for t in totals) == 15
    rates = [total[f"contacts_{name}"] / total[f"pairs_{name}"] for name in RANGES]
    np.testing.assert_allclose(rates, [0.054, 0.040, 0.027], atol=5e-4)
    # no chain is broken, so no sequence has an X
    assert not any("X" in s.sequence for s in ts50())
    noted = {s.id: s.notes for s in ts50() if s.notes}
    assert noted == dict.fromkeys(
        ("1i8n_A", "2xr6_A"), ("1 residue(s) without Cβ count as not resolved",)
    )


def test_secondary_structure_is_that_of_mkdssp(labels: dict[str, dict[str, str]]):
    ours = "".join(s.secondary_structure for s in ts50())
    theirs = "".join(labels[s.id]["dssp"] for s in ts50())
    assert len(ours) == len(theirs) == 6860
    assert {x: theirs.count(x) for x in "HEGBI"} == {
        "H": 2198,
        "E": 1724,
        "G": 264,
        "B": 50,
        "I": 26,
    }
    same = np.array(list(ours)) == np.array(list(theirs))
    assert same.mean() >= 0.999  # measured: every letter; room for another release of mdtraj
    three = "".join(s.secondary_structure_3 for s in ts50())
    assert (np.array(list(three)) == np.array(list(theirs.translate(THREE)))).mean() >= 0.999


def test_strand_partners_are_those_of_mkdssp(labels: dict[str, dict[str, str]]):
    total = 0
    for structure in ts50():
        text = labels[structure.id]["bridges"]
        pairs = [] if text == "-" else [tuple(map(int, p.split(":"))) for p in text.split(",")]
        assert [tuple(p) for p in structure.strand_partners.tolist()] == pairs, structure.id
        total += len(pairs)
    assert total == 1126


def test_residues_in_strands_have_partners():
    paired = in_strands = 0
    for structure in ts50():
        partners = set(structure.strand_partners.ravel().tolist())
        letters = structure.secondary_structure
        strand = {i for i, letter in enumerate(letters) if letter in "EB"}
        # B is a lone bridge, so it has a partner; E without one is the inside of a bulge
        assert {i for i in strand if letters[i] == "B"} <= partners
        # a partner without E or B is in a helix, which DSSP puts first
        assert {letters[i] for i in partners - strand} <= set("HGI")
        in_strands += len(strand)
        paired += len(strand & partners)
    assert (in_strands, paired) == (1774, 1665)


def test_the_list_is_fresh_and_the_structures_are_shared():
    ts50().clear()
    assert len(ts50()) == 50
    assert ts50()[0] is ts50()[0]


def test_files_are_small_and_deterministic():
    files = sorted(ts50_folder().glob("*.gz"))
    assert len(files) == 50
    assert sum(f.stat().st_size for f in files) < 1_000_000
    for path in [*files, demo_structure().path]:
        assert path.read_bytes()[3:8] == bytes(5)  # no name, no time


def test_the_demo_structure_is_that_of_the_first_demo_protein():
    assert demo_structure().sequence == demo_proteins()[0].sequence
    assert isinstance(demo_structure().path, Path)
