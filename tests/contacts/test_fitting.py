"""Contact heads: files, fits against scikit-learn run by hand, and heads ranked one by one."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression

from esmkit.contacts import (
    ContactHead,
    best_heads,
    bootstrap,
    corrected_maps,
    evaluate,
    fit,
    rank_heads,
    score_map,
    summarize_scores,
)
from esmkit.data import ts50
from esmkit.encoder.checkpoints.known import OFFICIAL
from esmkit.errors import CheckpointError, InputError, OptionError, OutputError
from esmkit.esm2 import Esm2, load
from oracles.checkpoints import make_checkpoint, random_sequence
from oracles.contact_oracles import Planted, eager, numpy_corrected, plain_scores


@pytest.fixture(scope="module")
def chains() -> list[Any]:
    return ts50()[:3]


@pytest.fixture(scope="module")
def features(tiny: Esm2, chains: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Of every pair 6 or more apart of the chains: maps of each head, and whether it touches."""
    network, rows, labels = eager(tiny.checkpoint.folder), [], []
    for chain in chains:
        maps, close = numpy_corrected(network, chain.sequence), chain.distances < 8
        for i in range(len(chain)):
            for j in range(i + 6, len(chain)):
                if np.isfinite(chain.distances[i, j]):
                    rows.append(maps[:, i, j])
                    labels.append(bool(close[i, j]))
    return np.array(rows), np.array(labels)


@pytest.mark.parametrize("penalty", [1.0, 100.0])
def test_a_fit_is_that_of_scikit_learn_by_hand(tiny: Esm2, chains, features, penalty: float):
    head = fit(tiny, chains, inverse_penalty=penalty)
    rows, labels = features
    since_1_8 = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8)
    lasso: Any = {"l1_ratio": 1} if since_1_8 else {"penalty": "l1"}
    theirs: Any = LogisticRegression(
        **lasso, C=penalty, solver="liblinear", random_state=0, tol=1e-6
    )
    theirs.fit(rows, labels)
    expected = theirs.coef_[0]
    weights = dict(zip(head.choice.names, head.weights, strict=True))
    ours = np.array([weights.get(f"L{n}H{h}", 0.0) for n in range(2) for h in range(4)])
    if penalty == 1:  # L1 leaves most heads out; L2 would leave none
        assert set(head.choice.names) == {"L0H1", "L1H3"}
        assert list(np.flatnonzero(expected)) == [1, 7]
    else:
        assert len(head.choice.names) == 8
    # liblinear stops at a tolerance, and what it minimises is flat: compared are the sizes
    np.testing.assert_allclose(ours, expected, rtol=0, atol=0.02 * np.abs(expected).max())
    np.testing.assert_allclose(head.bias, theirs.intercept_[0], rtol=0, atol=0.01)
    assert head.method == "regression"
    assert head.source == "regression fitted to 3 chain(s)"
    assert head.provenance == {
        "esmkit": head.provenance["esmkit"],
        "checkpoint": tiny.checkpoint.to_dict(),
        "protocol": "Rao et al. 2021: L1 logistic regression (liblinear) on APC-corrected maps",
        "inverse_penalty": penalty,
        "min_separation": 6,
        "seed": 0,
        "chains": [chain.id for chain in chains],
        "sequences": [chain.sequence for chain in chains],
        "pairs": len(labels),
        "contacts": int(labels.sum()),
        "heads_with_weight": len(weights),
        "scikit-learn": sklearn.__version__,
    }


def test_defaults_are_those_of_rao(tiny: Esm2, chains):
    """C = 0.15 and 6 residues; for three chains and random attention that leaves no head at all."""
    head = fit(tiny, chains)
    assert (head.provenance["inverse_penalty"], head.provenance["min_separation"]) == (0.15, 6)
    assert head.provenance["heads_with_weight"] == 0
    rate = head.provenance["contacts"] / head.provenance["pairs"]
    found = tiny.contacts(chains[0].protein, head=head).probability
    np.testing.assert_allclose(found, rate, rtol=0, atol=0.01)  # what is left is the background


def planted(tiny: Esm2, place: int, count: int) -> list[Any]:
    """Chains that touch where the map of one head is high, and nowhere else."""
    network, found = eager(tiny.checkpoint.folder), []
    for number in range(count):
        sequence = random_sequence(60, 100 + number)
        of_head = numpy_corrected(network, sequence)[place]
        i, j = np.triu_indices(60, 6)
        threshold = np.quantile(of_head[i, j], 0.95)
        found.append(Planted(f"p{number}", sequence, of_head > threshold))
    return found


