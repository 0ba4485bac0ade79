"""pLDDT: read where a file is a prediction, and nowhere else; and used to leave residues out."""

import dataclasses
import re
from pathlib import Path

import gemmi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esmkit.data import demo_structure, ts50
from esmkit.errors import InputError, OptionError
from esmkit.structure import Structure, read_structure, read_structures

ALPHAFOLD_DB = """\
HEADER                                            01-JUN-22
TITLE     ALPHAFOLD MONOMER V2.0 PREDICTION FOR MADE UP (P00000)
CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1
"""
ESM_ATLAS = """\
HEADER                                            18-OCT-22
TITLE     ESMFOLD V1 PREDICTION FOR INPUT
"""
X_RAY = "EXPDTA    X-RAY DIFFRACTION\n"
SOLVED_WITH = "TITLE     STRUCTURE OF X, SOLVED WITH AN ALPHAFOLD MODEL\n"
RESOLUTION = "REMARK   2 RESOLUTION.    1.90 ANGSTROMS.\n"


def chain(values: list[float]) -> gemmi.Structure:
    """Return a chain of alanines along a line, with one value for all atoms of a residue."""
    structure = gemmi.Structure()
    model, of = gemmi.Model(1), gemmi.Chain("A")
    for row, value in enumerate(values):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(row + 1, " ")
        residue.entity_type = gemmi.EntityType.Polymer
        for place, name in enumerate(("N", "CA", "C", "O", "CB")):
            atom = gemmi.Atom()
            atom.name, atom.element, atom.b_iso = name, gemmi.Element(name[0]), value
            atom.pos = gemmi.Position(3.8 * row + place, place % 2, row % 3)
            residue.add_atom(atom)
        of.add_residue(residue)
    model.add_chain(of)
    structure.add_model(model)
    structure.setup_entities()
    return structure


def pdb(folder: Path, values: list[float], head: str, name: str = "x.pdb") -> Path:
    path = folder / name
    lines = chain(values).make_pdb_string().splitlines()
    atoms = [line for line in lines if line.startswith(("ATOM", "TER", "END"))]
    path.write_text(head + "\n".join(atoms) + "\n")
    return path


def cif(folder: Path, values: list[float], name: str = "x.cif", **items: str) -> Path:
    """Write mmCIF, with further items: ``struct_title="..."`` is ``_struct.title``."""
    block = chain(values).make_mmcif_document().sole_block()
    for tag in list(block.get_mmcif_category_names()):
        if tag in ("_exptl.", "_software."):
            block.set_mmcif_category(tag, {})
    for key, value in items.items():
        category, _, item = key.partition("_")
        block.set_pair(f"_{category}.{item}", gemmi.cif.quote(value))
    path = folder / name
    path.write_text(block.as_string())
    return path


@pytest.mark.parametrize("head", [ALPHAFOLD_DB, ESM_ATLAS, "REMARK   1 MADE BY ColabFold 1.5\n"])
def test_a_prediction_that_says_so_has_its_plddt(tmp_path: Path, head: str) -> None:
    structure = read_structure(pdb(tmp_path, [91.5, 40.25, 70.0], head))
    assert structure.plddt is not None
    np.testing.assert_allclose(structure.plddt, [91.5, 40.25, 70.0])
    assert structure.to_frame()["plddt"].tolist() == structure.plddt.tolist()
    assert "below 70" in structure._repr_html_()
    with pytest.raises(ValueError, match="read-only"):
        structure.plddt[0] = 1


@pytest.mark.parametrize(
    "name",
    [
        "AF-P69905-F1-model_v4.pdb",
        "ranked_0.pdb",
        "unrelaxed_model_2_pred_0.pdb",
        "relaxed_model_1_multimer_v3_pred_0.pdb",
        "mine_unrelaxed_rank_001_alphafold2_ptm_model_3_seed_000.pdb",
        "mine_relaxed_rank_001_model_1.pdb",
        "ESMFold-mine.pdb",
        "mine_boltz_0.pdb",
    ],
)
def test_names_that_programs_give_their_files(tmp_path: Path, name: str) -> None:
    assert read_structure(pdb(tmp_path, [90.0, 80.0], "", name)).plddt is not None


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("", "x.pdb"),  # B-factors alone say nothing
        (X_RAY + ALPHAFOLD_DB, "x.pdb"),
        (SOLVED_WITH + X_RAY, "x.pdb"),
        (SOLVED_WITH + RESOLUTION, "x.pdb"),
        (X_RAY, "alphafold_template.pdb"),
        (
            "CRYST1   50.840   42.770   28.950  90.00  90.00  90.00 P 21 21 21    4\n",
            "ranked_0.pdb",
        ),
        ("TITLE     A BOLTZMANN ENSEMBLE\n", "x.pdb"),
        ("TITLE     SWISS-MODEL SERVER (https://swissmodel.expasy.org)\n", "x.pdb"),
    ],
)
def test_an_experiment_and_what_is_not_known_have_none(
    tmp_path: Path, head: str, name: str
) -> None:
    structure = read_structure(pdb(tmp_path, [91.5, 40.25, 70.0], head, name))
    assert structure.plddt is None
    assert "plddt" not in structure.to_frame()
    assert "pLDDT" not in structure._repr_html_()
    assert not structure.notes


