"""Weights from the Hugging Face Hub: every layout, every way to fail, and nothing fetched twice.

The Hub is one of our own, on this machine (``oracles/hub.py``), so real bytes are sent.
"""

import argparse
import datetime
import errno
import hashlib
import ipaddress
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from esm.pretrained import load_model_and_alphabet_local
from huggingface_hub import constants
from transformers import EsmForMaskedLM

import esmkit
from esmkit.encoder import checkpoints
from esmkit.encoder.checkpoints import download, fetch, resolve, web
from esmkit.encoder.checkpoints import hub as asking
from esmkit.encoder.checkpoints.known import DEFAULT
from esmkit.errors import CheckpointError
from esmkit.esm2 import Esm2
from esmkit.files.locks import take_lock
from esmkit.sequences.tokens import encode
from esmkit.text import readable_bytes
from oracles.checkpoints import assert_close, make_checkpoint
from oracles.fair_esm_files import write_fair_esm
from oracles.hub import (
    Hub,
    close_session,
    cut,
    drip,
    html,
    hub,
    nothing_here,
    other_bytes,
    redirect,
    set_constant,
    set_endpoint,
    silence,
    status,
    without_ranges,
)
from oracles.hub_layouts import LAYOUTS, WEIGHTS, files_of, parts, pickled, put_official

REPO = "someone/tiny-esm2"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing in the caches, and small pieces."""
    monkeypatch.setattr(download, "PIECE", 1024)  # files are small here
    with nothing_here(monkeypatch, tmp_path):
        yield


@pytest.fixture
def point(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda address: set_endpoint(monkeypatch, address)


@pytest.fixture
def there(point, tiny_lm_folder: Path) -> Iterator[Hub]:
    """A Hub with one model as ESM-2's authors publish theirs."""
    with hub() as server:
        point(server.address)
        server.put(REPO, files_of(tiny_lm_folder))
        yield server


def size_of(there: Hub, name: str = WEIGHTS) -> int:
    return len(there.repos[REPO].files[name])


def cache() -> Path:
    return Path(constants.HF_HUB_CACHE) / f"models--{REPO.replace('/', '--')}"


def error_of(model: str = REPO) -> str:
    """Return the one sentence of a failure, which leaves no half file under a whole one's name."""
    with pytest.raises(CheckpointError) as caught:
        resolve(model)
    text = str(caught.value)
    assert "\n" not in text
    assert "Traceback" not in text
    assert not list(cache().glob(f"snapshots/*/{WEIGHTS}"))
    return text


# ---------------------------------------------------------------------------------- what is whole


SEQUENCE = "MKTVRQERLKSIVRILERSKEPVSGAQ"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_numbers_of_transformers(there: Hub, tiny_lm_folder: Path, layout):
    there.put(REPO, LAYOUTS[layout](tiny_lm_folder))
    found = resolve(REPO)
    assert (found.name, found.source) == (REPO, "Hugging Face Hub")
    assert (found.official, found.revision) == (False, "c" * 40)
    model = esmkit.load(REPO, "cpu", compiled=False)
    states = model.hidden_states([encode(SEQUENCE)], "all")[0]
    # Nobody is asked but for files, nor told what runs here
    assert {a.path.split("/")[1] for a in there.asked} == {"someone", "storage"}
    assert {a.agent for a in there.asked} == {"esmkit"}
    upstream = EsmForMaskedLM.from_pretrained(tiny_lm_folder, attn_implementation="eager").eval()
    tokens = torch.as_tensor(encode(SEQUENCE))[None]
    with torch.no_grad():
        expected = upstream(tokens, output_hidden_states=True)
        contacts = upstream.predict_contacts(tokens, torch.ones_like(tokens))[0]
    assert_close(states, np.stack([h[0].numpy() for h in expected.hidden_states]))
    # Probabilities; the regression multiplies the rounding of the maps
    np.testing.assert_allclose(
        model.contacts(SEQUENCE).probability, contacts.numpy(), atol=1e-5, rtol=0
    )
    assert model.has_lm_head == (layout != "without prefix")
    if model.has_lm_head:
        logits = model.lm_head.logits(torch.as_tensor(states[-1])).numpy()
        np.testing.assert_allclose(logits, expected.logits[0].numpy(), atol=2e-5, rtol=1e-5)


