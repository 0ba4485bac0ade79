"""The distributed engine on a real Ray cluster of two processors: results, faults, object store."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import esmkit
from esmkit.embeddings.cluster import Workers, check_dataset, embed_dataset, merge_dataset
from esmkit.embeddings.cluster.storage import Folder
from esmkit.embeddings.options import EmbedOptions
from esmkit.errors import InputError, OptionError
from esmkit.esm2 import Esm2
from esmkit.files.run_options import Run
from oracles.checkpoints import OFFLINE_NAME, random_sequence
from oracles.commands import fails, write_fasta

pytestmark = [
    pytest.mark.slow,
    # Not imported where tests are collected: seconds, in each of the processes
    pytest.mark.skipif(find_spec("ray") is None, reason="the extra ray is not installed"),
    # Of Ray's own threads and processes; esmkit's warnings stay errors
    pytest.mark.filterwarnings("ignore:::ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::esmkit.encoder.checkpoints.OfflineCheckpointWarning"),
]

BUCKET = "esmkit-test"


@pytest.fixture(scope="module")
def s3() -> Iterator[str | None]:
    """An object store on this machine; it has to be there before the cluster that uses it."""
    try:
        import s3fs
        from moto.server import ThreadedMotoServer
    except ImportError:
        yield None
        return
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        s3fs.S3FileSystem().mkdir(BUCKET)
        yield f"s3://{BUCKET}"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(scope="module")
def cluster(s3: str | None) -> Iterator[None]:
    ray: Any = import_module("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=100 * 2**20,
        )
        yield
        ray.shutdown()


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    """Sixty proteins of 40 to 500 residues."""
    lengths = np.random.default_rng(1).integers(40, 500, 60)
    records = {f"P{i}": random_sequence(int(n), i) for i, n in enumerate(lengths)}
    return write_fasta(tmp_path / "seqs.fasta", records)


def assert_same(dataset: Path, sources: list[Path], model: Esm2, tmp_path: Path) -> None:
    """Compare every row with the local engine's."""
    esmkit.embed_file(model, sources, tmp_path / "local.h5", run=Run(force=True))
    with esmkit.read(tmp_path / "local.h5") as local, esmkit.read(dataset) as found:
        assert list(found) == list(local)
        for name in local:
            np.testing.assert_allclose(found[name], local[name], atol=1e-5, rtol=0)


