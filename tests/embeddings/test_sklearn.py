"""EsmEmbedder as scikit-learn sees it: its own checks, tags, pipelines, clones, pickles, pandas."""

import pickle
import unittest
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
import sklearn.utils
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted

from esmkit.embeddings.sklearn import EsmEmbedder
from esmkit.errors import InputError, OptionError
from esmkit.esm2 import Esm2
from esmkit.sequences.proteins import AMINO_ACIDS, Protein
from oracles.checkpoints import SHAPES, assert_close, make_checkpoint, random_sequence

SINCE_1_6 = hasattr(sklearn.utils, "get_tags")
"""Whether tags are a class, as from scikit-learn 1.6 on, and checks can be told not to stop."""

KEEPS_INDEX = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8)
"""Whether scikit-learn gives its tables the index of a Series, and not of a DataFrame only."""

SEQUENCES = [random_sequence(length, length) for length in (12, 30, 9, 21, 9)]


class FromNumbers(EsmEmbedder):
    """EsmEmbedder behind a door through which numbers pass, for checks that know no strings.

    A row of numbers becomes a protein, one residue for each number, so that scikit-learn's checks
    run with the very ``fit``, ``transform`` and tags of EsmEmbedder.
    """

    def _more_tags(self) -> dict[str, object]:
        return {**super()._more_tags(), "X_types": ["2darray"]}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False
        return tags

    def fit(self, X: Any, y: Any = None) -> EsmEmbedder:
        return super().fit(self._proteins(X), y)

    def transform(self, X: Any) -> Any:
        return super().transform(self._proteins(X))

    @staticmethod
    def _proteins(X: Any) -> Any:
        if scipy.sparse.issparse(X):
            return X
        places = np.abs(np.round(np.asarray(X, dtype=float) * 7)).astype(int) % len(AMINO_ACIDS)
        return ["".join(AMINO_ACIDS[i] for i in row) for row in places]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of the smallest checkpoint."""
    return str(make_checkpoint(tmp_path_factory.mktemp("sklearn") / "tiny", SHAPES[0]))


@pytest.fixture
def embedder(folder: str) -> Any:  # scikit-learn's stubs type transform as a frozenset
    return EsmEmbedder(folder, device="cpu")


def checks_of(estimator: Any) -> Any:
    """Return copies of an estimator, each with one of scikit-learn's checks for it."""
    if SINCE_1_6:
        return estimator_checks.estimator_checks_generator(estimator)
    return estimator_checks.check_estimator(estimator, generate_only=True)  # type: ignore[call-arg]


def results_of(estimator: Any) -> list[dict[str, Any]]:
    """Run all checks of an estimator, as ``check_estimator`` does from scikit-learn 1.6 on."""
    if SINCE_1_6:
        return estimator_checks.check_estimator(
            estimator, on_fail=None, on_skip=None, expected_failed_checks={}
        )
    results = []
    for one, check in checks_of(estimator):
        status, exception = "passed", None
        try:
            check(one)
        except unittest.SkipTest:
            status = "skipped"
        except Exception as error:
            status, exception = "failed", error
        results.append(
            {"check_name": check.func.__name__, "status": status, "exception": exception}
        )
    return results


def test_checks_of_scikit_learn(folder: str):
    """All that scikit-learn has for a stateless transformer; none is expected to fail.

    Left out by scikit-learn itself, because of ``no_validation``: the checks that numbers which
    are NaN, complex, empty or of another width are refused. The rules for sequences have tests of
    their own, here and in tests/sequences/.
    """
    results = results_of(FromNumbers(folder, device="cpu"))
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert failed == {}
    skipped = {r["check_name"]: str(r["exception"]) for r in results if r["status"] == "skipped"}
    # Wants SCIPY_ARRAY_API in the environment before scipy is imported; we claim no array API
    assert set(skipped) <= {"check_array_api_input"}
    passed = {r["check_name"] for r in results if r["status"] == "passed"}
    assert len(passed) >= (30 if SINCE_1_6 else 20)
    assert passed >= {
        "check_dict_unchanged",
        "check_estimators_pickle",
        "check_methods_sample_order_invariance",
        "check_methods_subset_invariance",
        "check_transformers_unfitted_stateless",
    }


