"""Runs commands in a process that is as Windows is, as far as Linux can be.

    python tests/oracles/like_windows.py FILE

FILE holds a JSON list of command lines, each a list of words; printed is a JSON list of exit codes.
What Windows lacks is hidden from esmkit's modules (and from them only): modules of POSIX, functions
of ``os``, signals. What Windows refuses is refused, by an audit hook:

- to delete, rename or replace a file that this process has open or mapped into memory;
- to rename a folder in which such a file is, or onto one that exists;
- names with ``<>:"|?*``, ending in a dot or a space, or reserved (``CON``, ``nul.txt``);
- paths of more than 259 characters;
- to open a folder, and to make a symbolic link.

Text has the encoding of Western Windows unless a program names one, which is an error here.
Known from Microsoft's pages "Naming Files, Paths, and Namespaces" and "CreateFileW".
"""

# Functions of os raise the events that the hook sees, and no others meanwhile
# ruff: noqa: PTH100, PTH102, PTH109, PTH112, PTH115, PTH118, PTH123, PTH208
import builtins
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import types
import warnings
from typing import Any

HIDDEN = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog", "curses"}
LACKING = {
    "os": [
        "fork",
        "forkpty",
        "register_at_fork",
        "getuid",
        "geteuid",
        "getgid",
        "getegid",
        "getpgid",
        "setsid",
        "killpg",
        "nice",
        "sched_getaffinity",
        "sysconf",
        "confstr",
        "uname",
        "getloadavg",
        "mkfifo",
        "mknod",
        "chown",
        "fchown",
        "fchmod",
        "statvfs",
        "pread",
        "pwrite",
        "posix_fallocate",
        "posix_fadvise",
        "sendfile",
        "sync",
        "wait",
        "WNOHANG",
        "O_CLOEXEC",
        "O_NOFOLLOW",
        "O_DIRECTORY",
        "O_NONBLOCK",
        "O_SYNC",
        "pipe2",
        "openpty",
        "ttyname",
    ],
    "signal": [
        "SIGHUP",
        "SIGKILL",
        "SIGQUIT",
        "SIGUSR1",
        "SIGUSR2",
        "SIGALRM",
        "SIGPIPE",
        "SIGCHLD",
        "alarm",
        "setitimer",
    ],
    "socket": ["AF_UNIX"],
    "time": ["tzset"],
}
DIFFERENT = {"os": {"name": "nt", "linesep": "\r\n"}, "sys": {"platform": "win32"}}

_real_import = builtins.__import__


class Stand(types.ModuleType):
    """A module of the standard library, less what Windows has not."""

    def __init__(self, real: types.ModuleType) -> None:
        super().__init__(real.__name__)
        self.__dict__["_real"] = real

    def __getattr__(self, name: str) -> Any:
        short = self._real.__name__
        if name in LACKING.get(short, ()):
            raise AttributeError(f"module {short!r} has no attribute {name!r} on Windows")
        return DIFFERENT.get(short, {}).get(name, getattr(self._real, name))

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._real, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._real, name)


stands: dict[str, Stand] = {}


def windows_import(
    name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
):
    """Give esmkit's modules what Windows would give them."""
    found = _real_import(name, globals, locals, fromlist, level)
    asking = (globals or {}).get("__name__", "")
    if not asking.startswith("esmkit"):
        return found
    top = name.partition(".")[0]
    if top in HIDDEN:
        raise ModuleNotFoundError(f"No module named {top!r}", name=top)
    if top in LACKING or top in DIFFERENT:
        return stands.setdefault(found.__name__, Stand(found)) if "." not in name else found
    return found