def test_a_file_of_fair_esm_that_lies_on_a_hub(there: Hub, tmp_path: Path):
    """It is downloaded as any other file, with its regression, and given by its path."""
    path = write_fair_esm(tmp_path, (2, 4, 32), "encoder.sentence_encoder.")
    regression = f"{path.stem}-contact-regression.pt"
    there.put(REPO, {name: (tmp_path / name).read_bytes() for name in (path.name, regression)})
    with torch.serialization.safe_globals([argparse.Namespace]):
        theirs, _ = load_model_and_alphabet_local(str(path))
    path.unlink()
    assert error_of().endswith("if it holds esm2_*.pt of fair-esm, download that and give its path")
    brought = [
        Path(huggingface_hub.hf_hub_download(REPO, name, endpoint=there.address))
        for name in (path.name, regression)
    ]
    model = esmkit.load(brought[0], "cpu", compiled=False)
    assert model.checkpoint.source == f"fair-esm file {path.name}"
    tokens = torch.as_tensor(encode(SEQUENCE))[None]
    with torch.no_grad():
        expected = theirs.eval()(tokens, repr_layers=[0, 1, 2], return_contacts=True)
    states = model.hidden_states([tokens[0].numpy()], "all")[0]
    for layer in range(3):
        assert_close(states[layer], expected["representations"][layer][0].numpy())
    np.testing.assert_allclose(
        model.contacts(SEQUENCE).probability, expected["contacts"][0].numpy(), atol=1e-5, rtol=0
    )


@pytest.mark.weights
@pytest.mark.filterwarnings("ignore::esmkit.errors.OfflineCheckpointWarning")
def test_real_weights_over_the_wire(there: Hub, real: Esm2):
    """Those of a model of 8M, cut on the way: its own numbers, to the last bit."""
    there.put(REPO, files_of(real.checkpoint.folder))
    there.when(STORED, cut(17_000_000), times=1)
    model = esmkit.load(REPO, "cpu", compiled=None if real.compiled else False)
    assert model.checkpoint.sha256 == real.checkpoint.sha256
    assert there.bytes_of(WEIGHTS) == size_of(there) > 29_000_000
    assert model.checkpoint.note  # what it is, whatever its name
    np.testing.assert_array_equal(
        model.hidden_states([encode(SEQUENCE)], "all")[0],
        real.hidden_states([encode(SEQUENCE)], "all")[0],
    )


def test_config_and_weights_are_asked_for_and_no_more(there: Hub, tiny_lm_folder: Path):
    there.put(REPO, {**pickled(tiny_lm_folder), **files_of(tiny_lm_folder), "tf_model.h5": b"x"})
    resolve(REPO)
    got = [a.path.rpartition("/")[2] for a in there.asked if a.method == "GET" and a.sent]
    assert sorted(got) == ["config.json", WEIGHTS]
    assert there.bytes_of(WEIGHTS) == size_of(there)
    count = len(there.asked)
    assert resolve(REPO).source == "local Hugging Face cache"
    assert len(there.asked) == count  # nobody is asked twice


def test_the_cache_is_laid_out_as_huggingface_hub_does(there: Hub, tmp_path: Path):
    """Other programs find what esmkit fetched, and the other way round."""
    resolve(REPO)
    wanted = [p.name for p in cache().glob("snapshots/*/*")]
    other = tmp_path / "other"
    huggingface_hub.snapshot_download(
        REPO, cache_dir=other, allow_patterns=wanted, endpoint=there.address
    )

    def layout(root: Path) -> dict[str, str]:
        kinds = ("blobs/*", "refs/*", "snapshots/*/*")
        return {
            path.relative_to(root).as_posix(): str(path.readlink())
            if path.is_symlink()
            else hashlib.sha256(path.read_bytes()).hexdigest()
            for kind in kinds
            for path in root.glob(kind)
        }

    assert layout(cache()) == layout(other / cache().name)
    assert len(layout(cache())) == 5
    there.asked.clear()
    huggingface_hub.snapshot_download(REPO, allow_patterns=wanted, local_files_only=True)
    assert there.asked == []


def test_a_branch_is_followed_to_its_commit(there: Hub):
    """All files are of the commit that was there when the download began."""
    resolve(REPO)
    revisions = {a.path.split("/")[4] for a in there.asked if "/resolve/" in a.path}
    assert revisions == {"main", "c" * 40}
    assert there.count("/resolve/main/(?!config.json)") == 0


def test_an_address_with_a_path(point, tiny_lm_folder: Path):
    with hub(prefix="/artifactory/api/huggingface") as server:
        point(server.address)
        server.put(REPO, files_of(tiny_lm_folder))
        assert resolve(REPO).source == "Hugging Face Hub"


