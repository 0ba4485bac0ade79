"""The input report: everything that was done to the records of an input."""

from dataclasses import dataclass, field

__all__ = ["InputReport", "note"]

MAX_HEADER_BYTES = 32_768
"""Longer headers are cut: 64 KiB is what other programs' HDF5 attributes can hold."""

ODD_BYTE = "\N{REPLACEMENT CHARACTER}"
"""What Python reads in place of bytes that are not UTF-8."""

LISTED_EXAMPLES = 200
"""How many records a report lists by name for each kind of change; the count is always exact."""


@dataclass
class InputReport:
    """Everything that was done to the input, for the person and for the output's provenance.

    Counts are exact. Of the records concerned at most :data:`LISTED_EXAMPLES` are listed by name,
    so that the report of a million records stays small.

    Each is empty or 0 where nothing of the kind happened; a name that ends in ``_in`` lists the
    records that a count is of.

    Attributes
    ----------
    records, proteins, residues, longest : int
        Records read, proteins kept, their residues, and residues of the longest.
    case_folded, stops_removed, headers_cut, headers_not_utf8 : int
        Sequences with small letters, stops (``*``) at an end, headers that were too long, headers
        with bytes that are not UTF-8.
    gaps_removed, records_with_gaps, gaps_removed_in, aligned
        Gaps taken out, in how many records, and how many have one length with their gaps.
    blanks_inside, blanks_inside_in
        Sequences with blanks inside their lines.
    missing_values, missing_values_in, like_text, like_text_in
        Sequences that are most likely none: a word for a missing value, or English text.
    three_letter_codes, three_letter_codes_in
        Sequences of codes such as MetLysThr.
    rare_letters, rare_letters_in, like_nucleic_acid, nucleic_acid_in
        Sequences with many rare letters, and those that look like DNA or RNA.
    letters_replaced, gaps_replaced, records_with_replacements, replaced_in
        Letters that became X, gaps among them, and in which records.
    skipped, skipped_records, skipped_but_for
        Records left out, why, and which rules would have kept them.
    duplicate_ids, renamed, duplicate_sequences
        IDs that came again and what they are called, and sequences that came again.
    truncated, windowed, not_asked_for : int
        Sequences cut, sequences read in windows, and records that were not asked for.

    Examples
    --------
    >>> from esmkit.sequences import clean_proteins
    >>> report = InputReport()
    >>> proteins = list(clean_proteins(["MKTV", "mkj*"], on_invalid="replace", report=report))
    >>> for line in report.lines():
    ...     print(line)
    2 record(s) read, 2 protein(s) kept, 7 residues, longest 4
    1 record(s) in which 1 letter(s) were replaced by X: sequence_2 residue 3 (j)
    1 trailing '*' removed
    1 sequence(s) with lower-case letters, folded to upper case
    >>> report.to_dict()["letters_replaced"]
    1
    >>> report.nothing_left()  # for the error of an input of which no record could be used
    'no protein is left of 2 record(s), all were skipped; mend the records, or name other ones'
    """

    records: int = 0
    proteins: int = 0
    residues: int = 0
    longest: int = 0
    case_folded: int = 0
    stops_removed: int = 0
    gaps_removed: int = 0
    records_with_gaps: int = 0
    gaps_removed_in: list[str] = field(default_factory=list)
    aligned: int = 0
    blanks_inside: int = 0
    blanks_inside_in: list[str] = field(default_factory=list)
    missing_values: int = 0
    missing_values_in: list[str] = field(default_factory=list)
    like_text: int = 0
    like_text_in: list[str] = field(default_factory=list)
    three_letter_codes: int = 0
    three_letter_codes_in: list[str] = field(default_factory=list)
    rare_letters: int = 0
    rare_letters_in: list[str] = field(default_factory=list)
    like_nucleic_acid: int = 0
    nucleic_acid_in: list[str] = field(default_factory=list)
    headers_cut: int = 0
    headers_not_utf8: int = 0
    letters_replaced: int = 0
    gaps_replaced: int = 0
    records_with_replacements: int = 0
    replaced_in: list[str] = field(default_factory=list)
    skipped: int = 0
    skipped_records: list[str] = field(default_factory=list)
    skipped_but_for: set[str] = field(default_factory=set)
    duplicate_ids: int = 0
    renamed: list[str] = field(default_factory=list)
    duplicate_sequences: int = 0
    truncated: int = 0
    windowed: int = 0
    not_asked_for: int = 0

    def to_dict(self) -> dict[str, object]:
        """Return the report as JSON-ready values, leaving out what did not happen."""
        always, never = {"records", "proteins", "residues", "longest"}, {"skipped_but_for"}
        return {k: v for k, v in self.__dict__.items() if (v or k in always) and k not in never}

    def lines(self) -> list[str]:
        """Return one sentence for each kind of change, most important first."""
        kinds = [
            (self.skipped, "record(s) left out", self.skipped_records),
            (
                self.records_with_replacements,
                f"record(s) in which {self.letters_replaced:,} letter(s) were replaced by X",
                self.replaced_in,
            ),
            (
                self.gaps_replaced,
                'gap(s) among these letters; `on_invalid="degap"` removes them instead',
                [],
            ),
            (
                self.records_with_gaps,
                f"record(s) from which {self.gaps_removed:,} gap(s) were removed "
                "(numbers of residues are without them)",
                self.gaps_removed_in,
            ),
            (
                self.aligned,
                "record(s) have one length with their gaps, as in an alignment, and ESM-2 reads "
                "unaligned sequences",
                [],
            ),
            (
                self.missing_values,
                "sequence(s) that are a word for a missing value; leave such rows out",
                self.missing_values_in,
            ),
            (
                self.like_text,
                "sequence(s) that read like English text; check that they are sequences",
                self.like_text_in,
            ),
            (
                self.three_letter_codes,
                "sequence(s) of three-letter codes such as MetLysThr, read as three residues each; "
                "write one letter for each",
                self.three_letter_codes_in,
            ),
            (
                self.rare_letters,
                "sequence(s) of which over a tenth is B, J, O, U, X or Z, letters for residues that "
                "are rare or not known",
                self.rare_letters_in,
            ),
            (
                self.like_nucleic_acid,
                "sequence(s) of A, C, G, T, U and N alone, like DNA or RNA; ESM-2 reads proteins, so "
                "translate them first",
                self.nucleic_acid_in,
            ),
            (
                self.blanks_inside,
                "sequence(s) with blanks inside their lines, removed",
                self.blanks_inside_in,
            ),
            (self.truncated, "sequence(s) cut to the first 1,022 residues", []),
            (self.duplicate_ids, "repeated ID(s), renamed", self.renamed),
            (self.duplicate_sequences, "repeated sequence(s), computed once", []),
            (self.stops_removed, "trailing '*' removed", []),
            (self.case_folded, "sequence(s) with lower-case letters, folded to upper case", []),
            (self.headers_cut, f"header(s) cut to {MAX_HEADER_BYTES:,} bytes", []),
            (self.headers_not_utf8, f"header(s) not in UTF-8, odd bytes read as {ODD_BYTE!r}", []),
            (self.windowed, "sequence(s) over 1,022 residues, read in overlapping windows", []),
            (self.not_asked_for, "other record(s) of the input not asked for", []),
        ]
        text = [
            f"{self.records:,} record(s) read, {self.proteins:,} protein(s) kept, "
            f"{self.residues:,} residues, longest {self.longest:,}"
        ]
        for count, what, names in kinds:
            if count:
                shown = "; ".join(names[:3])
                more = f"; and {count - 3:,} more" if count > 3 else ""
                text.append(f"{count:,} {what}" + (f": {shown}{more}" if shown else ""))
        return text

    def nothing_left(self) -> str:
        """Return why no protein is left, with the reason of the first record left out."""
        why = f"; the first: {self.skipped_records[0]}" if self.skipped_records else ""
        helps = {
            "replace": '`on_invalid="replace"` writes X for unknown letters',
            "degap": '`on_invalid="degap"` removes gaps',
        }
        remedy = ", and ".join(text for rule, text in helps.items() if rule in self.skipped_but_for)
        return (
            f"no protein is left of {self.records:,} record(s), all were skipped{why}; "
            f"{remedy or 'mend the records, or name other ones'}"
        )


def note(names: list[str], text: str) -> None:
    """Add an example to a list, unless it has enough."""
    if len(names) < LISTED_EXAMPLES:
        names.append(text)