def embedders() -> list[psutil.Process]:
    """The worker processes of this machine's cluster that hold a model."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "Embedder" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for(what: Callable[[], Any], seconds: float = 90.0) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


@pytest.mark.weights
@pytest.mark.usefixtures("cluster")
def test_two_workers_of_which_one_is_killed(fasta: Path, real: Esm2, tmp_path: Path):
    """Ranges of a plain file and a gzip file; the worker is replaced, and no row is lost or twice."""
    packed = tmp_path / "packed.fasta.gz"
    more = {f"Q{i}": random_sequence(60 + i, 100 + i) for i in range(40)}
    packed.write_bytes(gzip.compress(write_fasta(tmp_path / "q.fasta", more).read_bytes()))
    out = tmp_path / "out"
    killed: list[int] = []

    def kill() -> None:
        wait_for(lambda: len(list(out.glob("part-*"))) >= 2)
        victim = embedders()[0]
        killed.append(victim.pid)
        victim.send_signal(signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    said: list[str] = []
    embed_dataset(
        [fasta, packed], out, model=OFFLINE_NAME, workers=Workers(number=2), range_bytes=1_000
    )
    thread.join()
    assert len(killed) == 1
    assert not psutil.pid_exists(killed[0])
    check_dataset(out, run=Run(say=said.append))
    assert "complete: 100 record(s) in the input, 100 protein(s)" in said[-1]
    assert_same(out, [fasta, packed], real, tmp_path)
    assert not [path for path in out.iterdir() if path.name.startswith((".", "_attempt"))]
    merge_dataset(out, tmp_path / "merged.parquet")
    assert list(esmkit.read(tmp_path / "merged.parquet")) == list(esmkit.read(out))


@pytest.mark.usefixtures("cluster")
def test_a_damaged_shard_is_named_and_the_rest_finishes(
    fasta: Path, tiny_folder: Path, tiny: Esm2, tmp_path: Path, run: Any
):
    bad = tmp_path / "bad.fasta.gz"
    whole = gzip.compress(fasta.read_bytes().replace(b">P", b">B"))
    bad.write_bytes(whole[:-200])
    words = ("embed", fasta, bad, "--engine", "ray", "--num-workers", 1, "--model", tiny_folder)
    words += ("-o", "out", "--range-size", "4K")
    message = fails(run(*words, cwd=tmp_path))
    assert "bad.fasta.gz: 'bad.fasta.gz' is a damaged gzip file" in message
    assert "only what is missing is computed" in message
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert len(list((tmp_path / "out").glob("part-00000-*"))) == manifest["inputs"][0]["ranges"]
    bad.write_bytes(whole)
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("part-*")}
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(path.stat().st_mtime_ns == before for path, before in times.items())
    assert run("embed", "--check", "out", cwd=tmp_path).returncode == 0
    assert_same(tmp_path / "out", [fasta, bad], tiny, tmp_path)
    again = run(*words, cwd=tmp_path)
    assert "complete already" in again.stderr
    assert "model: tiny-esm2" in again.stderr


@pytest.mark.usefixtures("cluster")
def test_object_store(fasta: Path, tiny_folder: Path, tiny: Esm2, tmp_path: Path, s3: str | None):
    if s3 is None:
        pytest.skip("s3fs and moto[server] are not installed")
    import s3fs

    files = s3fs.S3FileSystem()
    files.put_file(str(fasta), f"{BUCKET}/seqs.fasta")
    packed = gzip.compress(b">G1\nMKV\n>G2\nMKL\n")
    files.pipe_file(f"{BUCKET}/more.fasta.gz", packed)
    sources = [f"{s3}/seqs.fasta", f"{s3}/more.fasta.gz"]
    out = f"{s3}/folder/out"
    settings: dict[str, Any] = {"model": tiny_folder, "workers": Workers(number=1)}
    embed_dataset(sources, out, range_bytes=4_000, **settings)
    check_dataset(out)
    folder = Folder(out)
    parts = [name for name in folder.names() if name.startswith("part-")]
    folder.remove(parts[2])
    folder.remove("_provenance.json")
    said: list[str] = []
    embed_dataset(sources, out, run=Run(say=said.append), **settings)
    assert f"going on after {len(parts) - 1} finished range(s)" in said
    check_dataset(out)
    merge_dataset(out, tmp_path / "merged.h5")
    (tmp_path / "more.fasta.gz").write_bytes(packed)
    esmkit.embed_file(tiny, [fasta, tmp_path / "more.fasta.gz"], tmp_path / "local.h5")
    with (
        esmkit.read(tmp_path / "merged.h5") as merged,
        esmkit.read(tmp_path / "local.h5") as local,
    ):
        assert list(merged) == list(local)
        for name in local:
            np.testing.assert_allclose(merged[name], local[name], atol=1e-5, rtol=0)


@pytest.mark.usefixtures("cluster")
def test_what_the_cluster_has_not(fasta: Path, tiny_folder: Path, tmp_path: Path):
    with pytest.raises(
        OptionError, match=r"3 worker\(s\) need 3 of processors.*use `workers=Workers\(number=2\)`"
    ):
        embed_dataset(fasta, tmp_path / "o", model=tiny_folder, workers=Workers(number=3))
    with pytest.raises(OptionError, match=r"there is no layer 9"):
        embed_dataset(fasta, tmp_path / "o", EmbedOptions(layers=(9,)), model=tiny_folder)
    fasta.write_text(">a\nMJ\n")
    with pytest.raises(InputError, match=r"seqs.fasta, range 0: sequence 'a', residue 2: 'J'"):
        embed_dataset(fasta, tmp_path / "o", model=tiny_folder)
    assert not (tmp_path / "o" / "_provenance.json").exists()


def alive(family: list[psutil.Process], *words: str) -> list[psutil.Process]:
    """Return the processes that still run and have one of the words in their command line."""
    found = []
    for process in family:
        try:
            line = " ".join(process.cmdline())  # empty once it is a zombie
            if line and any(word in line for word in words):
                found.append(process)
        except psutil.Error:
            continue
    return found


def start(fasta: Path, out: Path) -> "subprocess.Popen[str]":
    words = ["embed", str(fasta), "--engine", "ray", "--num-workers", "1", "--range-size", "1K"]
    return subprocess.Popen(
        [sys.executable, "-m", "esmkit", *words, "--model", OFFLINE_NAME, "-o", str(out)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(esmkit.__file__).parents[1])},
    )


@pytest.mark.weights
def test_a_driver_stopped_or_killed_is_started_again(fasta: Path, real: Esm2, tmp_path: Path):
    """Each with a cluster of its own, which must go when its driver does."""
    out = tmp_path / "out"

    def parts() -> int:
        return len(list(out.glob("part-*")))

    with start(fasta, out) as driver:
        wait_for(lambda: parts() >= 2)
        driver.send_signal(signal.SIGTERM)
        told = driver.communicate(timeout=60)[1]
    assert driver.returncode == 143, told
    assert "the same command again goes on from there" in told
    assert "Traceback" not in told
    before = parts()
    assert before < 18
    with start(fasta, out) as driver:
        wait_for(lambda: parts() >= before + 2)
        family = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()
    wait_for(lambda: not alive(family, "Embedder", "raylet", "gcs_server"), 60)
    for process in alive(family, ""):  # two idle agents, which Ray 2.60 leaves behind
        process.kill()
    before = parts()
    with start(fasta, out) as driver:
        told = driver.communicate(timeout=120)[1]
    assert driver.returncode == 0, told
    assert f"going on after {before} finished range(s)" in told
    check_dataset(out)
    assert_same(out, [fasta], real, tmp_path)
