"""What is asked of everything that is read: each parser given bytes, and what must hold afterwards.

Each maker returns a function of bytes, which returns if they were read and all that must hold does,
or raises the :class:`esmkit.errors.EsmkitError` that refuses them. Anything else that it raises is a
fault. Its files are in memory where there is such a folder.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unicodedata import category

import numpy as np

__all__ = ["FACTORIES", "PARSERS", "opened", "refusal", "scratch"]

ENDINGS = (".h5", ".npz", ".csv", ".parquet", "", ".tsv", ".pt", ".npy", ".safetensors", ".csv.gz")
"""Of the name of a file of embeddings, which the first byte chooses."""

LOOKED_AT = 3
"""Arrays of a file that are read."""

MOST_COPIED = 100_000
"""Numbers of a file that is written again and compared."""

One = Callable[[bytes], Any]


def scratch() -> Path:
    """Return a new folder, in memory where there is such a place."""
    fast = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="fuzz-", dir=fast if fast.is_dir() else None))


def refusal(error: BaseException) -> str:
    """Return what a refusal says, made sure that it is one sentence for people."""
    text = str(error)
    assert 20 < len(text) < 2_000, text
    assert not any(category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") for sign in text), repr(text)
    return text


def fasta(folder: Path) -> One:
    from esmkit.sequences.index import InputIndex
    from esmkit.sequences.letters import ALLOWED_LETTERS
    from esmkit.sequences.proteins import read_fasta
    from esmkit.sequences.report import InputReport
    from esmkit.text import visible

    path, again = folder / "x.fasta", folder / "again.fasta"
    rules: Any = ("error", "replace", "skip", "degap")

    def one(data: bytes) -> None:
        path.write_bytes(data)
        report = InputReport()
        rule = rules[len(data) % 4]
        found = list(read_fasta(path, on_invalid=rule, report=report))
        assert len(found) == report.proteins == report.records - report.skipped
        assert len({protein.id for protein in found}) == len(found)
        for protein in found:
            assert protein.sequence
            assert set(protein.sequence) <= ALLOWED_LETTERS
            assert protein.id.isprintable()
        assert all(visible(line) == line for line in report.lines())
        lines = "".join(f">{p.header}\n{p.sequence}\n" for p in found)
        again.write_text(lines, encoding="utf-8", newline="\n")
        assert not found or list(read_fasta(again)) == found
        if not len(data) % 8:
            index = InputIndex.build([path], on_invalid=rule, scratch=folder)
            again_read = list(index.proteins())
            assert [protein.id for _, protein in again_read] == [p.id for p in found]
            assert [len(protein) for _, protein in again_read] == index.lengths.tolist()
            distinct = [protein.sequence for _, protein in index.distinct()]
            assert distinct == list(dict.fromkeys(p.sequence for _, p in again_read))
            assert len(distinct) == index.sequences

    return one


def structures(folder: Path) -> One:
    from esmkit.sequences.letters import ALLOWED_LETTERS
    from esmkit.structure import chains_of, read_structure

    path = folder / "x.any"

    def one(data: bytes) -> None:
        path.write_bytes(data)
        chains = chains_of(path)
        assert len({chain.chain for chain in chains}) == len(chains)
        for chain in chains:
            if chain.kind != "protein":
                continue
            found = read_structure(path, chain.chain)
            assert len(found) == len(found.residue_numbers) == len(found.cb) > 0
            assert len(found) == len(found.backbone) == len(found.sequence)
            assert set(found.sequence) <= ALLOWED_LETTERS
            assert found.id.isprintable()
            assert found.protein.header.isprintable()
            assert (np.abs(found.backbone[np.isfinite(found.backbone)]) < 1e6).all()
            assert not np.isinf(found.cb).any()
            if not len(data) % 16:
                assert not found.contacts()[~found.resolved].any()
                assert len(found.secondary_structure) == len(found)

    return one


def mutations(folder: Path) -> One:
    from esmkit.score.variants.mutations import parse_variant
    from esmkit.score.variants.placing import Refused, between, place_all
    from esmkit.score.variants.rows import read_mutations
    from esmkit.sequences.proteins import Protein

    path, again = folder / "x.csv", folder / "again.csv"
    sequence = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQK"
    protein = Protein("P0CG48", sequence, "P0CG48")

    def one(data: bytes) -> None:
        if len(data) < 60 and b"\n" not in data:
            variant = parse_variant(data.decode("utf-8", "replace"))
            assert parse_variant(str(variant)) == variant
            return
        path.write_bytes(data)
        table = read_mutations(path)
        refused = Refused()
        placed = place_all(table.rows, protein, refused=refused)
        assert len(placed) + refused.count == len(table.rows)
        assert refused.first is None or refusal(refused.first)
        for each in placed:
            changed = each.variant.applied(sequence)
            assert between(sequence, changed).applied(sequence) == changed
        if placed:
            names = [each.name for each in placed]
            again.write_text("mutant\n" + "\n".join(names) + "\n", encoding="utf-8")
            assert [row.mutant for row in read_mutations(again).rows] == names
        elif refused.first is not None:
            raise refused.first

    return one


def words(folder: Path) -> One:
    from esmkit.encoder.activations import Activations
    from esmkit.encoder.names import choose_heads, head_names, layer_numbers, parse_head
    from esmkit.inside.edits import read_edits
    from esmkit.sequences.domains import parse_domains
    from esmkit.sequences.sites import parse_sites, parse_stretch
    from esmkit.text import HIDDEN, parse_bytes, shorten, visible, visible_lines

    known = Activations(layers=2, heads=4, width=32, hidden=64)

    def shown(text: str) -> None:
        seen = visible_lines(text).split("\n")
        assert not any(category(sign) in HIDDEN for sign in visible(text) + "".join(seen))
        assert len(shorten(text)) <= 60

    def edits(text: str) -> None:
        name, _, value = text.partition("=")
        for edit in read_edits({name: value or "zero"}, known):
            if edit.places is not None:
                edit.places.of(50, "a protein")

    def head(text: str) -> None:
        (name,) = head_names([text])
        assert parse_head(name) == parse_head(text)

    def size(text: str) -> None:
        assert parse_bytes(text) >= 0

    asked: list[Callable[[Any], Any]] = [
        parse_head,
        head,
        lambda text: head_names(text.split(",")),
        layer_numbers,
        lambda text: choose_heads(text, "all", of_layers=2, of_heads=4),
        parse_sites,
        parse_stretch,
        size,
        edits,
        shown,
        parse_domains,
        known.choose,
    ]

    def one(data: bytes) -> None:
        if data:
            asked[data[0] % len(asked)](data[1:].decode("utf-8", "replace"))

    return one


@contextlib.contextmanager
def _closed(found: Any) -> Iterator[Any]:
    try:
        yield found
    finally:
        if getattr(found, "close", None):
            found.close()


def files(folder: Path) -> One:
    """Embeddings through :func:`esmkit.read`."""
    from esmkit.embeddings.reader import EmbeddingFile
    from esmkit.results import read

    paths = [folder / f"x{ending}" for ending in ENDINGS]
    again = folder / "again.h5"

    def one(data: bytes) -> None:
        if not data:
            return
        path = paths[data[0] % len(paths)]
        path.write_bytes(data[1:])
        try:
            with _closed(read(path)) as found:
                names = list(found)
                assert len(found) == len(names) == len(set(names))
                arrays = {name: found[name] for name in names[:LOOKED_AT]}
                if isinstance(found, EmbeddingFile):
                    check(found, arrays)
        finally:
            path.unlink()

    def check(found: Any, arrays: dict[str, Any]) -> None:
        from esmkit.embeddings.writers import open_writer
        from esmkit.sequences.proteins import Protein

        for name, array in arrays.items():
            assert array.dtype == np.float32
            assert array.ndim in (1, 2, 3)
            found.attributes(name)
        size = sum(array.size for array in arrays.values())
        if size > MOST_COPIED or len(found) > LOOKED_AT:
            return  # too much to copy
        if not all(name and name.isprintable() for name in arrays):
            return  # no ID of a record of FASTA, which is all that is ever written
        frame = found.to_frame()
        assert set(frame.index.get_level_values("id")) <= set(arrays)
        per, layers = "protein", [0]
        writer = open_writer("h5", again, {"layers": layers, "per": per}, layers=layers, per=per)
        try:
            for name, array in arrays.items():
                writer.add(Protein(name, "M"), array)
            writer.close()
            with EmbeddingFile(again) as copy:
                assert list(copy) == list(arrays)
                for name, array in arrays.items():
                    np.testing.assert_array_equal(copy[name], array)
        finally:
            again.unlink(missing_ok=True)

    return one


def against(folder: Path) -> One:
    """Embeddings through what ``esmkit verify --against`` reads them with."""
    from esmkit.against.given import check_arrays
    from esmkit.against.naming import pair
    from esmkit.against.reading import read_given
    from esmkit.sequences.proteins import Protein

    paths = [folder / f"x{ending}" for ending in ENDINGS]
    proteins = [Protein(name, "MKT") for name in ("P0", "P1", "A", "P69905")]

    def one(data: bytes) -> None:
        if not data:
            return
        path = paths[data[0] % len(paths)]
        path.write_bytes(data[1:])
        try:
            with _closed(read_given(path)) as given:
                assert given.kind
                assert given.parts
                for part in given.parts[:LOOKED_AT]:
                    names = list(part.arrays)
                    assert len(set(names)) == len(names) == len(part.arrays)
                    pairing = pair(names, proteins, given.path)
                    chosen = list(pairing.proteins)[:LOOKED_AT]
                    arrays = check_arrays(part, chosen, given.path)
                    assert list(arrays) == chosen
                    assert all(array.dtype == np.float32 for array in arrays.values())
                    assert len({array.shape[-1] for array in arrays.values()}) == 1
        finally:
            path.unlink()

    return one


FACTORIES: dict[str, Callable[[Path], One]] = {
    each.__name__: each for each in (fasta, structures, mutations, words, files, against)
}


@contextlib.contextmanager
def opened(name: str) -> Iterator[One]:
    """Return a parser with a folder of its own, which is empty but for its files afterwards."""
    folder = scratch()
    try:
        yield FACTORIES[name](folder)
        left = {path.name for path in folder.iterdir()}
        assert left <= {"x.fasta", "again.fasta", "x.any", "x.csv", "again.csv"}, left
    finally:
        shutil.rmtree(folder)


PARSERS = tuple(FACTORIES)
