"""Everything that generated input once brought to a traceback, a warning, a wrong answer or a stop.

Each is small and by hand; no generator is needed. What becomes of the kind is said by the text.
"""

import gc
import gzip
import io
import json
import os
import struct
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas
import pyarrow
import pytest
import torch
from pyarrow import parquet
from safetensors.numpy import save

import esmkit
from esmkit.against.check import verify_against
from esmkit.against.given import check_arrays
from esmkit.against.reading import read_given
from esmkit.contacts.top import parse_top
from esmkit.encoder.activations import Activations
from esmkit.encoder.names import choose_heads, parse_head
from esmkit.errors import EsmkitError, InputError, OptionError, OutputError
from esmkit.files.arrays import MOST_TIMES, MOST_UNFOLDED, refuse_unfolding
from esmkit.files.hdf5 import open_hdf5
from esmkit.files.provenance import _FORMS
from esmkit.files.work_folder import work_folder_of
from esmkit.inside.edits import read_edits
from esmkit.inside.hdf5 import TraceFile
from esmkit.score.variants.mutations import parse_variant
from esmkit.sequences.domains import parse_domains
from esmkit.sequences.sites import parse_sites
from esmkit.structure import read_structure
from esmkit.text import parse_bytes
from oracles.commands import fails
from oracles.structure_files import chain_lines

LONG = "x" * 300
KNOWN = Activations(layers=2, heads=4, width=32, hidden=64)
NO_NAMES = {LONG: "File name too long", "a\0b": "embedded null byte"}


# ------------------------------------------------------------------------------ messages


@pytest.mark.parametrize(
    "asked",
    [
        lambda: parse_bytes("L0" + "1" * 5_000),
        lambda: KNOWN.find("x" * 40_000),
        lambda: parse_domains("x" * 40_000),
    ],
)
def test_a_message_is_short_whatever_it_quotes(asked):
    with pytest.raises((OptionError, InputError)) as caught:
        asked()
    assert 20 < len(str(caught.value)) < 700


def test_a_message_keeps_its_remedy_whatever_it_quotes():
    error = InputError("a table with columns " + "name " * 5_000 + "; name one of them")
    assert len(str(error)) < 1_500
    assert str(error).startswith("a table with columns name name")
    assert str(error).endswith("; name one of them")


@pytest.mark.parametrize("form", ["pdb", "cif"])
def test_a_damaged_line_of_thousands_of_letters(form: str, tmp_path: Path):
    path = tmp_path / f"long.{form}"
    if form == "pdb":
        atom = "ATOM      1  N   MET A   1      27.340  24.430   2.614  1.00  9.67           N"
        path.write_text(f"{atom}\n{atom[:42]}{' CG  MET A   1      25.341' * 200}\n")
    else:
        names = ["group_PDB", "id", "label_atom_id", "label_comp_id", "label_asym_id"]
        names += ["label_seq_id", "Cartn_x", "Cartn_y", "Cartn_z", "type_symbol"]
        head = ["data_x", "loop_", *(f"_atom_site.{name}" for name in names)]
        rows = [f"ATOM 1 N MET A 1 '{'far away ' * 300}' 1.0 1.0 N", "#"]
        path.write_text("\n".join(head + rows))
    with pytest.raises(InputError, match=r"missing or wrong .* moved$") as caught:
        read_structure(path)
    assert len(str(caught.value)) < 500


def test_a_message_shows_what_cannot_be_seen():
    error = OutputError("'x.parquet' is damaged (type: \x0e\n\x1b[2J); make it anew")
    assert str(error) == "'x.parquet' is damaged (type: [U+000E] [U+001B][2J); make it anew"
    assert str(InputError("é is 5 µm \u00a0 long")) == "é is 5 µm \u00a0 long"
    assert str(InputError("a" * 399)) == "a" * 399
    assert str(InputError("a" * 1_000 + " b")) == "a" * 300 + "…" + "a" * 100 + " b"


# ------------------------------------------------- numbers of more digits than Python reads

DIGITS = "1" * 5_001


