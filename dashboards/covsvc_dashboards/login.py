"""Who may read: those on this machine, or those who have a token."""

from __future__ import annotations

import hashlib
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from covsvc.service.gate import LOCAL
from covsvc.service.tokens import Tokens

OPEN = ("/healthz", "/favicon.ico", "/login", "/logout")
"""What needs no token."""

LONGEST_URL = 8192
"""Letters of a path with its query."""

MOST_WRONG = 10
"""Tokens that one address may try in vain until others wait."""

FORGIVEN = 60.0
"""Seconds after which a wrong token is forgotten."""

_MOST_ADDRESSES = 10_000

_PAGES = Environment(
    loader=ChoiceLoader([PackageLoader("covsvc_dashboards", "."), PackageLoader("covsvc.service", ".")]),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)


@dataclass(frozen=True)
class Client:
    """Who asks, as a proxy tells it if there is one.

    Attributes
    ----------
    address : str
    host : str
        What the server is called, with its port.
    secure : bool
        Whether TLS is all of the way to the client.
    """

    address: str
    host: str
    secure: bool


@dataclass(frozen=True)
class Refused:
    """Why a request is not let in.

    Attributes
    ----------
    status : int
    sentence : str
    headers : tuple of (str, str)
    again : bool
        Whether the page asks for itself once more, from where it is then known to come from here.
    """

    status: int
    sentence: str
    headers: tuple[tuple[str, str], ...] = ()
    again: bool = False


class Readers:
    """Lets in who may read.

    Without tokens that is who asks for this machine by a name that other machines do not have: any web page that
    somebody here looks at may send requests under a name of its own. With tokens it is who sends one, in a cookie or a
    header; it is looked up at each request.

    Parameters
    ----------
    tokens : Tokens or None
    proxies : sequence of str
        Addresses and networks of reverse proxies whose word about their clients is taken.
    """

    def __init__(self, tokens: Tokens | None, proxies: Sequence[str]) -> None:
        self.tokens = tokens
        self._proxies = [ipaddress.ip_network(each) for each in proxies]
        self._right: set[bytes] = set()
        self._wrong: OrderedDict[str, dict[bytes, float]] = OrderedDict()

    def client(self, request: HTTPServerRequest) -> Client:
        """Return who asks."""
        headers, address = request.headers, request.remote_ip or ""
        host, secure = headers.get("Host", ""), request.protocol == "https"
        if self._is_proxy(address):
            secure = _last(headers.get("X-Forwarded-Proto", "")) == "https"
            host = _last(headers.get("X-Forwarded-Host", "")) or host
            for told in reversed(headers.get("X-Forwarded-For", "").split(",")):
                address = told.strip() or address
                if not self._is_proxy(address):
                    break
        return Client(address, host.lower(), secure)

    def refuse(self, request: HTTPServerRequest) -> Refused | None:
        """Return why a request is not let in, None if it is."""
        if len(request.uri or "") > LONGEST_URL:
            return Refused(414, f"The address has more than {LONGEST_URL:,} letters; open / and choose from there.")
        if self.tokens is None and request.path != "/healthz":
            if LOCAL.fullmatch(request.headers.get("Host", "")):
                return None
            return Refused(
                421,
                "Without tokens the dashboard answers at localhost only; start it with --tokens to be read elsewhere.",
            )
        if request.path in OPEN or self.owner(request) is not None:
            return None
        return self._without_token(request)

    def owner(self, request: HTTPServerRequest) -> str | None:
        """Return whose token a request has, None if it has none that is known."""
        token = self.token(request)
        return self.owner_of(token, self.client(request).address) if token else None

    def owner_of(self, token: str, address: str) -> str | None:
        """Return whose token this is, None if it is nobody's, or an address has tried too many in vain."""
        if self.tokens is None:
            return None
        key = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        if key not in self._right and self.is_guessing(address):
            return None
        owner = self.tokens.owner(token)
        if owner is not None:
            self._right.add(key)
        elif key in self._right:
            self._right.remove(key)  # taken away: who had it does not guess
        else:
            self._count(address, key)
        return owner

    def is_guessing(self, address: str) -> bool:
        """Tell whether an address has tried too many tokens in vain of late."""
        wrong = self._wrong.get(address, {})
        return sum(time.monotonic() - tried < FORGIVEN for tried in wrong.values()) >= MOST_WRONG

    def token(self, request: HTTPServerRequest) -> str:
        """Return the token that a request has, empty if it has none."""
        scheme, _, told = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return told.strip()
        morsel = request.cookies.get(cookie_of(request))
        return morsel.value if morsel is not None else ""

    def _without_token(self, request: HTTPServerRequest) -> Refused:
        came_from = request.headers.get("Sec-Fetch-Site", "")
        if self.is_guessing(self.client(request).address):
            wait = (("Retry-After", f"{FORGIVEN:.0f}"),)
            return Refused(429, "Too many wrong tokens came from your address; try again in a minute.", wait)
        if request.path == "/" and "Authorization" not in request.headers and request.method == "GET":
            if came_from == "cross-site":
                return Refused(200, "One moment: the dashboard opens.", again=True)
            login = f"/login?view={quote(request.query, safe='')}" if request.query else "/login"
            return Refused(302, "Sign in first.", (("Location", login),))
        known = "This token is not known" if self.token(request) else "There is no token"
        challenge = (("WWW-Authenticate", "Bearer"),)
        return Refused(401, f"{known}; sign in at /login, or send Authorization: Bearer TOKEN.", challenge)

    def _count(self, address: str, key: bytes) -> None:
        now = time.monotonic()
        wrong = {each: tried for each, tried in self._wrong.get(address, {}).items() if now - tried < FORGIVEN}
        self._wrong[address] = wrong | {key: now}
        self._wrong.move_to_end(address)
        while len(self._wrong) > _MOST_ADDRESSES:
            self._wrong.popitem(last=False)

    def _is_proxy(self, address: str) -> bool:
        try:
            asked = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return any(asked in network for network in self._proxies)


