"""What becomes of each file of the corpus: read as it should be, or refused for the right reason."""

import os
import resource
import stat
import threading
from pathlib import Path

import pytest

import esmkit
from esmkit.errors import InputError
from esmkit.sequences.proteins import read_fasta
from esmkit.sequences.report import InputReport
from esmkit.structure import read_structure
from oracles.commands import fails

CORPUS = Path(__file__).parent / "corpus"

TWO = ["P60137 38", "P84001 50"]

READ = {  # IDs and lengths, and a piece of the report
    "a2m_lower.fasta": (["a 38"], "lower-case letters, folded"),
    "cr_only.fasta": (TWO, ""),
    "crlf.fasta": (TWO, ""),
    "cut_between_members.fasta.gz": (TWO, ""),
    "duplicate_ids.fasta": (["P1 38", "P1~2 50", "P1~2~2 38"], "2 repeated ID(s), renamed"),
    "identical_sequences.fasta": ([f"copy{i} 38" for i in range(5)], ""),
    "iupac_dna.fasta": (["gene 87"], ""),  # R, Y, K, M, S and W are amino acids as well
    "latin1_header.fasta": (TWO, "1 header(s) not in UTF-8"),
    "members.fasta.gz": (TWO, ""),
    "mixed_ends.fasta": (TWO, ""),
    "nested.fasta": ([">a 3", "b 3"], ""),
    "no_id.fasta": (["MTQSNPNEQNVELNRTSLYWGLLLIFVLAVLFSNYFFN 38"], ""),
    "no_newline_at_end.fasta": (TWO, ""),
    "nucleotides.fasta": (
        ["gene 240", "rna 240", "amplicon 244"],
        "3 sequence(s) of A, C, G, T, U",
    ),
    "packed.fasta.gz": (TWO, ""),
    "packed_named_plain.fasta": (TWO, ""),
    "plain_named_packed.fasta.gz": (TWO, ""),
    "three_letters.fasta": (["a 15"], "lower-case letters, folded"),
    "utf8_bom.fasta": (TWO, ""),
    "hybrid36.pdb": (["hybrid36_A 5"], ""),  # five neighbours with one number
    "crlf.pdb": (["crlf_A 5"], ""),
    "models_without_end.pdb": (["models_without_end_A 5"], ""),
    "huge_labels.cif": (["huge_labels_A 2"], "the numbering jumps by 999,999,998"),
}

REFUSED = {
    "alignment.clustal": "is not FASTA: it begins with 'CLUSTAL W",
    "alignment.sto": "is not FASTA: it begins with '# STOCKHOLM 1.0'",
    "alignment_dashes.fasta": "residue 11: '-' is a gap, and ESM-2 reads unaligned sequences",
    "alignment_dots.fasta": "residue 11: '.' is a gap",
    "bad_checksum.fasta.gz": "is a damaged gzip file (CRC check failed",
    "blank.fasta": "is empty; a FASTA file has a '>' line for each protein",
    "bomb.fasta.gz": "'A' has over 1,000,000 letters, and no protein has nearly as many",
    "comment_first.fasta": "is not FASTA: it begins with '; made by hand'",
    "digits.fasta": "residue 1: '1' is not an amino acid",
    "empty.fasta": "is empty; a FASTA file has a '>' line for each protein",
    "entry.embl.txt": "is not FASTA: it begins with 'ID   P60137",
    "entry.gb": "is not FASTA: it begins with 'LOCUS",
    "escape.fasta": r"an ID with an invisible character ('\x1b[2Jcleared')",
    "full_width.fasta": "residue 1: '\uff2d' is not an amino acid",
    "header_at_end.fasta": "sequence 'last' is empty",
    "inner_stop.fasta": "residue 11: '*' is a stop inside the sequence",
    "j_and_unknown.fasta": "residue 3: 'J' is not an amino acid",
    "json_error.fasta": 'is not FASTA: it begins with \'{"url"',
    "no_header.fasta": "is not FASTA: it begins with 'MTQSN",
    "no_trailer.fasta.gz": "is a damaged gzip file (Compressed file ended before",
    "nul_in_header.fasta": r"a zero byte in its header ('P60\x00137')",
    "nul_in_sequence.fasta": r"residue 51: '\x00' is not an amino acid",
    "only_headers.fasta": "sequence 'a' is empty",
    "page.fasta": "is not FASTA: it begins with '<!DOCTYPE html>'",
    "reads.fastq": "is not FASTA: it begins with '@P60137",
    "right_to_left.fasta": r"an ID with an invisible character ('\u202eevil')",
    "smart_quotes.fasta": "residue 3: '\u2019' is not an amino acid",
    "stops.fasta": "sequence 'two', residue 51: '*' is a stop inside",
    "trailing_junk.fasta.gz": "is a damaged gzip file (Not a gzipped file",
    "truncated.fasta.gz": "is a damaged gzip file (Compressed file ended before",
    "twice_packed.fasta.gz": "is packed with gzip twice; unpack it once",
    "utf16_bom.fasta": "is UTF-16 text; save it again as UTF-8",
    "utf16_no_bom.fasta": "has a zero byte in its header",
    "ca_only.pdb": "has no Cβ atoms, between which contacts are measured (is it a Cα trace?)",
    "cut.cif": "is cut short: its last atom is incomplete",
    "cut.pdb": "line 43: missing or wrong coordinate",
    "empty.cif": "is empty; a structure file is in PDB or mmCIF format",
    "fasta_named.pdb": "is no structure file: it begins with '>P60137",
    "nan.pdb": "line 1: missing or wrong coordinate",
    "no_columns.cif": "has atoms without _atom_site.label_atom_id",
    "only_data.cif": "has no atoms",
    "only_header.pdb": "is no structure file: it begins with 'HEADER",
    "open_quote.cif": "is a damaged mmCIF file (Line ended with quote open",
    "open_text.cif": "is a damaged mmCIF file (Missing closing semicolon",
    "page.pdb": "is no structure file: it begins with '<!DOCTYPE html>'",
    "shifted_columns.pdb": "is no structure file: it begins with 'ATOM 1 N",
    "stars.pdb": "line 1: missing or wrong coordinate",
    "tabs.pdb": "is no structure file: it begins with ",
    "waters.pdb": "has no protein chain; it has A (water, 20 residues)",
}