@pytest.mark.slow
def test_real_sizes(there: Hub, tmp_path: Path):
    """The shapes of ESM-2 8M, cut thrice on its way: not a byte of it is sent twice."""
    folder = make_checkpoint(tmp_path / "large", (6, 20, 320), lm_head=True)
    there.put(REPO, files_of(folder))
    for after in (5_000_000, 12_345_678, 2**20):
        there.when(f"GET /storage/.*{WEIGHTS}", cut(after), times=1)
    found = resolve(REPO)
    assert found.sha256 == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert size_of(there) > 30_000_000
    assert 0 <= there.bytes_of(WEIGHTS) - size_of(there) <= 3 * download.PIECE


# ---------------------------------------------------------------------------------- what goes wrong

CONFIG = r"(HEAD|GET) .*/config\.json"
STORED = rf"GET /storage/.*/{WEIGHTS}"
NOT_OPEN = f"has no open model '{REPO}'; check the name"
AGAIN = "; try again, or download it elsewhere and give its folder with `model`"

REFUSALS: dict[str, tuple[str, Any, str]] = {
    "401": (CONFIG, status(401), NOT_OPEN),
    "403": (CONFIG, status(403), f"does not give out '{REPO}' to just anybody (HTTP 403); ask for"),
    "gated": (
        CONFIG,
        status(401, X_Error_Code="GatedRepo"),
        f"does not give out '{REPO}' to just anybody (HTTP 401); ask for access on its page there, "
        "and set HF_TOKEN to a token of your account",
    ),
    "404": (CONFIG, status(404), NOT_OPEN),
    "no such revision": (
        CONFIG,
        status(404, X_Error_Code="RevisionNotFound"),
        f"has '{REPO}', but not its revision None; use another mirror",
    ),
    "no config": (
        CONFIG,
        status(404, X_Error_Code="EntryNotFound"),
        "has no config.json, so esmkit cannot read it from there; give another model, or if it holds "
        "esm2_*.pt of fair-esm, download that and give its path",
    ),
    "429": (CONFIG, status(429), "is out of order or overloaded (HTTP 429); try again later, or"),
    "429 for an hour": (
        CONFIG,
        status(429, Retry_After="3600"),
        "is out of order or overloaded (HTTP 429); try again in 3600 s, or give the folder of a "
        "model with `model`",
    ),
    "500": (CONFIG, status(500), "is out of order or overloaded (HTTP 500); try again later"),
    "502": (CONFIG, status(502), "(HTTP 502)"),
    "503": (CONFIG, status(503, Retry_After="120"), "(HTTP 503); try again in 120 s"),
    "log-in page": (".", html, "is something else, such as the log-in page of a network"),
    "redirected in circles": (
        CONFIG,
        redirect("PATH"),
        f"redirects config.json of '{REPO}' in circles; check HF_ENDPOINT, or give the folder",
    ),
    "weights: 404": (WEIGHTS, status(404, X_Error_Code="EntryNotFound"), "holds no weights of"),
    "weights: 503": (f"HEAD .*{WEIGHTS}", status(503), "(HTTP 503); try again later"),
    "storage: 403": (STORED, status(403), f"could not download {WEIGHTS} (HTTP 403){AGAIN}"),
    "storage: 404": (STORED, status(404), f"could not download {WEIGHTS} (HTTP 404){AGAIN}"),
    "storage: 500": (STORED, status(500), f"could not download {WEIGHTS} (HTTP 500){AGAIN}"),
    "storage: 416": (STORED, status(416), "the server has no such piece (HTTP 416)"),
    "storage: 429": (
        STORED,
        status(429, Retry_After="3600"),
        f"could not download {WEIGHTS} (HTTP 429); try again in 3600 s, or download it elsewhere",
    ),
    "storage: log-in page": (STORED, html, "the server sends 60 bytes instead of"),
    "storage: circles": (STORED, redirect("PATH"), "TooManyRedirects"),
    "storage: gone": (
        f"GET /{REPO}/resolve/.*{WEIGHTS}",
        redirect("http://127.0.0.1:1/x"),
        "ConnectError: [Errno 111] Connection refused",
    ),
    "longer": (STORED, other_bytes(lambda b: b + b"!"), "the server sends"),
    "shorter": (STORED, other_bytes(lambda b: b[:-1]), "the server sends"),
    "other bytes": (
        STORED,
        other_bytes(lambda b: b[:-1] + b"!"),
        f"{WEIGHTS} arrived twice as another file than the server announces (SHA-256 ",
    ),
    "other config": (
        r"GET .*config\.json",
        other_bytes(lambda b: b[:-1] + b" "),
        "config.json arrived twice as another file than the server announces (Git's hash ",
    ),
    "silent": (STORED, silence, f"could not download {WEIGHTS} (ReadTimeout: "),
    "a few bytes a second": (STORED, drip(10, 0.02), "too few to go on"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_goes_wrong_is_one_sentence_in_time(there: Hub, monkeypatch, case: str):
    pattern, fault, words = REFUSALS[case]
    if case in ("silent", "a few bytes a second"):
        monkeypatch.setattr(download, "STALL_SECONDS", 0.5)
        monkeypatch.setattr(download, "WINDOW_SECONDS", 0.4)
    there.when(pattern, fault)
    began = time.monotonic()
    text = error_of()
    assert words in text
    # With the patience of these tests; people wait 3 s for the first answer, 10 s for each next,
    # and 3 x 20 s for a file that does not get on
    assert time.monotonic() - began < 15
    assert len(there.asked) < 40


def test_a_model_that_is_empty_or_none(there: Hub):
    files = there.repos[REPO].files
    there.put(REPO, {**files, WEIGHTS: b""})
    assert f"{WEIGHTS} of '{REPO}' on the Hub at '{there.address}' (HF_ENDPOINT) is empty;" in (
        error_of()
    )
    there.put(REPO, {**files, "config.json": b""})
    assert "config.json of 'someone/tiny-esm2' on the Hub at " in error_of()
    only = {"config.json": files["config.json"], "esm2_t6_8M_UR50D.pt": files[WEIGHTS]}
    there.put(REPO, only)
    assert (
        "holds no weights of PyTorch (model.safetensors or pytorch_model.bin, whole or in parts); "
        "give another model, or if it holds esm2_*.pt of fair-esm, download that and give its path"
    ) in error_of()


def test_another_architecture_is_refused_before_its_weights_are_fetched(there: Hub):
    config = {**json.loads(there.repos[REPO].files["config.json"]), "model_type": "bert"}
    there.repos[REPO].files["config.json"] = json.dumps(config).encode()
    assert "is not an ESM model (model_type is 'bert', not 'esm')" in error_of()
    assert there.count(WEIGHTS) == 0


def test_parts_outside_the_model_are_refused(there: Hub):
    index = {"weight_map": {"a": "../../../secret.bin"}}
    files = {"config.json": there.repos[REPO].files["config.json"]}
    there.put(REPO, {**files, "pytorch_model.bin.index.json": json.dumps(index).encode()})
    assert "names '../../../secret.bin', which is not a weight file there" in error_of()


@pytest.mark.parametrize("wrong", ["../../../x", "", "a/b"])
@pytest.mark.parametrize("what", ["etag", "commit"])
def test_a_hash_that_is_a_path_is_refused(there: Hub, what: str, wrong: str):
    etag, commit = (wrong, "c" * 40) if what == "etag" else ("e" * 40, wrong)
    there.when(CONFIG, status(200, X_Repo_Commit=commit, ETag=f'"{etag}"'))
    assert "is something else, such as the log-in page" in error_of()
    assert there.count("GET") == 0


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503])
def test_a_passing_fault_is_passed_over(there: Hub, code: int):
    there.when(CONFIG, status(code, Retry_After="0"), times=1)
    there.when(f"HEAD .*{WEIGHTS}", status(code), times=1)
    there.when(STORED, status(code), times=2)
    assert resolve(REPO).source == "Hugging Face Hub"


