"""What may happen between a command and a Hub, and what the command owes its user then."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from esmkit.data import ts50
from esmkit.esm2 import load
from oracles.checkpoints import SHAPES, make_checkpoint
from oracles.hub import (
    Hub,
    cut,
    drip,
    html,
    other_bytes,
    redirect,
    silence,
    status,
)
from oracles.hub_layouts import LAYOUTS, files_of

REPO = "someone/tiny-esm2"
CONFIG = r"(HEAD|GET) .*/config\.json"
STORED = r"GET /storage/.*/model\.safetensors"
SLOW = 90.0
"""Seconds, with a busy machine, of three connections of 20 s that do not get on."""


@dataclass
class Cell:
    """One command with its Hub, its cache and the folder it works in."""

    hub: Hub
    situation: "Situation"
    folder: Path
    model: Path
    name: str
    endpoint: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    also: "list[Cell]" = field(default_factory=list)
    kept: int = 0

    def __post_init__(self) -> None:
        self.place, self.home = self.folder / "work", self.folder / "hf"
        self.endpoint = self.endpoint or self.hub.address

    @property
    def size(self) -> int:
        return (self.model / "model.safetensors").stat().st_size

    def copy_of(self, other: "Cell", work: Path) -> None:
        """Work beside another, with the same cache."""
        self.place = shutil.copytree(work, self.folder / "work-2")
        self.endpoint, self.environment = other.endpoint, other.environment

    def listing(self) -> set[str]:
        return {path.relative_to(self.place).as_posix() for path in self.place.rglob("*")}

    def text(self, number: int) -> str:
        one = [self, *self.also][number]
        return (self.folder / f"{one.name}.stderr").read_text("utf-8", "replace")

    def seconds(self) -> tuple[float, float]:
        """Return the seconds that its command took, and those of a processor, Ray's workers aside."""
        took = [json.loads(file.read_text()) for file in self.folder.glob("*.seconds")]
        wall, processor = zip(*took, strict=True) if took else ([0.0], [0.0])
        return max(wall), sum(processor)

    def arrived(self) -> int:
        """Return how many bytes of the weights are here, if they are worth a kill."""
        sizes = [path.stat().st_size for path in self.home.glob("hub/models--*/blobs/*.incomplete")]
        return max([size for size in sizes if size > 20_000], default=0)


Prepare = Callable[[Cell], Any]


@dataclass(frozen=True)
class Situation:
    """A situation: what is made so, and what is owed."""

    name: str
    prepare: Prepare
    says: str = ""
    """Words of the sentence; none if the command is to get its weights."""
    sent: float | None = 1.0
    """Bytes of the weights that the server is to send, as a share."""
    within: float = 30.0
    how: str = "once"
    waits: bool = False
    for_all: bool = False
    needs: str = ""

    @property
    def gives(self) -> bool:
        return not self.says

    def possible(self) -> bool:
        return not self.needs or (os.geteuid() == 0 and shutil.which("mount") is not None)

    @contextlib.contextmanager
    def made(self, cell: Cell) -> Iterator[None]:
        cell.hub.put(REPO, files_of(cell.model))
        made = self.prepare(cell)
        with (
            made
            if isinstance(made, contextlib.AbstractContextManager)
            else contextlib.nullcontext()
        ):
            yield


def workplace(place: Path, model: Path, *, profiled: bool) -> None:
    """Make the files that commands take, and the weights."""
    make_checkpoint(model, SHAPES[0], lm_head=True)
    chains = sorted(ts50(), key=len)
    for count, name in ((4, "few"), (10, "chains")):
        (place / name).mkdir(parents=True)
        for chain in chains[:count]:
            shutil.copy(str(chain.path), place / name)
    (place / "x.fasta").write_text(">a\nMKTVRQERLKSIVRILE\n")
    (place / "m.csv").write_text("mutant\nK2A\n")
    (place / "many.fasta").write_text("".join(f">{c.id}\n{c.sequence}\n" for c in ts50()))
    mean = load(model, "cpu", compiled=False).embed("MKTVRQERLKSIVRILE").mean
    (place / "theirs.csv").write_text("a," + ",".join(f"{x:.7g}" for x in mean) + "\n")
    if profiled:
        from esmkit.cli import cli

        options = f"heads --structures {place / 'chains'} -o {place / 'profiled'} --model {model}"
        more = "--no-control --no-ablation --resamples 100 --quiet"
        cli([*options.split(), *more.split()], standalone_mode=False)


