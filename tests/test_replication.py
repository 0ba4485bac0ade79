"""The second set of chains: esmkit's reading against labels.tsv, which data/make_replication.py
computed with numpy and gemmi (data/replication/README.md)."""

import csv

import numpy as np
import pytest

from esmkit.data import replication, replication_folder, ts50

RANGES = {"short": (6, 11), "medium": (12, 23), "long": (24, 10**6)}


@pytest.fixture(scope="module")
def labels() -> dict[str, dict[str, str]]:
    with (replication_folder() / "labels.tsv").open(encoding="utf-8") as handle:
        return {row["id"]: row for row in csv.DictReader(handle, delimiter="\t")}


def test_every_chain_has_the_numbers_of_its_labels(labels: dict[str, dict[str, str]]):
    chains = replication()
    assert [chain.id for chain in chains] == list(labels)
    for chain in chains:
        row = labels[chain.id]
        assert len(chain) == int(row["length"])
        assert int(chain.resolved.sum()) == int(row["resolved"]), chain.id
        assert chain.sequence.count("C") == int(row["cysteines"]), chain.id
        bonds = ",".join(f"{i}:{j}" for i, j in chain.disulfides.tolist()) or "-"
        assert bonds == row["bonds"], chain.id
        place = np.arange(len(chain))
        apart = place - place[:, None]
        both = chain.resolved[:, None] & chain.resolved
        for name, (low, high) in RANGES.items():
            inside = (apart >= low) & (apart <= high) & both
            assert inside.sum() == int(row[f"pairs_{name}"]), chain.id
            assert (chain.contacts() & inside).sum() == int(row[f"contacts_{name}"]), chain.id


def test_the_totals_that_the_readme_states():
    chains = replication()
    bonded = [chain for chain in chains if len(chain.disulfides)]
    assert (len(chains), len({chain.path for chain in chains})) == (62, 47)
    assert (len(bonded), sum(len(chain.disulfides) for chain in bonded)) == (35, 104)
    assert (min(map(len, chains)), max(map(len, chains))) == (30, 650)
    assert min(chain.resolved.mean() for chain in chains) >= 0.8
    short = [chain for chain in bonded if len(chain) <= 61]
    assert len(short) == 14
    assert all(2 * len(chain.disulfides) == chain.sequence.count("C") for chain in short)
    assert not {chain.sequence for chain in chains} & {chain.sequence for chain in ts50()}


def test_files_are_small_and_say_nothing_of_when_they_were_made():
    files = sorted(replication_folder().glob("*.gz"))
    assert len(files) == 47
    assert sum(path.stat().st_size for path in files) < 1_000_000
    assert all(path.read_bytes()[3:8] == bytes(5) for path in files)


def test_the_list_is_fresh_and_the_structures_are_shared():
    replication().clear()
    assert len(replication()) == 62
    assert replication()[0] is replication()[0]