@pytest.mark.parametrize("place", [1, 6])
def test_a_planted_head_is_found(tiny: Esm2, place: int):
    structures = planted(tiny, place, 4)
    name = f"L{place // 4}H{place % 4}"
    head = fit(tiny, structures, inverse_penalty=10.0)
    assert head.weights.max() > 20 * np.sort(np.abs(head.weights))[-2]
    assert head.choice.names[int(np.argmax(head.weights))] == name
    told: list[str] = []
    table = rank_heads(tiny, structures, progress=told.append)
    assert told == ["p0", "p1", "p2", "p3"]
    assert best_heads(table, 1) == [name]
    assert best_heads(table, 1, of_range="short", measure="P@L/5") == [name]
    for structure in structures:
        expected = plain_scores(
            tiny.contacts(structure.protein, heads=name).probability,
            structure.contacts(),
            structure.resolved,
        )
        assert expected["long"]["P@L/5"] == 1  # the labels are those of the head
        ours = tiny.contacts(structure.protein, head=head).probability
        assert plain_scores(ours, structure.contacts(), structure.resolved)["long"]["P@L/5"] > 0.8


def test_fits_that_cannot_be(tiny: Esm2, chains):
    sequence = random_sequence(30, 1)
    for contacts in (np.zeros((30, 30), bool), np.ones((30, 30), bool)):
        structure: Any = Planted("p", sequence, contacts)
        with pytest.raises(
            InputError,
            match=rf"^1 chain\(s\) with 300 pairs at least 6 residues apart hold "
            rf"{300 * contacts[0, 0]} contacts; a fit needs pairs of both kinds: give more, or",
        ):
            fit(tiny, [structure])
    with pytest.raises(InputError, match=r"^0 chain\(s\) with 0 pairs"):
        fit(tiny, [])
    long: Any = Planted("long", random_sequence(1023, 1), np.eye(1023, dtype=bool))
    with pytest.raises(InputError, match="'long' has 1,023 residues and the model was trained on"):
        fit(tiny, [long])
    wrong: list[dict[str, Any]] = [
        {"inverse_penalty": 0.0},
        {"inverse_penalty": -1.0},
        {"inverse_penalty": float("nan")},
        {"min_separation": 0},
    ]
    for options in wrong:
        with pytest.raises(OptionError, match="the inverse penalty is above 0 and the least separ"):
            fit(tiny, chains, **options)


def test_unresolved_residues_take_no_part(tiny: Esm2):
    structure = planted(tiny, 1, 1)[0]
    structure.resolved[10:20] = False
    structure.contacts()[10:20] = True  # nonsense that must not be read
    structure.contacts()[:, 10:20] = True
    count = sum(1 for i in range(60) for j in range(i + 6, 60) if not {*range(10, 20)} & {i, j})
    head = fit(tiny, [structure], inverse_penalty=10.0)
    assert head.provenance["pairs"] == count
    assert head.provenance["contacts"] < 0.1 * count


def test_every_head_is_ranked_as_it_is_scored(any_tiny_folder: Path, chains):
    model = load(any_tiny_folder, "cpu")
    table = rank_heads(model, chains, seed=3)
    assert len(table) == 3 * model.layers * model.heads
    maps = [corrected_maps(model, c.protein) for c in chains]
    scores = [
        [score_map(m[place], c.contacts(), c.resolved) for m, c in zip(maps, chains, strict=True)]
        for place in range(model.layers * model.heads)
    ]
    for row in table.to_dict("records"):
        of_chains = scores[row["layer"] * model.heads + row["head"]]
        assert row["name"] == f"L{row['layer']}H{row['head']}"
        for measure in ("P@L", "P@L/2", "P@L/5", "background"):
            values = [float(t.loc[row["range"], measure]) for t in of_chains]
            assert row[measure] == pytest.approx(np.mean(values))
        halves = [float(t.loc[row["range"], "P@L/2"]) for t in of_chains]
        assert (row["low"], row["high"]) == bootstrap(halves, seed=3)
        assert row["chains"] == 3
    long = table[table["range"] == "long"].reset_index(drop=True)
    order = sorted(range(len(long)), key=lambda n: (-long["P@L/2"][n], n))
    assert best_heads(table, 4) == [long["name"][n] for n in order[:4]]
    with pytest.raises(InputError, match="there is no structure to score on; give at least one"):
        rank_heads(model, [])