@pytest.mark.parametrize("to", ["/moved-PATH", "ADDRESS/moved-PATH"], ids=["relative", "absolute"])
def test_a_model_that_was_renamed(there: Hub, to: str):
    """The Hub redirects the old name to the new one."""
    there.repos["someone/new"] = there.repos.pop(REPO)
    for method in ("HEAD", "GET"):
        there.when(f"{method} /{REPO}/", lambda handler: moved(handler, there, to))
    assert resolve(REPO).source == "Hugging Face Hub"


def moved(handler: Any, there: Hub, to: str) -> bool:
    path = to.replace("ADDRESS", there.address)
    path = path.replace("/moved-PATH", handler.path.replace(REPO, "someone/new"))
    return redirect(path)(handler)


def test_small_files_from_a_cache_of_the_hub(there: Hub):
    """As the Hub does since 2025: by a redirection within it, which says what it is as well."""
    etag = there.repos[REPO].etag("config.json")
    more = {"X_Repo_Commit": "c" * 40, "X_Linked_Etag": f'"{etag}"'}
    there.when(rf"(HEAD|GET) /{REPO}/.*/config\.json$", redirect("PATH?cached", **more))
    assert resolve(REPO).source == "Hugging Face Hub"
    assert there.count(r"config\.json\?cached") > 1


def test_a_mirror_with_its_storage_under_its_own_name(there: Hub):
    there.storage = there.address
    assert resolve(REPO).source == "Hugging Face Hub"


