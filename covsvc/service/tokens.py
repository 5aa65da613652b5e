"""The file of bearer tokens."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from covsvc.errors import CovsvcError
from covsvc.files import alone_in

TOKEN = re.compile(r"covsvc_[A-Za-z0-9_-]{43}")
"""What a token looks like."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LINE = re.compile(rf"({_NAME.pattern}) sha256:([0-9a-f]{{64}})")

_HEAD = "# NAME sha256:HEX, a line of each who may read; `covsvc token add NAME` writes it and tells the token once\n"

_log = logging.getLogger(__name__)


class TokenError(CovsvcError):
    """A file of bearer tokens cannot be read or written, or a line of it is wrong."""


class Tokens:
    """Who may read: names and digests of bearer tokens, read again whenever their file changes.

    Once it is read, a file that becomes unreadable lets nobody in, and a line that becomes wrong lets its owner out and
    nobody else; both are logged.

    Parameters
    ----------
    path : Path
        Lines ``NAME sha256:HEX``; empty lines and lines that begin with # are passed over.

    Raises
    ------
    TokenError
        If the file cannot be read, or a line of it is wrong.

    Notes
    -----
    Tokens are drawn with 256 random bits, so that nobody guesses one from its digest, however fast that is made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen = _stamp(path)
        self._digests: Mapping[str, str] = read_tokens(path)

    def owner(self, token: str) -> str | None:
        """Return whose token this is, None if nobody's; how long that takes tells nothing of the tokens."""
        asked, found = _digest(token), None
        for name, digest in self._current().items():
            if hmac.compare_digest(digest, asked):
                found = name
        return found

    @property
    def names(self) -> list[str]:
        """Return the names of those who have a token."""
        return list(self._current())

    def _current(self) -> Mapping[str, str]:
        with self._lock:
            stamp = _stamp(self.path)
            if stamp != self._seen:
                self._seen = stamp  # of before the file is read: what changes meanwhile is read again
                try:
                    self._digests, wrong = _parse(_text(self.path), self.path)
                except TokenError as error:
                    self._digests, wrong = {}, [str(error)]
                for each in wrong:
                    _log.warning("%s", each)
                _log.info("%s: read again, %d may read", self.path, len(self._digests))
            return self._digests


def read_tokens(path: Path) -> dict[str, str]:
    """Return the digests of tokens by the names of their owners.

    Raises
    ------
    TokenError
        If the file cannot be read, or a line of it is wrong; the message holds no text of the file.
    """
    found, wrong = _parse(_text(path), path)
    if wrong:
        raise TokenError("\n".join(wrong))
    return found


def add_token(path: Path, name: str) -> str:
    """Draw a token, write its digest into the file, which is made if need be, and return the token.

    Raises
    ------
    TokenError
        If the name has a token already or is no name, or the file is wrong or cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise TokenError(f"{name!r}: no name; take a letter or digit and up to 63 more, '.', '_' or '-'")
    token = f"covsvc_{secrets.token_urlsafe(32)}"
    with _alone(path):
        there = path.exists()
        if there and name in read_tokens(path):
            raise TokenError(f"{path}: {name} has a token; take it away first with `covsvc token remove {name}`")
        before = _text(path).rstrip("\n") + "\n" if there else _HEAD
        _replace(path, f"{before}{name} sha256:{_digest(token)}\n")
    return token


def remove_token(path: Path, name: str) -> None:
    """Take a token away; a service that reads the file refuses it from the next request on.

    Raises
    ------
    TokenError
        If there is none of that name, or the file is wrong or cannot be written.
    """
    with _alone(path):
        known = read_tokens(path)
        if name not in known:
            raise TokenError(f"{path}: no token of {name!r}; there are those of {', '.join(known) or 'nobody'}")
        lines = _text(path).splitlines()
        _replace(path, "".join(f"{line}\n" for line in lines if line.split(" ")[0] != name))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let nobody else change a file of tokens; what is locked is its folder, since the file is replaced."""
    with ExitStack() as held:
        try:
            held.enter_context(alone_in(path.resolve().parent))
        except OSError as error:
            raise TokenError(f"{path}: {error.strerror}; make the folder first") from None
        yield


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        absent = isinstance(error, FileNotFoundError)
        cure = f"`covsvc token add NAME --tokens {path}` makes one" if absent else "name a file that can be read"
        raise TokenError(f"{path}: {error.strerror}; {cure}") from None
    except UnicodeDecodeError:
        raise TokenError(f"{path}: is no text; a line of it is NAME sha256:HEX") from None


def _parse(text: str, path: Path) -> tuple[dict[str, str], list[str]]:
    """Return the digests by name, and what is wrong with the other lines."""
    found: dict[str, str] = {}
    wrong = []
    for number, line in enumerate(text.splitlines(), 1):
        told = _LINE.fullmatch(line)
        if told and told[1] not in found:
            found[told[1]] = told[2]
        elif told:
            wrong.append(f"{path}:{number}: {told[1]} has a token in a line before; remove one of them")
        elif line.strip() and not line.startswith("#"):
            wrong.append(f"{path}:{number}: is not NAME sha256:HEX with one blank and 64 digits; remove or mend it")
    return found, wrong


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what differs after a change of a file, and after another one took its place."""
    try:
        told = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    return told.st_dev, told.st_ino, told.st_mtime_ns, told.st_ctime_ns, told.st_size


def _replace(path: Path, text: str) -> None:
    """Write a file, whole or not at all; a new one is for its owner alone."""
    path = path.resolve()
    part = None
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            part = Path(file.name)
            file.write(text)
            file.flush()
            if path.exists():
                told = path.stat()
                os.fchmod(file.fileno(), told.st_mode & 0o777)
                if (told.st_uid, told.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), told.st_uid, told.st_gid)  # of the service that reads it
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if part is not None:
            part.unlink(missing_ok=True)
        raise TokenError(f"{path}: cannot be written: {error.strerror}; choose another place with --tokens") from None