def when(pattern: str, fault: Any, times: int = 10**9) -> Prepare:
    return lambda cell: cell.hub.when(pattern, fault, times)


def both(*several: Prepare) -> Prepare:
    def prepare(cell: Cell) -> None:
        for one in several:
            one(cell)

    return prepare


def layout(name: str) -> Prepare:
    return lambda cell: cell.hub.put(REPO, LAYOUTS[name](cell.model))


def cuts(*shares: float) -> Prepare:
    """Cut so many connections, each after a share of the weights."""
    return both(
        *(
            lambda cell, share=share: cell.hub.when(STORED, cut(int(share * cell.size)), 1)
            for share in shares
        )
    )


def renamed(cell: Cell) -> None:
    cell.hub.repos["someone/new"] = cell.hub.repos.pop(REPO)

    def moved(handler: Any) -> bool:
        return redirect(cell.hub.address + handler.path.replace(REPO, "someone/new"))(handler)

    cell.hub.when(f"(HEAD|GET) /{REPO}/", moved)


def to(address: str) -> Prepare:
    def prepare(cell: Cell) -> None:
        cell.endpoint = address or f"http://127.0.0.1:{free_port()}"

    return prepare


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        return gone.getsockname()[1]


def offline(cell: Cell) -> None:
    cell.environment["HF_HUB_OFFLINE"] = "1"


def filled(cell: Cell) -> None:
    """Lay the weights into the cache as other programs do, by links."""
    storage = cell.home / "hub" / f"models--{REPO.replace('/', '--')}"
    repo = cell.hub.repos[REPO]
    folder = storage / "snapshots" / repo.commit
    for made in (folder, storage / "blobs", storage / "refs"):
        made.mkdir(parents=True)
    for name, data in repo.files.items():
        (storage / "blobs" / repo.etag(name)).write_bytes(data)
        (folder / name).symlink_to(f"../../blobs/{repo.etag(name)}")
    (storage / "refs" / "main").write_text(repo.commit)


def in_a_file(cell: Cell) -> None:
    (cell.folder / "file").write_text("")
    cell.home = cell.folder / "file" / "hf"


def mounted(options: str, before: Prepare | None = None) -> Prepare:
    """Keep the cache on a file system of its own."""

    @contextlib.contextmanager
    def prepare(cell: Cell) -> Iterator[None]:
        cell.home.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", cell.home], check=True, timeout=60
        )
        try:
            if before:
                before(cell)
            again = ["mount", "-o", f"remount,{options}", cell.home]
            subprocess.run(again, check=True, timeout=60)
            yield
        finally:
            subprocess.run(["umount", "-l", cell.home], check=False, timeout=60)

    return prepare


ROOT = "a file system of its own takes root"
NO_ANSWER = "the Hub does not answer; connect to the network once"
BUSY = "is out of order or overloaded (HTTP {}); try again"
NOT_OPEN = f"has no open model '{REPO}'; check the name"
LOST = "could not download model.safetensors ("

