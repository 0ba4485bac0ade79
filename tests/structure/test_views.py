"""Links on a structure: what a viewer finds in the user's file is what was measured.

Gemmi reads the structures here, as an independent reader; PyMOL's commands are carried out by a
stand-in that knows only what Gemmi found. The scripts were also run with PyMOL 2.5.0 (76 of 76
distance objects of 1UBI, equal to 0.05 Å as they are printed) and the archive with Mol* 5.11.0.
"""

import io
import json
import re
import shlex
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esmkit import AttentionMaps, ContactMap
from esmkit.data import demo_structure
from esmkit.encoder.names import choose_heads
from esmkit.errors import InputError, OptionError
from esmkit.structure import Structure, read_structure

TOUCHING = 8.0


def contacts_of(structure: Structure, seed: int = 0) -> ContactMap:
    values = np.random.default_rng(seed).random((len(structure),) * 2, np.float32)
    return ContactMap(
        "made",
        "",
        structure.sequence,
        (values + values.T) / np.float32(2),
        source="chance",
        checkpoint="none",
    )


def length(one: Any, other: Any) -> float:
    return float(np.linalg.norm(np.subtract(one, other)))


def in_file(path: Path, model: int = 0, text: str | None = None) -> dict[tuple[str, ...], Any]:
    """Return the atoms of a file as Gemmi finds them, by chain, number, name and location."""
    if text is not None:
        kind = gemmi.CoorFormat.Mmcif if path.suffix == ".cif" else gemmi.CoorFormat.Pdb
        found = gemmi.read_structure_string(text, format=kind)
    else:
        found = gemmi.read_structure(str(path))
    return {
        (chain.name, str(residue.seqid), atom.name, atom.altloc.strip("\0")): atom.pos.tolist()
        for chain in found[model]
        for residue in chain
        for atom in residue
    }


class Cmd:
    """What PyMOL's ``cmd`` does in a script, by what Gemmi reads."""

    def __init__(self) -> None:
        self.atoms: list[tuple[tuple[str, ...], list[float]]] = []
        self.loaded: list[tuple[str, str]] = []
        self.lengths: dict[str, float] = {}
        self.settings: dict[tuple[str, str], Any] = {}
        self.groups: dict[str, list[str]] = {}

    def load(self, path: str, name: str, format: str, zoom: int) -> None:
        self.loaded.append((path, format))
        self.path = path
        self.atoms = list(in_file(Path(path)).items())

    def create(self, name: str, source: str, state: int, into: int) -> None:
        self.atoms = list(in_file(Path(self.path), state - 1).items())

    def iterate(self, selection: str, code: str, space: dict[str, Any]) -> None:
        for index, ((chain, resi, name, alt), _) in enumerate(self.atoms):
            if name in ("CA", "CB"):
                names = {"chain": chain, "resi": resi, "name": name, "alt": alt, "index": index}
                exec(code, {}, space | names)

    def distance(self, name: str, one: str, other: str) -> None:
        ends = [self.atoms[int(re.search(r"index (\d+)$", end)[1])][1] for end in (one, other)]  # type: ignore[index]
        assert name not in self.lengths
        self.lengths[name] = length(*ends)

    def set(self, setting: str, value: Any, name: str) -> None:
        self.settings[name, setting] = value

    def group(self, name: str, member: str) -> None:
        self.groups.setdefault(name, []).append(member)

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def run_in_pymol(path: Path) -> Cmd:
    """Carry out a script."""
    head, _, rest = path.read_text("ascii").partition("\npython\n")
    body, _, after = rest.partition("\npython end\n")
    assert all(line.startswith("# ") and line[-1] != "\\" for line in head.splitlines())
    assert after == ""
    cmd = Cmd()
    module = types.ModuleType("pymol")
    module.cmd = cmd  # type: ignore[attr-defined]
    sys.modules["pymol"] = module
    try:
        exec(compile(body, str(path), "exec"), {"__script__": str(path)})
    finally:
        del sys.modules["pymol"]
    return cmd


def expected(structure: Structure, values: np.ndarray, apart: int, count: int) -> list[Any]:
    """Return lengths of the strongest pairs and whether they touch, by a plain loop."""
    rows = [i for i in range(len(structure)) if np.isfinite(structure.cb[i]).all()]
    pairs = [(i, j) for i in rows for j in rows if j - i >= apart and not np.isnan(values[i, j])]
    pairs.sort(key=lambda pair: -values[pair])
    lengths = [length(structure.cb[i], structure.cb[j]) for i, j in pairs[:count]]
    return [(far, far < TOUCHING) for far in lengths]


