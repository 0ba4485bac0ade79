"""A loaded model in other processes: forked, spawned, and as a pickle."""

import copy
import io
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import esmkit.encoder.encoder as encoder_module
from esmkit import errors
from esmkit.encoder import forks
from esmkit.encoder.checkpoints.network import use_eager_attention
from esmkit.encoder.onednn import FastOperations
from esmkit.errors import OptionError
from esmkit.esm2 import Esm2, load
from oracles.checkpoints import has_compiler, random_sequence

CHAINS = [random_sequence(length, seed=length) for length in (5, 90, 300)]

PATIENCE = 200
"""Seconds after which a child counts as hanging: a machine may be so busy that it is given a
hundredth of a processor, and what was ended by its alarm sends as little as one that fails."""

TESTS = Path(__file__).parents[1]


def run_script(folder: Path, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a Python script, from a file as spawned processes need it, with two threads."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(script))
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONWARNINGS": "ignore"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, str(path), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=6 * PATIENCE, env=environment, check=False
    )


FORKS = """
    import concurrent.futures, multiprocessing, os, signal, sys, threading
    import numpy as np
    import torch
    import torch.multiprocessing
    import esmkit

    fork = multiprocessing.get_context("fork")
    chains, patience = sys.argv[2].split(","), int(sys.argv[3])
    models = []

    def in_child(function):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                signal.alarm(patience)
                os.write(writing, function())
            finally:
                os._exit(0)
        os.close(writing)
        with open(reading, "rb") as file:
            found = file.read()
        # A child that was ended has sent nothing: that is no other number
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child was ended"
        return found

    def load_here():
        signal.alarm(patience)
        here = esmkit.load(sys.argv[1], compiled=False)
        return here.embed(chains[1], layers="all").mean.tobytes()

    # PyTorch's threads, without esmkit: a child that loads a model is not told of the fork
    torch.ones(1 << 20).add_(1)
    loaded_there = in_child(load_here)
    models += [esmkit.load(sys.argv[1], compiled=compiled) for compiled in (False, None)]

    def work(number):
        signal.alarm(patience)  # a child that hangs ends
        for model in models:
            model.attention(chains[0])
        return [model.embed(chains[number], layers="all").mean.tobytes() for model in models]

    def own_fork():
        return [in_child(lambda: b"".join(work(number))) for number in range(3)]

    def own_fork_with_more_threads():
        torch.set_num_threads(2)
        return b"".join(work(1))

    def refused(function):
        signal.alarm(patience)
        try:
            function()
        except esmkit.errors.InputError as error:
            return str(error).encode()

    def in_thread(function):
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            return threads.submit(function).result()

    class Chains(torch.utils.data.Dataset):
        def __len__(self):
            return 3
        def __getitem__(self, number):
            return work(number)

    unused = in_child(lambda: b"".join(work(1)))
    wanted = [work(number) for number in range(3)]
    signal.alarm(0)
    assert torch.get_num_threads() == 2

    joined = [b"".join(each) for each in wanted]
    assert unused == joined[1] and loaded_there == wanted[1][0]
    with fork.Pool(2) as pool:
        assert pool.map_async(work, range(3)).get(3 * patience) == wanted
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=fork) as pool:
        assert list(pool.map(work, range(3))) == wanted
    with torch.multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map_async(work, range(3)).get(3 * patience) == wanted
    loader = torch.utils.data.DataLoader(
        Chains(), batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    assert list(loader) == wanted
    assert own_fork() == joined
    assert in_thread(own_fork) == joined
    assert in_child(own_fork_with_more_threads) == joined[1]
    assert in_child(lambda: in_child(own_fork_with_more_threads)) == joined[1]
    assert in_child(lambda: in_thread(own_fork_with_more_threads)) == joined[1]
    for given in models[0].embed(chains):  # in the middle of a stream
        assert in_child(lambda: b"".join(work(2))) == joined[2]
    begun = models[0].embed(chains)
    next(begun)
    # whose threads are not in a child
    assert b"begun in another process" in in_child(lambda: refused(lambda: next(begun)))
    assert len(list(begun)) == 2
    assert torch.get_num_threads() == 2 and work(2) == wanted[2]
    print("all equal")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forked_processes_give_the_same_numbers(tiny_folder: Path, tmp_path: Path):
    """In a child PyTorch's and the compiled attention's threads are gone, and are not waited for."""
    done = run_script(tmp_path, FORKS, tiny_folder, ",".join(CHAINS), PATIENCE)
    assert done.stdout == "all equal\n", done.stderr
    # For all children of a model together it is said once what they compute with
    assert done.stderr.count("computes with one thread") == 2
    assert len(done.stderr.splitlines()) == 2, done.stderr


SPAWN = """
    import multiprocessing, sys
    import esmkit

    def work(given):
        model, chain = given
        return model, model.compiled, model.embed(chain, layers="all").mean.tobytes()

    def fail(kind):
        raise kind("record 'P1': so it is")

    if __name__ == "__main__":
        chain = sys.argv[2].split(",")[1]
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            for compiled in (None, False):
                model = esmkit.load(sys.argv[1], compiled=compiled)
                wanted = model.embed(chain, layers="all").mean.tobytes()
                back, there, found = pool.apply_async(work, [(model, chain)]).get(200)
                assert found == wanted and there == model.compiled
                assert back.embed(chain, layers="all").mean.tobytes() == wanted
            for name in esmkit.errors.__all__:
                kind = getattr(esmkit.errors, name)
                try:
                    pool.apply_async(fail, [kind]).get(200)
                except kind as error:
                    assert str(error) == "record 'P1': so it is"
        print("all equal")
