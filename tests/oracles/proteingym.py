"""A small folder in the layout of ProteinGym's own files, and its benchmark computed by itself."""

import csv
from pathlib import Path

import numpy as np
import pandas
import torch
from scipy.stats import spearmanr
from transformers import EsmForMaskedLM

from oracles.checkpoints import random_sequence

HEADER = [
    "DMS_id",
    "DMS_filename",
    "UniProt_ID",
    "taxon",
    "source_organism",
    "target_seq",
    "seq_len",
    "includes_multiple_mutants",
    "DMS_total_number_mutants",
    "coarse_selection_type",
]
"""Columns of the reference file, in their order, some left out."""

ASSAYS = (
    ("BLAT_ECOLX_Stiffler_2015", "BLAT_ECOLX", "OrganismalFitness", 24),
    ("BLAT_ECOLX_Deng_2012", "BLAT_ECOLX", "OrganismalFitness", 24),
    ("A4_HUMAN_Seuma_2022", "A4_HUMAN", "Stability", 19),
    ("CCR5_HUMAN_Gill_2023", "CCR5_HUMAN", "OrganismalFitness", 21),
    ("CCDB_ECOLI_Adkar_2012", "CCDB_ECOLI", "Stability", 18),
)
"""Assays of four proteins and two functions; one function has a protein with two assays."""

TOKENS = [
    "<cls>",
    "<pad>",
    "<eos>",
    "<unk>",
    "L",
    "A",
    "G",
    "V",
    "S",
    "E",
    "R",
    "T",
    "I",
    "D",
    "P",
    "K",
    "Q",
    "N",
    "F",
    "Y",
    "M",
    "H",
    "W",
    "C",
]
LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def plant(folder: Path, seed: int = 0) -> Path:
    """Write the reference file, and the tables of all assays in the folder that its zip unpacks to."""
    random = np.random.default_rng(seed)
    tables = folder / "DMS_ProteinGym_substitutions"
    tables.mkdir(parents=True)
    with (folder / "DMS_substitutions.csv").open("w", newline="") as file:
        written = csv.writer(file)
        written.writerow(HEADER)
        for name, protein, function, length in ASSAYS:
            wild = random_sequence(length, abs(hash_of(protein)))
            rows = [_variant(wild, random, 1 + n % 2 * (n % 3)) for n in range(14)]
            table = pandas.DataFrame(rows, columns=["mutant", "mutated_sequence"])
            table["DMS_score"] = random.normal(size=len(table)).round(6)
            table["DMS_score_bin"] = (table["DMS_score"] > 0).astype(int)
            table.to_csv(tables / f"{name}.csv", index=False)
            facts = [
                name,
                f"{name}.csv",
                protein,
                "Human",
                "x, y",
                wild,
                length,
                "TRUE",
                14,
                function,
            ]
            written.writerow(facts)
    return folder


def hash_of(text: str) -> int:
    """A number that is the same in every process."""
    return sum(ord(letter) * 31**place for place, letter in enumerate(text)) % 2**31


def _variant(wild: str, random: np.random.Generator, changes: int) -> tuple[str, str]:
    places = np.sort(random.choice(len(wild), size=max(1, changes), replace=False))
    letters, named = list(wild), []
    for place in places:
        new = random.choice([letter for letter in LETTERS if letter != wild[place]])
        named.append(f"{wild[place]}{place + 1}{new}")
        letters[place] = str(new)
    return ":".join(named), "".join(letters)


def correlations(weights: Path, folder: Path) -> pandas.DataFrame:
    """Spearman of masked-marginals for each assay: one pass of transformers for each hidden site."""
    network = EsmForMaskedLM.from_pretrained(weights).eval()
    reference = pandas.read_csv(folder / "DMS_substitutions.csv")
    found = []
    for _, assay in reference.iterrows():
        wild = str(assay["target_seq"])
        table = pandas.read_csv(
            folder / "DMS_ProteinGym_substitutions" / str(assay["DMS_filename"])
        )
        ids = [0, *(TOKENS.index(letter) for letter in wild), 2]
        logs = []
        for site in range(len(wild)):
            hidden = torch.tensor([ids])
            hidden[0, site + 1] = 32
            with torch.inference_mode():
                logits = network(hidden, torch.ones_like(hidden)).logits[0, site + 1]
            logs.append(torch.log_softmax(logits.double(), 0).numpy())
        scores = [
            sum(
                logs[int(m[1:-1]) - 1][TOKENS.index(m[-1])]
                - logs[int(m[1:-1]) - 1][TOKENS.index(m[0])]
                for m in mutant.split(":")
            )
            for mutant in table["mutant"]
        ]
        found.append(spearmanr(table["DMS_score"], scores)[0])
    return reference.assign(spearman=found)


def average(table: pandas.DataFrame, column: str = "spearman") -> float:
    """ProteinGym's average: of proteins in a function, of functions, by three tables."""
    keys = ["UniProt_ID", "coarse_selection_type"]
    of_proteins = table.pivot_table(column, keys, aggfunc="mean").reset_index()
    of_functions = of_proteins.pivot_table(column, "coarse_selection_type", aggfunc="mean")
    return float(of_functions[column].to_numpy().mean())


def publish(folder: Path, table: pandas.DataFrame, off: float = 0.0) -> None:
    """Write ProteinGym's own table of correlations, rounded as there, with some models in it."""
    published = pandas.DataFrame(
        {
            "DMS ID": table["DMS_id"],
            "Site-Independent": 0.3,
            "ESM2 (8M)": (table["spearman"] + off).round(3),
            "ESM2 (35M)": 0.5,
            "Number of Mutants": 14,
        }
    )
    for size in ("150M", "650M", "3B", "15B"):
        published[f"ESM2 ({size})"] = 0.5
    where = folder / "benchmarks" / "Spearman"
    where.mkdir(parents=True, exist_ok=True)
    published.to_csv(where / "DMS_substitutions_Spearman_DMS_level.csv", index=False)