def test_a_mirror_that_names_small_files_by_their_plain_hash(there: Hub, monkeypatch):
    plain = hashlib.sha1(there.repos[REPO].files["config.json"]).hexdigest()
    large = there.repos[REPO].etag(WEIGHTS)
    monkeypatch.setattr(
        there.repos[REPO], "etag", lambda name: plain if name == "config.json" else large
    )
    assert resolve(REPO).source == "Hugging Face Hub"
    assert (cache() / "blobs" / plain).exists()


# ------------------------------------------------------------------------------------- resuming


def test_a_cut_connection_goes_on_where_it_was(there: Hub):
    for after in (10_000, 20_000, 5_000):
        there.when(STORED, cut(after), times=1)
    resolve(REPO)
    assert [a.range for a in there.asked if a.path.startswith("/storage")] == [
        None,
        *("bytes=10000-", "bytes=30000-", "bytes=35000-"),
    ]
    assert there.bytes_of(WEIGHTS) == size_of(there)


def test_the_next_command_goes_on_where_the_last_gave_up(there: Hub):
    there.when(STORED, cut(10_000), times=1)
    there.when(STORED, status(503), times=3)
    said: list[str] = []
    here = f"10.0 kB of {readable_bytes(size_of(there))} are"
    assert f"{here} kept, and the next try asks for the rest; try again" in error_of()
    assert fetch.hub_cached(REPO, None) is None  # half a download is none
    resolve(REPO, say=said.append)
    assert f"{WEIGHTS}: {here} here" in said
    assert there.bytes_of(WEIGHTS) == size_of(there)


def test_a_server_without_ranges_starts_again(there: Hub):
    there.when(STORED, cut(10_000), times=1)
    there.when(STORED, without_ranges)
    found = resolve(REPO)
    assert found.sha256 == there.repos[REPO].etag(WEIGHTS)
    assert there.bytes_of(WEIGHTS) == size_of(there) + 10_000


def test_a_part_that_the_server_does_not_know_is_begun_anew(there: Hub):
    there.when(STORED, cut(10_000), times=1)
    there.when(STORED, status(416), times=1)
    assert resolve(REPO).sha256 == there.repos[REPO].etag(WEIGHTS)
    assert there.bytes_of(WEIGHTS) == size_of(there) + 10_000


def test_a_piece_that_was_not_asked_for_is_not_added(there: Hub):
    def another(handler: Any) -> bool:
        data = there.repos[REPO].files[WEIGHTS]
        handler.reply(206, data[5:], {"Content-Range": f"bytes 5-{len(data) - 1}/{len(data)}"})
        return True

    there.when(STORED, cut(10_000), times=1)
    there.when(STORED, another)
    text = error_of()
    assert "(the server sent another piece than was asked for); try again" in text
    assert not list(cache().glob("blobs/*.incomplete"))


def test_one_wrong_byte_of_a_first_try_is_not_kept(there: Hub):
    """What came before the cut was another file: it is thrown away, once, and fetched anew."""
    there.when(STORED, cut(10_000), times=1)
    there.when(STORED, status(503), times=3)
    error_of()
    (part,) = cache().glob("blobs/*.incomplete")
    part.write_bytes(b"?" * 10_000)
    assert resolve(REPO).sha256 == there.repos[REPO].etag(WEIGHTS)
    assert not list(cache().glob("blobs/*.incomplete"))


def test_a_file_without_a_length(there: Hub):
    """A server that packs what it sends knows no length beforehand."""

    def unmeasured(handler: Any) -> bool:
        data = there.repos[REPO].files["config.json"]
        etag = there.repos[REPO].etag("config.json")
        handler.begin(200, {"X-Repo-Commit": "c" * 40, "ETag": f'"{etag}"', "Connection": "close"})
        if handler.command == "GET":
            handler.write(data)
        handler.close_connection = True
        return True

    there.when(CONFIG, unmeasured)
    assert resolve(REPO).source == "Hugging Face Hub"