def test_equal_heads_in_the_order_of_the_model():
    names = ["L1H0", "L0H1", "L0H10", "L0H2"]
    parts = [(int(n[1]), int(n[3:])) for n in names]
    table = pandas.DataFrame(
        {"name": names, "layer": [a for a, _ in parts], "head": [b for _, b in parts]}
    ).assign(range="long", **{"P@L/2": [0.5, 0.5, 0.5, 0.7]})
    assert best_heads(table, 3) == ["L0H2", "L0H1", "L0H10"]


def test_evaluation_of_chains(tiny: Esm2, chains):
    told: list[str] = []
    result = evaluate(tiny, iter(chains), progress=told.append, seed=2)
    assert told == [c.id for c in chains]
    assert result.published is None
    assert result.checkpoint == "tiny-esm2"
    tables = {}
    for chain in chains:
        tables[chain.id] = tiny.contacts(chain.protein).score(chain)
        assert result.chains.loc[chain.id].equals(tables[chain.id])
    assert result.summary.equals(summarize_scores(tables, seed=2))
    text = result.to_text().splitlines()
    assert text[0] == "contact head of tiny-esm2, 3 chain(s), mean [95 % interval over chains]"
    assert text[1] == "on which chains the head was made is not recorded"
    assert text[2] == "L is the number of resolved residues"
    assert text[4].split() == ["range", "measure", "mean", "interval", "ceiling", "background"]
    row = result.summary.loc[("long", "P@L")]
    assert text[5 + 8].split() == [
        *("long", "(24+)", "P@L", f"{row['mean']:.3f}", f"[{row['low']:.3f},"),
        *(f"{row['high']:.3f}]", f"{row['ceiling']:.3f}", f"{row['background']:.3f}"),
    ]
    assert text[5].startswith("short (6-11)")
    assert text[18] == "how often pairs touch, by their score (6 or more apart)"
    assert len(text) == 19 + 1 + 10 + 1
    assert "<table" in result._repr_html_()
    by_head = evaluate(tiny, chains[:1], ContactHead.mean_of(tiny, ["L0H2"]))
    expected = tiny.contacts(chains[0].protein, heads="L0H2").score(chains[0])
    assert by_head.chains.loc[chains[0].id].equals(expected)
    assert "nan" not in by_head.to_text()  # one chain has no interval
    with pytest.raises(InputError, match=rf"structure '{chains[1].id}' comes twice; give each ch"):
        evaluate(tiny, [chains[1], chains[1]])
    with pytest.raises(InputError, match="there is no structure to score on; give at least one"):
        evaluate(tiny, [])


def test_the_published_number_is_beside_the_official_weights(tiny_folder: Path, chains):
    """Told by their hash, not by the name of a folder."""
    model = load(tiny_folder, "cpu")
    official = OFFICIAL["facebook/esm2_t6_8M_UR50D"]
    model.checkpoint = dataclasses.replace(model.checkpoint, name="esm2_t6_8M_UR50D")
    assert evaluate(model, chains[:1]).published is None
    model.checkpoint = dataclasses.replace(model.checkpoint, name="x", sha256=official.sha256)
    result = evaluate(model, chains[:1])
    assert result.published == 0.159
    assert result.to_text().endswith(
        "\n\npublished for these weights, long P@L on 14,842 chains: 0.159"
    )
    # the numbers of another head have nothing to do with it
    for head in (
        ContactHead.mean_of(model, ["L0H0"]),
        ContactHead.regression(model, np.ones(8), 0.0, source="fitted"),
    ):
        assert evaluate(model, chains[:1], head).published is None


def test_heads_on_disk(tiny: Esm2, tmp_path: Path):
    weights = np.array([0, 0.1, -2 / 3, 0, 1e-9, 3, 0, 7])
    made = {
        "regression": ContactHead.regression(
            tiny, weights, -0.1, source="by hand", provenance={"chains": ["é"], "seed": 1}
        ),
        "mean": ContactHead.mean_of(tiny, ["L1H3", "L0H0"]),
        "zeros": ContactHead.regression(tiny, np.zeros(8), -3.0, source="nothing"),
    }
    for name, head in made.items():
        path = tmp_path / f"{name}.json"
        head.save(path)
        again = ContactHead.load(path, tiny)
        assert again.to_dict() == head.to_dict()
        np.testing.assert_array_equal(again.weights, head.weights)
        assert again.choice == head.choice
        np.testing.assert_array_equal(
            tiny.contacts("ACDEFGHIK", head=again).probability,
            tiny.contacts("ACDEFGHIK", head=head).probability,
        )
    found = json.loads((tmp_path / "regression.json").read_text())
    assert found["weights"] == {"L0H1": 0.1, "L0H2": -2 / 3, "L1H0": 1e-9, "L1H1": 3, "L1H3": 7}
    assert (found["layers"], found["heads"], found["bias"]) == (2, 4, -0.1)
    # the order of a file is nobody's business
    found["weights"] = dict(reversed(found["weights"].items()))
    (tmp_path / "turned.json").write_text(json.dumps(found))
    turned = ContactHead.load(tmp_path / "turned.json", tiny)
    assert turned.to_dict() == made["regression"].to_dict()
    with pytest.raises(OutputError, match=r"cannot write to .*No such file or directory"):
        made["mean"].save(tmp_path / "none" / "x.json")