def test_checks_run_on_sequences_themselves(embedder: Any):
    """For an estimator of strings scikit-learn has at most one check, and says that it has no more."""
    with pytest.warns(SkipTestWarning, match="input\\s+of type.*string"):
        checks = list(checks_of(embedder))
    names = {check.func.__name__ for _, check in checks}
    assert names == ({"check_estimator_cloneable"} if SINCE_1_6 else set())
    for estimator, check in checks:
        check(estimator)


def test_tags(embedder: Any):
    check_is_fitted(embedder)  # before any fit
    if not SINCE_1_6:
        tags = embedder._get_tags()
        assert tags["X_types"] == ["string", "1darray"]
        assert tags["no_validation"]
        assert not tags["requires_fit"]
        assert tags["preserves_dtype"] == []
        return
    tags = sklearn.utils.get_tags(embedder)
    assert tags.input_tags.string
    assert tags.input_tags.one_d_array
    assert not tags.input_tags.two_d_array
    assert not tags.input_tags.sparse
    assert tags.no_validation
    assert not tags.requires_fit
    assert tags.transformer_tags is not None
    assert tags.transformer_tags.preserves_dtype == []


def test_parameters_and_clone(folder: str):
    embedder: Any = EsmEmbedder(folder, layer=1, pool="bos", device="cpu")
    assert embedder.get_params() == {
        "model": folder,
        "layer": 1,
        "pool": "bos",
        "long": "window",
        "on_invalid": "error",
        "device": "cpu",
        "dtype": "float32",
        "compiled": None,
    }
    fitted = embedder.fit(SEQUENCES)
    assert fitted is embedder
    copy: Any = clone(embedder)
    assert copy.get_params() == embedder.get_params()
    assert set(vars(copy)) == set(embedder.get_params())  # nothing loaded came along
    np.testing.assert_array_equal(copy.transform(SEQUENCES), embedder.transform(SEQUENCES))


def test_parameters_set_after_fit_count(folder: str, tiny: Esm2, tmp_path: Path):
    embedder: Any = EsmEmbedder(folder, device="cpu").fit(SEQUENCES)
    embedder.set_params(layer=0, pool="bos")
    expected = [e.bos for e in tiny.embed(SEQUENCES, layers=0)]
    assert_close(embedder.transform(SEQUENCES), np.stack(expected))
    other = make_checkpoint(tmp_path / "other", SHAPES[1], seed=3)
    embedder.set_params(model=other)  # a Path, and another width
    assert embedder.transform(SEQUENCES).shape == (len(SEQUENCES), SHAPES[1][2])
    assert len(embedder.get_feature_names_out()) == SHAPES[1][2]


def test_pickle_is_small_and_gives_the_same(embedder: Any):
    before = embedder.fit_transform(SEQUENCES)
    stored = pickle.dumps(embedder)
    assert len(stored) < 2_000
    np.testing.assert_array_equal(pickle.loads(stored).transform(SEQUENCES), before)


def test_pandas_out(embedder: Any, folder: str):
    expected = embedder.transform(SEQUENCES)
    series = pd.Series(SEQUENCES, index=list("vwxyz"), name="sequence")
    frame = EsmEmbedder(folder, device="cpu").set_output(transform="pandas").fit_transform(series)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.index) == (list("vwxyz") if KEEPS_INDEX else list(range(5)))
    table = (
        EsmEmbedder(folder, device="cpu")
        .set_output(transform="pandas")
        .fit_transform(series.to_frame())
    )
    assert list(table.index) == list("vwxyz")
    assert list(frame.columns) == [f"esm2_{i}" for i in range(SHAPES[0][2])]
    np.testing.assert_array_equal(frame.to_numpy(), expected)
    assert set(frame.dtypes) == {np.dtype("float32")}


def test_a_column_of_a_table(embedder: Any):
    table = pd.DataFrame({"sequence": SEQUENCES, "pH": [7.0, 5.5, 8.1, 6.2, 7.4]})
    columns = ColumnTransformer([("esm", embedder, "sequence"), ("rest", "passthrough", ["pH"])])
    columns.set_output(transform="pandas")
    found: Any = columns.fit_transform(table)
    assert list(found.columns[[0, -1]]) == ["esm__esm2_0", "rest__pH"]
    assert_close(found.iloc[:, :-1].to_numpy(), embedder.transform(SEQUENCES))


