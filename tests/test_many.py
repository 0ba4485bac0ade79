"""Results of many: lazy, in order, never silently nothing; the first soon; what they say of themselves."""

import copy
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from esmkit.embeddings import embed as of_embed
from esmkit.encoder.encoder import Encoder
from esmkit.errors import InputError, OptionError
from esmkit.esm2 import Esm2
from esmkit.sequences.many import Results
from oracles.checkpoints import random_sequence
from oracles.commands import write_fasta

SEQUENCES = {f"P{n}": random_sequence(n, n) for n in (12, 30, 9, 21)}
TASKS: list[Callable[..., Any]] = [Esm2.embed, Esm2.attention, Esm2.contacts]
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of each pass that is computed, as it begins."""
    seen: list[int] = []
    forward = Encoder.forward

    def counted(self: Encoder, pack: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(len(pack.order))
        return forward(self, pack, *arguments, **options)

    monkeypatch.setattr(Encoder, "forward", counted)
    return seen


@every_task
def test_they_are_what_a_generator_was(task: Callable[..., Any], tiny: Esm2, passes: list[int]):
    results = task(tiny, SEQUENCES)
    assert isinstance(results, Results)
    assert passes == []  # nothing is computed before it is asked for
    assert (len(results), bool(results)) == (4, True)
    assert next(results).id == "P12"
    assert [one.id for one in results] == ["P30", "P9", "P21"]
    assert next(results, None) is None
    assert [one.id for _, one in zip("ab", task(tiny, SEQUENCES), strict=False)] == ["P12", "P30"]


@every_task
def test_a_second_time_is_refused_or_the_same(task: Callable[..., Any], tiny: Esm2):
    results = task(tiny, SEQUENCES)
    assert len(list(results)) == 4
    for again in (list, Results.to_frame):
        with pytest.raises(InputError, match=r"results have been given.* and none is kept"):
            again(results)
    kept = task(tiny, SEQUENCES)
    frame = kept.to_frame()
    first, second = list(kept), list(kept)
    assert all(a is b for a, b in zip(first, second, strict=True))
    assert next(kept) is first[0]
    pd.testing.assert_frame_equal(kept.to_frame(), frame)
    assert list(task(tiny, [])) == list(task(tiny, [])) == []


@every_task
def test_ids_are_read_and_not_computed(
    task: Callable[..., Any], tiny: Esm2, passes: list[int], tmp_path: Path
):
    path = write_fasta(tmp_path / "four.fasta", SEQUENCES)
    for given in (SEQUENCES, path, iter(SEQUENCES.items())):
        results = task(tiny, given)
        assert results.ids == list(SEQUENCES)
        assert passes == []
        assert len(results) == 4
        assert [one.id for one in results] == list(SEQUENCES)
        assert results.ids == list(SEQUENCES)
        passes.clear()


def test_tables_and_arrays(tiny: Esm2):
    means = np.stack([one.mean for one in tiny.embed(SEQUENCES)])
    frame = tiny.embed(SEQUENCES).to_frame()
    assert (frame.index.name, list(frame.index)) == ("id", list(SEQUENCES))
    np.testing.assert_array_equal(frame.to_numpy(), means)
    np.testing.assert_array_equal(tiny.embed(SEQUENCES).to_numpy(), means)
    np.testing.assert_array_equal(np.asarray(tiny.embed(SEQUENCES), np.float64), means)
    np.testing.assert_array_equal(np.asarray(list(tiny.embed(SEQUENCES))), means)
    several = tiny.embed(SEQUENCES, layers=[0, 2])
    assert several.to_numpy().shape == (4, 2, tiny.width)
    assert several.to_frame().index.names == ["id", "layer"]
    np.testing.assert_array_equal(several.to_frame().loc[("P9", 2)].to_numpy(), means[2])
    pairs = tiny.contacts(SEQUENCES).to_frame()
    expected = tiny.contacts(SEQUENCES["P9"]).to_frame()
    found: Any = pairs[pairs["id"] == "P9"].drop(columns="id").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected, atol=1e-5)
    strongest = tiny.attention(SEQUENCES).to_frame()
    assert list(dict.fromkeys(strongest["id"])) == list(SEQUENCES)
    for maps in (tiny.contacts(SEQUENCES), tiny.attention(SEQUENCES)):
        with pytest.raises(OptionError, match=r"no one array: take \[np.asarray"):
            maps.to_numpy()
    with pytest.raises(InputError, match="there is no protein"):
        tiny.embed([]).to_numpy()
    assert tiny.embed([]).to_frame().empty


def test_what_they_say(tiny: Esm2, tmp_path: Path):
    path = write_fasta(tmp_path / "one.fasta", {"a": "MKTVRQ"})
    results = tiny.embed(path)
    assert repr(results).startswith(
        "Results of embed: 1 protein, each computed when it is asked for. Use `for one in results:`"
    )
    assert ".to_frame(), results.to_numpy() and results.ids" in repr(results)
    assert "1 given" not in repr(results)
    next(results)
    assert "1 protein, 1 given" in repr(results)
    list(results)
    assert "all given, and not kept" in repr(results)
    unknown = tiny.attention(iter(["MKT", "MK", "MV"]))
    assert repr(unknown).startswith("Results of attention: proteins, each computed")
    with pytest.raises(TypeError, match="not known yet"):
        len(unknown)
    for name in ("mean", "residues", "id"):
        with pytest.raises(AttributeError, match=rf"loop over them: \[one\.{name} for one in"):
            getattr(tiny.embed(path), name)
    with pytest.raises(AttributeError, match="loop over them"):
        tiny.contacts(path).probability  # noqa: B018
    with pytest.raises(AttributeError, match="'Results' object has no attribute 'nonsense'"):
        results.nonsense  # noqa: B018
    with pytest.raises(OptionError, match=r"take\s+next\(results\), or list\(results\)"):
        results[0]


@every_task
def test_looking_for_an_id_computes_nothing(
    task: Callable[..., Any], tiny: Esm2, passes: list[int]
):
    results = task(tiny, SEQUENCES)
    assert "P9" in results
    assert "P10" not in results
    assert passes == []
    with pytest.raises(OptionError, match="by their IDs, not by 3"):
        _ = 3 in results
    for make in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(OptionError, match=r"cannot be copied or sent.*send list\(results\)"):
            make(results)
    assert len(list(results)) == 4


def test_ids_of_what_cannot_be_read_take_no_protein_away(tiny: Esm2):
    results = tiny.attention(["MKT", "MKJ", "MV"], batch_tokens=1)
    with pytest.raises(InputError, match="'sequence_2', residue 3: 'J'"):
        _ = results.ids
    assert next(results._stream).id == "sequence_1"


@every_task
def test_an_error_is_heard_again(task: Callable[..., Any], tiny: Esm2):
    results = task(tiny, ["MKT", "MKJ", "MV"], batch_tokens=1)
    with pytest.raises(InputError, match="'sequence_2', residue 3: 'J'"):
        list(results)
    for again in (next, list):
        with pytest.raises(InputError, match="'sequence_2', residue 3: 'J'"):
            again(results)
    with pytest.raises(InputError, match="'sequence_1', residue 3: 'J'"):
        task(tiny, ["MKJ"])  # the first is read at the call


def test_progress_goes_to_standard_error(tiny: Esm2, capsys: pytest.CaptureFixture[str]):
    results = tiny.embed(SEQUENCES, progress=True)
    assert len(list(results)) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.search(r"embed: .*4/4 ", shown.err)
    list(tiny.embed(SEQUENCES))
    assert capsys.readouterr().err == ""


def test_the_first_comes_after_the_first_passes(
    tiny: Esm2, passes: list[int], monkeypatch: pytest.MonkeyPatch
):
    """The passes are the same, to the last bit of what they give; only their order is another."""
    random = np.random.default_rng(3)
    sequences = [random_sequence(int(n), i) for i, n in enumerate(random.integers(20, 500, 60))]
    results = tiny.embed(sequences)
    next(results)
    early = len(passes)
    list(results)  # no pass of these is counted with the next
    passes.clear()
    found = [*tiny.embed(sequences)]
    every = len(passes)
    assert early <= every / 5
    compute = of_embed.compute

    def longest_first(*arguments: Any, **options: Any) -> Any:
        return compute(*arguments, **{**options, "first_first": False})

    monkeypatch.setattr(of_embed, "compute", longest_first)
    passes.clear()
    for one, other in zip(tiny.embed(sequences), found, strict=True):
        assert one.id == other.id
        np.testing.assert_array_equal(one.residues, other.residues)
        np.testing.assert_array_equal(one.mean, other.mean)
    assert len(passes) == every
