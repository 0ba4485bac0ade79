"""Files that are not FASTA: what they are, told from their beginning, and how to make FASTA of them.

The commands are Biopython's, which esmkit requires, so that they run where esmkit does.
"""

import contextlib
import re
from pathlib import Path

__all__ = ["looks_like_pir", "remedy_for", "to_fasta"]

_PIR = re.compile(r"\s*(?:P1|F1|DL|DC|RL|RC|N1|N3|XX);\s*\S")
"""``P1;CRAB_ANAPL``: the codes of NBRF/PIR, as Biopython's ``PirIO`` lists them."""

_BIOPYTHON = (
    (r"LOCUS\s", "GenBank", "genbank"),
    (r"ID   \S+\s.*(?:Reviewed|Unreviewed|PRT|STANDARD|PRELIMINARY);", "UniProt text", "swiss"),
    (r"ID   ", "EMBL", "embl"),
    (r"# STOCKHOLM", "a Stockholm alignment", "stockholm"),
    (r"CLUSTAL|MUSCLE|PROBCONS", "a Clustal alignment", "clustal"),
    (r"#NEXUS", "NEXUS", "nexus"),
    (r"!!AA_MULTIPLE_ALIGNMENT|PileUp|.*MSF:\s*\d", "an MSF alignment of GCG", "msf"),
    (r"\s*\d+\s+\d+\s*$", "a PHYLIP alignment", "phylip-relaxed"),
    (r"data_\S+", "mmCIF", "cif-atom"),
    (r"(?:HEADER|CRYST1|SEQRES|ATOM  |HETATM|MODEL |REMARK)", "PDB", "pdb-atom"),
)
"""How a file begins, what it is, and Biopython's name of it (biopython.org/wiki/SeqIO)."""

_OTHERS = (
    (r"\s+>", "FASTA with an indented header", "remove the blanks before the '>'"),
    (
        r"\s*<\?xml|\s*<uniprot",
        "XML",
        "download the entries as FASTA, or write their sequences to a FASTA file",
    ),
    (r"\s*<(?:!DOCTYPE|html|head|body|pre)", "a web page", "download the FASTA file it leads to"),
    (r"\s*(?:&gt;|\uff1e|\ufe65)", "FASTA with another sign for '>'", "write '>' in its place"),
    (r"\{\\rtf", "a document of a word processor", "save it as plain text"),
    (r"#", "a comment", "remove the lines that begin with '#'"),
    (r"\s*[{[]", "JSON", "write its sequences to a FASTA file, or download FASTA instead"),
    (
        r"@\S*",
        "FASTQ, which holds reads of DNA",
        "translate them, and write the proteins to a FASTA file",
    ),
    (
        r";",
        "a comment, as old FASTA files have them",
        "remove the lines that begin with ';'",
    ),
    (
        r"[^\t,;]*(?:[\t,;][^\t,;]*)+",
        "a table",
        "read it with pandas, and give esmkit its columns of IDs and sequences as a dict, "
        "or write them to a FASTA file",
    ),
    (
        r"[A-Za-z*\-. ]{1,}$",
        "a sequence without a header",
        "write a line such as '>protein_1' before it",
    ),
)
"""How other files begin, what they are, and what to do."""


def to_fasta(name: str, form: str) -> str:
    """Return a command that makes FASTA of a file with Biopython.

    >>> print(to_fasta("in.gb", "genbank"))
    python -c "from Bio import SeqIO; SeqIO.convert('in.gb', 'genbank', 'in.fasta', 'fasta')"
    """
    path = Path(name)
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    made = plain.with_suffix(".fasta" if plain.suffix != ".fasta" else ".new.fasta")
    modules, source = "from Bio import SeqIO", repr(name)
    if _is_gzip(path):  # Biopython reads text only
        modules, source = f"import gzip; {modules}", f"gzip.open({name!r}, 'rt')"
    code = f"{modules}; SeqIO.convert({source}, {form!r}, {str(made)!r}, 'fasta')"
    if '"' in code or "\\" in code or "$" in code or "`" in code:  # no name for a shell
        code = f"from Bio import SeqIO; SeqIO.convert('in', {form!r}, 'in.fasta', 'fasta')"
    return f'python -c "{code}"'


def _is_gzip(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        if path.is_file():  # opening a pipe would wait for who writes into it
            with path.open("rb") as file:
                return file.read(2) == b"\x1f\x8b"  # gzip (RFC 1952)
    return False


def looks_like_pir(header: str) -> bool:
    """Return whether a header is of NBRF/PIR, where a title stands on the line after it.

    >>> looks_like_pir("P1;CRAB_ANAPL"), looks_like_pir("P1 an ID")
    (True, False)
    """
    return _PIR.match(header) is not None


def remedy_for(first: str, name: str) -> str:
    """Return what a file is that does not begin as FASTA does, and what to do.

    Parameters
    ----------
    first : str
        Its first line that is not blank.
    name : str
        The file.

    Returns
    -------
    str
        Part of a sentence; empty if it looks like nothing that is known.
    """
    line = first.rstrip()
    if not line.replace("\t", "").isprintable():
        return ""
    for pattern, what, form in _BIOPYTHON:
        if re.match(pattern, line):
            more = ", and remove its gaps" if "alignment" in what else ""
            more = more and more + ' with `on_invalid="degap"`'
            return f"it looks like {what}: make FASTA of it with `{to_fasta(name, form)}`{more}"
    for pattern, what, remedy in _OTHERS:
        if re.match(pattern, line):
            return f"it looks like {what}: {remedy}"
    return ""
