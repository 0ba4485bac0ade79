"""Text that is almost FASTA: joined files, alignments, complexes, bad IDs, words in place of sequences."""

import re
import warnings
from pathlib import Path

import pytest
from Bio import SeqIO
from hypothesis import given
from hypothesis import strategies as st

from esmkit.data import demo_proteins, ts50
from esmkit.embeddings.cluster.ranges import count_ranges, read_range
from esmkit.embeddings.cluster.worker import read_records
from esmkit.embeddings.options import EmbedOptions
from esmkit.errors import EsmkitError, InputError, OptionError, UnknownIdError
from esmkit.sequences import OddSequenceWarning
from esmkit.sequences.given import one_or_many
from esmkit.sequences.ids import id_in
from esmkit.sequences.index import InputIndex
from esmkit.sequences.letters import AMINO_ACIDS, GAPS, OnInvalid, RecordError
from esmkit.sequences.proteins import Protein, clean_proteins, read_fasta
from esmkit.sequences.report import InputReport

RULES: list[OnInvalid] = ["error", "replace", "skip", "degap"]


def read(
    folder: Path, text: str, rule: OnInvalid = "error", ids: list[str] | None = None
) -> tuple[list[Protein], InputReport]:
    path = folder / "in.fasta"
    path.write_bytes(text.encode())
    report = InputReport()
    return list(read_fasta(path, on_invalid=rule, ids=ids, report=report)), report


# ---------------------------------------------------------------------------- joined files

names = st.text("ABCabc123|_", min_size=1, max_size=8)
letters = st.text(AMINO_ACIDS, min_size=1, max_size=30)
files = st.lists(st.tuples(names, letters), min_size=1, max_size=4)
ends = st.sampled_from(["\n", "\r\n", "\r"])


def fasta(records: list[tuple[str, str]], end: str, width: int = 10) -> str:
    lines = []
    for name, sequence in records:
        parts = [sequence[i : i + width] for i in range(0, len(sequence), width)]
        lines += [f">{name} some words", *parts]
    return end.join(lines)


@given(files, files, ends, st.sampled_from(RULES), st.sampled_from(["", " ", "\x0c", "\u2028"]))
def test_joined_files_are_an_error_under_every_rule(tmp_path_factory, one, two, end, rule, glue):
    folder = tmp_path_factory.getbasetemp()
    first, second = fasta(one, end), fasta(two, end)
    message = (
        f"line {first.count(end) + 1}, record {len(one)} ({one[-1][0]!r}): a line end is missing "
        "before '>' in '"
    )
    for build in (
        read,
        lambda f, t, r: InputIndex.build([f / "in.fasta"], on_invalid=r, scratch=f),
    ):
        (folder / "in.fasta").write_bytes((first + glue + second).encode())
        with pytest.raises(InputError, match=re.escape(message)):
            build(folder, first + glue + second, rule)
    found, _ = read(folder, first + end + second)  # with the line end that was missing
    assert [(p.header.split()[0], p.sequence) for p in found] == [*one, *two]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "text",
    [
        ">P1\nMKT>P2\nMKT\n",
        ">P1\nMKT>",
        ">P1\nMKT\n  >P2\nMKT\n",  # an indented header
        ">P1\nMKT\n\ufeff>P2\nMKT\n",  # the byte order mark of a second file
        ">P1\n" + "M" * 200_000 + ">P2\nMKT\n",  # longer than what is read at once
    ],
)
def test_a_header_that_does_not_begin_its_line(tmp_path: Path, text: str, rule: OnInvalid):
    with pytest.raises(InputError, match=r"'P1'\): a line end is missing before '>' in ") as caught:
        list(read(tmp_path, text, rule)[0])
    assert not isinstance(caught.value, RecordError)
    assert len(str(caught.value)) < 400


def test_a_header_in_what_is_left_out_of_a_long_record(tmp_path: Path):
    with pytest.raises(InputError, match="a line end is missing before '>' in 'MKT>P2'"):
        read(tmp_path, ">P1\n" + "M" * 1_500_000 + "\nMKT>P2\nMKT\n", "skip")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("mark", ["\uff1e", "\ufe65", "&gt;"])