def in_use() -> set[str]:
    """Files that this process has open or mapped."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    with open("/proc/self/maps", encoding="utf-8") as maps:
        found |= {line.split(maxsplit=5)[5].rstrip() for line in maps if line.count("/")}
    return found


def msvcrt() -> types.ModuleType:
    """Windows' own module for locks, less what esmkit does not ask of it."""
    import fcntl

    module = types.ModuleType("msvcrt")
    module.LK_NBLCK = 2  # type: ignore[attr-defined]

    def locking(number: int, mode: int, count: int) -> None:
        assert (mode, count, os.lseek(number, 0, os.SEEK_CUR)) == (2, 1, 0)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise PermissionError(13, "Permission denied") from None

    module.locking = locking  # type: ignore[attr-defined]
    return module


RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
watching, asking = "", False
refused: list[str] = []


def refuse(error: type[OSError], number: int, text: str, path: str) -> None:
    refused.append(f"{text}: {path}")
    raise error(number, text, path)


def check_name(path: str) -> None:
    inside = path.removeprefix(watching).strip("/")
    for part in inside.split("/"):
        if (
            re.search(r'[<>:"|?*\x00-\x1f\\]', part)
            or part.endswith((".", " "))
            or RESERVED.fullmatch(part)
        ):
            refuse(
                OSError,
                22,
                "The filename, directory name, or volume label syntax is incorrect",
                path,
            )
    if len(path) > 259:
        refuse(FileNotFoundError, 2, "The system cannot find the path specified", path)


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    global asking
    if asking or event not in (
        "open",
        "os.remove",
        "os.rename",
        "os.mkdir",
        "os.rmdir",
        "os.symlink",
        "os.link",
    ):
        return
    asking = True
    try:
        paths = [
            os.path.abspath(os.fsdecode(a))
            for a in arguments[:2]
            if isinstance(a, str | bytes | os.PathLike)
        ]
        if event == "open":
            paths = paths[:1]
        if not paths or not any(path.startswith(watching) for path in paths):
            return
        if event == "os.symlink":
            refuse(OSError, 22, "A required privilege is not held by the client", paths[-1])
        if event == "open" and os.path.isdir(paths[0]):
            refuse(PermissionError, 13, "Access is denied", paths[0])
        check_name(paths[-1])
        if event in ("os.remove", "os.rename"):
            held = in_use()
            for path in paths:
                real = os.path.realpath(path)
                if any(one == real or one.startswith(f"{real}/") for one in held):
                    text = "The process cannot access the file because it is being used"
                    refuse(PermissionError, 13, text, path)
            if event == "os.rename" and os.path.isdir(paths[-1]):
                refuse(PermissionError, 13, "Access is denied", paths[-1])
    finally:
        asking = False


def main() -> None:
    """Run the commands, here."""
    global watching
    # What is not esmkit's stays as it is on Linux, and is loaded before anything is hidden
    import h5py  # noqa: F401
    import mdtraj  # noqa: F401
    import pandas  # noqa: F401
    import torch  # noqa: F401
    import transformers.models.esm.modeling_esm  # noqa: F401

    with open(sys.argv[1], encoding="utf-8") as file:
        commands = json.load(file)
    watching = os.path.realpath(os.getcwd())
    tempfile.tempdir = os.path.join(watching, "Temp")
    os.mkdir(tempfile.tempdir)
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    sys.addaudithook(hook)
    builtins.__import__ = windows_import
    sys.modules["msvcrt"] = msvcrt()
    warnings.filterwarnings("error", category=EncodingWarning, module=r"esmkit(\..*)?")
    from esmkit.cli import main

    results = []
    for words in commands:
        refused.clear()
        begun = time.process_time()
        sys.argv = ["esmkit", *words]
        code = 0
        try:
            main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        except BaseException as error:  # told, not raised: the next command is run all the same
            import traceback

            traceback.print_exc()
            code, refused[:0] = 99, [f"{type(error).__name__}: {error}"]
        sys.stdout.flush()
        results.append(
            {
                "command": words,
                "code": code,
                "refused": list(refused),
                "seconds": time.process_time() - begun,
            }
        )
    with open("results.json", "w", encoding="utf-8") as file:
        json.dump(results, file)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