"""


def test_a_spawned_process_is_given_the_model(tiny_folder: Path, tmp_path: Path):
    done = run_script(tmp_path, SPAWN, tiny_folder, ",".join(CHAINS))
    assert done.stdout == "all equal\n", done.stderr
    assert done.stderr == ""


def copies(model: Esm2) -> list[Esm2]:
    """A model by every way of copying it."""
    import cloudpickle

    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return [
        *(pickle.loads(pickle.dumps(model, protocol)) for protocol in (2, 5)),
        cloudpickle.loads(cloudpickle.dumps(model)),
        torch.load(file, weights_only=False),
        copy.deepcopy(model),
        copy.copy(model),
    ]


def name_hook(module: torch.nn.Module, given: object, output: object) -> None:
    """A hook of the user's, which a pickle can name."""


@pytest.mark.parametrize("compiled", [None, False])
def test_a_model_pickles_in_every_state(tiny_folder: Path, compiled: bool | None):
    model = load(tiny_folder, "cpu", compiled=compiled)
    new = copies(model)
    wanted = model.embed(CHAINS[1], layers="all").mean
    model.attention(CHAINS[0])
    used = copies(model)
    ids = torch.tensor([[0, 5, 6, 7, 2]])
    use_eager_attention(model.network)
    states = model.network(input_ids=ids, output_hidden_states=True).hidden_states
    hooks = sum(len(module._forward_hooks) for module in model.network.modules())
    hooked = copies(model)
    assert hooks == sum(len(module._forward_hooks) for module in model.network.modules())
    for found in (*new, *used, *hooked):
        assert type(found) is Esm2
        assert found.compiled == model.compiled
        assert found.checkpoint == model.checkpoint
        np.testing.assert_array_equal(found.embed(CHAINS[1], layers="all").mean, wanted)
    # transformers hangs its own hooks on a copy when it needs them, once
    again = hooked[0].network(input_ids=ids, output_hidden_states=True).hidden_states
    assert len(again) == len(states) == model.layers + 1
    for one, other in zip(states, again, strict=True):
        assert torch.equal(one, other)


def test_hooks_of_the_users_travel(tiny_folder: Path):
    model = load(tiny_folder, "cpu")
    model.network.encoder.layer[0].register_forward_hook(name_hook)
    found = pickle.loads(pickle.dumps(model))
    assert list(found.network.encoder.layer[0]._forward_hooks.values()) == [name_hook]
    model.network.register_forward_hook(lambda *_: None)
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(model)


