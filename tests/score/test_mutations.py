"""Mutations as people write them: what is read, what is refused, and that nothing else happens."""

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from esmkit.errors import EsmkitError, InputError
from esmkit.score.variants.mutations import Edit, Variant, parse_variant
from esmkit.score.variants.placing import Refused, between, place, place_all
from esmkit.score.variants.rows import Row
from esmkit.sequences.proteins import AMINO_ACIDS, Protein

THREE = {
    **{"A": "Ala", "C": "Cys", "D": "Asp", "E": "Glu", "F": "Phe", "G": "Gly", "H": "His"},
    **{"I": "Ile", "K": "Lys", "L": "Leu", "M": "Met", "N": "Asn", "P": "Pro", "Q": "Gln"},
    **{"R": "Arg", "S": "Ser", "T": "Thr", "V": "Val", "W": "Trp", "Y": "Tyr"},
}
proteins = st.text(AMINO_ACIDS, min_size=2, max_size=60)


@st.composite
def variants(draw: st.DrawFn) -> tuple[str, Variant]:
    """A wild type, and a variant of it: edits of every kind that do not touch each other."""
    wild = draw(proteins)
    edits, place = [], 1
    while place <= len(wild):
        place += draw(st.integers(0, 12))
        if place > len(wild):
            break
        stop = min(len(wild), place + draw(st.integers(0, 3)))
        kind: Any = draw(
            st.sampled_from(["substitution", "deletion", "insertion", "duplication", "delins"])
        )
        new = draw(st.text(AMINO_ACIDS, min_size=1, max_size=4))
        if kind == "substitution":
            stop, new = place, new[0]
            if new == wild[place - 1]:
                new = AMINO_ACIDS[(AMINO_ACIDS.index(new) + 1) % 20]
        elif kind == "insertion":
            if place == len(wild):
                break
            stop = place + 1
        elif kind in ("deletion", "duplication"):
            new = ""
        edits.append(Edit(kind, place, stop, wild[place - 1], wild[stop - 1], new))
        place = stop + 2
    if not edits:
        edits = [Edit("duplication", 1, 1, wild[0], wild[0], "")]
    return wild, Variant(tuple(edits))


def in_hgvs(variant: Variant) -> str:
    def three(text: str) -> str:
        return "".join(THREE[letter] for letter in text)

    texts = []
    for edit in variant.edits:
        start = f"{THREE[edit.first]}{edit.start}"
        if edit.kind == "substitution":
            texts.append(start + three(edit.new))
            continue
        end = f"_{THREE[edit.last]}{edit.stop}" if edit.stop > edit.start else ""
        what = {"deletion": "del", "insertion": "ins", "duplication": "dup"}.get(
            edit.kind, "delins"
        )
        texts.append(f"{start}{end}{what}{three(edit.new)}")
    return f"p.[{';'.join(texts)}]" if len(texts) > 1 else f"NP_000468.1:p.({texts[0]})"


def by_hand(wild: str, variant: Variant) -> str:
    """The variant's sequence, built residue by residue."""
    after: dict[int, str] = {}
    there = dict(enumerate(wild, 1))
    for edit in variant.edits:
        if edit.kind == "insertion":
            after[edit.start] = edit.new
        elif edit.kind == "duplication":
            after[edit.stop] = wild[edit.start - 1 : edit.stop]
        else:
            for n in range(edit.start, edit.stop + 1):
                there[n] = ""
            there[edit.start] = edit.new
    return "".join(there[n] + after.get(n, "") for n in range(1, len(wild) + 1))


@given(variants(), st.sampled_from([":", ";", ",", " ", "/", "+", "|", " : "]))
def test_what_is_written_is_read_again_in_every_form(found: tuple[str, Variant], joint: str):
    wild, variant = found
    assert parse_variant(str(variant)) == variant
    assert parse_variant(joint.join(map(str, variant.edits))) == variant
    assert parse_variant(str(variant).lower()) == variant
    assert parse_variant(in_hgvs(variant)) == variant
    assert variant.applied(wild) == by_hand(wild, variant)
    assert str(variant.moved(7).moved(-7)) == str(variant)


@given(variants())
def test_a_variant_fits_its_wild_type_and_no_other_numbers(found: tuple[str, Variant]):
    wild, variant = found
    protein = Protein("p", wild)
    if variant.applied(wild):
        assert place(variant, protein) == variant
        assert place(variant.moved(23), protein, number=24) == variant
    with pytest.raises(InputError, match="residue"):
        place(variant.moved(len(wild)), protein)


@given(proteins, proteins)
@example("MKTAY", "MKTAY" * 2)
@example("AAAA", "AA")
def test_the_difference_of_two_sequences_makes_one_of_the_other(wild: str, mutated: str):
    if wild == mutated:
        with pytest.raises(InputError, match="is the wild type"):
            between(wild, mutated)
        return
    variant = between(wild, mutated)
    assert variant.applied(wild) == mutated
    assert parse_variant(str(variant)).applied(wild) == mutated
    assert place(variant, Protein("p", wild)) == variant