def read(path: Path) -> tuple[list[str], str]:
    if path.suffix in (".pdb", ".cif"):
        structure = read_structure(path)
        return [f"{structure.id} {len(structure)}"], " ".join(structure.notes)
    report = InputReport()
    found = [f"{protein.id} {len(protein)}" for protein in read_fasta(path, report=report)]
    return found, " ".join(report.lines())


def test_every_file_is_here():
    names = {path.name for path in CORPUS.iterdir()} - {"README.md", ".gitattributes"}
    assert names == READ.keys() | REFUSED.keys()
    assert not READ.keys() & REFUSED.keys()


@pytest.mark.parametrize("name", READ)
def test_files_that_are_read(name: str):
    wanted, remark = READ[name]
    found, said = read(CORPUS / name)
    assert found == wanted
    assert remark in said
    if not remark and not name.endswith(("pdb", "cif")):
        assert said.endswith(f"longest {max(int(x.split()[-1]) for x in wanted)}")


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_refused(name: str):
    with pytest.raises(InputError) as caught:
        read(CORPUS / name)
    assert REFUSED[name] in str(caught.value)


# --------------------------------------------------------------------- what is no ordinary file


@pytest.mark.parametrize(
    "path", ["/dev/null", "/dev/zero", "/dev/full", "/proc/self/mem", "/", "."]
)
def test_devices_and_folders(run, path: str, tmp_path: Path, tiny_folder: Path):
    if not Path(path).exists():
        pytest.skip(f"no {path} here")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for command in ("embed", "attention", "contacts", "explore", "verify"):
        options = (
            [] if command == "verify" else ["-o", "x.h5" if command != "explore" else "x.html"]
        )
        fails(run(command, path, *options, "--model", tiny_folder, cwd=tmp_path))
    fails(run("contacts", "--structure", path, "-o", "x.h5", "--model", tiny_folder, cwd=tmp_path))
    assert not list(tmp_path.iterdir())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024


def test_endless_input_ends_in_an_error(tmp_path: Path):
    """A pipe into which somebody writes one letter for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        try:
            with pipe.open("wb") as handle:
                handle.write(b">A\n")
                while True:
                    handle.write(b"M" * 65_536)
        except BrokenPipeError:
            pass

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    with pytest.raises(InputError, match="over 1,000,000 letters"):
        list(read_fasta(pipe))
    writer.join(10)
    assert not writer.is_alive()


def test_a_pipe_is_read_by_a_command(run, tmp_path: Path, tiny_folder: Path):
    pipe = tmp_path / "pipe.fasta"
    os.mkfifo(pipe)
    data = (CORPUS / "crlf.fasta").read_bytes()
    writer = threading.Thread(target=lambda: pipe.write_bytes(data), daemon=True)
    writer.start()
    done = run("embed", "pipe.fasta", "-o", "x.h5", "--model", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with esmkit.read(tmp_path / "x.h5") as found:
        assert list(found) == ["P60137", "P84001"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