def test_a_copy_has_weights_of_its_own(tiny_folder: Path):
    model = load(tiny_folder, "cpu")
    found = copy.deepcopy(model)
    wanted = model.embed(CHAINS[0]).mean
    with torch.no_grad():
        for weight in found.network.parameters():
            weight.zero_()
    np.testing.assert_array_equal(model.embed(CHAINS[0]).mean, wanted)


@pytest.mark.parametrize("tune", [True, False])
def test_another_process_is_tuned_unless_refused(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, tune: bool
):
    pickled = pickle.dumps(load(tiny_folder, "cpu", tune=tune))
    tuned: list[bool] = []
    monkeypatch.setattr(encoder_module, "tune_process", lambda: tuned.append(True))
    pickle.loads(pickled)
    assert tuned == [True] * tune


def test_fast_operations_are_tried_again_in_another_process(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """It may be on another machine: without a compiler, or with another PyTorch."""
    import esmkit.encoder.trial as trial

    model = load(tiny_folder, "cpu")
    pickled = pickle.dumps(model)
    monkeypatch.setattr(trial, "why_not_compiled", lambda: "there is no compiler")
    found = pickle.loads(pickled)
    assert not found.compiled
    assert model.compiled == has_compiler()
    monkeypatch.setattr(trial, "fault_of_products", lambda parts: "they differ")
    found = pickle.loads(pickled)
    assert isinstance(found.operations, FastOperations)
    assert not found.operations.products
    np.testing.assert_allclose(
        found.embed(CHAINS[1]).mean, model.embed(CHAINS[1]).mean, rtol=1e-5, atol=1e-5
    )


def test_a_device_that_is_not_there(tiny_folder: Path):
    model = load(tiny_folder, "cpu")
    model.device = torch.device("cuda:7")
    with pytest.raises(OptionError, match=r"no 'cuda:7' device here, and the pickled.*device=.cpu"):
        pickle.loads(pickle.dumps(model))


def test_a_device_that_does_not_survive_a_fork(tiny: Esm2, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(forks, "_state", forks._State(used={"cpu", "meta"}))
    threads = torch.get_num_threads()
    forks._after_fork()  # as if this were a child
    try:
        with pytest.raises(OptionError, match=r"uses 'meta'.*get_context\(\"spawn\"\)"):
            forks.make_ready(torch.device("meta"))
        with pytest.raises(OptionError, match="uses 'meta'"):
            forks.expect_forks(torch.device("meta"))
        forks.make_ready(torch.device("cpu"))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_results_that_are_not_computed_do_not_travel(tiny: Esm2, copied: Callable[..., object]):
    with pytest.raises(OptionError, match=r"results of embed .* send list\(results\)"):
        copied(tiny.embed(CHAINS))


def test_results_pickle(tiny: Esm2):
    embedding, maps = tiny.embed(CHAINS[0]), tiny.attention(CHAINS[0])
    contacts = tiny.contacts(CHAINS[0])
    found = pickle.loads(pickle.dumps((embedding, maps, contacts)))
    np.testing.assert_array_equal(found[0].residues, embedding.residues)
    np.testing.assert_array_equal(found[1]["L1H3"], maps["L1H3"])
    np.testing.assert_array_equal(found[2].probability, contacts.probability)


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_pickle_with_all_that_they_say(name: str):
    kind = getattr(errors, name)
    for arguments in (("record 'P1': so it is",), ()):
        error = kind(*arguments)
        error.add_note("and more")
        found = pickle.loads(pickle.dumps(error))
        assert type(found) is kind
        assert found.args == arguments
        assert str(found) == str(error)
        assert found.__notes__ == ["and more"]


def test_a_program_that_ignores_its_children_can_try_one(monkeypatch: pytest.MonkeyPatch):
    def gone(*_: int) -> tuple[int, int]:
        raise ChildProcessError  # what waitpid says where SIGCHLD is ignored

    monkeypatch.setattr(forks.torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(forks.os, "fork", lambda: 1)
    monkeypatch.setattr(forks.os, "waitpid", gone)
    assert forks._can_share()
