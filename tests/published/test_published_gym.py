"""ProteinGym's benchmark on a planted folder, beside transformers, scipy and pandas."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest

import esmkit
from esmkit.errors import InputError
from esmkit.esm2 import Esm2
from esmkit.published import gym
from esmkit.published.gym_files import read_gym
from oracles.proteingym import ASSAYS, average, correlations, plant, publish
from oracles.published import interval_of, own_of, published_of

NAMES = ("proteingym", "proteingym-TEM-1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant(tmp_path_factory.mktemp("gym") / "files")


@pytest.fixture(scope="module")
def theirs(eight_folder: Path, folder: Path) -> pandas.DataFrame:
    return correlations(eight_folder, folder)


def test_the_mean_is_that_of_transformers_scipy_and_pandas(
    official: Esm2, folder: Path, theirs: pandas.DataFrame
):
    every, one = esmkit.reproduce(official, proteingym=folder, only=NAMES).rows
    # exact: ranks of scores that differ by more than float32 rounds
    np.testing.assert_allclose(own_of(every), average(theirs), rtol=0, atol=1e-9)
    np.testing.assert_allclose(own_of(one), theirs["spearman"][0], rtol=0, atol=1e-9)
    plain = theirs["spearman"].to_numpy().mean()
    of_functions = theirs.pivot_table("spearman", "coarse_selection_type").to_numpy().mean()
    assert min(abs(average(theirs) - np.array([plain, of_functions]))) > 0.01  # it would show
    assert every.verdict == "not comparable"
    assert every.because == "5 of the 217 assays"
    assert every.on == "5 assays of 4 proteins"
    assert every.published == 0.226
    low, high = interval_of(every)
    assert low < own_of(every) < high
    assert one.verdict == "differs"
    assert one.published == 0.399
    assert interval_of(one) == (own_of(one) - 0.005, own_of(one) + 0.005)


def test_all_assays_have_a_verdict(
    official: Esm2, folder: Path, theirs: pandas.DataFrame, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gym, "ALL_ASSAYS", len(ASSAYS))
    (row,) = esmkit.reproduce(official, proteingym=folder, only=["proteingym"]).rows
    assert row.verdict == "differs"
    assert row.because == "the published value is outside the interval; allowed is 0.005"
    from esmkit.published.known import choose_claims

    value = round(average(theirs), 3)
    monkeypatch.setitem(choose_claims(["proteingym"])[0].values, "8M", value)  # type: ignore[arg-type]
    (row,) = esmkit.reproduce(official, proteingym=folder, only=["proteingym"]).rows
    assert row.verdict == "reproduced"


@pytest.mark.parametrize(
    ("off", "verdict"), [(0.0, "reproduced"), (0.004, "reproduced"), (0.02, "differs")]
)
def test_a_part_is_compared_with_what_is_published_of_the_same_assays(
    official: Esm2, theirs: pandas.DataFrame, tmp_path: Path, off: float, verdict: str
):
    folder = plant(tmp_path / "gym")
    publish(folder, theirs, off)
    (folder / "DMS_ProteinGym_substitutions" / f"{ASSAYS[3][0]}.csv").unlink()
    row, one = esmkit.reproduce(official, proteingym=folder, only=NAMES).rows
    part = theirs.drop(index=3).assign(published=(theirs["spearman"] + off).round(3))
    np.testing.assert_allclose(published_of(row), average(part, "published"), rtol=0, atol=1e-9)
    np.testing.assert_allclose(own_of(row), average(part), rtol=0, atol=1e-9)
    assert (row.verdict, one.verdict) == (verdict, verdict)
    assert row.because.endswith(
        "the published value is that of these 4 assays in ProteinGym's table"
    )
    assert published_of(one) == round(float(theirs["spearman"].to_numpy()[0]) + off, 3)


def test_other_weights_and_heads_are_said(
    eight: Esm2, folder: Path, as_8m: None, monkeypatch: pytest.MonkeyPatch
):
    (row,) = esmkit.reproduce(eight, proteingym=folder, only=["proteingym"]).rows
    assert (
        row.because
        == "weights (eight) that are not known as the official ones by their SHA-256; 5 of the 217 assays"
    )
    monkeypatch.setattr(gym, "_other_head", lambda model: ["a fitted head"])
    (row,) = esmkit.reproduce(eight, proteingym=folder, only=["proteingym-TEM-1"]).rows
    assert (
        row.because
        == "weights (eight) that are not known as the official ones by their SHA-256; a fitted head"
    )
    low, high = interval_of(row)  # over variants, which is wide
    assert high - low > 0.2


def test_what_is_missing_is_said(
    eight: Esm2, tiny: Esm2, folder: Path, as_8m: None, tmp_path: Path
):
    (row,) = esmkit.reproduce(eight, only=["proteingym"]).rows
    assert row.because == (
        "missing: ProteinGym's files (its reference file and the tables of the assays)"
    )
    (row,) = esmkit.reproduce(tiny, proteingym=folder, only=["proteingym"]).rows
    assert row.because == "missing: a masked-LM head"
    other = plant(tmp_path / "gym")
    (other / "DMS_ProteinGym_substitutions" / f"{ASSAYS[0][0]}.csv").unlink()
    (row,) = esmkit.reproduce(eight, proteingym=other, only=["proteingym-TEM-1"]).rows
    assert row.because == "missing: the table of BLAT_ECOLX_Stiffler_2015"


def test_other_shapes_have_no_published_value(tiny_lm: Esm2, folder: Path):
    (row,) = esmkit.reproduce(tiny_lm, proteingym=folder, only=["proteingym"]).rows
    assert row.because == "missing: a published value for a model of 2 layers, 4 heads and width 32"


def test_an_assay_of_one_value_is_left_out(
    official: Esm2, theirs: pandas.DataFrame, tmp_path: Path
):
    folder = plant(tmp_path / "gym")
    publish(folder, theirs)
    path = folder / "DMS_ProteinGym_substitutions" / f"{ASSAYS[2][0]}.csv"
    table = pandas.read_csv(path)
    table.assign(DMS_score=1.0).to_csv(path, index=False)
    (row,) = esmkit.reproduce(official, proteingym=folder, only=["proteingym"]).rows
    assert row.on == "4 assays of 3 proteins"
    part = theirs.drop(index=2)
    np.testing.assert_allclose(own_of(row), average(part), rtol=0, atol=1e-9)
    # published values have three digits
    np.testing.assert_allclose(published_of(row), average(part), rtol=0, atol=5e-4)


def test_an_assay_with_other_variants_than_it_has_is_not_comparable(
    official: Esm2, theirs: pandas.DataFrame, tmp_path: Path
):
    folder = plant(tmp_path / "gym")
    publish(folder, theirs)
    for name in (ASSAYS[0][0], ASSAYS[3][0]):
        path = folder / "DMS_ProteinGym_substitutions" / f"{name}.csv"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    every, one = esmkit.reproduce(official, proteingym=folder, only=NAMES).rows
    less = "12 variants of BLAT_ECOLX_Stiffler_2015, which has 14"
    assert (every.verdict, one.verdict) == ("not comparable", "not comparable")
    assert every.because.startswith(f"{less}; 2 assays are not whole; ")
    assert one.because == less


@pytest.mark.parametrize("rows", [0, 2])
def test_too_few_variants_have_no_correlation(official: Esm2, tmp_path: Path, rows: int):
    folder = plant(tmp_path / "gym")
    path = folder / "DMS_ProteinGym_substitutions" / f"{ASSAYS[0][0]}.csv"
    table = pandas.read_csv(path)
    table["DMS_score"] = table["DMS_score"].where(table.index < rows)
    table.to_csv(path, index=False)
    every, one = esmkit.reproduce(official, proteingym=folder, only=NAMES).rows
    assert every.on == "4 assays of 4 proteins"
    assert (one.verdict, one.because) == ("not run", "missing: measured values that differ")


def test_the_other_files_of_proteingym_do_not_get_in_the_way(
    theirs: pandas.DataFrame, tmp_path: Path
):
    """Its repository and its zips, unpacked side by side, have two files of most names."""
    folder = plant(tmp_path / "gym")
    publish(folder, theirs)
    supervised = folder / "DMS_supervised" / "DMS_substitutions_Spearman_DMS_level.csv"
    supervised.parent.mkdir()
    supervised.write_text("DMS ID,ProteinNPT\nBLAT_ECOLX_Stiffler_2015,0.9\n")
    folds = folder / "A_cv_folds_singles"
    folds.mkdir()
    tables = folder / "DMS_ProteinGym_substitutions"
    for path in tables.iterdir():
        (folds / path.name).write_text("".join(path.read_text().splitlines(keepends=True)[:6]))
    (folder / f"{ASSAYS[0][0]}.csv").mkdir()  # no file
    found = read_gym(folder).assays
    assert [assay.path.parent for assay in found] == [tables] * len(ASSAYS)
    assert [assay.variants for assay in found] == [14] * len(ASSAYS)
    assert found[0].published["8M"] == round(float(theirs["spearman"].to_numpy()[0]), 3)
    (tables / found[0].path.name).unlink()  # what is there is taken, and told by its count
    assert read_gym(folder).assays[0].path.parent == folds


def test_a_table_that_is_gone_is_said(folder: Path, tmp_path: Path):
    assay = read_gym(plant(tmp_path / "gym")).assays[0]
    assay.path.unlink()
    with pytest.raises(InputError, match=r"BLAT_ECOLX_Stiffler_2015\.csv' cannot be read"):
        assay.digest()


def spoil(folder: Path, name: str, change: Callable[[str], str]) -> None:
    path = next(folder.rglob(name))
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("DMS_substitutions.csv", lambda t: t.splitlines()[0], "has no rows; fetch it anew"),
        (
            "DMS_substitutions.csv",
            lambda t: t.replace("target_seq", "sequence"),
            "has no column 'target_seq'; give ProteinGym's file as it is",
        ),
        (
            "DMS_substitutions.csv",
            lambda t: t.replace(".csv", ".tsv"),
            "none of the 5 assays of DMS_substitutions.csv has its table in",
        ),
        (
            "DMS_substitutions.csv",
            lambda t: t.replace("BLAT_ECOLX_Deng_2012,", "BLAT_ECOLX_Stiffler_2015,"),
            "assay 'BLAT_ECOLX_Stiffler_2015' comes twice; fetch it anew",
        ),
        (
            "DMS_substitutions.csv",
            lambda t: t.replace(",CCR5_HUMAN,", ",,"),
            "assay 'CCR5_HUMAN_Gill_2023': UniProt_ID is empty; fetch it anew",
        ),
        (
            "DMS_substitutions_Spearman_DMS_level.csv",
            lambda t: t.replace("0.5", "high"),
            "could not convert string to float: 'high'",
        ),
    ],
)
def test_files_that_are_not_proteingyms_are_refused(
    tmp_path: Path, theirs: pandas.DataFrame, name: str, change: Callable[[str], str], said: str
):
    folder = plant(tmp_path / "gym")
    publish(folder, theirs)
    spoil(folder, name, change)
    with pytest.raises(InputError) as error:
        read_gym(folder)
    assert said in str(error.value)


def test_bytes_that_are_no_text_and_folders_without_files_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="there is no folder"):
        read_gym(tmp_path / "none")
    with pytest.raises(
        InputError, match=r"there is no DMS_substitutions\.csv in .*; put ProteinGym's"
    ):
        read_gym(tmp_path)
    (tmp_path / "DMS_ProteinGym_substitutions.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"; unpack 'DMS_ProteinGym_substitutions\.zip' first$"):
        read_gym(tmp_path)
    (tmp_path / "DMS_substitutions.csv").write_bytes(b"DMS_id\n\xff\xfe\n")
    with pytest.raises(InputError, match="cannot be read as a table"):
        read_gym(tmp_path)


def test_a_mutation_that_does_not_fit_names_its_assay(official: Esm2, tmp_path: Path):
    folder = plant(tmp_path / "gym")
    spoil(folder, f"{ASSAYS[1][0]}.csv", lambda t: t.replace("\n", "\nA999C,,1,1\n", 1))
    with pytest.raises(InputError, match=r"^assay 'BLAT_ECOLX_Deng_2012': line 2 of"):
        esmkit.reproduce(official, proteingym=folder, only=["proteingym"])
