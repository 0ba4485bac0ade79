"""Ctrl-C at the worst of moments: dropped exceptions, long calls, exceptions that are swallowed."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")

PROGRAM = """
import os, signal, sys, threading, time, zlib
from esmkit.cli.stopping import kept, stoppable
number = int(sys.argv[1])

def strike():
    os.write(1, b"x")
    os.kill(os.getpid(), number)

with stoppable(), kept():
"""

BODIES = {
    "at once": "strike()",
    # Python drops an exception in a callback, and goes on as if nothing had happened
    "in a callback": """
        class Callback:
            def __del__(self):
                strike()
                for _ in range(100):
                    pass
        made = Callback()
        del made
        for _ in range(10**9):
            pass
    """,
    # one call that takes longer; a handler of Python's has to wait for it
    "in a long call": """
        threading.Timer(0.3, strike).start()
        zlib.compress(bytes(2_000_000_000), 9)
    """,
    "made another of by C code": """
        try:
            strike()
            time.sleep(30)
        except BaseException:
            raise AttributeError("no attribute")
    """,
    "swallowed": """
        try:
            strike()
            time.sleep(30)
        except BaseException:
            time.sleep(30)
    """,
}


def run_with(body: str, number: int) -> tuple[int, str, float]:
    """Run a program that is struck by a signal; return code, messages and the seconds it took."""
    text = PROGRAM + textwrap.indent(textwrap.dedent(body), "    ")
    process = subprocess.Popen(
        [sys.executable, "-c", text, str(number)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.read(1) == b"x"
    start = time.monotonic()
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors.decode(), time.monotonic() - start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("body", BODIES)
def test_the_end_comes_within_two_seconds(body: str, number: int):
    code, errors, taken = run_with(BODIES[body], number)
    assert errors == (
        "esmkit: stopped; finished work is kept, the same command again goes on from there\n"
    )
    assert code == 128 + number
    assert taken < 2


def test_asked_twice_it_does_not_wait():
    body = """
        try:
            strike()
            time.sleep(30)
        except BaseException:
            strike()
            time.sleep(30)
    """
    code, errors, taken = run_with(body, signal.SIGINT)
    assert code == 130
    assert errors.count("stopped") == 1
    assert taken < 1
