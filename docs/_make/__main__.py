"""Build the site: lay out, run Sphinx with warnings as errors, check every link."""

import argparse
import shutil
import sys
import time
from pathlib import Path

from sphinx.cmd.build import build_main

from _make.assemble import assemble
from _make.check import broken_links

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Return 0 where the site was built and every link of it leads somewhere."""
    parser = argparse.ArgumentParser(prog="python -m _make", description=__doc__)
    parser.add_argument("output", nargs="?", type=Path, default=ROOT / "docs/_build/html")
    parser.add_argument("--keep", action="store_true", help="Keep what did not change.")
    given = parser.parse_args()
    began, used = time.perf_counter(), time.process_time()
    build = given.output.parent
    source, trees = build / "source", build / "doctrees"
    if not given.keep:
        for folder in (given.output, trees):
            shutil.rmtree(folder, ignore_errors=True)
    layout = assemble(ROOT, source)
    settings = [
        "-b",
        "html",
        "-c",
        str(ROOT / "docs"),
        "-d",
        str(trees),
        "-W",
        "--keep-going",
        "-n",
        "-q",
    ]
    failed = build_main([*settings, str(source), str(given.output)])
    broken = layout.broken + broken_links(given.output)
    for sentence in broken:
        print(sentence, file=sys.stderr)
    pages = len(list(given.output.rglob("*.html")))
    print(
        f"site: {pages} pages in {given.output}, {len(broken)} broken links, "
        f"{time.perf_counter() - began:.0f} s, {time.process_time() - used:.0f} s of processor time"
    )
    return int(bool(failed or broken))


if __name__ == "__main__":
    sys.exit(main())