def test_an_answer_that_does_not_end_is_given_up(there: Hub):
    """It announces no length, so nothing but the size of the file bounds it."""

    def endless(handler: Any) -> bool:
        handler.begin(200, {"Connection": "close"})
        for _ in range(2 * size_of(there) // 2**16 + 2):
            handler.write(b"?" * 2**16)
        handler.close_connection = True
        return True

    there.when(STORED, endless, times=6)
    assert (
        f"(the server sends more than the {size_of(there):,} bytes of the file); try" in error_of()
    )
    assert there.count(STORED) == 3
    assert sum(part.stat().st_size for part in cache().glob("blobs/*.incomplete")) == 0
    there.faults.clear()
    assert resolve(REPO).sha256 == there.repos[REPO].etag(WEIGHTS)


def test_a_large_file_is_hashed_in_pieces(tmp_path: Path, monkeypatch):
    part, data = tmp_path / "part", b"some weights"
    part.write_bytes(data)
    monkeypatch.delattr(Path, "read_bytes")
    for named in (b"blob 12\0" + data, data):  # as Git names a file; as some mirrors do
        etag = hashlib.sha1(named).hexdigest()
        file = download.RemoteFile("a.bin", "", etag, 12, "c")
        assert download._difference(file, part, None) == ""
    file = download.RemoteFile("a.bin", "", "0" * 40, 12, "c")
    git = hashlib.sha1(b"blob 12\0" + data).hexdigest()
    assert download._difference(file, part, None) == f"Git's hash {git[:12]}…, not 000000000000…"


def test_a_snapshot_in_parts_that_lacks_one_is_completed(there: Hub, tiny_lm_folder: Path):
    """As when a download of many files was killed between two of them."""
    there.put(REPO, parts(tiny_lm_folder, "model.safetensors"))
    resolve(REPO)
    (second,) = cache().glob("snapshots/*/model-00002-of-00002.safetensors")
    second.resolve().unlink()
    second.unlink()
    there.asked.clear()
    assert resolve(REPO).source == "Hugging Face Hub"
    assert there.bytes_of("model-00001-of-00002.safetensors") == 0
    assert there.bytes_of(second.name) == size_of(there, second.name)


def test_a_kill_loses_what_is_on_its_way_and_no_more(there: Hub, tmp_path: Path):
    """A process of its own, ended by force in the middle of the weights."""
    there.when(STORED, drip(2_000, 0.02), times=1)
    script = "from esmkit.encoder.checkpoints import resolve; import sys; resolve(sys.argv[1])"
    environment = {
        **os.environ,
        "HF_ENDPOINT": there.address,
        "HF_HOME": str(Path(constants.HF_HUB_CACHE).parent),
        "PYTHONPATH": str(Path(esmkit.__file__).parents[1]),
    }
    child = subprocess.Popen([sys.executable, "-c", script, REPO], env=environment)
    try:
        for _ in range(12_000):
            if any(p.stat().st_size > 20_000 for p in cache().glob("blobs/*.incomplete")):
                break
            time.sleep(0.01)
    finally:
        child.kill()
        child.wait()
    (part,) = cache().glob("blobs/*.incomplete")
    kept = part.stat().st_size
    assert kept > 20_000
    there.asked.clear()
    assert resolve(REPO).sha256 == there.repos[REPO].etag(WEIGHTS)
    assert there.bytes_of(WEIGHTS) == size_of(there) - kept


def test_two_at_once_fetch_it_once(there: Hub):
    there.when(STORED, drip(20_000, 0.05), times=1)
    said: list[str] = []
    found: list[Any] = []
    both = [
        threading.Thread(target=lambda: found.append(resolve(REPO, say=said.append)))
        for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(found) == 2
    assert there.bytes_of(WEIGHTS) == size_of(there)
    assert f"another process is downloading {WEIGHTS}; waiting for it" in said


def test_one_that_does_not_get_on_is_not_waited_for_forever(there: Hub, monkeypatch):
    etag = there.repos[REPO].etag(WEIGHTS)
    lock = cache().parent / ".locks" / cache().name / f"{etag}.esmkit.lock"
    lock.parent.mkdir(parents=True)
    monkeypatch.setattr(download, "WINDOW_SECONDS", 0.1)
    with take_lock(lock, lock):
        assert f"another process is downloading {WEIGHTS} and has not got on for" in error_of()


# ------------------------------------------------------------------------------ official or not


def test_seeded_weights_under_an_official_name_are_not_even_fetched(there: Hub):
    there.put(DEFAULT.repo, there.repos[REPO].files, commit=str(DEFAULT.revision))
    text = error_of(DEFAULT.repo)
    digest = there.repos[REPO].etag(WEIGHTS)
    assert (
        f"offers as {WEIGHTS} of '{DEFAULT.repo}' is not what its authors published (SHA-256 "
        f"{digest[:12]}…, not {DEFAULT.sha256[:12]}…), so it is not fetched"
    ) in text
    assert there.bytes_of(WEIGHTS) == 0


def test_a_mirror_that_announces_no_hash_cannot_pass_other_weights_off(there: Hub, monkeypatch):
    """As some that name files by what they like."""
    known = put_official(there, monkeypatch, there.repos[REPO].files)
    repo = there.repos[DEFAULT.repo]
    small = repo.etag("config.json")
    monkeypatch.setattr(repo, "etag", lambda name: small if name == "config.json" else "v1-77")
    there.when(STORED, other_bytes(lambda data: data[:-1] + b"!"))
    text = error_of(DEFAULT.repo)
    assert f"{WEIGHTS} arrived twice as another file than the server announces (SHA-256 " in text
    assert f"…, not {known[:12]}…), and was thrown away" in text


def test_auto_takes_the_official_weights(there: Hub, monkeypatch):
    put_official(there, monkeypatch, there.repos[REPO].files)
    said: list[str] = []
    found = resolve(say=said.append)
    assert (found.name, found.official, found.revision) == (DEFAULT.repo, True, DEFAULT.revision)
    assert said == [f"downloading {DEFAULT.repo} from the Hugging Face Hub (31 MB)"]
    assert resolve().source == "local Hugging Face cache"


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        (CONFIG, status(503)),
        (CONFIG, html),
        (STORED, status(403)),
        (STORED, cut(1000)),
        (STORED, other_bytes(lambda data: data[::-1])),
    ],
    ids=["503", "log-in page", "storage", "cut", "other bytes"],
)
def test_auto_falls_back_when_the_hub_does_not_deliver(there: Hub, monkeypatch, pattern, fault):
    put_official(there, monkeypatch, there.repos[REPO].files)
    there.when(pattern, fault)
    monkeypatch.setattr(checkpoints, "_offline", lambda say: "the offline checkpoint")
    assert resolve() == "the offline checkpoint"
    assert not list(cache().glob(f"snapshots/*/{WEIGHTS}"))