def test_a_mark_that_is_none(tmp_path: Path, rule: OnInvalid, mark: str):
    """Else the record is left out or glued together with the one before."""
    message = f"line 3, record 1 ('P1'): a line begins with '{mark}P2 x' where '>' is meant"
    with pytest.raises(InputError, match=re.escape(message)):
        read(tmp_path, f">P1\nMKT\n{mark}P2 x\nMKT\n", rule)


@pytest.mark.parametrize("text", ["<NA>", "MK<mask>T", "<cls>MKT<eos>", "MKT\n</pre>"])
def test_a_word_in_brackets_is_of_its_record(tmp_path: Path, text: str):
    """Its ``>`` begins no record: the record is refused for its letters, and can be left out."""
    whole = f">P1\n{text}\n>P2\nMKT\n"
    for rule in ("error", "replace", "degap"):
        with pytest.raises(RecordError, match=r"is it a token|word for a missing value"):
            read(tmp_path, whole, rule)  # type: ignore[arg-type]
    found, report = read(tmp_path, whole, "skip")
    assert ([p.id for p in found], report.skipped) == (["P2"], 1)
    with pytest.raises(InputError, match="a line end is missing before '>'"):
        read(tmp_path, f">P1\n{text}>P2\nMKT\n", "skip")


def test_a_mark_inside_a_header_is_text(tmp_path: Path):
    found, _ = read(tmp_path, ">P1 5'->3' >x\nMKT\n")
    assert found == [Protein("P1", "MKT", "P1 5'->3' >x")]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c"])
def test_a_line_separator_that_hides_the_sequence_in_the_header(tmp_path: Path, separator: str):
    text = f">P1 words{separator}MKTAYIAKQR\nMKT\n>P2 a{separator}few words\nMKT\n"
    with pytest.raises(
        InputError, match=rf"record 1 of .* has U\+{ord(separator):04X} in its header"
    ):
        read(tmp_path, text)
    found, report = read(tmp_path, text, "skip")
    assert [p.id for p in found] == ["P2"]
    assert "before 'MKTAYIAKQR'" in report.skipped_records[0]


# ---------------------------------------------------------------------------- what skip carries

GOOD = st.tuples(names, letters).map(lambda both: (f">{both[0]}\n{both[1]}\n", both))
BAD = st.sampled_from(
    [
        ">\nMKT\n",
        "> \t\nMKT\n",
        ">\x01XP_2.1\nMKT\n",
        ">P\u200b1\nMKT\n",
        ">P1 \0\nMKT\n",
        f">{'x' * 5_000}\nMKT\n",
        ">P1\n",
        ">P1\n--\n",
        ">P1\nMK:MK\n",
        ">P1\nMK1\n",
        ">P1\nMKJ\n",
        ">P1 x\u2028MKTAYI\nM\n",
    ]
)


@given(st.lists(GOOD | BAD.map(lambda text: (text, None)), min_size=1, max_size=12))
def test_skip_carries_everything_else(tmp_path_factory, records):
    folder = tmp_path_factory.getbasetemp()
    found, report = read(folder, "".join(text for text, _ in records), "skip")
    wanted = [both for _, both in records if both]
    assert [(id_in(p.header), p.sequence) for p in found] == wanted
    assert report.skipped == len(report.skipped_records) == len(records) - len(wanted)
    assert (report.records, report.proteins) == (len(records), len(wanted))


def test_the_first_reason_where_nothing_is_left(tmp_path: Path):
    (tmp_path / "in.fasta").write_text(">\nMKT\n>B\nMK-\n")
    with pytest.raises(
        InputError, match=r"all were skipped; the first: record 1 of '.*' has no ID"
    ):
        InputIndex.build([tmp_path / "in.fasta"], on_invalid="skip", scratch=tmp_path)


