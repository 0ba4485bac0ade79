"""Make ``repeats.fasta`` from the UniProt sequences that come with Debian's package mmseqs2-examples.

apt-get install mmseqs2-examples
python data/make_repeats.py /usr/share/doc/mmseqs2/example-data/DB.fasta.gz
"""

import gzip
import sys
from pathlib import Path

from Bio import SeqIO

# accession: (name, what is repeated in it)
PROTEINS = {
    "G7LI77": ("Polyubiquitin 3, Medicago truncatula", "seven ubiquitins"),
    "M9NDM4": ("Will die slowly, isoform B, Drosophila melanogaster", "WD40 repeats"),
    "D7KBQ0": ("Kelch repeat-containing F-box protein, Arabidopsis lyrata", "kelch repeats"),
    "P0C8Q2": ("Protein At4g19191, Arabidopsis thaliana", "pentatricopeptide repeats"),
    "J3QL27": ("Protein 37A3 (fragment), Homo sapiens", "leucine-rich repeats"),
    "Q1RK21": ("GTPase Der, Rickettsia bellii", "two GTPase domains"),
    "P27124": ("Peptidyl-prolyl isomerase FKBP4, Oryctolagus cuniculus", "two FKBP domains"),
    "O62837": ("Membrane cofactor protein CD46, Saguinus oedipus", "sushi domains"),
    "Q5YWV1": ("Virginiamycin B lyase, Nocardia farcinica", "blades of a propeller"),
    "Q823E0": (
        "N-acyltransferase LpxD, Chlamydophila caviae",
        "hexapeptides of a helix of strands",
    ),
}


def main(database: Path) -> None:
    """Write the proteins, in the order of ``PROTEINS``."""
    with gzip.open(database, "rt", encoding="ascii") as handle:
        found = {record.id.split("|")[1]: record for record in SeqIO.parse(handle, "fasta")}
    lines = []
    for accession, (name, what) in PROTEINS.items():
        sequence = str(found[accession].seq).upper()
        lines.append(f">{accession} {name} ({what})")
        lines += [sequence[start : start + 60] for start in range(0, len(sequence), 60)]
    target = Path(__file__).parent / "repeats.fasta"
    target.write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