def change(**values: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda found: {**found, **values}


def without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda found: {k: v for k, v in found.items() if k != name}


NO_HEAD = r"is not a contact head of esmkit's \({}\); make one with `esmkit contacts fit`$"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change(format="esmkit contact head 9"), NO_HEAD.format("format 'esmkit contact head 9'")),
        (without("format"), NO_HEAD.format("'format'")),
        (without("provenance"), NO_HEAD.format("'provenance'")),
        (lambda found: [found], NO_HEAD.format("list indices .*")),
        (lambda found: 3, NO_HEAD.format(".*not subscriptable")),
        (change(weights=[1.0] * 8), NO_HEAD.format(".*")),
        (
            change(weights={"L0H0": float("nan")}),
            NO_HEAD.format("a weight is no number, or the m.*"),
        ),
        (change(weights={"L0H0": "many"}), NO_HEAD.format(".*many.*")),
        (change(weights={"L0H0": [1.0, 2.0], "L0H1": [1.0, 2.0]}), NO_HEAD.format(".*")),
        (change(weights={"L0H0": [1.0], "L0H1": [1.0]}), NO_HEAD.format(".*")),
        (
            change(bias=float("inf")),
            NO_HEAD.format("a weight is no number, or the method is unkn.*"),
        ),
        (change(bias=None), NO_HEAD.format(".*")),
        (change(method="sum"), NO_HEAD.format("a weight is no number, or the method is unknown")),
        (change(layers="two"), NO_HEAD.format(".*two.*")),
        (change(weights={"L0": 1.0}), NO_HEAD.format("its heads are not named like L5H4, each .*")),
        (change(weights={"l0h1": 1.0}), NO_HEAD.format("its heads are not named like L5H4, eac.*")),
        (change(weights={"L0H4": 1.0}), "x.json': there is no L0H4: the model has layers 0 to 1 w"),
        (change(weights={"best": 1.0}), "x.json': a head is named like L5H4"),
        (change(weights={}), "x.json': give at least one head or layer"),
        (
            change(layers=6, heads=20),
            r"x.json' was fitted to a model of 6 layers with 20 heads, and tiny-esm2 has 2 with 4; "
            "fit one to it with `esmkit contacts fit`$",
        ),
    ],
)
def test_files_that_are_no_heads(tiny: Esm2, tmp_path: Path, edit, message: str):
    path = tmp_path / "x.json"
    found = ContactHead.mean_of(tiny, ["L0H1"]).to_dict()
    path.write_text(json.dumps(edit(found)))
    with pytest.raises(CheckpointError, match=message):
        ContactHead.load(path, tiny)


def test_files_that_cannot_be_read(tiny: Esm2, tmp_path: Path):
    with pytest.raises(
        CheckpointError,
        match=r"^cannot read head weights '.*none.json' \(No such file or directory\); check the pa",
    ):
        ContactHead.load(tmp_path / "none.json", tiny)
    with pytest.raises(CheckpointError, match=r"\(Is a directory\); check the path"):
        ContactHead.load(tmp_path, tiny)
    (tmp_path / "x.json").write_text("no JSON")
    with pytest.raises(CheckpointError, match=r"is not a contact head of esmkit's \(Expecting val"):
        ContactHead.load(tmp_path / "x.json", tiny)
    (tmp_path / "x.json").write_bytes(b"\xff\x00\xfe")
    with pytest.raises(CheckpointError, match=r"is not a contact head of esmkit's \('utf-8' codec"):
        ContactHead.load(tmp_path / "x.json", tiny)


def test_a_fit_to_another_checkpoint_of_the_same_shape_works(tiny: Esm2, tmp_path: Path, chains):
    other = load(make_checkpoint(tmp_path / "other", (2, 4, 32), seed=1), "cpu")
    head = fit(tiny, chains[:1], inverse_penalty=100.0)
    head.save(tmp_path / "head.json")
    again = ContactHead.load(tmp_path / "head.json", other)
    assert again.provenance["checkpoint"]["name"] == "tiny-esm2"
    assert np.isfinite(other.contacts("ACDEFGH", head=again).probability).all()