def test_the_shipped_structures_are_no_predictions() -> None:
    assert [s.id for s in (demo_structure(), *ts50()) if s.plddt is not None] == []


def test_what_is_asked_for_is_taken(tmp_path: Path) -> None:
    path = pdb(tmp_path, [91.5, 40.25], "")
    structure = read_structure(path, predicted=True)
    np.testing.assert_allclose(structure.plddt, [91.5, 40.25])  # type: ignore[arg-type]
    assert [s.plddt is None for s in read_structures(tmp_path)] == [True]
    assert [s.plddt is None for s in read_structures(tmp_path, predicted=True)] == [False]


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ([0.9, 0.5], "its pLDDT is given from 0 to 1, and taken from 0 to 100"),
        ([0.0, 0.0], "its B-factors are all 0, so that there is no pLDDT"),
        ([120.0, 30.0], "its B-factors go from 30 to 120, so that they are no pLDDT"),
        ([-1.0, 30.0], "its B-factors go from -1 to 30, so that they are no pLDDT"),
    ],
)
def test_scales_and_what_cannot_be_plddt(tmp_path: Path, values: list[float], note: str) -> None:
    structure = read_structure(pdb(tmp_path, values, ESM_ATLAS))
    assert structure.notes[-1].startswith(f"it is predicted, by ESMFold; {note}")
    if structure.plddt is not None:
        np.testing.assert_allclose(structure.plddt, [90, 50])
    else:
        assert max(values) != 0.9


def local_metrics(folder: Path, values: list[float], metric: str = "pLDDT", **items: str) -> Path:
    """Write ModelCIF: B-factors say 1 to n, the table of local metrics the values."""
    path = cif(folder, [float(n + 1) for n in range(len(values))], "m.cif", **items)
    table = gemmi.cif.read(str(path)).sole_block()
    table.set_mmcif_category(
        "_ma_qa_metric.",
        {
            "id": ["1", "2", "3"],
            "name": ["pLDDT", metric, "PAE"],
            "type": ["pLDDT", metric, "PAE"],
            "mode": ["global", "local", "local-pairwise"],
        },
    )
    rows = range(1, len(values) + 1)
    table.set_mmcif_category(
        "_ma_qa_metric_local.",
        {
            "ordinal_id": [str(n) for n in rows],
            "model_id": ["1"] * len(values),
            "label_asym_id": ["Axp"] * len(values),
            "label_seq_id": [str(n) for n in rows],
            "label_comp_id": ["ALA"] * len(values),
            "metric_id": ["2"] * len(values),
            "metric_value": [f"{value:.2f}" for value in values],
        },
    )
    atoms = table.find("_atom_site.", ["label_asym_id", "label_seq_id", "auth_seq_id"])
    for row in atoms:
        row[0], row[1] = "Axp", row[2]
    path.write_text(table.as_string())
    return path


def test_the_table_of_modelcif_counts_before_b_factors(tmp_path: Path) -> None:
    structure = read_structure(local_metrics(tmp_path, [88.0, 33.0, 71.25]))
    np.testing.assert_allclose(structure.plddt, [88.0, 33.0, 71.25])  # type: ignore[arg-type]


def test_another_metric_of_modelcif_is_no_plddt(tmp_path: Path) -> None:
    assert read_structure(local_metrics(tmp_path, [0.8, 0.3], "QMEANDisCo")).plddt is None


def test_modelcif_of_an_experiment_is_no_prediction(tmp_path: Path) -> None:
    path = local_metrics(tmp_path, [88.0, 33.0], exptl_method="X-RAY DIFFRACTION")
    assert read_structure(path).plddt is None


