"""Questions to servers of files, through the connections of ``huggingface_hub``.

Those know the proxies and certificates of this machine. Addresses and headers are esmkit's own:
``huggingface_hub`` would first ask another address, for a list of programs to report.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from esmkit.text import shorten

__all__ = ["Answer", "certificates", "has_token", "head", "named", "open_at", "seconds_to_wait"]

MOST_REDIRECTS = 10

PIECE = 2**16


@dataclass(frozen=True)
class Answer:
    """Status and headers, and the address that gave them."""

    url: str
    status: int
    headers: Mapping[str, str]


def head(url: str, timeout: float) -> Answer:
    """Ask for a file's headers, on the Hub or wherever it sends one for them.

    What the Hub says of a file stands in the answer that redirects to its storage on another
    server, which is not followed; redirects within the Hub are, as the file may have been renamed.

    Raises
    ------
    Exception
        Of any kind, if nobody answers.
    """
    told: Answer | None = None
    answer = Answer(url, 0, {})
    for _ in range(MOST_REDIRECTS):
        session, options = _session()
        found = session.request("HEAD", url, headers=_headers(url), timeout=timeout, **options)
        answer = Answer(url, found.status_code, found.headers)
        to = answer.headers.get("Location")
        if not 300 <= answer.status < 400 or not to:
            break
        to = urljoin(url, to)
        if "X-Linked-Etag" in answer.headers and "X-Repo-Commit" in answer.headers:
            told = answer
            if _origin(to) != _origin(url):
                break
        url = to
    # A mirror may have its storage under its own name
    return told if told and "X-Repo-Commit" not in answer.headers else answer


@contextlib.contextmanager
def open_at(
    url: str, start: int, timeout: float
) -> Iterator[tuple[int, Mapping[str, str], Iterator[bytes]]]:
    """Open a file at a byte. Redirects to another server lose the user's token."""
    headers = _headers(url)
    if start:
        headers["Range"] = f"bytes={start}-"
    session, options = _session()
    if "follow_redirects" in options:
        with session.stream(
            "GET", url, headers=headers, timeout=timeout, follow_redirects=True
        ) as answer:
            yield answer.status_code, answer.headers, answer.iter_bytes()
    else:
        with session.get(url, headers=headers, timeout=timeout, stream=True) as answer:
            yield answer.status_code, answer.headers, answer.iter_content(PIECE)


def _session() -> tuple[Any, dict[str, bool]]:
    """Return the connections of huggingface_hub, and what forbids them to follow redirects."""
    from huggingface_hub.utils import get_session

    session: Any = get_session()
    of_httpx = callable(
        getattr(session, "stream", None)
    )  # since huggingface_hub 1.0, else requests
    return session, {"follow_redirects" if of_httpx else "allow_redirects": False}


def certificates() -> str:
    """Return the variable that names the file of certificates which are trusted."""
    _, options = _session()
    return "SSL_CERT_FILE" if "follow_redirects" in options else "REQUESTS_CA_BUNDLE"


def _headers(url: str) -> dict[str, str]:
    """Return what is sent: the token to the Hub only, and bytes as they are in the file."""
    from huggingface_hub import constants

    headers = {"User-Agent": "esmkit", "Accept-Encoding": "identity"}
    if _origin(url) == _origin(constants.ENDPOINT) and has_token():
        headers["Authorization"] = f"Bearer {_token()}"
    return headers


def has_token() -> bool:
    """Say whether the user has a token that may be sent."""
    return bool(_token())


def _token() -> str | None:
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return None
    try:
        return get_token()
    except (OSError, ValueError):  # another user's file, in a cache that many share
        return None


def _origin(url: str) -> tuple[str, str]:
    return urlsplit(url)[:2]


def seconds_to_wait(headers: Mapping[str, str]) -> float | None:
    """Return what the server asks to wait, in seconds; None if it does not say."""
    text = headers.get("Retry-After", "")
    return float(text) if re.fullmatch(r"\d{1,9}", text) else None


def named(error: BaseException) -> str:
    """Return kind and first line of an error of another library."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {shorten(lines[0], 160)}" if lines else type(error).__name__
