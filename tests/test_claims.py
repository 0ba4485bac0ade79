"""What docs/explain/claims.md says: its verdicts agree, its links lead somewhere, its numbers are kept."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explain" / "claims.md"
TEXT = PAGE.read_text()
VERDICTS = ("holds in part", "holds", "not here", "not measured")
SECTIONS = {
    part.splitlines()[0]: part.split("\n", 1)[1].strip() for part in TEXT.split("\n## ")[1:]
}
ROWS = re.findall(r"^\| \[(.+?)\]\(#(.+?)\) \| (.+?) \|$", TEXT, re.MULTILINE)


def anchor(heading: str) -> str:
    """As GitHub makes it: lower case, without punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_claim_has_its_section_and_its_verdict():
    assert len(ROWS) >= 10
    assert [title for title, _, _ in ROWS] == list(SECTIONS)
    for title, link, verdict in ROWS:
        assert link == anchor(title)
        assert verdict in VERDICTS
        opening = SECTIONS[title][:40].lower()
        assert opening.startswith((f"*{verdict}.*", f"*{verdict}* ")), title


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!#|https?:)([^)#]+)\)", TEXT)
    assert len(links) >= 10
    for link in links:
        assert (PAGE.parent / link).resolve().exists(), link


def test_numbers_of_the_recurrent_network_are_those_of_its_notebook():
    """Every mean with an interval that stands before a link to notebook 09 was printed there."""
    notebook = json.loads((ROOT / "notebooks" / "09_what_did_it_replace.ipynb").read_text())
    kept = json.dumps([cell.get("outputs", []) for cell in notebook["cells"]])
    section = SECTIONS["They guess better than what they replaced"]
    numbers = re.findall(r"\[-?[\d.]+, -?[\d.]+\]", section)
    assert len(numbers) >= 4
    for number in numbers:
        assert number in kept, number