def test_pymol_draws_a_distance_object_for_each_of_the_strongest_pairs(tmp_path: Path) -> None:
    structure = demo_structure()
    contacts = contacts_of(structure)
    cmd = run_in_pymol(contacts.on_structure(structure, tmp_path / "c.pml"))
    wanted = expected(structure, contacts.probability, 6, 76)
    assert cmd.loaded == [(str(structure.path.resolve()), "pdb")] or cmd.loaded[0][0].endswith(
        ".gz"
    )
    np.testing.assert_allclose(list(cmd.lengths.values()), [w for w, _ in wanted], atol=1e-3)
    touching = set(cmd.groups["1ubi_A_contacts_touching"])
    assert [name in touching for name in cmd.lengths] == [is_touching for _, is_touching in wanted]
    radii = [cmd.settings[name, "dash_radius"] for name in cmd.lengths]
    assert radii == sorted(radii, reverse=True)
    assert radii[0] == 0.3
    colours = {name: cmd.settings[name, "dash_color"] for name in cmd.lengths}
    assert {colours[name] for name in touching} == {"0x0072B2"}


def test_labels_are_letter_and_the_authors_number(tmp_path: Path) -> None:
    structure = demo_structure()
    values = np.zeros((76, 76), np.float32)
    values[3, 64] = values[64, 3] = 1
    contacts = ContactMap("u", "", structure.sequence, values)
    cmd = run_in_pymol(contacts.on_structure(structure, tmp_path / "c.pml", count=1))
    assert list(cmd.lengths) == ["1ubi_A_contacts_F4_S65"]


def chimerax_links(text: str, atoms: dict[tuple[str, ...], Any]) -> list[tuple[float, str]]:
    """Return length and colour of the pseudobonds of a command file."""
    found = []
    for line in text.splitlines():
        words = shlex.split(line, posix=False) if line.startswith("pbond") else []
        if words:
            ends = [chimerax_atom(word, atoms) for word in words[1:3]]
            found.append((length(*ends), words[4]))
    return found


def chimerax_atom(spec: str, atoms: dict[tuple[str, ...], Any]) -> list[float]:
    match = re.fullmatch(r'#[\d.]+(?:/(\w+)|//chain_id="(.+)")?:(-?\d+[A-Za-z]?)@(\w+)', spec)
    assert match, spec
    chain = match[1] or match[2]
    here = [
        xyz
        for (of, number, name, _), xyz in atoms.items()
        if (chain is None or of == chain) and (number, name) == (match[3], match[4])
    ]
    assert here
    return here[0]


def molstar_links(path: Path) -> list[tuple[float, str]]:
    """Return length and colour of the tubes of an archive, by the structure within it."""
    archive = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    tree = json.loads(archive.read("index.mvsj"))
    assert tree["metadata"]["version"] == "1"
    download = tree["root"]["children"][0]
    parse = download["children"][0]
    model = parse["children"][0]
    url = download["params"]["url"]
    assert parse["params"]["format"] == {".pdb": "pdb", ".cif": "mmcif"}[Path(url).suffix]
    atoms = in_file(Path(url), model["params"]["model_index"], archive.read(url).decode())
    found = []
    for node in model["children"]:
        for primitive in node.get("children", []) if node["kind"] == "primitives" else []:
            tube = primitive["params"]
            ends = [molstar_place(tube[end], atoms) for end in ("start", "end")]
            found.append((length(*ends), tube["color"]))
    return found


def molstar_place(end: Any, atoms: dict[tuple[str, ...], Any]) -> list[float]:
    if isinstance(end, list):
        return end
    number = f"{end['auth_seq_id']}{end.get('pdbx_PDB_ins_code', '')}"
    here = [
        xyz
        for (chain, resi, name, _), xyz in atoms.items()
        if (chain, name) == (end["auth_asym_id"], end["label_atom_id"])
        # A selector without an insertion code takes every one
        and (resi == number or ("pdbx_PDB_ins_code" not in end and resi.rstrip("ABCDE") == number))
    ]
    assert len(here) == 1, end
    return here[0]


@st.composite
def made(draw: st.DrawFn) -> dict[str, Any]:
    """Chains with the authors' numbers from anywhere, insertion codes, gaps and locations."""
    size = draw(st.integers(12, 24))
    number, insertion = draw(st.integers(-30, 900)), ""
    residues = []
    for _ in range(size):
        residues.append((number, insertion, draw(st.sampled_from(["ALA", "GLY", "LEU", "TRP"]))))
        if draw(st.booleans()) or insertion == "D":
            number, insertion = number + draw(st.sampled_from([1, 1, 1, 2, 5])), ""
        else:
            insertion = chr(ord(insertion or "@") + 1)
    return {
        "residues": residues,
        "chain": draw(st.sampled_from(["A", "B", "z", "7"])),
        "models": draw(st.integers(1, 3)),
        "locations": draw(st.integers(0, size - 1)),
        "without_cb": draw(st.integers(0, size - 1)),
        "kind": draw(st.sampled_from(["pdb", "cif"])),
        "seed": draw(st.integers(0, 99)),
    }