@pytest.mark.parametrize(
    ("items", "is_predicted"),
    [
        ({"struct_title": "AlphaFold prediction for X"}, True),
        ({"software_name": "ColabFold"}, True),
        ({"entry_id": "AF-P69905-F1"}, False),  # the name of the block alone
        ({"struct_title": "X solved with AlphaFold", "exptl_method": "X-RAY DIFFRACTION"}, False),
        ({"software_name": "AlphaFold", "refine_ls_d_res_high": "1.9"}, False),
        ({"struct_title": "Esmfold", "exptl_method": "THEORETICAL MODEL"}, True),
    ],
)
def test_mmcif_says_it_in_its_items(
    tmp_path: Path, items: dict[str, str], is_predicted: bool
) -> None:
    structure = read_structure(cif(tmp_path, [88.0, 33.0], **items))
    assert (structure.plddt is not None) == is_predicted


# Leaving residues out


@given(st.lists(st.floats(0, 100).map(lambda v: round(v, 2)), min_size=3, max_size=30), st.data())
def test_residues_below_count_as_not_resolved(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], data: st.DataObject
) -> None:
    values = [*values, 50.0, 99.0]
    given = [value for value in values if not 0 < value <= 1]  # a share is refused, see below
    least = data.draw(st.sampled_from([*given, 0.0, 70.0]))
    folder = tmp_path_factory.mktemp("x")
    structure = read_structure(pdb(folder, values, ALPHAFOLD_DB))
    if max(values) <= 1 or structure.plddt is None:
        return
    sure = structure.confident(least)
    kept = np.array(values) >= least
    assert sure.resolved.tolist() == kept.tolist()
    # As if those residues were not in the file, which numbers and sequence still tell of
    both = np.ix_(kept, kept)
    np.testing.assert_array_equal(sure.contacts()[both], structure.contacts()[both])
    assert not sure.contacts()[~kept].any()
    assert np.isnan(sure.backbone[~kept]).all()
    np.testing.assert_array_equal(sure.backbone[kept], structure.backbone[kept])
    assert (sure.sequence, sure.residue_numbers) == (structure.sequence, structure.residue_numbers)
    left = int((~kept).sum())
    assert sure.notes[-1] == (
        f"{left} of {len(values)} residues have a pLDDT below {least:g} and count as not resolved"
    )
    assert structure.resolved.all()  # the one that it was made of is as it was
    assert sure.min_plddt == least


def test_secondary_structure_and_disulfides_go_with_their_residues() -> None:
    ubiquitin = demo_structure()
    plddt = np.full(76, 90.0)
    plddt[22:34] = 60  # the helix
    structure = dataclasses.replace(ubiquitin, plddt=plddt, sg=ubiquitin.cb)
    sure = structure.confident(70)
    assert ubiquitin.secondary_structure[22:34] == "HHHHHHHHHHHH"
    assert set(sure.secondary_structure[22:34]) == {"."}
    assert not set(sure.hydrogen_bonds.ravel()) & set(range(22, 34))
    assert np.isnan(sure.sg[22:34]).all()


@pytest.mark.parametrize("least", [0.7, 1.0, 0.05])
def test_a_share_is_no_plddt(least: float) -> None:
    with pytest.raises(OptionError, match=f"is hardly meant; give `min_plddt={100 * least:g}`"):
        demo_structure().confident(least)


@pytest.mark.parametrize("least", [-1, 101, float("nan")])
def test_numbers_that_are_no_plddt(least: float) -> None:
    with pytest.raises(OptionError, match="`min_plddt` is a number from 0 to 100, not"):
        demo_structure().confident(least)


def test_an_experimental_structure_is_refused() -> None:
    with pytest.raises(InputError, match=r"'1ubi_A' has no pLDDT.* leave `min_plddt` out"):
        demo_structure().confident(70)


def test_nothing_left_is_refused(tmp_path: Path) -> None:
    structure = read_structure(pdb(tmp_path, [60.0, 69.99], ALPHAFOLD_DB))
    with pytest.raises(InputError, match=re.escape("(the highest is 70.0); lower `min_plddt`")):
        structure.confident(70)


def test_reading_without_it_is_as_it_was(tmp_path: Path) -> None:
    """Coordinates do not depend on what the column of B-factors holds."""

    def arrays(structure: Structure) -> bytes:
        return b"".join(a.tobytes() for a in (structure.backbone, structure.cb, structure.sg))

    values = [91.5, 40.25, 70.0]
    plain = pdb(tmp_path, values, "")
    lines = plain.read_text().splitlines()
    odd = tmp_path / "odd.pdb"
    odd.write_text("\n".join(re.sub(r"^(ATOM.{56}).{6}", r"\1  what", line) for line in lines))
    said = pdb(tmp_path, values, ALPHAFOLD_DB, "said.pdb")
    assert len({arrays(read_structure(path)) for path in (plain, odd, said)}) == 1
