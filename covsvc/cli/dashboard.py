"""The dashboard in a browser."""

from __future__ import annotations

import logging.config
import signal
import threading
import webbrowser
from pathlib import Path

import click

from covsvc.cli.exits import INTERRUPTED
from covsvc.cli.listening import (
    HOST,
    LOG_LEVEL,
    PROXIES,
    addresses,
    end_on_sigterm,
    need,
    port_option,
    tell,
    tokens_option,
)
from covsvc.cli.options import STORE
from covsvc.cli.printing import AS_JSON, say


@click.command()
@STORE
@HOST
@port_option(5006)
@tokens_option(help="Let in only who has one of these tokens.")
@PROXIES
@LOG_LEVEL
@click.option("--most-readers", type=click.IntRange(1), default=100, show_default=True, help="Pages open at a time.")
@click.option("--open", "opened", is_flag=True, help="Open it in the browser of this machine.")
@AS_JSON
def dashboard(
    store: str,
    host: str,
    port: int,
    tokens: Path | None,
    proxies: tuple[str, ...],
    log_level: str,
    most_readers: int,
    opened: bool,
    as_json: bool,
) -> None:
    """Show the coverage maps of a store in a browser, until it is stopped; nothing is written to the store.

    \b
      covsvc dashboard --store coverage-cubes
      http://127.0.0.1:5006/?study=cleo-tau-mu-gamma&limit_method=classical&cl=0.9

    There are the maps of a method and what lies in each of their cells, two methods or commits side by side, all
    methods at a glance, and what became of them over the accepted baselines. The address in the browser tells all that
    is seen, and can be sent as a link. Maps follow a run that goes on meanwhile.

    Only this machine reaches it unless --host says otherwise, which needs --tokens: readers then sign in with a token.
    Tokens travel as they are written: let a reverse proxy with TLS stand before it, and name it with --proxy. Pages
    whose token is taken away end within seconds. SIGTERM stops it (exit code 0), Ctrl-C, too (130).
    """  # noqa: D301 - click wants the character itself
    end_on_sigterm()
    need("dashboard", "dashboard", ("bokeh", "fastapi", "prometheus_client", "uvicorn"))
    from covsvc import api
    from covsvc.service.serving import log_config

    addresses(host, tokens)
    studies = api.stored_studies(store)
    from covsvc_dashboards.server import DashboardServer, make_server, run

    def announce(url: str) -> None:
        tell(url, store, studies, tokens, as_json)
        if opened:
            threading.Thread(target=_open, args=(url,), daemon=True).start()  # browsers in terminals do not return

    def make() -> DashboardServer:
        made = make_server(store, host=host, port=port, tokens=tokens, proxies=proxies, most_readers=most_readers)
        logging.config.dictConfig(log_config(log_level, ["covsvc", "bokeh", "tornado"], ["covsvc.dashboard.requests"]))
        if log_level == "info":  # or each page that is opened or closed has three lines more
            logging.getLogger("bokeh").setLevel(logging.WARNING)
        return made

    if run(make, announce) == signal.SIGINT:
        raise click.exceptions.Exit(INTERRUPTED)


def _open(url: str) -> None:
    if not webbrowser.open(url):
        say(f"no browser is known here; open {url} in one")