# ------------------------------------------------------------------------- tokens, proxies, disks


def needs(token: str) -> Callable[[Any], bool]:
    def fault(handler: Any) -> bool:
        if handler.headers.get("Authorization") == f"Bearer {token}":
            return False
        return status(401, X_Error_Code="RepoNotFound")(handler)

    return fault


def test_a_token_opens_a_private_model_and_stays_with_the_hub(there: Hub, monkeypatch):
    there.when(f"/{REPO}/resolve/", needs("hf_secret"))
    assert NOT_OPEN in error_of()
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "does not let the token in HF_TOKEN have 'someone/tiny-esm2' (HTTP 401)" in error_of()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    there.asked.clear()
    assert resolve(REPO).source == "Hugging Face Hub"
    assert {a.token for a in there.asked if "/resolve/" in a.path} == {"Bearer hf_secret"}
    assert [a.token for a in there.asked if a.path.startswith("/storage/")] == [None]


def test_a_token_is_not_told_to_whom_the_hub_sends_for_a_file(there: Hub, monkeypatch):
    """Not when its headers are asked for either."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    at_hub = there.address.removeprefix("http://")

    def elsewhere(handler: Any) -> bool:
        if handler.headers["Host"] != at_hub:
            return False
        return redirect(f"{there.storage}PATH")(handler)

    there.when(CONFIG, elsewhere)
    assert resolve(REPO).source == "Hugging Face Hub"
    assert {(a.host == at_hub, a.token) for a in there.asked} == {
        (True, "Bearer hf_secret"),
        (False, None),
    }


def test_a_token_that_cannot_be_read_is_none(there: Hub, monkeypatch, tmp_path: Path):
    """Such as another user's, in a cache that many share: it was called a Hub that is silent."""
    set_constant(monkeypatch, "HF_TOKEN_PATH", str(tmp_path))
    assert resolve(REPO).source == "Hugging Face Hub"
    assert {a.token for a in there.asked} == {None}


def test_offline_mode_is_named(there: Hub, monkeypatch):
    set_constant(monkeypatch, "HF_HUB_OFFLINE", True)
    assert error_of() == (
        f"there is no folder '{REPO}' here, the local Hugging Face cache does not hold it whole, "
        "and HF_HUB_OFFLINE forbids to ask the Hub; unset it, or copy the model here and give its "
        "folder with `model`"
    )
    assert there.asked == []


def test_a_hub_that_hangs_is_given_up_in_time(point):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        point(f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        assert fetch.hub_answers(REPO, None, timeout=0.3) is False
        assert 0.2 < time.monotonic() - start < 2
    assert fetch.PROBE_SECONDS <= 3


def test_a_name_server_that_hangs_is_given_up_in_time(point, monkeypatch):
    released = threading.Event()

    def never(*_: Any, **__: Any) -> None:
        released.wait(30)
        raise OSError("no answer")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    point("http://hub.invalid")
    start = time.monotonic()
    assert fetch.hub_answers(REPO, None, timeout=0.2) is False
    assert time.monotonic() - start < 2
    released.set()


def test_nobody_there(point):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    for address in (f"http://127.0.0.1:{port}", "http://hub.invalid"):
        point(address)
        start = time.monotonic()
        assert "whole, and the Hub does not answer; connect to the network once" in error_of()
        assert time.monotonic() - start < 10


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "127.0.0.1:1"])
def test_a_proxy_that_is_not_there(there: Hub, monkeypatch, proxy: str):
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    assert "the Hub does not answer" in error_of()
    assert there.asked == []