def test_ctrl_a_ends_an_id_and_stays_in_the_header(tmp_path: Path):
    found, _ = read(tmp_path, ">XP_1.1\x01XP_2.1 protein\nMKT\n>A b\x01C d\nMKT\n")
    assert [(p.id, p.header) for p in found] == [
        ("XP_1.1", "XP_1.1\x01XP_2.1 protein"),
        ("A", "A b\x01C d"),
    ]


# ---------------------------------------------------------------------------- alignments

gapped = st.text(AMINO_ACIDS.lower() + AMINO_ACIDS + "".join(sorted(GAPS)), max_size=40)


@given(st.lists(gapped, min_size=1, max_size=6), st.sampled_from(["", "*"]), gapped)
def test_degap_reads_an_alignment_as_the_sequences_without_gaps(tmp_path_factory, rows, stop, tail):
    folder = tmp_path_factory.getbasetemp()
    tail = "".join(letter for letter in tail if letter in GAPS)
    plain = ["".join(c for c in row if c not in GAPS) for row in rows]
    with_gaps = "".join(f">P{n}\n{row}{stop}{tail}\n" for n, row in enumerate(rows))
    without = "".join(f">P{n}\n{row}{stop}\n" for n, row in enumerate(plain))
    try:
        expected, of_plain = read(folder, without)
    except InputError as error:
        assert "is empty" in str(error)  # noqa: PT017 - either both are empty or neither is
        with pytest.raises(InputError, match="is empty"):
            read(folder, with_gaps, "degap")
        return
    found, report = read(folder, with_gaps, "degap")
    assert found == expected
    assert report.gaps_removed == sum(map(len, rows)) + len(tail) * len(rows) - sum(map(len, plain))
    assert report.stops_removed == of_plain.stops_removed


def test_an_alignment_is_told_of(tmp_path: Path):
    text = ">a\nMK-TAY\n>b\nMKKTAY\n>c\n-KKTA-\n"
    for rule, said in {
        "degap": "gap(s) were removed (numbers of residues are without them): a (1); c (2)",
        "replace": "removes them",
    }.items():
        _, report = read(tmp_path, text, rule)  # type: ignore[arg-type]
        assert said in " ".join(report.lines())
        assert "3 record(s) have one length with their gaps" in " ".join(report.lines())
    _, report = read(tmp_path, text.replace("MKKTAY", "MKKTAYI"), "degap")
    assert report.aligned == 0
    _, report = read(tmp_path, text.replace("-", "A"), "degap")
    assert len(report.lines()) == 1


@pytest.mark.parametrize("rule", ["error", "skip", "replace"])
def test_only_degap_takes_gaps_out(tmp_path: Path, rule: OnInvalid):
    text = ">a\nM-K\n>b\nMK\n"
    if rule == "error":
        with pytest.raises(
            InputError, match='remove the gaps, or `on_invalid="degap"` removes them'
        ):
            read(tmp_path, text, rule)
    else:
        found = [p.sequence for p in read(tmp_path, text, rule)[0]]
        assert found == (["MK"] if rule == "skip" else ["MXK", "MK"])


# ---------------------------------------------------------------------------- words

TEXT = {
    "missing_values": ["nan", "NaN", "None", "NULL", "NA"],
    "like_text": [
        "This line was pasted here by accident and is no protein at all",
        "not available",
        "no sequence was found",
        "UNKNOWN",
        "Sequence",
        "protein sequence",
        "Hypothetical protein of some organism",
    ],
    "three_letter_codes": ["MetLysThr", "MET LYS THR ALA TYR", "alavalglyser"],
    "rare_letters": ["MKXXXXXXAY", "BZBZBZMKTAYIAKQRMKTAYIAKQR"],
    "like_nucleic_acid": ["ATGGCCATTGTAATGGGCCGCTGAAAGGGTGCC", "augguuccagguccauuguaaugggccgcu"],
}