class Plain(RequestHandler):
    """Answers with a sentence: in a page to people, as text to programs."""

    def tell(self, status: int, sentence: str, *, again: str | None = None) -> None:
        """Answer with a sentence; `again` is what the page asks for next."""
        self.set_status(status)
        if "text/html" in self.request.headers.get("Accept", ""):
            title = HTTPStatus(status).phrase
            self.finish(render("plain.html.j2", title=title, sentence=sentence, again=again))
        else:
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(f"{sentence}\n")

    def write_error(self, status_code: int, **_: Any) -> None:
        """Answer when something went wrong."""
        told = {
            403: "This cannot be had; if it was a form, go back, load the page again and send it once more.",
            404: "There is no such page; / is the dashboard.",
            405: "This cannot be asked for in this way; open / in a browser.",
        }
        self.tell(status_code, told.get(status_code, "The dashboard has made a mistake, which its log tells."))


class Missing(Plain):
    """Answers where there is nothing."""

    def prepare(self) -> None:
        """Answer."""
        self.tell(404, "There is no such page; / is the dashboard.")

    def check_xsrf_cookie(self) -> None:
        """Take anything: nothing is done with it."""


class NotLetIn(Missing):
    """Says why a request is not let in."""

    def initialize(self, refused: Refused) -> None:
        """Take what is to be said."""
        self._refused = refused

    def prepare(self) -> None:
        """Answer."""
        for name, value in self._refused.headers:
            self.set_header(name, value)
        self.tell(self._refused.status, self._refused.sentence, again=self.request.uri if self._refused.again else None)


class Login(Plain):
    """Asks for a token, and keeps it in a cookie that scripts cannot read and other sites cannot send."""

    def initialize(self, readers: Readers) -> None:
        """Take who may read."""
        self._readers = readers

    def get(self) -> None:
        """Show the form."""
        if self._readers.tokens is None or self._readers.owner(self.request) is not None:
            self.redirect(_view(self.get_query_argument("view", "")))
        else:
            self._ask(200, "")

    def post(self) -> None:
        """Take a token."""
        token, client = self.get_body_argument("token", ""), self._readers.client(self.request)
        owner = self._readers.owner_of(token, client.address)
        if owner is not None:
            name = cookie_of(self.request)
            self.set_cookie(name, token, httponly=True, samesite="Strict", secure=client.secure)
            self.redirect(_view(self.get_body_argument("view", "")), status=303)
        elif self._readers.is_guessing(client.address):
            self.set_header("Retry-After", f"{FORGIVEN:.0f}")
            self._ask(429, "Too many wrong tokens came from your address; try again in a minute.")
        else:
            self._ask(403, "This token is not known. `covsvc token add NAME` makes one.")

    def _ask(self, status: int, wrong: str) -> None:
        self.set_status(status)
        view = self.get_argument("view", "")
        xsrf = self.xsrf_token.decode()
        self.finish(render("login.html.j2", wrong=wrong, view=view, xsrf=xsrf, owner=None))


class Logout(Plain):
    """Takes the cookie back, and ends the pages that were opened with its token."""

    def initialize(self, readers: Readers) -> None:
        """Take who may read."""
        self._readers = readers

    def get(self) -> None:
        """Show the form."""
        owner = self._readers.owner(self.request)
        if owner is None:
            self.redirect("/")
        else:
            self.finish(render("login.html.j2", wrong="", view="", xsrf=self.xsrf_token.decode(), owner=owner))

    def post(self) -> None:
        """End the session."""
        self.application.end_pages(self._readers.token(self.request))  # type: ignore[attr-defined]
        self.clear_cookie(cookie_of(self.request))
        self.redirect("/login", status=303)


def cookie_of(request: HTTPServerRequest) -> str:
    """Return the name of the cookie; dashboards at other ports of a machine have others, but get the same cookies."""
    port = urlsplit(f"//{request.headers.get('Host', '')}").netloc.rpartition(":")[2]
    return f"covsvc-{port}" if port.isdigit() else "covsvc"


def render(template: str, **values: Any) -> str:
    """Fill a template: all `values` are escaped, and one that is missing is an error."""
    return _PAGES.get_template(template).render(values)


def _view(query: str) -> str:
    """Return the address of a view here; whatever it is, it leads nowhere else."""
    return f"/?{query}" if query and query.isprintable() and query.isascii() else "/"


def _last(told: str) -> str:
    return told.split(",")[-1].strip()