def test_what_the_libraries_beneath_cannot_do_is_not_called_silence(there: Hub, monkeypatch):
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    text = error_of()
    if "does not answer" not in text:  # httpx without the package for it
        assert "cannot ask the Hub at " in text
        assert "socks" in text.lower()
        assert "check HF_ENDPOINT and the proxy variables, or give the folder of a model" in text

    def broken(*_: object) -> None:
        raise TypeError("unexpected keyword argument")

    monkeypatch.setattr(asking, "head", broken)
    assert "(TypeError: unexpected keyword argument); check HF_ENDPOINT" in error_of()


@pytest.mark.parametrize("url", ["hub.example", "ftp://hub.example"])
def test_an_address_that_is_none(point, url: str):
    point(url)
    assert f"cannot ask the Hub at '{url}' (HF_ENDPOINT) (" in error_of()


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for this machine that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "a network")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    of_all, of_key = folder / "network.pem", folder / "key.pem"
    of_all.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    of_key.write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    return of_all, of_key


def test_a_network_with_certificates_of_its_own(point, tmp_path, monkeypatch, tiny_lm_folder: Path):
    """Refused in one sentence, and weights once the variable that it names is set."""
    trusted, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, key)
    with hub(tls=context) as server:
        server.put(REPO, files_of(tiny_lm_folder))
        server.when(f"GET .*{WEIGHTS}", cut(20_000), 1)
        point(server.address)
        text = error_of()
        assert "CERTIFICATE_VERIFY_FAILED" in text
        (variable,) = re.findall(r"set (\w+) to the certificates of your network", text)
        assert server.asked == []
        monkeypatch.setenv(variable, str(trusted))
        close_session()  # as in the next command
        found = resolve(REPO)
        assert found.source == "Hugging Face Hub"
        assert server.count(f"GET .*{WEIGHTS}") == 2
        assert (found.folder / WEIGHTS).read_bytes() == server.repos[REPO].files[WEIGHTS]


def test_a_certificate_that_nobody_vouches_for(there: Hub, monkeypatch):
    def refused(*_: object) -> None:
        raise OSError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate in chain")

    monkeypatch.setattr(asking, "head", refused)
    assert error_of().endswith(
        f"); set {web.certificates()} to the certificates of your network, or give the folder of a model "
        "with `model`"
    )


def test_a_proxy_is_used(there: Hub, point, monkeypatch):
    """It gets whole addresses, of names that this machine cannot look up."""
    monkeypatch.setenv("http_proxy", there.address)
    monkeypatch.setenv("no_proxy", "")
    point("http://hub.invalid")
    assert resolve(REPO).source == "Hugging Face Hub"
    assert there.count("HEAD http://hub.invalid/") > 0


def test_a_cache_that_cannot_be_written(there: Hub, monkeypatch, tmp_path: Path):
    (tmp_path / "file").write_text("")
    set_constant(monkeypatch, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    text = error_of()
    assert text.startswith("cannot write to the Hugging Face cache ")
    assert text.endswith("(Not a directory); set HF_HOME to a folder that can be written")


def test_a_cache_that_is_read_only_is_read(there: Hub, monkeypatch):
    resolve(REPO)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert resolve(REPO).source == "local Hugging Face cache"


def test_no_space_left(there: Hub, monkeypatch):
    few = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: few)
    text = error_of()
    assert "needs" in text
    assert text.endswith("free some space, or set HF_HOME to a folder on another disk")
    assert there.bytes_of(WEIGHTS) == 0


def test_the_disk_fills_up_on_the_way(there: Hub, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_pour", full)
    assert "(No space left on device); free some space" in error_of()


def test_a_cache_whose_files_cannot_be_locked(there: Hub, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    said = error_of()
    assert (
        "(No locks available); set HF_HOME to a folder on a disk whose files can be locked" in said
    )


def test_without_symbolic_links_the_file_itself_is_moved(there: Hub, monkeypatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("a required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    found = resolve(REPO)
    assert not (found.folder / WEIGHTS).is_symlink()
    assert resolve(REPO).source == "local Hugging Face cache"
    assert there.bytes_of(WEIGHTS) == size_of(there)