def write(made: dict[str, Any], folder: Path, chain: str | None = None) -> Path:
    """Write a made structure with Gemmi: a walk of 3.8 Å, and a water that is numbered like a residue."""
    rng = np.random.default_rng(made["seed"])
    structure = gemmi.Structure()
    for number in range(made["models"]):
        model = gemmi.Model(number + 1)
        of = gemmi.Chain(chain or made["chain"])
        centre = np.zeros(3)
        for row, (seq, insertion, name) in enumerate(made["residues"]):
            step = rng.normal(size=3)
            centre = centre + 3.8 * step / np.linalg.norm(step)
            residue = gemmi.Residue()
            residue.name, residue.seqid = name, gemmi.SeqId(seq, insertion or " ")
            residue.entity_type = gemmi.EntityType.Polymer
            names = ["N", "CA", "C", "O"] + ["CB"] * (name != "GLY" and row != made["without_cb"])
            for atom_name in names:
                locations = ["A", "B"] if (row, atom_name) == (made["locations"], "CB") else ["\0"]
                for location in locations:
                    atom = gemmi.Atom()
                    atom.name, atom.element = atom_name, gemmi.Element(atom_name[0])
                    place = centre + (0 if atom_name == "CA" else 1) * rng.normal(size=3)
                    atom.pos = gemmi.Position(*np.round(place, 3))
                    atom.altloc, atom.occ = location, {"A": 0.3, "B": 0.7}.get(location, 1.0)
                    residue.add_atom(atom)
            of.add_residue(residue)
        model.add_chain(of)
        structure.add_model(model)
    structure.setup_entities()
    path = folder / f'it\'s "one" of β, {made["seed"]}.{made["kind"]}'
    if made["kind"] == "pdb":
        structure.write_pdb(str(path))
    else:
        structure.make_mmcif_document().write_file(str(path))
    return path


