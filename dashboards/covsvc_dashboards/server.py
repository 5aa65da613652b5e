"""The server of the dashboard: what is found where, who may read, and how much at a time."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.embed.server import server_html_page_for_session
from bokeh.protocol.exceptions import ProtocolError
from bokeh.resources import Resources
from bokeh.server.server import BaseServer
from bokeh.server.session import ServerSession
from bokeh.server.tornado import BokehTornado
from bokeh.server.views.doc_handler import DocHandler
from bokeh.server.views.static_handler import StaticHandler
from bokeh.server.views.ws import WSHandler
from bokeh.util.token import generate_session_id
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.iostream import IOStream
from tornado.web import OutputTransform, RequestHandler, StaticFileHandler
from tornado.websocket import WebSocketClosedError

from covsvc.errors import CovsvcError
from covsvc.service.serving import addresses_of, listen, url_of
from covsvc.service.tokens import Tokens
from covsvc_dashboards.held import Held
from covsvc_dashboards.login import Login, Logout, Missing, NotLetIn, Plain, Readers
from covsvc_dashboards.page import build
from covsvc_dashboards.tables import csv_of
from covsvc_dashboards.view import View, asked_of

LOG = logging.getLogger("covsvc.dashboard")

REQUESTS = logging.getLogger("covsvc.dashboard.requests")
"""Tells of requests: client, verb and address first."""

HERE = Path(__file__).parent

MOST_BYTES = 2**20
"""Bytes of what a page may send at a time; it sends what was clicked on."""

MOST_CONNECTIONS = 256
"""Connections beside those of the pages that are open."""

IDLE = 30.0
"""Seconds after which a connection is closed on which nothing comes, and between two signs of life of a page."""

UNUSED = 15_000
"""Milliseconds that what was made for a page is kept without it."""

LOOK = 2000
"""Milliseconds between two looks whether the tokens of open pages are still known."""

SETTLED = 2.0
"""Seconds after which a child process is made ready: what comes before is for the first page."""

TELLING = 0.1
"""Seconds in which pages are told that the server stops."""

SCRIPTS: Any = ["bokeh", "bokeh-widgets"]
"""What of Bokeh the page is made with; all of it is twice as much."""

_SESSION = ("bokeh-session-id", "bokeh-token")
"""By which Bokeh lets a page ask for a document that it names itself; here each has a new one."""

_SCRIPT = re.compile(r"/static/js/[\w.-]+")

_POLICY = {
    "default-src": "'none'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # what a name or a label might smuggle in does not run
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
}


class Headers(OutputTransform):
    """What every answer says to browsers."""

    def __init__(self, request: HTTPServerRequest) -> None:
        self._path = request.path

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, _: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Add to the head of an answer."""
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        headers.setdefault("Cache-Control", "no-cache" if self._path.startswith("/own/") else "no-store")
        headers["Vary"] = "Cookie, Authorization"
        headers.pop("Server", None)
        return status_code, headers, chunk


class Page(Plain, DocHandler):
    """The page, with a document of its own for each reader."""

    application: Dashboard

    async def get(self, *_: Any, **__: Any) -> None:
        """Make a page."""
        if self.application.is_full:
            self.set_header("Retry-After", "30")
            self.tell(503, f"{self.application.most_readers} pages are open, as many as may be; try again in a minute.")
            return
        if any(name in told for name in _SESSION for told in (self.request.arguments, self.request.headers)):
            self.send_error(403)
            return
        session: Any = await self.get_session()  # type: ignore[misc]
        nonce = secrets.token_urlsafe(16)
        page = self.application.page(session, self.application.readers.owner(self.request))
        scripts = {"script-src": f"'self' 'nonce-{nonce}'", "connect-src": "'self'", "font-src": "'self' data:"}
        policy = _POLICY | scripts
        self.set_header("Content-Security-Policy", "; ".join(f"{name} {value}" for name, value in policy.items()))
        # nothing in the page is of a reader or a study but its title, which is escaped: all scripts in it are ours
        self.finish(re.sub(r"<script(?=[\s>])", f'<script nonce="{nonce}"', page))


class Socket(WSHandler):
    """What connects a page with its document."""

    application: Dashboard

    def check_origin(self, origin: str) -> bool:
        """Tell whether a page is one of ours: it came from the host that it now asks for."""
        return urlsplit(origin).netloc.lower() == self.application.readers.client(self.request).host

    def open(self) -> None:
        """Begin to talk with a page."""
        self.application.sockets.add(self)
        try:
            super().open()
        except (ProtocolError, ValueError, LookupError, TypeError) as error:
            LOG.info("a connection with no session of ours: %s", type(error).__name__)
            self.close()
            return
        if len(self.application.sockets) > self.application.most_readers:
            self.close(1013, "too many pages are open")  # one that was away for long, and wants a new document

    async def send_message(self, message: Any) -> None:
        """Tell a page what has changed; one that was closed meanwhile is no reason for a word."""
        with suppress(WebSocketClosedError):
            await message.send(self)

    def on_close(self) -> None:
        """End when the page ends."""
        self.application.sockets.discard(self)
        super().on_close()


