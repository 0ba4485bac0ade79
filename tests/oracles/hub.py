"""A server on this machine that speaks the protocol of the Hugging Face Hub, well or badly.

Large files are redirected to a second server, the storage, which knows ranges; small ones are sent
by the first. What is asked, and how many bytes of bodies were sent, is kept.
"""

import contextlib
import hashlib
import http.server
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, file_download

from esmkit.encoder.checkpoints import download
from esmkit.encoder.checkpoints import hub as asking

LARGE = (".safetensors", ".bin", ".pt")

Fault = Callable[["_Handler"], bool]
"""Does something bad with a request; False if the server is to go on as usual."""


@dataclass
class Asked:
    """One request, and what became of it."""

    method: str
    path: str
    range: str | None
    token: str | None
    agent: str | None
    host: str | None = None
    status: int = 0
    sent: int = 0


@dataclass
class Repo:
    """Files of a model, and the commit and the names (``main``) they are known by."""

    files: dict[str, bytes]
    commit: str = "c" * 40
    names: tuple[str, ...] = ("main",)

    def etag(self, name: str) -> str:
        data = self.files[name]
        if name.endswith(LARGE):
            return hashlib.sha256(data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Hub:
    """A Hub and its storage while they run."""

    address: str = ""
    storage: str = ""
    prefix: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    faults: list[tuple[re.Pattern[str], Fault, list[int]]] = field(default_factory=list)

    def put(self, repo: str, files: dict[str, bytes], **more: Any) -> Repo:
        self.repos[repo] = Repo(files, **more)
        return self.repos[repo]

    def when(self, pattern: str, fault: Fault, times: int = 10**9) -> None:
        """Let requests whose ``METHOD /path`` matches go wrong, so many times."""
        self.faults.append((re.compile(pattern), fault, [times]))

    def bytes_of(self, ending: str) -> int:
        """How many bytes of bodies were sent for paths with an ending."""
        return sum(a.sent for a in self.asked if a.path.endswith(ending))

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, f"{a.method} {a.path}")) for a in self.asked)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any
    asked: Asked

    @property
    def hub(self) -> Hub:
        return self.server.hub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self) -> None:
        for changed in ("reply", "write"):  # by a fault of the last request on this connection
            self.__dict__.pop(changed, None)
        token = self.headers.get("Authorization")
        named = self.headers.get("User-Agent"), self.headers.get("Host")
        told = (self.headers.get("Range"), token, *named)
        self.asked = Asked(self.command, self.path, *told)
        self.hub.asked.append(self.asked)
        with contextlib.suppress(ConnectionError):
            for pattern, fault, left in self.hub.faults:
                if left[0] > 0 and pattern.search(f"{self.command} {self.path}"):
                    left[0] -= 1
                    if fault(self):
                        return
            self.as_usual()

    def as_usual(self) -> None:
        path = re.sub(r"^http://[^/]+", "", self.path.partition("?")[0])  # if it is a proxy
        if path.startswith("/storage/"):
            self.from_storage(path)
            return
        path = path.removeprefix(self.hub.prefix)
        resolved = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        listed = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path)
        found = resolved or listed
        repo = self.hub.repos.get(found[1]) if found else None
        if repo is None or found is None:
            self.reply(401, b"", {"X-Error-Code": "RepoNotFound"})
            return
        revision = (found[2] if resolved else found[3]) or "main"
        if revision not in (*repo.names, repo.commit):
            self.reply(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif resolved:
            self.resolve(found[1], repo, resolved[3])
        else:
            self.list(found[1], repo, found[2] == "tree")

    def resolve(self, repo_name: str, repo: Repo, name: str) -> None:
        headers = {"X-Repo-Commit": repo.commit}
        data = repo.files.get(name)
        if data is None:
            self.reply(404, b"", {**headers, "X-Error-Code": "EntryNotFound"})
        elif name.endswith(LARGE):
            headers["X-Linked-Etag"] = f'"{repo.etag(name)}"'
            headers["X-Linked-Size"] = str(len(data))
            headers["Location"] = f"{self.hub.storage}/storage/{repo_name}/{name}"
            self.reply(302, b"", headers)
        else:
            self.body(data, {**headers, "ETag": f'"{repo.etag(name)}"'})

    def list(self, repo_name: str, repo: Repo, tree: bool) -> None:
        if not tree:
            files = [{"rfilename": name} for name in repo.files]
            facts: Any = {"id": repo_name, "sha": repo.commit, "siblings": files}
        else:
            facts = []
            for name, data in repo.files.items():
                entry = {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                if name.endswith(LARGE):
                    facts_of = {"oid": repo.etag(name), "size": len(data), "pointerSize": 134}
                    entry = {**entry, "lfs": facts_of}
                facts.append(entry)
        self.reply(200, json.dumps(facts).encode(), {"Content-Type": "application/json"})

    def from_storage(self, path: str) -> None:
        owner, name, file = path.removeprefix("/storage/").split("/")
        self.body(self.hub.repos[f"{owner}/{name}"].files[file], {"Accept-Ranges": "bytes"})

    def body(self, data: bytes, headers: dict[str, str]) -> None:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(found[1]) if found else 0
        if found and start >= len(data):
            self.reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        elif found:
            where = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.reply(206, data[start:], {**headers, "Content-Range": where})
        else:
            self.reply(200, data, headers)

    def reply(
        self, status: int, data: bytes, headers: dict[str, str], length: int | None = None
    ) -> None:
        self.begin(
            status, {"Content-Length": str(len(data) if length is None else length)}, headers
        )
        if self.command != "HEAD":
            self.write(data)

    def begin(self, status: int, *headers: dict[str, str]) -> None:
        self.asked.status = status
        self.send_response(status)
        for some in headers:
            for name, value in some.items():
                self.send_header(name, value)
        self.end_headers()

    def write(self, data: bytes) -> None:
        self.asked.sent += len(data)  # before: whoever asked may be done sooner than this thread
        self.wfile.write(data)


# ------------------------------------------------------------------------------- what goes wrong


def status(code: int, **headers: str) -> Fault:
    """Answer with an HTTP status, and nothing else."""

    def fault(handler: _Handler) -> bool:
        handler.reply(code, b"", {k.replace("_", "-"): v for k, v in headers.items()})
        return True

    return fault


def html(handler: _Handler) -> bool:
    """Answer with the log-in page of a network."""
    page = b"<html><body>Welcome to the Wi-Fi of this hotel</body></html>"
    handler.reply(200, page, {"Content-Type": "text/html"})
    return True


def redirect(to: str, **headers: str) -> Fault:
    """Send whoever asks to another address, in which PATH stands for that of the question."""

    def fault(handler: _Handler) -> bool:
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        handler.reply(302, b"", {"Location": to.replace("PATH", handler.path), **more})
        return True

    return fault


def cut(after: int) -> Fault:
    """Close the connection when so many bytes of a body were sent."""

    def fault(handler: _Handler) -> bool:
        whole = handler.reply

        def reply(code: int, data: bytes, headers: dict[str, str]) -> None:
            whole(code, data[:after], headers, length=len(data))
            handler.wfile.flush()
            handler.close_connection = True

        handler.reply = reply  # type: ignore[method-assign,assignment]
        handler.as_usual()
        return True

    return fault


def other_bytes(change: Callable[[bytes], bytes]) -> Fault:
    """Send another body than the headers of the Hub announced."""

    def fault(handler: _Handler) -> bool:
        whole = handler.reply

        def reply(code: int, data: bytes, headers: dict[str, str]) -> None:
            whole(code, change(data), headers)

        handler.reply = reply  # type: ignore[method-assign,assignment]
        handler.as_usual()
        return True

    return fault


def drip(size: int, pause: float) -> Fault:
    """Send a few bytes, wait, and so on."""

    def fault(handler: _Handler) -> bool:
        def write(data: bytes) -> None:
            for start in range(0, len(data), size):
                handler.asked.sent += min(size, len(data) - start)
                handler.wfile.write(data[start : start + size])
                handler.wfile.flush()
                if handler.server.stopped.wait(pause):
                    handler.close_connection = True
                    return

        handler.write = write  # type: ignore[method-assign]
        handler.as_usual()
        return True

    return fault


def silence(handler: _Handler) -> bool:
    """Take the request and never answer."""
    handler.server.stopped.wait(60)
    handler.close_connection = True
    return True


def without_ranges(handler: _Handler) -> bool:
    """Send everything, whatever was asked for."""
    del handler.headers["Range"]
    return False


@contextlib.contextmanager
def hub(prefix: str = "", tls: ssl.SSLContext | None = None) -> Iterator[Hub]:
    """Run a Hub and its storage, on two ports; with a certificate under ``https``."""
    there = Hub(prefix=prefix)
    stopped = threading.Event()
    servers = []
    for _ in range(2):
        server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        if tls is not None:  # the handshake is the thread's of each connection
            server.socket = tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        server.daemon_threads = True
        server.block_on_close = False
        server.hub, server.stopped = there, stopped
        server.handle_error = lambda *_: None  # whoever asked has gone
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        servers.append(server)
    scheme = "http" if tls is None else "https"
    there.address, there.storage = (f"{scheme}://127.0.0.1:{s.server_address[1]}" for s in servers)
    there.address += prefix
    try:
        yield there
    finally:
        stopped.set()
        for server in servers:
            server.shutdown()
            server.server_close()


# -------------------------------------------------------------------- a process that asks this Hub


def close_session() -> None:
    """Forget connections, and the proxies that they were opened with."""
    places = (huggingface_hub, huggingface_hub.utils, huggingface_hub.utils._http)
    for name in ("close_session", "reset_sessions"):  # since huggingface_hub 1.0, before
        found = [getattr(place, name) for place in places if hasattr(place, name)]
        if found:
            found[0]()
            return


def set_constant(patch: pytest.MonkeyPatch, name: str, value: Any) -> None:
    """Set what huggingface_hub reads from the environment when it is imported."""
    for module in (constants, file_download):  # before 0.25 copies were read
        if hasattr(module, name):
            patch.setattr(module, name, value)


def set_endpoint(patch: pytest.MonkeyPatch, address: str) -> None:
    set_constant(patch, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    set_constant(patch, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@contextlib.contextmanager
def nothing_here(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """Empty caches, no token, no proxy, short waits, and patience with a busy machine."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        patch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        patch.delenv(name, raising=False)
        patch.delenv(name.upper(), raising=False)
    patch.setenv("no_proxy", "127.0.0.1")
    patch.setenv("ESMKIT_CACHE", str(folder / "esmkit"))
    set_constant(patch, "HF_HUB_CACHE", str(folder / "hf" / "hub"))
    set_constant(patch, "HF_HUB_OFFLINE", False)
    set_constant(patch, "HF_TOKEN_PATH", str(folder / "token"))
    for module in (download, asking):
        patch.setattr(module, "STALL_SECONDS", 20.0)
        patch.setattr(module, "FIRST_WAIT", 0.01)
    patch.setattr(asking, "PROBE_SECONDS", 20.0)
    close_session()
    try:
        yield
    finally:
        close_session()


@contextlib.contextmanager
def at_a_hub(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[Hub]:
    """Run a Hub that this process asks, with nothing in its caches."""
    with nothing_here(patch, folder), hub() as there:
        set_endpoint(patch, there.address)
        yield there