@settings(max_examples=40, deadline=None)
@given(made())
def test_every_viewer_finds_the_atoms_that_were_measured(
    tmp_path_factory: pytest.TempPathFactory, made: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("a folder; with 'names'")
    path = write(made, folder)
    model = made["models"]
    structure = read_structure(path, made["chain"], model=model)
    contacts = contacts_of(structure, made["seed"])
    wanted = expected(structure, contacts.probability, 6, int(structure.resolved.sum()))
    lengths = [far for far, _ in wanted]
    cmd = run_in_pymol(contacts.on_structure(structure, folder / "c.pml"))
    np.testing.assert_allclose(list(cmd.lengths.values()), lengths, atol=1e-4)
    colours = ["#0072B2" if touching else "#D55E00" for _, touching in wanted]
    text = contacts.on_structure(structure, folder / "c.cxc").read_text("utf-8")
    # ChimeraX shows one location of an atom, that of the highest occupancy
    best = dict(sorted(in_file(path, model - 1).items(), key=lambda item: item[0][3], reverse=True))
    found = chimerax_links(text, best)
    np.testing.assert_allclose([far for far, _ in found], lengths, atol=1e-4)
    assert [colour for _, colour in found] == colours
    tubes = molstar_links(contacts.on_structure(structure, folder / "c.mvsx"))
    np.testing.assert_allclose([far for far, _ in tubes], lengths, atol=1e-4)
    assert [colour for _, colour in tubes] == colours


def test_chain_names_that_are_no_words(tmp_path: Path) -> None:
    residues = [(number, "", "ALA") for number in range(1, 20)]
    facts = {"residues": residues, "models": 1, "locations": 3, "without_cb": -1, "seed": 1}
    path = write({**facts, "chain": "A", "kind": "cif"}, tmp_path, chain="A-2'")
    structure = read_structure(path)
    assert structure.chain == "A-2'"
    contacts = contacts_of(structure)
    lengths = [far for far, _ in expected(structure, contacts.probability, 6, 19)]
    cmd = run_in_pymol(contacts.on_structure(structure, tmp_path / "c.pml"))
    np.testing.assert_allclose(list(cmd.lengths.values()), lengths, atol=1e-4)
    text = contacts.on_structure(structure, tmp_path / "c.cxc").read_text("utf-8")
    assert text.count('//chain_id="A-2\'":') == 2 * len(lengths) + 1
    tubes = molstar_links(contacts.on_structure(structure, tmp_path / "c.mvsx"))
    np.testing.assert_allclose([far for far, _ in tubes], lengths, atol=1e-4)


def test_residues_without_a_name_of_their_own_are_refused(tmp_path: Path) -> None:
    residues = [(number, "", "ALA") for number in range(1, 20)]
    facts = {"residues": residues, "models": 1, "locations": -1, "without_cb": -1, "chain": "A"}
    one = write({**facts, "kind": "pdb", "seed": 1}, tmp_path).read_text().splitlines()
    two = write({**facts, "kind": "pdb", "seed": 2}, tmp_path).read_text().splitlines()
    both = tmp_path / "both.pdb"
    atoms = [line for line in one if line.startswith(("ATOM", "TER"))]
    again = [
        line[:30] + f"{float(line[30:38]) + 200:8.3f}" + line[38:] if line[:4] == "ATOM" else line
        for line in two
        if line.startswith(("ATOM", "TER"))
    ]
    both.write_text("\n".join([*atoms, *again, "END", ""]))
    structure = read_structure(both, "A")
    with pytest.raises(InputError, match=r"residue \d+ of chain 'A' in .* a file of its own"):
        contacts_of(structure).on_structure(structure, tmp_path / "c.pml")
    assert not (tmp_path / "c.pml").exists()


def test_a_file_that_is_gone_or_changed_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "one.pdb"
    residues = [(number, "", "ALA") for number in range(1, 20)]
    facts = {"residues": residues, "models": 1, "locations": -1, "without_cb": -1, "chain": "A"}
    write({**facts, "kind": "pdb", "seed": 1}, tmp_path).rename(path)
    structure = read_structure(path)
    write({**facts, "kind": "pdb", "seed": 2}, tmp_path).replace(path)
    with pytest.raises(InputError, match="or the file has changed"):
        contacts_of(structure).on_structure(structure, tmp_path / "c.cxc")
    path.unlink()
    with pytest.raises(InputError, match=r"one\.pdb"):
        contacts_of(structure).on_structure(structure, tmp_path / "c.cxc")


def test_residues_that_cannot_be_shown_are_counted(tmp_path: Path) -> None:
    structure = demo_structure()
    contacts = contacts_of(structure)
    tagged = ContactMap(
        "tagged",
        "",
        "MHHHHHHGS" + structure.sequence,
        np.pad(contacts.probability, ((9, 0), (9, 0))),
    )
    text = tagged.on_structure(structure, tmp_path / "c.pml").read_text()
    assert "# 9 of the 85 residues of tagged are not in the structure or not resolved" in text
    plain = contacts.on_structure(structure, tmp_path / "d.pml").read_text()
    assert "left out" not in plain
    links = [run_in_pymol(tmp_path / name).lengths for name in ("c.pml", "d.pml")]
    assert links[0] == links[1]


def head_of(structure: Structure, weights: np.ndarray) -> AttentionMaps:
    one = choose_heads(["L0H0"], "all", of_layers=1, of_heads=1)
    none = np.zeros((1, len(weights)), np.float32)
    return AttentionMaps("made", "", structure.sequence, one, none, none, lambda place: weights)


def test_links_of_a_head_have_the_stronger_of_two_directions(tmp_path: Path) -> None:
    structure = demo_structure()
    weights = np.random.default_rng(3).random((76, 76), np.float32)
    weights[10, 50] = np.nan  # never in one window
    path = head_of(structure, weights).on_structure((0, 0), structure, tmp_path / "h.pml", count=30)
    cmd = run_in_pymol(path)
    both = np.fmax(weights, weights.T)
    wanted = [far for far, _ in expected(structure, both, 6, 30)]
    np.testing.assert_allclose(list(cmd.lengths.values()), wanted, atol=1e-3)
    assert all(name.startswith("1ubi_A_L0H0_") for name in cmd.lengths)
    assert "attention head L0H0 in made" in path.read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"count": 0}, "`count` is at least 1, not 0"),
        ({"min_separation": 0}, "`min_separation` is at least 1, not 0"),
        ({"path": "c.png"}, r"let it end in \.pml for PyMOL, \.cxc for ChimeraX or \.mvsx"),
        ({"count": "5"}, "count of on_structure is a whole number or None, not '5'"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    structure = demo_structure()
    path = tmp_path / options.pop("path", "c.pml")
    results = [
        lambda: contacts_of(structure).on_structure(structure, path, **options),
        lambda: head_of(structure, np.eye(76)).on_structure("L0H0", structure, path, **options),
    ]
    for write_it in results:
        with pytest.raises(OptionError, match=said):
            write_it()
    assert not list(tmp_path.iterdir())


def test_names_and_texts_cannot_leave_their_place_in_a_script(tmp_path: Path) -> None:
    structure = demo_structure()
    contacts = contacts_of(structure)
    odd = ContactMap(
        "x\npython end\nquit \\", "", structure.sequence, contacts.probability, source="a\nb"
    )
    for ending in ("pml", "cxc"):
        lines = (
            odd.on_structure(structure, tmp_path / f"c.{ending}").read_text("utf-8").splitlines()
        )
        assert not [line for line in lines if line.startswith("quit")]
    assert len(run_in_pymol(tmp_path / "c.pml").lengths) == 76