class Own(Plain, StaticFileHandler):
    """The scripts and styles of the page."""


class Health(RequestHandler):
    """Whether the server is alive."""

    def get(self) -> None:
        """Answer as long as it is; needs no token."""
        self.write({"status": "ok"})


class Table(Plain):
    """The numbers of what is seen."""

    application: Dashboard

    async def get(self) -> None:
        """Answer with CSV."""
        view, wrong = asked_of(self.request.arguments)
        if wrong:
            self.tell(422, "; ".join(wrong))
            return
        try:
            table = await csv_of(self.application.held, view)
        except CovsvcError as error:
            self.tell(422, str(error))
            return
        name = re.sub(r"[^A-Za-z0-9._-]", "_", f"{view.study}-{view.page}")[:100]
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", f'attachment; filename="{name}.csv"')
        self.finish(table)


class Dashboard(BokehTornado):
    """The application: an own table of what there is, in which every request passes `Readers` first.

    Parameters
    ----------
    held : Held
    readers : Readers
    most_readers : int
        Pages that may be open at a time.
    """

    def __init__(self, held: Held, readers: Readers, most_readers: int) -> None:
        self.held, self.readers, self.most_readers = held, readers, most_readers
        self.sockets: set[Socket] = set()
        super().__init__(
            {"/": Application(FunctionHandler(partial(_make, held)))},
            secret_key=secrets.token_bytes(32),
            sign_sessions=True,
            include_headers=[],  # or the page, whose scripts may not read its cookie, would find it here
            include_cookies=["system"],  # dark or light, which the page has left there
            keep_alive_milliseconds=0,  # Bokeh's own signs of life do not end a page that gives none
            websocket_ping_interval=IDLE,
            websocket_ping_timeout=IDLE / 2,
            websocket_max_message_size_bytes=MOST_BYTES,
            unused_session_lifetime_milliseconds=UNUSED,
            check_unused_sessions_milliseconds=UNUSED // 3,
            ico_path=str(HERE / "favicon.ico"),
            xsrf_cookies=True,
            xsrf_cookie_kwargs={"httponly": True, "samesite": "Strict"},
            transforms=[Headers],
            log_function=_log,
        )
        context = {"application_context": self.applications["/"], "bokeh_websocket_path": "/ws"}
        self._places: dict[str, tuple[type[RequestHandler], dict[str, Any]]] = {
            "/": (Page, context),
            "/ws": (Socket, context | {"compression_level": None, "mem_level": None}),
            "/healthz": (Health, {}),
            "/table.csv": (Table, {}),
            "/login": (Login, {"readers": readers}),
            "/logout": (Logout, {"readers": readers}),
        }
        self._tokens_job = PeriodicCallback(self._look_at_tokens, LOOK)

    @property
    def is_full(self) -> bool:
        """Tell whether as many pages are open as may be."""
        return len(self.get_sessions("/")) >= self.most_readers

    def find_handler(self, request: HTTPServerRequest, **_: Any) -> Any:
        """Return who answers a request."""
        refused = self.readers.refuse(request)
        if refused is not None:
            return self.get_handler_delegate(request, NotLetIn, {"refused": refused})
        if request.path in self._places:
            handler, options = self._places[request.path]
            return self.get_handler_delegate(request, handler, options)
        if request.path == "/favicon.ico" or _SCRIPT.fullmatch(request.path):
            return super().find_handler(request)
        if request.path.startswith("/own/"):
            name = [request.path.removeprefix("/own/").encode()]
            return self.get_handler_delegate(request, Own, {"path": HERE / "own"}, path_args=name)
        return self.get_handler_delegate(request, Missing)

    def resources(self, absolute_url: str | bool | None = None) -> Resources:
        """Return where scripts are: here, whatever settings of Bokeh say."""
        del absolute_url
        return Resources(mode="server", root_url="/", components=SCRIPTS, path_versioner=StaticHandler.append_version)

    def page(self, session: ServerSession, reader: str | None) -> str:
        """Return the HTML of a page; what is shown in it comes later."""
        doc = session.document
        variables = doc.template_variables | {"reader": reader}
        resources = self.resources()
        return str(server_html_page_for_session(session, resources, doc.title, doc.template, variables))

    async def warm(self) -> None:
        """Make a page for nobody: what is slow the first time is done then."""
        name = generate_session_id(secret_key=self.secret_key, signed=True)
        session = await self.applications["/"].create_session_if_needed(name)
        self.page(session, None)
        session.request_expiration()

    def end_pages(self, token: str) -> None:
        """End the pages that were opened with a token."""
        for each in list(self.sockets):
            if self.readers.token(each.request) == token:
                each.close(4401, "signed out")

    def start(self) -> None:
        """Begin to look after what is open."""
        super().start()
        if self.readers.tokens is not None:
            self._tokens_job.start()

    def stop(self, wait: bool = True) -> None:
        """End all pages."""
        self._tokens_job.stop()
        for each in list(self.sockets):
            each.close(1001, "the dashboard stops")
        super().stop(wait)

    def _look_at_tokens(self) -> None:
        for each in list(self.sockets):
            if self.readers.owner(each.request) is None:
                each.close(4401, "this token is not known any more")