@pytest.mark.parametrize(
    "asked",
    [
        lambda: parse_head(f"L{DIGITS}H0"),
        lambda: choose_heads(f"L{DIGITS}", "all", of_layers=2, of_heads=4),
        lambda: KNOWN.find(f"L{DIGITS}.residual"),
        lambda: KNOWN.find(f"L0H{DIGITS}.output"),
        lambda: read_edits({f"L0.residual[{DIGITS}]": "zero"}, KNOWN),
        lambda: read_edits({f"L0.residual[1:{DIGITS}]": "zero"}, KNOWN),
        lambda: parse_sites(f"K{DIGITS}"),
        lambda: parse_top(DIGITS),
        lambda: parse_variant(f"A{DIGITS}G"),
    ],
)
def test_a_number_of_thousands_of_digits(asked):
    with pytest.raises((OptionError, InputError)):
        asked()


@pytest.mark.parametrize(
    "places",
    ["-:", ":-", "-", "-:-", "::-", "1:-:2", "::0", "::00", "::-0", "1:2:000", "--1:", ":"],
)
def test_places_of_an_edit_are_numbers_or_refused(places: str):
    """A sign without digits, a step of several zeros: ValueError of `int` and of `slice`."""
    if places == ":":
        (edit,) = read_edits({f"L0.residual[{places}]": "zero"}, KNOWN)
        assert edit.places is not None
        assert edit.places.of(3, "x").tolist() == [0, 1, 2]
        return
    with pytest.raises(OptionError, match="places of an edit are residues such as"):
        read_edits({f"L0.residual[{places}]": "zero"}, KNOWN)


def test_such_a_number_in_files(run, kept: Path, tiny_folder: Path):
    path = kept / "model.pdb"
    path.write_text(f"MODEL {DIGITS}\n" + (kept / "chains" / "one.pdb").read_text())
    assert read_structure(path).sequence == "ACDEFGHIKLMNPQRS"
    given = read_given(hdf5(kept / "x.h5", {f"layer_{DIGITS}": np.ones(3, np.float32)}))
    assert given.parts[0].layer is None
    given.close()
    done = run("contacts", "good.fasta", "--top", DIGITS, "--model", tiny_folder, cwd=kept)
    assert "is a number of pairs, or L, L/2 or 2L" in done.stderr
    fails(done, 2)


def test_a_cell_of_40000_letters_in_place_of_a_mutation():
    """Every letter of it was tried as the beginning of a reference: 0.8 billion steps."""
    start = time.process_time()
    with pytest.raises(InputError, match="is no mutation"):
        parse_variant("x" * 40_000)
    with pytest.raises(InputError):
        parse_variant("]" + " " * 40_000 + "x")
    assert time.process_time() - start < 1
    assert str(parse_variant("NP_000468.1:p.Ala24Gly")) == "A24G"


@pytest.mark.parametrize("sign", [";", ",", "/", "+", " ", "|"])
def test_a_reference_before_each_of_several_mutations(sign: str):
    """All but the last were lost without a word, as part of a reference."""
    asked = sign.join(["NP_1.1:p.Lys7del", "NP_1.1:p.Ala24Gly"])
    assert str(parse_variant(asked)) == "K7del:A24G"
    assert str(parse_variant("p.[NP_1:p.Lys7del;NP_1:p.Ala24Gly]")) == "K7del:A24G"


@pytest.mark.parametrize("first", ["K7del", "k7_l9delinsGG", "(Lys7del)", "p.K7del", "K7*", "K7fs"])
def test_a_mutation_before_a_reference_is_no_part_of_it(first: str):
    """``|`` stands in the names of UniProt too, and between mutations: `A1G|NP_1:p.K2R` was K2R."""
    whole = "sp|P02768|ALBU_HUMAN:p.A24G"
    assert str(parse_variant(whole)) == "A24G"
    try:
        found = str(parse_variant(f"{first}|{whole}"))
    except InputError as error:
        assert "stop" in str(error) or "shift of the frame" in str(error)  # noqa: PT017
    else:
        assert found.endswith(":A24G")
        assert found.startswith("K7")


# -------------------------------------------------------------- names that no file can have


