"""Contact maps in memory: against Hugging Face, fair-esm and plain NumPy, in pieces and on
structures."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from esmkit.attention.passes import Piece
from esmkit.contacts import ContactHead, ContactMap, contacts, corrected_maps, prediction, score_map
from esmkit.data import demo_proteins, demo_structure
from esmkit.errors import CheckpointError, InputError, OptionError
from esmkit.esm2 import Esm2, load
from esmkit.sequences import windows as cutting
from esmkit.sequences.tokens import PAD, encode
from oracles.checkpoints import make_checkpoint, make_fair_esm, random_sequence
from oracles.commands import write_fasta
from oracles.contact_oracles import eager, numpy_corrected, predict_contacts

SEQUENCES = [random_sequence(n, n) for n in (30, 12, 44, 30, 5)]

# Of probabilities and of maps of a few tiny layers, two orders of summation differ by rounding.
ROUNDING = {"rtol": 0, "atol": 4e-6}


def test_equal_to_hugging_face(any_tiny_folder: Path):
    model, network = load(any_tiny_folder, "cpu"), eager(any_tiny_folder)
    found = list(model.contacts(SEQUENCES))
    for sequence, ours in zip(SEQUENCES, found, strict=True):
        theirs = predict_contacts(network, sequence)
        assert ours.probability.dtype == np.float32
        assert ours.probability.shape == theirs.shape
        np.testing.assert_allclose(ours.probability, theirs, **ROUNDING)
        assert theirs.max() - theirs.min() > 0.01  # there is something to be equal to


def test_equal_to_hugging_face_padded(any_tiny_folder: Path):
    model, network = load(any_tiny_folder, "cpu"), eager(any_tiny_folder)
    ids = torch.full((len(SEQUENCES), max(map(len, SEQUENCES)) + 2), PAD)
    for row, sequence in zip(ids, SEQUENCES, strict=True):
        row[: len(sequence) + 2] = torch.from_numpy(encode(sequence))
    with torch.no_grad():
        theirs = network.predict_contacts(ids, (ids != PAD).long()).numpy()
    for ours, padded in zip(model.contacts(SEQUENCES), theirs, strict=True):
        # attention to and from EOS and padding is zeroed there, so the sums are over residues only;
        # what lies beyond the sequence is meaningless
        size = len(ours)
        np.testing.assert_allclose(ours.probability, padded[:size, :size], **ROUNDING)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_equal_to_fair_esm(any_tiny_folder: Path):
    model = load(any_tiny_folder, "cpu")
    network = make_fair_esm(model)
    weights = network.contact_head.regression.weight[0].numpy(force=True)
    np.testing.assert_array_equal(weights, model.contact_regression()[0])
    for sequence in SEQUENCES:
        theirs = predict_contacts(network, sequence)
        np.testing.assert_allclose(model.contacts(sequence).probability, theirs, **ROUNDING)


def test_batch_order_and_neighbours_change_nothing(tiny: Esm2):
    together = list(contacts(tiny, SEQUENCES))
    backwards = list(contacts(tiny, SEQUENCES[::-1]))[::-1]
    small = list(contacts(tiny, SEQUENCES, batch_tokens=1))
    for sequence, a, b, c in zip(SEQUENCES, together, backwards, small, strict=True):
        assert a.sequence == sequence
        np.testing.assert_array_equal(a.probability, a.probability.T)
        for other in (b, c, tiny.contacts(sequence)):
            np.testing.assert_allclose(a.probability, other.probability, rtol=0, atol=1e-6)


def test_one_sequence_a_path_or_many(tiny: Esm2, tmp_path: Path):
    fasta = write_fasta(tmp_path / "x.fasta", {"a first": SEQUENCES[0], "b": SEQUENCES[1]})
    for source in (fasta, str(fasta)):
        found = list(contacts(tiny, source))
        assert [(m.id, m.header, m.sequence) for m in found] == [
            ("a", "a first", SEQUENCES[0]),
            ("b", "b", SEQUENCES[1]),
        ]
    assert list(contacts(tiny, [])) == []
    one = tiny.contacts(SEQUENCES[1])
    assert (one.method, one.windows, one.checkpoint) == ("regression", 1, "tiny-esm2")
    assert repr(one) == "ContactMap(sequence_1: 12 residues, contact head of tiny-esm2)"
    with pytest.raises(InputError, match="residue 3: 'J' is not an amino acid esmkit knows"):
        tiny.contacts("ACJ")
    assert tiny.contacts("ACJ", on_invalid="replace").sequence == "ACX"
    with pytest.raises(
        InputError, match=r"was left out by `on_invalid=.skip.`; nothing is left to p"
    ):
        tiny.contacts("ACJ", on_invalid="skip")
    with pytest.raises(OptionError, match="long is 'window' or"):
        tiny.contacts("ACD", long="sometimes")  # type: ignore[call-overload]
    with pytest.raises(OptionError, match="there is no L9H0"):
        tiny.contacts("ACD", heads="L9H0")
    with pytest.raises(OptionError, match="give head or heads, not both"):
        tiny.contacts("ACD", heads="L0H0", head=ContactHead.of_checkpoint(tiny))


def test_a_chain_of_three_residues(tiny: Esm2, tiny_folder: Path):
    found = tiny.contacts("MKV")
    np.testing.assert_allclose(
        found.probability, predict_contacts(eager(tiny_folder), "MKV"), **ROUNDING
    )
    assert found.to_frame().empty
    assert len(found.to_frame(min_separation=1)) == 3
    single = tiny.contacts("M").probability  # all of one residue is explained by its average
    np.testing.assert_allclose(
        single, [[1 / (1 + np.exp(-tiny.contact_regression()[1]))]], **ROUNDING
    )


def averaged_windows(model: Esm2, sequence: str, pieces: Any, **options: Any) -> np.ndarray:
    """The map of each window by itself, put together pair by pair."""
    residues = len(sequence)
    seen: list[list[list[float]]] = [[[] for _ in range(residues)] for _ in range(residues)]
    for start, stop in pieces:
        own = model.contacts(sequence[start:stop], **options).probability
        for i in range(start, stop):
            for j in range(start, stop):
                seen[i][j].append(float(own[i - start, j - start]))
    return np.array([[np.mean(pair) if pair else np.nan for pair in row] for row in seen])


@pytest.mark.parametrize("residues", [13, 20, 25])
@pytest.mark.parametrize("heads", [None, ("L0H1", "L1H3")])
def test_long_chains_in_windows(tiny: Esm2, monkeypatch: pytest.MonkeyPatch, residues, heads):
    monkeypatch.setattr(cutting, "WINDOW_OVERLAP", 6)
    pieces = cutting.windows(residues, 12)
    assert len(pieces) > 1
    cut = cutting.windows
    monkeypatch.setattr(cutting, "windows", lambda residues: cut(residues, 12))
    sequence = random_sequence(residues, 3)
    found = list(tiny.contacts([sequence, "MKV", sequence[::-1]], heads=heads))
    monkeypatch.undo()
    for ours, whole in zip(found[::2], (sequence, sequence[::-1]), strict=True):
        assert ours.windows == len(pieces)
        assert repr(ours).endswith(f", read in {len(pieces)} windows)")
        expected = averaged_windows(tiny, whole, pieces, heads=heads)
        assert np.isnan(expected[0, -1])
        np.testing.assert_allclose(ours.probability, expected, rtol=0, atol=1e-6)
        table: Any = ours.to_frame(min_separation=1)  # never seen together: not in the table
        assert len(table) == np.isfinite(expected[np.triu_indices(residues, 1)]).sum()
        assert table["probability" if heads is None else "score"].notna().all()
    assert found[1].windows == 1


def test_other_policies_for_long_chains(tiny: Esm2):
    sequence = random_sequence(1030, 1)
    cut = tiny.contacts(sequence, long="truncate", heads="L0H0")
    assert cut.sequence == sequence[:1022]
    assert cut.probability.shape == (1022, 1022)
    whole = tiny.contacts(sequence, long="whole", heads="L0H0")
    assert np.isfinite(whole.probability).all()
    window = tiny.contacts(sequence, heads="L0H0")
    assert np.isnan(window.probability[0, 1022])
    with pytest.raises(InputError, match=r"has 1,030 residues and the model was trained on 1,022"):
        tiny.contacts(sequence, long="error")


def test_single_heads_are_symmetrised_and_corrected(any_tiny_folder: Path):
    model, network = load(any_tiny_folder, "cpu"), eager(any_tiny_folder)
    names = [f"L{n}H{h}" for n in range(model.layers) for h in range(model.heads)]
    for sequence in SEQUENCES[:2]:
        plain = numpy_corrected(network, sequence)
        for place, name in enumerate(names):
            ours = model.contacts(sequence, heads=name)
            np.testing.assert_allclose(ours.probability, plain[place], **ROUNDING)
            assert (ours.method, ours.source) == ("heads", f"head {name}")
        chosen = [names[-1], names[0], names[3]]
        ours = model.contacts(sequence, heads=chosen)
        np.testing.assert_allclose(
            ours.probability, (plain[-1] + plain[0] + plain[3]) / 3, **ROUNDING
        )
        assert ours.source == f"mean of {names[0]}, {names[3]}, {names[-1]}"
        np.testing.assert_array_equal(ours.probability, ours.probability.T)
        # the features of a fit
        maps = corrected_maps(model, dataclasses.replace(demo_proteins()[0], sequence=sequence))
        np.testing.assert_allclose(maps, plain, **ROUNDING)
        assert maps.dtype == np.float32
        np.testing.assert_array_equal(maps, maps.transpose(0, 2, 1))
        # what APC is for: no residue has more than its share
        np.testing.assert_allclose(maps.sum(2), 0, rtol=0, atol=1e-5)


def test_corrected_maps_are_of_one_piece(tiny: Esm2):
    long = dataclasses.replace(demo_proteins()[0], sequence=random_sequence(1023, 1))
    with pytest.raises(InputError, match="has 1,023 residues and the model was trained on 1,022"):
        corrected_maps(tiny, long)


def test_a_checkpoint_without_a_contact_head(tiny_folder: Path, tiny: Esm2, tmp_path: Path):
    folder = tmp_path / "headless"
    folder.mkdir()
    (folder / "config.json").write_bytes((tiny_folder / "config.json").read_bytes())
    tensors = load_file(tiny_folder / "model.safetensors")
    kept = {name: t for name, t in tensors.items() if "contact_head" not in name}
    assert len(kept) == len(tensors) - 2
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    model = load(folder, "cpu")
    with pytest.raises(
        CheckpointError,
        match=r"^headless has no contact head; fit one with `esmkit\.contacts\.fit` and use it "
        r"with `head`, or take single heads with `esmkit\.ContactHead\.mean_of`$",
    ):
        model.contacts("ACDEF")
    np.testing.assert_array_equal(
        model.contacts("ACDEF", heads="L1H1").probability,
        tiny.contacts("ACDEF", heads="L1H1").probability,
    )
    head = ContactHead.of_checkpoint(tiny)
    np.testing.assert_array_equal(
        model.contacts("ACDEF", head=head).probability, tiny.contacts("ACDEF").probability
    )


def test_weights_of_zero(tiny: Esm2):
    """All zero, as a fit with a strong penalty gives: every pair has the bias and nothing else."""
    head = ContactHead.regression(tiny, np.zeros(8), -1.25, source="nothing")
    found = tiny.contacts(SEQUENCES[0], head=head)
    np.testing.assert_allclose(found.probability, 1 / (1 + np.exp(1.25)), rtol=1e-6)
    # Some zero: left out, and the rest counts as before
    weights = tiny.contact_regression()[0].copy()
    weights[[0, 2, 5]] = 0
    head = ContactHead.regression(tiny, weights, 0.5, source="some")
    assert head.choice.names == ("L0H1", "L0H3", "L1H0", "L1H2", "L1H3")
    plain = numpy_corrected(eager(tiny.checkpoint.folder), SEQUENCES[0])
    logits = np.tensordot(weights, plain, 1) + 0.5
    np.testing.assert_allclose(
        tiny.contacts(SEQUENCES[0], head=head).probability, 1 / (1 + np.exp(-logits)), **ROUNDING
    )


def test_a_head_of_another_shape_is_refused(tiny: Esm2, tmp_path: Path):
    other = load(make_checkpoint(tmp_path / "other", (3, 2, 24)), "cpu")
    for head in (ContactHead.of_checkpoint(other), ContactHead.mean_of(other, ["L2H1"])):
        with pytest.raises(
            OptionError, match=r"is for a model of 3 layers with 2 heads, and tiny-esm2 has 2 with"
        ):
            tiny.contacts("ACDEF", head=head)
    with pytest.raises(OptionError, match="a regression has a weight for each of the 8 heads, not"):
        ContactHead.regression(tiny, np.ones(7), 0.0, source="short")


def made(values: np.ndarray, sequence: str, **options: Any) -> ContactMap:
    return ContactMap("p", "p x", sequence, values.astype(np.float32), **options)


def test_table_of_pairs(tiny: Esm2):
    sequence = random_sequence(30, 4)
    found = tiny.contacts(sequence)
    table: Any = found.to_frame(min_separation=3)
    assert list(table.columns) == ["i_number", "i", "j_number", "j", "separation", "probability"]
    expected = sorted((-found.probability[i, j], i, j) for i in range(30) for j in range(i + 3, 30))
    assert [tuple(row) for row in table.itertuples(index=False)] == [
        (i + 1, sequence[i], j + 1, sequence[j], j - i, -p) for p, i, j in expected
    ]
    assert table["separation"].min() == 3
    assert len(found.to_frame()) == 24 * 25 // 2  # 6 or more apart
    middle = float(table["probability"][50])
    likely = found.to_frame(min_separation=3, min_probability=middle)
    assert likely.equals(table[table["probability"] >= middle])
    assert len(likely) >= 51
    assert found.to_frame(min_probability=1.1).empty
    assert found.top().equals(found.to_frame().head(30))
    assert found.top(4, min_separation=3).equals(table.head(4))
    assert tiny.contacts(sequence, heads="L0H0").to_frame().columns[-1] == "score"
    assert found.top("L/2").equals(found.to_frame().head(15))
    rows = found.to_frame()
    assert found.top(7, residue=9).equals(
        rows[(rows["i_number"] == 9) | (rows["j_number"] == 9)].reset_index(drop=True).head(7)
    )
    assert found.top(residue=f"{sequence[8]}9").equals(found.top(residue=9))
    assert found.top(7, residues="9,12").equals(found.top(7, residue=[9, 12]))
    with pytest.raises(OptionError, match="give `residue` or `residues`, not both"):
        found.top(residue=9, residues=12)
    with pytest.raises(OptionError, match="there is no residue 31 of 'sequence_1', as `residues`"):
        found.top(residue=31)
    with pytest.raises(OptionError, match="the least separation is at least 1, not 0"):
        found.to_frame(min_separation=0)


def test_ties_are_in_the_order_of_residues():
    values = np.full((9, 9), 0.5)
    values[1, 8] = values[8, 1] = 0.75
    values[0, 7] = values[7, 0] = np.nan
    table = made(values, "ACDEFGHIK").to_frame()
    pairs = list(zip(table["i_number"], table["j_number"], strict=True))
    assert pairs == [(2, 9), (1, 7), (1, 9), (2, 8), (3, 9)]


def symmetric(size: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random((size, size)).astype(np.float32)
    return (values + values.T) / 2


UBIQUITIN = demo_structure()
TAG = "MGSSHHHHHHSSGLVPRGSH"
# the sequence that was predicted, and for each residue of ubiquitin its place in it
VARIANTS = {
    "the same": (UBIQUITIN.sequence, range(76)),
    "a tag before it": (TAG + UBIQUITIN.sequence, range(20, 96)),
    "tags on both sides": (TAG + UBIQUITIN.sequence + "LEHHHHHH", range(20, 96)),
    "the end missing": (UBIQUITIN.sequence[:70], [*range(70), *[None] * 6]),
    "a loop missing": (  # ...TLTGK | TITLE..., 7 to 10 cut out
        UBIQUITIN.sequence[:7] + UBIQUITIN.sequence[10:],
        [*range(7), None, None, None, *range(7, 73)],
    ),
    "a loop put in": (
        UBIQUITIN.sequence[:35] + "WWWW" + UBIQUITIN.sequence[35:],
        [*range(35), *range(39, 80)],
    ),
    "K48R": (UBIQUITIN.sequence[:47] + "R" + UBIQUITIN.sequence[48:], range(76)),
    "X in every fifth place": (
        "".join("X" if i % 5 == 2 else x for i, x in enumerate(UBIQUITIN.sequence)),
        range(76),
    ),
    "X": ("X" + UBIQUITIN.sequence[1:30] + "XX" + UBIQUITIN.sequence[32:], range(76)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_score_on_a_structure_that_is_not_letter_for_letter_the_same(name: str):
    sequence, places = VARIANTS[name]
    values = symmetric(len(sequence))
    expected = np.full((76, 76), np.nan, np.float32)
    for i, a in enumerate(places):
        for j, b in enumerate(places):
            if a is not None and b is not None:
                expected[i, j] = values[a, b]
    found = made(values, sequence)
    onto, true, resolved = found.onto(UBIQUITIN)
    np.testing.assert_array_equal(onto, expected)
    np.testing.assert_array_equal(true, UBIQUITIN.contacts())
    assert resolved.all()
    assert found.score(UBIQUITIN).equals(
        score_map(expected, UBIQUITIN.contacts(), UBIQUITIN.resolved)
    )
    np.testing.assert_array_equal(found.probability, values)  # untouched


def test_a_perfect_map_scores_its_ceiling():
    table: Any = made(UBIQUITIN.contacts().astype(float), UBIQUITIN.sequence).score(UBIQUITIN)
    for cut in ("P@L", "P@L/2", "P@L/5"):
        np.testing.assert_array_equal(table[cut], table[f"ceiling {cut}"])
    np.testing.assert_array_equal(table["AUC-PR"], 1)
    assert list(table["contacts"]) == [
        sum(UBIQUITIN.contacts()[i, i + d] for d in range(a, b) for i in range(76 - d))
        for a, b in ((6, 12), (12, 24), (24, 76))
    ]


@pytest.mark.parametrize(
    ("sequence", "identity", "covered"),
    [
        (demo_proteins()[3].sequence, r"\d+%", r"\d+%"),
        ("W" * 76, "0%", r"\d+%"),
        ("X" * 76, "0%", "100%"),  # nothing says that it is this protein
        (UBIQUITIN.sequence[:30], "100%", "39%"),
        (  # every fourth letter another one
            "".join("W" if i % 4 == 0 else x for i, x in enumerate(UBIQUITIN.sequence)),
            "75%",
            "100%",
        ),
    ],
)
def test_the_structure_of_another_protein_is_refused(sequence: str, identity: str, covered: str):
    found = made(symmetric(len(sequence)), sequence)
    with pytest.raises(
        InputError,
        match=rf"^sequence 'p' and structure '1ubi_A' do not belong together: {identity} of the "
        rf"aligned letters are equal and {covered} of the resolved residues are aligned \(at least "
        r"90% and 50% are needed\); give the structure of this protein, or name its chain: FILE:CH",
    ):
        found.score(UBIQUITIN)


def test_the_mean_of_windows_does_not_depend_on_which_is_done_first():
    """They come from several threads: sums of three float32 hang on their order."""
    random = np.random.default_rng(0)
    cut = [(0, 20), (5, 25), (10, 30)]
    pieces = [Piece(0, n, 3, start, stop, 30) for n, (start, stop) in enumerate(cut)]
    found = [(piece, random.random((20, 20)).astype(np.float32), None) for piece in pieces]
    wanted, _ = prediction._averaged(list(found))
    exact = np.zeros((3, 30, 30))
    for n, (piece, values, _) in enumerate(found):
        exact[n, piece.start : piece.stop, piece.start : piece.stop] = values
    np.testing.assert_allclose(wanted[10:20, 10:20], exact.mean(0)[10:20, 10:20], rtol=1e-6)
    assert np.isnan(wanted[0, 29])
    assert not np.array_equal(
        (found[0][1][10:, 10:] + found[1][1][5:15, 5:15]) + found[2][1][:10, :10],
        found[0][1][10:, 10:] + (found[1][1][5:15, 5:15] + found[2][1][:10, :10]),
    )
    for order in itertools.permutations(found):
        np.testing.assert_array_equal(prediction._averaged(list(order))[0], wanted)
