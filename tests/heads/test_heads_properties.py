"""Properties of residues and pairs against their definitions; annotations from a table."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from esmkit.data import ts50
from esmkit.errors import InputError, OptionError
from esmkit.heads import Property, read_annotations, standard_properties
from esmkit.structure import Structure
from oracles.head_chains import made

OF = {p.name: p for p in standard_properties()}
NAMES = {
    **{"A": "alanine", "R": "arginine", "N": "asparagine", "D": "aspartate", "C": "cysteine"},
    **{"Q": "glutamine", "E": "glutamate", "G": "glycine", "H": "histidine", "I": "isoleucine"},
    **{"L": "leucine", "K": "lysine", "M": "methionine", "F": "phenylalanine", "P": "proline"},
    **{"S": "serine", "T": "threonine", "W": "tryptophan", "Y": "tyrosine", "V": "valine"},
}


@pytest.fixture(scope="module")
def chains() -> list[Structure]:
    """Six real chains: with helices, strands, disulfides, and one with an unresolved residue."""
    every = ts50()
    some = [s for s in every if len(s.disulfides)][:3] + every[:2]
    return [*some, next(s for s in every if not s.resolved.all())]


def test_which_there_are():
    assert len(OF) == 8 + 3 + 20 + 9
    assert [p.kind for p in OF.values()] == ["pair"] * 8 + ["residue"] * 23 + ["offset"] * 9
    assert [n for n in OF if n.startswith("offset")] == [
        *("offset -4", "offset -3", "offset -2", "offset -1", "offset +0"),
        *("offset +1", "offset +2", "offset +3", "offset +4"),
    ]


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("short-range contact", 6, 11),
        ("medium-range contact", 12, 23),
        ("long-range contact", 24, 10**6),
    ],
)
def test_contacts(chains: list[Structure], name: str, least: int, most: int):
    found = 0
    for chain in chains:
        distance = cdist(chain.cb, chain.cb)
        labels = OF[name].of(chain)
        for i in range(len(chain)):
            for j in range(len(chain)):
                close = distance[i, j] < 8.0  # not for NaN
                assert labels[i, j] == (close and least <= abs(i - j) <= most)
        found += labels.sum()
    assert found > 100


def test_contacts_at_the_limits_of_the_ranges():
    chain = made("A" * 30, places=np.zeros((30, 3)))  # everything touches
    for name, first, last in (("short", 6, 11), ("medium", 12, 23), ("long", 24, 29)):
        row = OF[f"{name}-range contact"].of(chain)[0]
        assert np.flatnonzero(row).tolist() == list(range(first, last + 1))


def test_helix_partner(chains: list[Structure]):
    found = 0
    for chain in chains:
        letters = chain.secondary_structure
        labels = OF["helix partner"].of(chain)
        for i in range(len(chain)):
            for j in range(len(chain)):
                low, high = min(i, j), max(i, j)
                inside = set(letters[low : high + 1]) == {"H"}
                assert labels[i, j] == (high - low in (3, 4) and inside), (chain.id, i, j)
        found += labels.sum()
    assert found > 100


@pytest.mark.parametrize(
    ("name", "attribute"), [("strand partner", "strand_partners"), ("disulfide", "disulfides")]
)
def test_pairs_of_the_structure(chains: list[Structure], name: str, attribute: str):
    found = 0
    for chain in chains:
        both_ways = {(int(i), int(j)) for i, j in getattr(chain, attribute)}
        both_ways |= {(j, i) for i, j in both_ways}
        labels = OF[name].of(chain)
        assert {(int(i), int(j)) for i, j in np.argwhere(labels)} == both_ways
        found += len(both_ways)
    assert found > 5


def test_disulfides_are_cysteines_and_cysteine_pairs_are_their_control(chains: list[Structure]):
    for chain in chains:
        pairs = OF["cysteine pair"].of(chain)
        place = [i for i, letter in enumerate(chain.sequence) if letter == "C"]
        assert {(int(i), int(j)) for i, j in np.argwhere(pairs)} == {
            (i, j) for i in place for j in place if i != j
        }
        assert not (OF["disulfide"].of(chain) & ~pairs).any()


def test_same_amino_acid():
    chain = made("AXCAXA")
    assert np.argwhere(OF["same amino acid"].of(chain)).tolist() == [
        *([0, 3], [0, 5], [3, 0], [3, 5], [5, 0], [5, 3]),
    ]


def test_states_and_letters(chains: list[Structure]):
    for chain in chains:
        for state, letters in {"helix": "HGI", "strand": "EB", "coil": "TS-"}.items():
            expected = [letter in letters for letter in chain.secondary_structure]
            np.testing.assert_array_equal(OF[f"to {state}"].of(chain), expected)
        for letter, name in NAMES.items():
            expected = [a == letter for a in chain.sequence]
            np.testing.assert_array_equal(OF[f"to {name}"].of(chain), expected)


def test_two_helices_side_by_side_have_no_partners_across():
    chain = made("ACDEFGHIK")
    chain.__dict__["_bonds_and_letters"] = (np.zeros((0, 2), int), "HHHHSHHHH")
    found = np.argwhere(OF["helix partner"].of(chain)).tolist()
    assert found == [[0, 3], [3, 0], [5, 8], [8, 5]]


def test_without_a_backbone_there_is_no_state():
    for state in ("helix", "strand", "coil"):
        assert not OF[f"to {state}"].of(made("ACDEF")).any()


@pytest.mark.parametrize("offset", range(-4, 5))
def test_offsets_are_key_minus_query(offset: int):
    labels = OF[f"offset {offset:+d}"].of(made("ACDEFG"))
    assert np.argwhere(labels).tolist() == [
        [query, query + offset] for query in range(6) if 0 <= query + offset < 6
    ]


def test_one_of_the_users():
    charged = Property("charged", "residue", lambda s: np.isin(list(s.sequence), list("DEKR")))
    assert charged.of(made("ADKC")).tolist() == [False, True, True, False]
    salt = Property(
        "salt", "pair", lambda s: np.array([[a + b == "DK" for b in "DKA"] for a in "DKA"])
    )
    assert np.argwhere(salt.of(made("DKA"))).tolist() == [[0, 1]]
    assert Property("offset +9", "offset", 9).of(made("ACD")).sum() == 0


@pytest.mark.parametrize(
    ("kind", "gives", "wanted"),
    [("pair", (4,), (4, 4)), ("residue", (4, 4), (4,)), ("residue", (3,), (4,))],
)
def test_labels_of_another_shape(kind, gives, wanted):
    of = Property("mine", kind, lambda s: np.ones(gives))
    with pytest.raises(InputError) as stopped:
        of.of(made("ACDE"))
    assert str(stopped.value) == (
        f"property 'mine' gives labels of shape {gives} for chain 'made_A'; for kind {kind!r} it "
        f"must be {wanted}"
    )


def test_properties_that_make_no_sense():
    with pytest.raises(OptionError, match="kind is pair, residue or offset, not 'triple'"):
        Property("x", "triple", lambda s: s)  # type: ignore[arg-type]
    for kind, labels in (("offset", lambda s: s), ("pair", 3)):
        with pytest.raises(
            OptionError, match="property 'x': an offset is a number, others a function"
        ):
            Property("x", kind, labels)  # type: ignore[arg-type]


def table(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


HEADER = "id\tstart\tend\tfeature"


def test_annotations(tmp_path: Path):
    path = table(
        tmp_path / "features.tsv",
        "note\tid\tfeature\tend\tstart",
        "x\tone_A\tactive site\t1\t1",
        "\tone_A\tdomain\t4\t2",
        "y\ttwo_A\tactive site\t3\t3",
        "z\tone_A\t active site \t5\t5",
    )
    found = read_annotations(path)
    assert [(p.name, p.kind) for p in found] == [
        ("to active site", "residue"),
        ("to domain", "residue"),
    ]
    one, two = made("ACDEF", name="one_A"), made("ACDEF", name="two_A")
    active, domain = found
    assert np.flatnonzero(active.of(one)).tolist() == [0, 4]  # residue 1 is the first
    assert np.flatnonzero(active.of(two)).tolist() == [2]
    assert np.flatnonzero(domain.of(one)).tolist() == [1, 2, 3]  # both ends included
    assert not domain.of(two).any()
    assert not active.of(made("ACDEF", name="three_A")).any()


def test_annotations_beyond_the_end_of_a_chain(tmp_path: Path):
    of = read_annotations(table(tmp_path / "x.tsv", HEADER, "made_A\t3\t9\tloop"))[0]
    with pytest.raises(InputError) as stopped:
        of.of(made("ACDE"))
    assert str(stopped.value) == (
        "feature 'loop' ends at residue 9 of chain 'made_A', which has 4; give residue numbers from "
        "1 in the chain's sequence"
    )


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["id\tstart\tfeature", "a\t1\tx"], "lacks the column 'end'; annotations are tab-sep"),
        (["id,start,end,feature", "a,1,2,x"], "lacks the column 'id'; annotations are tab-sep"),
        ([], "lacks the column 'id'; annotations are tab-separated with a header line: id, start"),
        ([HEADER], "has no annotations; give a line for each feature"),
        (
            [HEADER, "a\t1\t2\tx", "a\tone\t2\tx"],
            "line 3: start and end are residue numbers, not 'one' and '2'",
        ),
        ([HEADER, "a\t1"], "line 2: start and end are residue numbers, not '1' and None"),
        (
            [HEADER, "a\t0\t2\tx"],
            "line 2: needs an id, a feature, and 1 <= start <= end; it has 'a', 'x', 0 and 2",
        ),
        ([HEADER, "a\t3\t2\tx"], "1 <= start <= end; it has 'a', 'x', 3 and 2"),
        ([HEADER, "\t1\t2\tx"], "it has '', 'x', 1 and 2"),
        ([HEADER, "a\t1\t2\t "], "it has 'a', '', 1 and 2"),
        (
            [HEADER, "", "", "a\tone\t2\tx"],
            "line 4: start and end are residue numbers, not 'one' and '2'",
        ),
    ],
)
def test_annotations_that_make_no_sense(tmp_path: Path, lines: list[str], text: str):
    path = table(tmp_path / "features.tsv", *lines)
    with pytest.raises(InputError) as stopped:
        read_annotations(path)
    assert text in str(stopped.value)
    assert repr(str(path)) in str(stopped.value)


def test_annotations_that_cannot_be_read(tmp_path: Path):
    for path in (tmp_path / "missing.tsv", tmp_path):
        with pytest.raises(InputError, match=r"cannot read annotations .* \(.*\); check the file"):
            read_annotations(path)
    path = tmp_path / "binary.tsv"
    path.write_bytes(b"id\tstart\tend\tfeature\n\xff\xfe\t1\t2\tx\n")
    with pytest.raises(InputError, match=r"cannot read annotations .* \(.*\); check the file"):
        read_annotations(path)