@pytest.mark.parametrize("name", NO_NAMES)
@pytest.mark.parametrize(
    "open_it",
    [esmkit.read, esmkit.AttentionFile, esmkit.ScoreFile, esmkit.EmbeddingFile, read_given],
)
def test_a_name_that_no_file_can_have(open_it, name: str):
    with pytest.raises(EsmkitError) as caught:
        open_it(name)
    assert f"cannot be a file name ({NO_NAMES[name]}); give another" in str(caught.value)


@pytest.mark.parametrize("name", NO_NAMES)
def test_an_output_or_domains_of_such_a_name(tiny, name: str):
    with pytest.raises(OutputError, match="cannot be a file name"):
        esmkit.embed_file(lambda: tiny, esmkit.data.ubiquitin_fasta(), f"{name}.h5")
    with pytest.raises(InputError, match="nor a file that is there"):
        parse_domains(name)


def test_outputs_without_a_name_of_their_own(tmp_path: Path, monkeypatch):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    assert work_folder_of(Path()) == tmp_path / "in.work"
    assert work_folder_of(Path("..")) == tmp_path.parent / f"{tmp_path.name}.work"
    with pytest.raises(OutputError, match="'/' is the root of all folders; give another as output"):
        work_folder_of(Path("/"))


# ----------------------------------------------------------------------------- embeddings


