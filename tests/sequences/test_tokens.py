"""The 33 tokens, against the tokenizers of fair-esm and of transformers."""

import re

import esm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import EsmTokenizer

from esmkit.errors import InputError
from esmkit.sequences.proteins import ALLOWED_LETTERS, Protein
from esmkit.sequences.tokens import BOS, EOS, MASK, PAD, TOKENS, UNKNOWN, decode, encode

LETTERS = "".join(sorted(ALLOWED_LETTERS))

FAIR_ESM = esm.Alphabet.from_architecture("ESM-1b")  # the alphabet of ESM-2 as well

# the vocab.txt of facebook/esm2_t6_8M_UR50D, written out
VOCABULARY = (
    "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>"
)

sequences = st.text(LETTERS, min_size=1, max_size=200)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> EsmTokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    path.write_text(VOCABULARY.replace(" ", "\n") + "\n")
    return EsmTokenizer(str(path))


def upstream(tokenizer: EsmTokenizer, sequence: str) -> list[int]:
    return tokenizer(sequence)["input_ids"]  # type: ignore[return-value]


def test_tokens_are_those_of_fair_esm():
    assert list(TOKENS) == FAIR_ESM.all_toks
    assert FAIR_ESM.prepend_bos
    assert FAIR_ESM.append_eos
    assert (FAIR_ESM.cls_idx, FAIR_ESM.padding_idx, FAIR_ESM.eos_idx) == (BOS, PAD, EOS)
    assert (FAIR_ESM.unk_idx, FAIR_ESM.mask_idx) == (UNKNOWN, MASK)


def test_tokens_are_those_of_transformers(tokenizer: EsmTokenizer):
    assert {token: i for i, token in enumerate(TOKENS)} == tokenizer.get_vocab()
    assert (tokenizer.cls_token_id, tokenizer.eos_token_id) == (BOS, EOS)
    assert (
        tokenizer.pad_token_id,
        tokenizer.unk_token_id,
        tokenizer.mask_token_id,
    ) == (PAD, UNKNOWN, MASK)


def test_demo_proteins_encode_as_upstream(tokenizer: EsmTokenizer, demo: list[Protein]):
    assert len(demo) == 18
    convert = FAIR_ESM.get_batch_converter()
    for protein in demo:
        ids = encode(protein.sequence)
        assert ids.dtype == np.int64
        assert ids.tolist() == upstream(tokenizer, protein.sequence)
        assert ids.tolist() == convert([(protein.id, protein.sequence)])[2][0].tolist()


@given(sequences)
def test_clean_sequences_encode_as_upstream(tokenizer: EsmTokenizer, sequence: str):
    assert encode(sequence).tolist() == upstream(tokenizer, sequence)


def test_all_25_letters_encode_as_upstream(tokenizer: EsmTokenizer):
    assert encode(LETTERS).tolist() == upstream(tokenizer, LETTERS)
    assert len(set(encode(LETTERS).tolist())) == 27


@pytest.mark.parametrize(
    ("sequence", "there", "here"),
    [
        ("ACJJDEF", 6, "residue 3: 'J' has no token in ESM-2"),
        ("acdef", 1, "residue 1: 'a' has no token in ESM-2"),
    ],
)
def test_runs_of_unknown_letters_that_upstream_merges_are_refused(
    tokenizer: EsmTokenizer, sequence: str, there: int, here: str
):
    ids = upstream(tokenizer, sequence)
    assert UNKNOWN in ids
    assert len(ids) - 2 == there < len(sequence)  # residue i is no longer token i + 1
    with pytest.raises(InputError, match=f"^{here}; use one of the 20 amino acids or X "):
        encode(sequence)


@given(sequences)
def test_every_residue_is_one_token(sequence: str):
    ids = encode(sequence)
    assert len(ids) == len(sequence) + 2
    assert (ids[0], ids[-1]) == (BOS, EOS)
    assert decode(ids) == f"<cls>{sequence}<eos>"
    assert [TOKENS[i] for i in ids[1:-1]] == list(sequence)


@given(st.data(), sequences)
def test_masks_replace_the_residues_named(data: st.DataObject, sequence: str):
    mask = data.draw(st.sets(st.integers(0, len(sequence) - 1)))
    expected = [MASK if i in mask else FAIR_ESM.get_idx(a) for i, a in enumerate(sequence)]
    assert encode(sequence, mask=mask).tolist() == [BOS, *expected, EOS]
    assert encode(sequence, mask=np.array(sorted(mask), int)).tolist() == [BOS, *expected, EOS]


def test_masked_sequence_encodes_as_upstream(tokenizer: EsmTokenizer):
    assert encode("MKTVRQ", mask=[0, 3]).tolist() == upstream(tokenizer, "<mask>KT<mask>RQ")


@given(st.text(min_size=1))
def test_any_text_encodes_or_is_refused_at_its_first_odd_letter(sequence: str):
    odd = [i for i, letter in enumerate(sequence) if letter not in ALLOWED_LETTERS]
    if not odd:
        assert len(encode(sequence)) == len(sequence) + 2
        return
    text = f"residue {odd[0] + 1:,}: {sequence[odd[0]]!r} has no token in ESM-2; use one of the 20"
    with pytest.raises(InputError, match="^" + re.escape(text)):
        encode(sequence)


@pytest.mark.parametrize("letter", [*"J*.-?@ \n\0", "ÿ", "Ā", "\u0141", "é", "ß", "\ud800"])
def test_letters_without_a_token(letter: str):
    # U+0141 ends in the byte of 'A': a table indexed by the low byte would take it for alanine
    with pytest.raises(InputError, match=re.escape(f"residue 2: {letter!r} has no token")):
        encode("M" + letter)


def test_position_of_a_late_letter():
    with pytest.raises(
        InputError,
        match=r"^residue 1,235: 'j' has no token in ESM-2; use one of the 20 amino acids or X "
        r"\(esmkit\.sequences\.clean_sequence folds case and checks\)$",
    ):
        encode("A" * 1_234 + "jj")


def test_empty_sequence():
    with pytest.raises(InputError, match=r"^the sequence is empty; give at least one residue$"):
        encode("")


@pytest.mark.parametrize("index", [-1, 3, 1_000])
def test_mask_out_of_range(index: int):
    with pytest.raises(
        InputError,
        match=rf"^cannot mask residue index {index}: the sequence has indices 0 to 2$",
    ):
        encode("MKT", mask=[index])


@pytest.mark.parametrize("mask", [[True, False, False], np.array([True, False, False])])
def test_boolean_mask_is_not_taken_for_indices(mask):
    with pytest.raises(InputError, match=r"^mask takes residue indices; of booleans give numpy"):
        encode("MKT", mask=mask)


def test_encoding_leaves_the_table_alone():
    first = encode("MKT")
    first[:] = 0
    assert encode("MKT").tolist() == [0, 20, 15, 11, 2]


def test_decode():
    assert decode([0, 20, 15, 32, 3, 1, 2]) == "<cls>MK<mask><unk><pad><eos>"
    assert decode(np.arange(33)) == VOCABULARY.replace(" ", "")
    assert decode([]) == ""


@pytest.mark.parametrize("bad", [-1, 33])
def test_decode_refuses_other_ids(bad: int):
    with pytest.raises(InputError, match=rf"^token id {bad} is not one of 0 to 32$"):
        decode([0, bad, 2])