@pytest.mark.parametrize(("kind", "text"), [(k, t) for k, ts in TEXT.items() for t in ts])
def test_what_is_read_and_most_likely_no_sequence(tmp_path: Path, kind: str, text: str):
    _, report = read(tmp_path, f">P1\n{text}\n>P2\nMKTAYIAKQR\n")
    facts = report.to_dict()
    assert {k for k in TEXT if facts.get(k)} == {kind}
    assert facts[kind] == 1
    assert bool(report.blanks_inside) == (" " in text)
    assert any(line.endswith(": P1") for line in report.lines())
    with pytest.warns(OddSequenceWarning, match="^sequence 'sequence_1' ") as caught:
        list(clean_proteins([text, text, "MKTAYIAKQR"]))
    assert len(caught) == 1  # once for each kind


def test_real_proteins_are_not_remarked_on(tmp_path: Path):
    sequences = [p.sequence for p in demo_proteins()] + [s.protein.sequence for s in ts50()]
    assert len(sequences) == 68
    blocks = [" ".join(s[i : i + 10] for i in range(0, len(s), 10)) for s in sequences]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [p.sequence for p in clean_proteins(blocks)] == sequences
    _, report = read(tmp_path, "".join(f">P{n}\n{s}\n" for n, s in enumerate(blocks)))
    kinds = {"blanks_inside", "duplicate_sequences", *TEXT}
    assert {k for k in kinds if report.to_dict().get(k)} == {"blanks_inside"}


def test_a_few_rare_residues_make_no_text_of_a_protein(tmp_path: Path):
    """Selenocysteine and pyrrolysine are letters that English has and proteins hardly."""
    ubiquitin = demo_proteins()[0].sequence
    _, report = read(tmp_path, f">P1\nUO{ubiquitin}U\n>P2\n{'U' * 7}{ubiquitin}O\n")
    assert (report.proteins, report.like_text) == (2, 0)


def test_a_file_given_to_a_model_warns_and_one_that_is_reported_does_not(tmp_path: Path):
    path = tmp_path / "in.fasta"
    path.write_text(">P1\nnan\n>P2\nNone\n")
    assert len(list(read_fasta(path))) == 2
    with pytest.warns(OddSequenceWarning, match=r"^sequence 'P1' is a word for a missing value"):
        list(one_or_many(path)[1])


@pytest.mark.parametrize("text", ["N/A", "#N/A", "<NA>"])
@pytest.mark.parametrize("rule", ["error", "replace", "degap"])
def test_words_for_missing_values_with_signs(text: str, rule: OnInvalid):
    with pytest.raises(
        InputError, match=f"is '{text}', a word for a missing value; remove the rec"
    ):
        list(clean_proteins([text], on_invalid=rule))


# ---------------------------------------------------------------------------- records picked out

SEVERAL = (
    ">sp|P69905|HBA_HUMAN alpha\nMVLS\n>\nMKT\n>bad\nMK1\n>P1\nMKTA\n>P1\nMKTV\n>tr|Q9|X_Y\nMM\n"
    ">XP_1.1\x01XP_2.1 protein\nMG\n"
)


@pytest.mark.parametrize(
    ("ids", "wanted"),
    [
        (["P69905"], ["sp|P69905|HBA_HUMAN MVLS"]),
        (["Q9", "HBA_HUMAN"], ["sp|P69905|HBA_HUMAN MVLS", "tr|Q9|X_Y MM"]),  # order of the file
        (["P1"], ["P1 MKTA"]),
        (["P1~2"], ["P1~2 MKTV"]),  # as without ids
        (["P69905", "HBA_HUMAN", "P69905"], ["sp|P69905|HBA_HUMAN MVLS"]),
        (["XP_2.1"], ["XP_1.1 MG"]),
        (["XP_1"], ["XP_1.1 MG"]),
    ],
)
def test_records_picked_out(tmp_path: Path, ids: list[str], wanted: list[str]):
    found, report = read(tmp_path, SEVERAL, ids=ids)
    assert [f"{p.id} {p.sequence}" for p in found] == wanted
    assert (report.records, report.not_asked_for) == (len(wanted), 7 - len(wanted))
    assert f"{7 - len(wanted)} other record(s) of the input not asked for" in report.lines()
    index = InputIndex.build([tmp_path / "in.fasta"], scratch=tmp_path, ids=ids)
    assert [p for _, p in index.proteins()] == found
    assert [p for _, p in index.distinct()] == found


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["P69905", "P69906"], "there is no ID 'P69906'; near ones are 'sp|P69905|HBA_HUMAN'"),
        (["nothing"], "there is no ID 'nothing'; there are 6, such as "),
    ],
)
def test_ids_that_are_not_there(tmp_path: Path, ids: list[str], message: str):
    with pytest.raises(UnknownIdError, match=re.escape(message)):
        read(tmp_path, SEVERAL, "skip", ids)