def hdf5(path: Path, arrays: dict[str, Any], **facts: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        if facts:
            file.attrs["provenance"] = json.dumps(facts)
    return path


OWN = {"task": "embed", "layers": [2], "per": "protein"}


@pytest.mark.parametrize("shape", [(10**12, 8), (2**62,), (10**9, 320), (40_000, 30_000)])
@pytest.mark.parametrize("open_it", ["read", "against"])
def test_hdf5_that_says_it_is_larger_than_it_is(tmp_path: Path, shape, open_it: str):
    """A few kB of file, up to 16 EB of zeros: 4.8 GB were made of the last one, in 16 s."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("A", shape, "f4", chunks=tuple(min(n, 1_024) for n in shape))
    arrays = esmkit.read(path) if open_it == "read" else read_given(path).parts[0].arrays
    with pytest.raises(
        EsmkitError, match=r"'A' says that it has .* and the file holds 0 bytes of it"
    ):
        arrays["A"]


def test_packed_arrays_that_unfold(tmp_path: Path, monkeypatch):
    refuse_unfolding("A", MOST_UNFOLDED, 0)
    monkeypatch.setattr("esmkit.files.arrays.MOST_UNFOLDED", 2**20)
    path = tmp_path / "x.npz"
    np.savez_compressed(path, A=np.zeros(2**18 + 1, np.float32))
    for open_it in (esmkit.read, read_given):
        with pytest.raises(EsmkitError, match=r"'A.*' says that it has 1.0 MB, and the file holds"):
            open_it(path)
    refuse_unfolding("A", 10**9, 10**9 // MOST_TIMES + 1)
    torch.save({"P1": torch.zeros(1).expand(10**9)}, tmp_path / "x.pt")
    with pytest.raises(
        InputError, match=r"'tensor' says that it has 4.0 GB, and the file holds 4 bytes"
    ):
        read_given(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("array", "wrong"),
    [
        (np.zeros((1,) * 5, np.float32), "float32 of shape (1, 1, 1, 1, 1)"),
        (np.array(1.0, np.float32), "float32 of shape ()"),
        (np.zeros(3, np.complex64), "complex64 of shape (3,)"),
        (np.zeros(3, bool), "bool of shape (3,)"),
        (np.array([0.5, 1e300]), "a number too large for float32"),
    ],
)
def test_arrays_that_are_no_embeddings_under_esmkits_own_provenance(tmp_path, array, wrong):
    path = hdf5(tmp_path / "x.h5", {"A": array}, **OWN)
    with esmkit.read(path) as found, pytest.raises(OutputError) as caught:
        found["A"]
    assert f"'A' cannot be read ({wrong}" in str(caught.value)


def test_infinity_is_no_number_too_large(tmp_path: Path):
    with esmkit.read(hdf5(tmp_path / "x.h5", {"A": np.array([np.inf, np.nan])}, **OWN)) as found:
        np.testing.assert_array_equal(found["A"], np.array([np.inf, np.nan], np.float32))


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_tables_with_a_number_too_large(tmp_path: Path, ending: str):
    path = tmp_path / f"x{ending}"
    if ending == ".csv":
        path.write_text("id,e0,e1\nA,0.5,1e300\n")
    else:
        pandas.DataFrame({"id": ["A"], "embedding": [[0.5, 1e300]]}).to_parquet(path)
    with pytest.raises(OutputError, match="a number too large for float32"):
        esmkit.read(path)


def test_frames_of_arrays_that_are_not_as_they_say(tmp_path: Path):
    path = hdf5(tmp_path / "x.h5", {"A": np.zeros((2, 7, 3), np.float32), "B": np.zeros(3)}, **OWN)
    with (
        esmkit.read(path) as found,
        pytest.raises(OutputError, match="holds other arrays than it says"),
    ):
        found.to_frame()


ODD = {
    "a list": ["esmkit"],
    "a number of layers": {"esmkit": "0", "layers": 2, "checkpoint": {"name": "x"}},
    "layers in words": {"esmkit": "0", "layers": ["last"], "checkpoint": {"name": "x"}},
    "a checkpoint that is a name": {"esmkit": "0", "checkpoint": "facebook/esm2_t6_8M_UR50D"},
    "options that are a list": {"esmkit": "0", "options": [1], "checkpoint": {"name": "x"}},
    "a task that is none": {"esmkit": "0", "task": {}, "checkpoint": {"name": "x"}},
}


def with_provenance(path: Path, said: Any) -> Path:
    """Write one vector, and under esmkit's own name what is said of it."""
    text, array = json.dumps(said), np.ones(3, np.float32)
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["A"] = array
            file.attrs["provenance"] = text
    elif path.suffix == ".npz":
        np.savez(path, A=array, __provenance__=np.array(text))
    elif path.suffix == ".csv":
        path.write_text("id,e0,e1\nA,0.5,1.5\n")
        path.with_name(f"{path.name}.provenance.json").write_text(text)
    else:
        table = pyarrow.table({"id": ["A"], "embedding": [[0.5, 1.5]]})
        parquet.write_table(table.replace_schema_metadata({"provenance": text}), path)
    return path


OPEN_ALL = """
import sys
import esmkit
from esmkit.against.reading import read_given
from esmkit.errors import EsmkitError
from esmkit.inside.hdf5 import TraceFile
for kind in (esmkit.read, esmkit.EmbeddingFile, esmkit.AttentionFile, esmkit.ScoreFile, TraceFile, read_given):
    try:
        kind(sys.argv[1])
    except EsmkitError as error:
        print(error)
"""


@pytest.mark.parametrize(
    "by", ["a block of zeros", "a free space without a length", 2**64 - 16, 2**64 - 17, 2**64 - 32]
)
def test_hdf5_on_which_its_library_never_ends(tmp_path: Path, by: str | int):
    """In C, where Ctrl-C does not reach: a process of its own, which can be ended."""
    path = hdf5(tmp_path / "x.h5", {"A": np.ones(3, np.float32)}, **OWN)
    data = bytearray(path.read_bytes())
    heap = data.rindex(b"GCOL")
    with open_hdf5(path) as file:
        assert json.loads(str(file.attrs["provenance"])) == OWN
    if by == "a block of zeros":
        data[heap + 16 : heap + 4_096] = bytes(4_080)
    elif isinstance(by, int):  # an entry whose length goes around the end of 64 bits
        data[heap + 24 : heap + 32] = struct.pack("<Q", by)
    else:
        (length,) = struct.unpack_from("<Q", data, heap + 24)
        free = heap + 32 + (length + 7) // 8 * 8
        assert data[free : free + 2] == b"\0\0"
        assert any(data[free + 8 : free + 16])
        data[free + 8 : free + 16] = bytes(8)
    path.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", OPEN_ALL, path], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == 6
    words = f"its heap of texts at byte {heap:,} has an entry of no possible length"
    assert all(words in line for line in said if "holds no scores" not in line)
    assert sum(words in line for line in said) >= 5


def test_heaps_that_overlap_take_no_time(tmp_path: Path):
    """Each of a thousand was gone through, which took a time that was that of its file squared."""
    path = hdf5(tmp_path / "x.h5", {"A": np.ones(3, np.float32)}, **OWN)
    header = b"GCOL\x01\0\0\0" + struct.pack("<Q", 2**24)
    with path.open("ab") as stream:
        for number in range(1_000, 0, -1):  # a heap whose first entry ends where all of them go on
            stream.write(header + struct.pack("<H6xQ", 1, 32 * number - 32))
        stream.write(struct.pack("<H6xQ", 1, 0) * 500_000)
    with pytest.raises(OSError, match=r"its heap of texts at byte [\d,]+ overlaps with others"):
        open_hdf5(path)


def test_heaps_of_whole_files_end(tmp_path: Path, monkeypatch):
    """Full heaps, long texts, a file of which both ends are looked through."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for number in range(300):
            file[f"{number}"] = np.ones(3, np.float32)
            file[f"{number}"].attrs["header"] = "x" * (number * number % 5_000)
    size = path.stat().st_size
    assert path.read_bytes().count(b"GCOL") > 40
    for scanned in (size, size // 3):
        monkeypatch.setattr("esmkit.files.hdf5.SCANNED", scanned)
        os.utime(path, (scanned, scanned))  # looked through again
        open_hdf5(path).close()


@pytest.mark.parametrize("shape", [(4, 2**40), (2**40, 4), (1, 2**24)])
def test_a_matrix_of_columns_without_end(tmp_path: Path, shape: tuple[int, int]):
    """Each column was given a name, as many as the file said there were."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("embeddings", shape, np.float32, chunks=(1, 4))
    start = time.process_time()
    (part,) = read_given(path).parts
    assert time.process_time() - start < 2
    assert part.across is None
    if shape != (1, 2**24):  # 64 MB, which are as many zeros as a file may leave out
        with pytest.raises(EsmkitError, match=r"and the file holds 0 bytes of it|more than any"):
            check_arrays(part, ["embeddings"], str(path))


def test_names_in_hdf5_that_are_not_utf8(tmp_path: Path):
    """h5py gives them as bytes, on which the search for IDs ended in a TypeError."""
    path = hdf5(
        tmp_path / "x.h5", {"PROTEIN": np.ones(3, np.float32), "P1": np.ones(3, np.float32)}
    )
    path.write_bytes(path.read_bytes().replace(b"PROTEIN\0", b"PROT\xc5IN\0"))
    for open_it in (esmkit.read, read_given):
        with pytest.raises(EsmkitError, match=r"array is not UTF-8: 'PROT.IN'"):
            open_it(path)


def test_a_pt_file_of_an_unknown_pickle_protocol(tmp_path: Path):
    path = tmp_path / "x.pt"
    torch.save({"P1": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\x80\x02", b"\x80\xef"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(read_given(path).parts[0].arrays) == ["P1"]  # not a word of PyTorch's


def test_coordinates_too_large_for_float32(tmp_path: Path):
    names = ["group_PDB", "id", "label_atom_id", "label_comp_id", "label_asym_id"]
    names += ["label_seq_id", "Cartn_x", "Cartn_y", "Cartn_z", "type_symbol"]
    path = tmp_path / "far.cif"
    head = ["data_x", "loop_", *(f"_atom_site.{name}" for name in names)]
    path.write_text("\n".join([*head, "ATOM 1 N MET A 1 1e300 1.0 1.0 N", "#"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=r"missing or wrong coordinate \(Å, below 1,000,000\)"):
            read_structure(path)


@pytest.mark.parametrize("said", ODD)
@pytest.mark.parametrize("ending", [".h5", ".npz", ".csv", ".parquet"])
def test_provenance_of_another_form(tmp_path: Path, ending: str, said: str):
    """Whoever read it next met an AttributeError or TypeError, and the file stayed open."""
    path = with_provenance(tmp_path / f"x{ending}", ODD[said])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(OutputError, match=r"is damaged \(its provenance .* should be\)"):
            esmkit.read(path)
        given = read_given(path)  # as a file that somebody else wrote
        assert list(check_arrays(given.parts[0], ["A"], "x")) == ["A"]
        if given.close is not None:
            given.close()
        gc.collect()


@pytest.mark.parametrize(
    "text", ["made with ProtT5", '{"layers": 24}', "[1]", '{"task": 3, "a": {}}']
)
@pytest.mark.parametrize("ending", [".h5", ".parquet"])
def test_provenance_that_another_program_wrote(tmp_path: Path, ending: str, text: str):
    """`make it anew with esmkit embed` was said of a file that esmkit never made."""
    path = tmp_path / f"x{ending}"
    if ending == ".h5":
        hdf5(path, {"A": np.ones(3, np.float32)})
        with h5py.File(path, "a") as file:
            file.attrs["provenance"] = text
    else:
        table = pyarrow.table({"id": ["A"], "embedding": [[1.0, 1.0, 1.0]]})
        parquet.write_table(table.replace_schema_metadata({"provenance": text}), path)
    with esmkit.read(path) as found:
        assert found.provenance == {}
        assert "not written by esmkit" in repr(found)
        assert found["A"].tolist() == [1, 1, 1]
        assert found.to_frame().index.tolist() == ["A"]


@pytest.mark.parametrize("ending", [".h5", ".npz", ".csv", ".parquet"])
@pytest.mark.parametrize("name", [*_FORMS])
def test_provenance_that_says_null(tmp_path: Path, ending: str, name: str):
    """Nothing is said by it: `repr` and `to_frame` met an AttributeError or TypeError."""
    path = with_provenance(tmp_path / f"x{ending}", {"esmkit": "0", "per": "protein", name: None})
    with esmkit.read(path) as found:
        assert "unknown checkpoint" in repr(found)
        assert found.layers == []
        assert found.to_frame().shape[0] == 1


@pytest.mark.parametrize(
    "said", [None, {}, {"name": None}, {"name": 3}], ids=["null", "empty", "none", "a number"]
)
@pytest.mark.parametrize("task", ["embed", "attention", "trace", "score"])
def test_a_checkpoint_without_a_name_in_other_files(tmp_path: Path, task: str, said: Any):
    shape = {"layers": 2, "heads": 4, "width": 32}
    own = {"task": task, "esmkit": "0", "model_shape": shape, "heads": ["L1H1"]}
    own |= {"keep": ["L1.residual"], "lm_head": {}, "masked": True, "long": "window"}
    path = with_provenance(tmp_path / "x.h5", {**own, "checkpoint": said})
    if task == "embed" and not (said and said["name"]):
        with esmkit.read(path) as found:
            assert "unknown checkpoint" in repr(found)
        return
    kinds = {"attention": esmkit.AttentionFile, "trace": TraceFile, "score": esmkit.ScoreFile}
    with pytest.raises(OutputError, match=r"is damaged .*; make it anew"):
        kinds.get(task, esmkit.read)(path)


@pytest.mark.parametrize("text", ["[]", "{bad", '{"layers": 6}'])
def test_provenance_of_another_form_in_a_dataset(tmp_path: Path, text: str):
    (tmp_path / "_provenance.json").write_text(text)
    with pytest.raises(OutputError, match=r"is not a file of embeddings, or is damaged \("):
        esmkit.read(tmp_path)


@pytest.mark.parametrize("said", [said for said in ODD if "task" not in said])
@pytest.mark.parametrize("task", ["attention", "trace", "score"])
def test_provenance_of_another_form_in_other_files(tmp_path: Path, task: str, said: str):
    odd = {**ODD[said], "task": task} if isinstance(ODD[said], dict) else ODD[said]
    path = with_provenance(tmp_path / "x.h5", odd)
    kinds = {"attention": esmkit.AttentionFile, "trace": TraceFile, "score": esmkit.ScoreFile}
    with pytest.raises(OutputError, match="its provenance"):
        kinds[task](path)


def test_facts_of_a_protein_that_are_damaged(tmp_path: Path):
    """Attributes are read when asked for: HDF5's own error came through."""
    path = tmp_path / "x.h5"
    hdf5(path, {"A": np.ones(3, np.float32)})
    with h5py.File(path, "a") as file:
        file["A"].attrs["header"] = "A of somebody"
    data = path.read_bytes()
    heap = data.rindex(b"GCOL")
    path.write_bytes(data[:heap] + b"XXXX" + data[heap + 4 :])
    with (
        esmkit.EmbeddingFile(path) as found,
        pytest.raises(OutputError, match=r"is damaged: what it says of 'A' cannot be read \("),
    ):
        found.attributes("A")


def test_a_frame_of_no_rows_has_its_index(tmp_path: Path):
    path = hdf5(tmp_path / "x.h5", {"A": np.zeros((0, 3), np.float32)})
    with esmkit.read(path) as found:
        assert found.to_frame().index.names == ["id", "residue_number"]
        assert len(found.to_frame()) == 0


def test_one_damaged_array_of_a_file_to_compare(tmp_path: Path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for name in "AB":
            file.create_dataset(name, data=np.ones(64, np.float32), chunks=(64,), fletcher32=True)
    data = path.read_bytes()
    place = data.rindex(np.ones(64, np.float32).tobytes())
    path.write_bytes(data[:place] + b"\1" + data[place + 1 :])
    given = read_given(path)
    with pytest.raises(InputError, match=r"'B' cannot be read \(.*\); copy or make the file again"):
        check_arrays(given.parts[0], ["A", "B"], "x.h5")
    given.close()


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_against_a_table_of_no_rows(tiny, tmp_path: Path, ending: str):
    """It was a comparison of nothing, which found nothing wrong."""
    path = tmp_path / f"x{ending}"
    table = pandas.DataFrame({"id": ["A"], "e0": [0.5], "e1": [1.5]}).iloc[:0]
    path.write_bytes(table.to_csv(index=False).encode()) if ending == ".csv" else table.to_parquet(
        path
    )
    with pytest.raises(InputError, match="holds no records; make the file anew"):
        verify_against(tiny, path, esmkit.data.ubiquitin_fasta())


@pytest.mark.parametrize("ending", [".csv", ".lists.csv", ".parquet", ".lists.parquet", ".npz"])
def test_against_numbers_too_large_for_float32(tiny, tmp_path: Path, ending: str):
    """They are told of by record; a warning of NumPy's is no sentence."""
    path = tmp_path / f"x{ending}"
    vectors = np.array([[0.5, 1e300], [1.0, 2.0]])
    table = pandas.DataFrame(
        vectors, columns=["e0", "e1"], index=pandas.Index(["A", "B"], name="id")
    )
    if ".lists" in ending:
        table = pandas.DataFrame({"id": ["A", "B"], "embedding": list(vectors.tolist())})
    if ending == ".npz":
        np.savez(path, A=np.array([0.5, 1e300], object), B=vectors[1])
    elif ending.endswith("csv"):
        table.to_csv(path, index=".lists" not in ending)
    else:
        table.reset_index(drop=".lists" in ending).to_parquet(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = read_given(path)
        arrays = check_arrays(given.parts[0], ["A", "B"], "x")
    np.testing.assert_array_equal(arrays["A"], np.array([0.5, np.inf], np.float32))
    np.testing.assert_array_equal(arrays["B"], np.array([1, 2], np.float32))


def test_damage_to_parquet_that_its_library_tells_with_a_control_sign(tmp_path: Path):
    good = io.BytesIO()
    pandas.DataFrame({"id": ["A"], "embedding": [[0.5]]}).to_parquet(good)
    data = bytearray(good.getvalue())
    told = 0
    for place in range(len(data) - 120, len(data) - 8, 2):  # its description, at the end
        path = tmp_path / "x.parquet"
        path.write_bytes(data[:place] + b"\xff" + data[place + 1 :])
        said = ""
        try:
            esmkit.read(path).close()
        except EsmkitError as error:
            said = str(error)
        assert said.isprintable()
        told += bool(said)
    assert told > 10


def test_what_reads_as_it_did(tmp_path: Path):
    """Half precision, gzip within HDF5 and packed npz, which the new bounds leave alone."""
    half = np.linspace(0, 1, 64, dtype=np.float16)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("A", data=half, compression="gzip", chunks=True)
    np.savez_compressed(tmp_path / "x.npz", A=half)
    (tmp_path / "x.safetensors").write_bytes(save({"A": half}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("x.h5", "x.npz"):
            with esmkit.read(tmp_path / name) as found:
                np.testing.assert_array_equal(found["A"], half.astype(np.float32))
        for name in ("x.h5", "x.npz", "x.safetensors"):
            given = read_given(tmp_path / name)
            arrays = check_arrays(given.parts[0], ["A"], "x")
            np.testing.assert_array_equal(arrays["A"], half.astype(np.float32))
            if given.close is not None:
                given.close()


# --------------------------------------------------------------------------- command lines


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    (tmp_path / "chains").mkdir()
    (tmp_path / "good.fasta").write_text(">A\nMKTVRQERLKSA\n>B x\nACDEFGHIKLMNPQRSTVWY\n")
    (tmp_path / "packed.fasta.gz").write_bytes(gzip.compress(b">A\nMKT\n"))
    for path in (tmp_path / "chains" / "one.pdb", tmp_path / "chains" / "two.pdb"):
        path.write_text("\n".join(chain_lines("ACDEFGHIKLMNPQRS")))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("attention", "good.fasta", "--plot", "y" * 300), 1),
        (("contacts", "good.fasta", "--plot", "y" * 300), 1),
        (("contacts", "good.fasta", "-o", "new.tsv", "--min-separation", "9" * 20), 0),
        (("contacts", "fit", "--structures", "chains", "--seed", "-1"), 2),
        (("contacts", "fit", "--structures", "chains", "--seed", "9" * 20), 2),
        (("heads", "--structures", "chains", "--seed", "-1"), 2),
        (("heads", "--structures", "none", "-o", "."), 1),
        (("heads", "--structures", "none", "-o", "/"), 1),
    ],
)
def test_command_lines_that_were_tracebacks(run, kept: Path, tiny_folder, arguments, code: int):
    done = run(*arguments, "--model", tiny_folder, cwd=kept)
    assert done.returncode == code, done.stderr
    if code:
        fails(done, code)


OUTPUTS = [
    *("embed good.fasta -o", "attention good.fasta -o", "attention good.fasta --plot"),
    *("attention good.fasta --reduce entropy -o", "contacts good.fasta --plot"),
    "attention good.fasta --structure chains/one.pdb --on-structure -o",
    *("contacts good.fasta --structure chains/one.pdb -o", "contacts fit --structures chains -o"),
    *("contacts evaluate --structures chains -o", "score good.fasta -o", "score good.fasta --plot"),
    *("score fit good.fasta -o", "score variants good.fasta --mutations good.csv -o"),
    *("trace good.fasta --keep L1.residual -o", "heads --structures chains -o", "heads atlas"),
    *("explore good.fasta -o", "explore good.fasta --id A -o", "reproduce --structures chains -o"),
    "verify good.fasta --against theirs.csv -o",
]


@pytest.mark.parametrize("name", [".", "/"])
@pytest.mark.parametrize("words", OUTPUTS)
def test_an_output_that_is_the_folder_one_is_in(run, kept: Path, tiny_folder, words: str, name):
    """Neither has a name of its own, to which an ending or a suffix could be put."""
    (kept / "good.csv").write_text("id,mutant,measured\nA,K2A,1.0\nA,K2R,2.0\n")
    (kept / "theirs.csv").write_text("id,e0,e1\nA,0.5,1.5\n")
    places = (kept.parent, Path(name))
    before = [
        sorted(place.rglob("*") if place == kept.parent else place.iterdir()) for place in places
    ]
    fails(run(*words.split(), name, "--model", tiny_folder, cwd=kept))
    after = [
        sorted(place.rglob("*") if place == kept.parent else place.iterdir()) for place in places
    ]
    assert after == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("heads", "--structures", ""), "Option '--structures' has an empty value"),
        (("heads", "-o", "", "--structures", "none"), "Option '-o' has an empty value"),
        (("embed", "good.fasta", "--output="), "Option '--output' has an empty value"),
        (("attention", "good.fasta", "--plot", ""), "Option '--plot' has an empty value"),
        (("embed", ""), "An argument is empty"),
    ],
)
def test_an_empty_word_is_not_the_folder_one_is_in(run, kept: Path, arguments, named: str):
    """As a name it means the working folder: `heads --structures "$DIR"` measured what lay there."""
    done = run(*arguments, cwd=kept)
    assert named in fails(done, 2)
    assert "a variable of the shell that is not set gives nothing" in done.stderr