@given(
    st.text(max_size=30)
    | st.text("ACGKx179_:;,()[]pdelinsupTer*=.+ ", max_size=20)
    | st.from_regex(r"p?\.?\(?[A-Z][a-z]{0,2}[0-9]{1,3}_?[A-Za-z*=?]{1,6}\)?", fullmatch=True)
)
def test_whatever_is_written_is_a_variant_or_an_error_in_words(text: str):
    said = ""
    try:
        variant = parse_variant(text)
        assert parse_variant(str(variant)) == variant
    except EsmkitError as error:
        said = str(error)
    assert not said or "; " in said or ", so " in said, said
    assert len(said) < 400


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no mutation; write one, such as A24G"),
        ("A24A", "'A24A' is synonymous: the protein stays what it is; leave it out"),
        ("A24=", "is synonymous"),
        ("p.Ala24=", "is synonymous"),
        ("p.=", "'p.=' is the wild type, whose score is 0 by definition"),
        ("WT", "'WT' is the wild type"),
        ("A24*", "'A24*' makes a stop codon: the protein ends there"),
        ("p.Ala24Ter", "makes a stop codon"),
        ("A24X", "has 'X', which is none of the 20 amino acids"),
        ("J24A", "has 'J', which is none of the 20 amino acids"),
        ("p.Sec24Ala", "has 'Sec', which is none of the 20"),
        ("A24", "'A24' is no mutation but a part of one; write the old residue, its number and"),
        ("24G", "has no wild-type letter before the number"),
        ("A0G", "is about residue 0; residues are counted from 1"),
        ("A24G:A24V", "changes residue 24 twice, A24G and A24V"),
        ("A24G:A24G", "has A24G twice; write it once"),
        ("K7_L9del:K8R", "changes residue 8 twice"),
        ("A24fs", "is a shift of the frame"),
        ("p.Ala24Glyfs*12", "is a shift of the frame"),
        ("p.Met1ext-5", "is a shift of the frame or an extension"),
        ("c.71C>G", "is a change of a gene; give that of the protein"),
        ("NM_000546.6:c.215C>G", "is a change of a gene"),
        ("K7insGS", "does not say where it is inserted; name the residues on both sides"),
        ("K7_L9insGS", "between residues that are no neighbours"),
        ("L9_K7del", "do not ascend; write the smaller number first"),
        ("K7_L9delGS", "is not complete, or has more than it may; write K7_L9del"),
        ("K7_L9delins", "write the new residues after it"),
        ("p.[Ala24Gly];[Lys7Arg]", "is about two chromosomes"),
        ("R", "together, in one column, such as A24G"),
        ("24", "together, in one column, such as A24G"),
        ("K7_L8ins5", "is no mutation"),
        ("A24G:hello", "'hello' of 'A24G:hello' is no mutation"),
    ],
)
def test_what_is_refused_is_said(text: str, said: str):
    with pytest.raises(InputError, match=re.escape(said)):
        parse_variant(text)


BLA = Protein("bla", "HPETLVKVKDAEDQLGARVGYIELDLNSGK")


def test_a_wrong_letter_is_said_with_the_nearest_right_one():
    with pytest.raises(
        InputError, match=r"K2R has K at residue 2, where 'bla' has P \(the nearest K is 7\)"
    ):
        place(parse_variant("K2R"), BLA)
    with pytest.raises(InputError, match=r"\(there is no W\)"):
        place(parse_variant("W2R"), BLA)
    with pytest.raises(InputError, match="is about residue 31, and 'bla' has 1 to 30"):
        place(parse_variant("K31R"), BLA)
    with pytest.raises(InputError, match="and 'bla' has 24 to 53; check the numbers"):
        place(parse_variant("K7R"), BLA, number=24)
    with pytest.raises(InputError, match="leaves nothing of 'bla'"):
        place(parse_variant("H1_K30del"), BLA)


def test_numbers_that_all_fit_elsewhere_are_offered():
    rows = [Row(f"line {n}", text) for n, text in enumerate(["H24A", "P25G", "E26K", "K32R"], 2)]
    refused = Refused()
    assert place_all(rows, BLA, refused=refused) == []
    assert refused.count == 4
    assert "the letters of all 4 sites fit with `first_number=24`" in str(refused.first)
    again = Refused()
    assert len(place_all(rows, BLA, number=24, refused=again)) == 4
    assert again.count == 0
    one_wrong = Refused()
    place_all([*rows, Row("line 9", "W31A")], BLA, refused=one_wrong)
    assert "fit with" not in str(one_wrong.first)


def test_the_mutated_sequence_is_held_against_the_mutation():
    good = Row("row 1", "H1A", mutated="A" + BLA.sequence[1:])
    bad = Row("row 2", "H1A", mutated="G" + BLA.sequence[1:])
    refused = Refused()
    assert len(place_all([good, bad], BLA, refused=refused)) == 1
    assert "row 2: H1A makes another sequence of 'bla'" in str(refused.first)
