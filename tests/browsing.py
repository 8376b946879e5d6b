"""The app in a real browser, for tests: a server on a lake, a browser, and what a reader's hand does there."""

import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium") or "", shutil.which("chromedriver") or ""
FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--window-size=1400,1000"),
]
PORTS = range(20_000, 30_000)
WAIT, LOOK = 30, 0.05  # seconds: how long something is waited for, and between two looks whether it is there; Selenium's half a second is spent asleep
BUSY = "[data-testid=stStatusWidget], [data-test-script-state=running]"
ERRORS = "[data-testid=stException], [data-testid=stAlertContentError]"
MARKS = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with chromedriver on this machine"),
]


@contextmanager
def served(lake: Path, log: Path) -> Iterator[str]:
    """Address of the app on a lake, while it runs; what the server says is written to `log`."""
    port = _free_port()
    command = [sys.executable, "-m", "personascope", "app", "--port", str(port), "--lake", str(lake)]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + WAIT
        while not _answers(f"http://127.0.0.1:{port}/_stcore/health"):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=WAIT)


def _free_port() -> int:
    """A port that nobody listens on, below those that the system gives out: one of these may be another process's (Ray's) before the server is there."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(f"no port of {PORTS} is free")


def _answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=1).status == 200
    except (OSError, HTTPException):
        return False


@contextmanager
def opened(profile: Path) -> Iterator[Any]:
    """A browser with an empty profile in that folder."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    for flag in [*FLAGS, f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def waiting(browser: Any, seconds: float = WAIT) -> Any:
    """Waits `until` something is there; what is replaced while it is looked at is looked at again."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, seconds, poll_frequency=LOOK, ignored_exceptions=[StaleElementReferenceException])


def open_by_link(browser: Any, title: str) -> None:
    """A click in the sidebar."""
    waiting(browser).until(partial(_link_called, title)).click()


def _link_called(title: str, driver: Any) -> Any:
    return driver.execute_script(
        "return [...document.querySelectorAll('[data-testid=stSidebar] a')].find(each => each.textContent.endsWith(arguments[0])) || null", title
    )


def stands_at(place: str, title: str, driver: Any) -> bool:
    """Whether the page of this path and query is there with its bar, drawn to its end."""
    where, words, personas, busy = driver.execute_script(
        "return [location.pathname + location.search, [...document.querySelectorAll('h1')].map(each => each.textContent), "
        f"document.querySelectorAll('input[aria-label*=Persona]').length, document.querySelectorAll('{BUSY}').length]"
    )
    return where == place and words == [title] and personas == 1 and not busy


def button_called(words: str, driver: Any) -> Any:
    """The button with these words, None where there is none yet; what lies outside the window has text, though it is not drawn."""
    script = """return [...document.querySelectorAll('button, summary')].find(each => each.textContent.trim() === arguments[0]
        || [...each.querySelectorAll('p')].some(part => part.textContent.trim() === arguments[0])) || null"""
    return driver.execute_script(script, words)


def svg_text(browser) -> str:
    """The words of all charts; lines of one text are joined as they are read."""
    script = "return [...document.querySelectorAll('svg.marks text')].map(each => [...each.childNodes].map(line => line.textContent).join(' ')).join(' ')"
    return browser.execute_script(script)