SITUATIONS = [
    # the command gets its weights
    Situation("nothing goes wrong", when("nothing", html, 0), for_all=True),
    Situation("pickled (`pytorch_model.bin`)", layout("pickled"), sent=None),
    Situation("safetensors in parts", layout("safetensors in parts"), sent=None),
    Situation("pickled in parts", layout("pickled in parts"), sent=None),
    Situation("cut in the middle", cuts(0.5), for_all=True),
    Situation("cut four times", cuts(0.2, 0.3, 0.1, 0.2)),
    Situation("slow: 50 kB a second", when(STORED, drip(1000, 0.02))),
    Situation("renamed: redirected within the Hub", renamed),
    Situation("HTTP 429, then well", when(CONFIG, status(429, Retry_After="1"), 1)),
    Situation("HTTP 503 twice, then well", when(CONFIG, status(503), 2)),
    Situation("storage: HTTP 500 twice, then well", when(STORED, status(500), 2)),
    Situation(
        "cut, then HTTP 416, then well",
        both(cuts(0.5), when(STORED, status(416), 1)),
        sent=1.5,
    ),
    Situation(
        "other bytes, then well",
        when(STORED, other_bytes(lambda b: b[:-1] + b"!"), 1),
        sent=2.0,
    ),
    Situation("two processes at once", when(STORED, drip(8000, 0.1)), how="at once"),
    Situation(
        "killed in the middle, run again",
        when(STORED, drip(4000, 0.1), 1),
        how="killed",
        sent=None,
        for_all=True,
    ),
    Situation("`HF_HUB_OFFLINE`, in the cache", both(filled, offline), sent=0.0),
    Situation("read-only cache that holds them", mounted("ro", filled), sent=0.0, needs=ROOT),
    # one sentence
    Situation("HTTP 401", when(CONFIG, status(401)), NOT_OPEN),
    Situation("HTTP 403", when(CONFIG, status(403)), "to just anybody (HTTP 403); ask for access"),
    Situation(
        "gated",
        when(CONFIG, status(401, X_Error_Code="GatedRepo")),
        "set HF_TOKEN to a token of your account",
    ),
    Situation("HTTP 404", when(CONFIG, status(404)), NOT_OPEN, for_all=True),
    Situation("HTTP 429", when(CONFIG, status(429)), BUSY.format(429)),
    Situation(
        "HTTP 429, `Retry-After: 3600`",
        when(CONFIG, status(429, Retry_After="3600")),
        "(HTTP 429); try again in 3600 s",
    ),
    *(
        Situation(f"HTTP {code}", when(CONFIG, status(code)), BUSY.format(code))
        for code in (500, 502, 503, 504)
    ),
    Situation("storage: HTTP 403", when(STORED, status(403)), LOST + "HTTP 403)"),
    Situation("storage: HTTP 404", when(STORED, status(404)), LOST + "HTTP 404)"),
    Situation("storage: HTTP 416", when(STORED, status(416)), "has no such piece (HTTP 416)"),
    Situation(
        "storage: HTTP 429, `Retry-After: 3600`",
        when(STORED, status(429, Retry_After="3600")),
        LOST + "HTTP 429); try again in 3600 s",
    ),
    Situation("storage: HTTP 503", when(STORED, status(503)), LOST + "HTTP 503)", for_all=True),
    Situation("every connection cut at once", when(STORED, cut(0)), LOST),
    Situation(
        "cut in the middle, then nobody there",
        both(cuts(0.5), when(STORED, redirect("http://127.0.0.1:1/x"))),
        "are kept, and the next try asks for the rest",
    ),
    Situation("one byte more", when(STORED, other_bytes(lambda b: b + b"!")), "the server sends "),
    Situation("one byte fewer", when(STORED, other_bytes(lambda b: b[:-1])), "the server sends "),
    Situation(
        "other bytes of the same length",
        when(STORED, other_bytes(lambda b: b[:-1] + b"!")),
        "arrived twice as another file than the server announces (SHA-256 ",
        for_all=True,
    ),
    Situation("redirected in circles", when(CONFIG, redirect("PATH")), "in circles"),
    Situation("storage: in circles", when(STORED, redirect("PATH")), LOST + "TooManyRedirects"),
    Situation(
        "storage: nobody there", when(STORED, redirect("http://127.0.0.1:1/x")), LOST + "Connect"
    ),
    Situation("log-in page of a network", when(".", html), "such as the log-in page of a network"),
    Situation("silent", when(".", silence), NO_ANSWER, waits=True),
    Situation("storage: silent", when(STORED, silence), LOST, within=SLOW, waits=True),
    Situation(
        "ten bytes a second",
        when(STORED, drip(1, 0.1)),
        "too few to go on",
        within=SLOW,
        waits=True,
    ),
    Situation("nobody there", to(""), NO_ANSWER, for_all=True),
    Situation("a name that nobody knows", to("http://hub.invalid"), NO_ANSWER),
    Situation("`HF_HUB_OFFLINE`, not in the cache", offline, "HF_HUB_OFFLINE forbids to ask"),
    Situation("a cache that cannot be made", in_a_file, "cannot write to the Hugging Face cache"),
    Situation(
        "a read-only cache", mounted("ro"), "(Read-only file system); set HF_HOME", needs=ROOT
    ),
    Situation("a full disk", mounted("size=80k"), "free some space, or set HF_HOME", needs=ROOT),
]