class Listener(HTTPServer):
    """HTTP, of not too many connections at a time."""

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Begin a connection."""
        if len(self._connections) >= MOST_CONNECTIONS:
            stream.close()
        else:
            super().handle_stream(stream, address)


class DashboardServer(BaseServer):
    """A Bokeh server of the dashboard, which holds its studies.

    Attributes
    ----------
    url : str
        Where it is found.
    """

    def __init__(self, app: Dashboard, listening: socket.socket) -> None:
        self.url = url_of(listening)
        self._app = app
        http = Listener(
            app, max_body_size=2**16, max_header_size=2**16, body_timeout=IDLE, idle_connection_timeout=IDLE
        )
        listening.setblocking(False)
        http.add_socket(listening)
        super().__init__(IOLoop.current(), app, http)

    def stop(self, wait: bool = True) -> None:
        """Tell all pages, and end all children; see `ended`."""
        super().stop(wait)
        self._app.held.close()

    async def ended(self) -> None:
        """Wait until pages were told that the server stops, and close all connections."""
        await asyncio.sleep(TELLING)
        await self._http.close_all_connections()

    async def warm(self) -> None:
        """Do what is slow the first time."""
        await self._app.warm()

    async def warm_child(self) -> None:
        """Do the same in a child process, before somebody waits for it."""
        await asyncio.sleep(SETTLED)
        with suppress(CovsvcError):  # which who asks is told, too
            await self._app.held.warm()


def make_server(
    store: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tokens: Path | None = None,
    proxies: Sequence[str] = (),
    most_readers: int = 100,
) -> DashboardServer:
    """Return a server of the dashboard that listens, on the event loop of this thread; `start` lets it answer.

    Parameters
    ----------
    store : str or Path
        Folder or URL.
    host : str
        Where it listens.
    port : int
        0 takes a free one.
    tokens : Path, optional
        File of those who may read; without it all may, who ask for localhost.
    proxies : sequence of str
        Addresses and networks of reverse proxies whose word about their clients is taken.
    most_readers : int
        Pages that may be open at a time.

    Raises
    ------
    TokenError
        If the file of tokens is none.
    StoreError
        If it cannot listen.
    """
    readers = Readers(Tokens(Path(tokens)) if tokens is not None else None, proxies)
    listening = listen(addresses_of(host), port)
    return DashboardServer(Dashboard(Held(str(store)), readers, most_readers), listening)


def run(make: Callable[[], DashboardServer], announce: Callable[[str], None]) -> int:
    """Answer until a signal comes, and return that.

    Parameters
    ----------
    make : callable
        Returns the server.
    announce : callable
        Is told the address as soon as it answers.
    """
    return asyncio.run(_answer(make, announce))


async def _answer(make: Callable[[], DashboardServer], announce: Callable[[str], None]) -> int:
    loop = asyncio.get_running_loop()
    asked: asyncio.Future[int] = loop.create_future()

    def stop(came: int) -> None:
        if not asked.done():
            asked.set_result(came)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    server = make()
    try:
        await server.warm()
        server.start()
        announce(server.url)
        warming = loop.create_task(server.warm_child())
        came = await asked
        warming.cancel()
        LOG.info("stopped by %s", signal.Signals(came).name)
        return came
    finally:
        server.stop()
        await server.ended()


def _make(held: Held, doc: Document) -> None:
    """Make the document of a reader."""
    request = getattr(doc.session_context, "request", None)
    view, wrong = asked_of(request.arguments) if request is not None else (View(), [])
    if hasattr(doc, "config"):  # newer Bokeh connects again by itself; the page does more, and says it
        doc.config.update(reconnect_session=False, notify_connection_status=False)
    build(doc, held, view, wrong)


def _log(handler: RequestHandler) -> None:
    request, status = handler.request, handler.get_status()
    client = handler.application.readers.client(request).address  # type: ignore[attr-defined]
    level = logging.ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != 503 else logging.INFO
    REQUESTS.log(level, '%s - "%s %s %s" %d', client, request.method, request.uri, request.version, status)