def test_ids_that_may_mean_several(tmp_path: Path):
    with pytest.raises(UnknownIdError, match=r"'P1' may mean 2 records: 'a\|P1', 'b\|P1'; give"):
        read(tmp_path, ">a|P1\nMKT\n>b|P1\nMKT\n", ids=["P1"])


def test_ids_that_are_none(tmp_path: Path):
    for ids, message in {"P1": r"give \['P1'\]$", (): "is empty", ("P1", 3): "not 3$"}.items():
        with pytest.raises(OptionError, match=message):
            read(tmp_path, SEVERAL, ids=ids)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="sequence 'bad', residue 3: '1' is not"):
        read(tmp_path, SEVERAL, ids=["bad"])
    with pytest.raises(InputError, match="a line end is missing"):
        read(tmp_path, SEVERAL + ">P9\nMK>P8\nMK\n", ids=["P69905"])


@given(st.lists(st.tuples(names, letters), min_size=1, max_size=8), st.data())
def test_what_is_picked_is_what_the_whole_file_has(tmp_path_factory, records, data):
    folder = tmp_path_factory.getbasetemp()
    text = "".join(f">{name} words\n{sequence}\n" for name, sequence in records)
    whole, _ = read(folder, text)
    ids = data.draw(st.lists(st.sampled_from([p.id for p in whole]), min_size=1))
    found, _ = read(folder, text, ids=ids)
    assert found == [p for p in whole if p.id in ids]


# ---------------------------------------------------------------------------- the same on a cluster


@given(
    st.lists(
        GOOD.map(lambda pair: pair[0])
        | BAD
        | st.sampled_from([">a\nM-K\n", ">b\x01c d\nMK~\n", ">d\nMKT>e\nMK\n"]),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 200),
    st.sampled_from(RULES),
)
def test_ranges_read_as_the_whole_file(tmp_path_factory, records, size, rule):
    """What the workers of a cluster read is what one process reads, or both refuse."""
    path = tmp_path_factory.getbasetemp() / "in.fasta"
    path.write_bytes("".join(records).encode())
    options = EmbedOptions(on_invalid=rule)
    report, of_parts = InputReport(), InputReport()
    try:
        whole = list(read_fasta(path, on_invalid=rule, report=report))
    except EsmkitError as error:
        reason = str(error).split(";")[0]
    else:
        reason = ""
    parts: list[Protein] = []
    try:
        with path.open("rb") as handle:
            for number in range(count_ranges(path.stat().st_size, size)):
                data = read_range(handle, number, size)
                parts += [p for _, p in read_records(data, "x", options, of_parts)]
    except EsmkitError as error:
        of_ranges = str(error).split(";")[0]
        if "of '" not in reason and "line " not in reason:
            assert of_ranges == reason
        assert reason
        return
    assert not reason
    assert [(id_in(p.header), p.header, p.sequence) for p in parts] == [
        (id_in(p.header), p.header, p.sequence) for p in whole
    ]
    assert (of_parts.skipped, of_parts.gaps_removed) == (report.skipped, report.gaps_removed)


def test_biopython_reads_what_was_written(tmp_path: Path):
    """An independent reader of the demo set, written gapped, agrees with degap."""
    path = tmp_path / "gapped.fasta"
    path.write_text("".join(f">{p.id}\n{'-'.join(p.sequence)}\n" for p in demo_proteins()))
    with path.open() as handle:
        expected = [(r.id, str(r.seq.replace("-", ""))) for r in SeqIO.parse(handle, "fasta")]
    assert [(p.id, p.sequence) for p in read_fasta(path, on_invalid="degap")] == expected
    assert len(expected) == 18