@pytest.mark.parametrize(
    "kind",
    [
        list,
        tuple,
        iter,
        np.array,
        pd.Series,
        lambda s: [Protein(f"p{i}", q) for i, q in enumerate(s)],
    ],
    ids=["list", "tuple", "iterator", "array", "series", "proteins"],
)
def test_every_kind_of_input(kind: Any, embedder: Any, tiny: Esm2):
    matrix = embedder.fit_transform(kind(SEQUENCES))
    expected = np.stack([e.mean for e in tiny.embed(SEQUENCES)])
    assert_close(matrix, expected)
    assert_close(matrix[2], matrix[4])  # the same sequence twice


@pytest.mark.parametrize(
    "form",
    [
        lambda s: dict(zip("abcde", s, strict=True)),
        lambda s: pd.DataFrame({"name": list("abcde"), "sequence": s}),
        lambda s: [SeqRecord(Seq(q), id=f"p{i}") for i, q in enumerate(s)],
        lambda s: zip("abcde", s, strict=True),
    ],
    ids=["dict", "table", "records", "pairs"],
)
def test_whatever_embed_takes(form: Any, embedder: Any):
    expected = embedder.transform(SEQUENCES)
    np.testing.assert_array_equal(embedder.fit_transform(form(SEQUENCES)), expected)


@pytest.mark.parametrize(
    "one", [str, Seq, lambda s: SeqRecord(Seq(s), id="a"), lambda s: ("a1", s)]
)
def test_one_protein_is_one_row(one: Any, embedder: Any, tiny: Esm2):
    found = embedder.fit_transform(one(SEQUENCES[0]))
    assert_close(found, tiny.embed(SEQUENCES[0]).mean[None])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (b"MKT", r"cannot take a bytes for proteins; give text"),
        (pd.DataFrame({"other": ["MKT"]}), "its columns are 'other'; rename one to 'sequence'"),
        (np.array([["MKT"], ["AAA"]]), r"an ndarray of shape \(2, 1\) is no list of sequences"),
        (np.array("MKT"), r"an ndarray of shape \(\) is no list of sequences"),
        (scipy.sparse.csr_array((2, 2)), r"a sparse csr_array of shape \(2, 2\) for proteins"),
        ({"p": ["MKT"]}, "the value of 'p' is a list"),
        (None, "cannot take None for proteins"),
        (7, "cannot take 7 for proteins"),
    ],
)
def test_what_holds_no_proteins_is_refused(X: Any, message: str, embedder: Any):
    for method in (embedder.fit, embedder.transform):
        with pytest.raises(InputError, match=message):
            method(X)


def test_a_loaded_model(tiny: Esm2, embedder: Any):
    """It is shared by clones, and what would load another way is refused."""
    ours: Any = EsmEmbedder(tiny).set_output(transform="pandas")
    copied: Any = clone(ours)
    assert copied.model is tiny
    assert ours.get_params()["model"] is tiny
    found = copied.fit_transform(pd.Series(SEQUENCES, index=list("abcde")))
    assert list(found.index) == (list("abcde") if KEEPS_INDEX else list(range(5)))
    np.testing.assert_array_equal(found.to_numpy(), EsmEmbedder(tiny).transform(SEQUENCES))
    pipeline = make_pipeline(EsmEmbedder(tiny), LogisticRegression())
    assert cross_val_score(pipeline, SEQUENCES * 2, [0, 1, 0, 1, 0] * 2, cv=2).shape == (2,)
    with pytest.raises(OptionError, match="the model is loaded already, so dtype='float16' has no"):
        EsmEmbedder(tiny, dtype="float16").fit(SEQUENCES)


def test_empty_input_is_refused(embedder: Any):
    with pytest.raises(InputError, match=r"^X is empty: 0 sequence\(s\); give at least one$"):
        embedder.fit([]).transform([])


def test_cross_validated_in_a_pipeline(folder: str):
    """Twelve proteins rich in K against twelve rich in W, which any embedding tells apart."""
    random = np.random.default_rng(0)
    X = ["".join(random.choice(list("AG" + letter * 4), 15)) for letter in "KW" for _ in range(12)]
    y = np.repeat([0, 1], 12)
    pipeline = make_pipeline(EsmEmbedder(folder, device="cpu"), LogisticRegression())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = cross_val_score(pipeline, X, y, cv=3)
        search = GridSearchCV(pipeline, {"esmembedder__layer": [0, -1]}, cv=2).fit(X, y)
    assert scores.shape == (3,)
    assert scores.mean() > 0.9
    assert set(search.cv_results_["param_esmembedder__layer"]) == {0, -1}
    with pytest.raises(OptionError, match="there is no layer 9"):
        pipeline.set_params(esmembedder__layer=9).fit(X, y)
