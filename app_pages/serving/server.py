"""The process that serves the app: Streamlit's server on app.py, behind the doorkeeper; `python -m personascope.app_pages.serving.server HOST PORT`."""

import logging
import os
import signal
import sys
import threading
from types import FrameType

import streamlit as st
from starlette.middleware import Middleware

from personascope.app_pages.serving import reports
from personascope.app_pages.serving.addresses import Door
from personascope.app_pages.serving.doorkeeper import Doorkeeper
from personascope.app_pages.serving.start import ALLOWED, TOKEN
from personascope.warehouse.home import HOME
from personascope.warehouse.signals import STOPPED, end_in_order, exit_code


def main(host: str, port: int) -> None:
    """Serves until a signal ends it, in order and with the signal's exit code; names and token come in the environment."""
    names = os.environ.get(ALLOWED, "").lower().split()
    door = Door(host, frozenset(names), os.environ.pop(TOKEN, ""))
    app = st.App(HOME / "app.py", routes=reports.routes(), middleware=[Middleware(Doorkeeper, door=door)])
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.levelno >= logging.WARNING)
    # The welcome of Streamlit asks the network for this machine's address, and so does its own look at the origin of a name that it does not know.
    settings = {"server.address": host, "server.port": port, "server.corsAllowedOrigins": names, "logger.hideWelcomeMessage": True}
    end_in_order()
    closed = _treat_a_closed_terminal_as_a_request_to_end()
    try:
        app.run(config=settings)
    except KeyboardInterrupt:
        print("personascope: the app is stopped", file=sys.stderr, flush=True)
        sys.exit(STOPPED + signal.SIGHUP if closed.is_set() else exit_code())


def _treat_a_closed_terminal_as_a_request_to_end() -> threading.Event:
    """The server itself knows SIGINT and SIGTERM alone; the event is set when it was SIGHUP. One that is ignored (nohup) stays so."""
    closed = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        closed.set()
        signal.raise_signal(signal.SIGTERM)

    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, end)
    return closed


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
