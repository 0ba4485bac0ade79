"""FASTA files for commands, and what commands leave behind."""

from dataclasses import dataclass
from pathlib import Path


def write_fasta(path: Path, records: dict[str, str]) -> Path:
    path.write_text("".join(f">{header}\n{sequence}\n" for header, sequence in records.items()))
    return path


@dataclass
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def fails(done: Done, code: int = 1) -> str:
    """Check that a command failed with one sentence and no traceback, and return the sentence."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if "error:" in line.lower()]
    assert len(errors) == 1, done.stderr
    return errors[0]
