"""The app in a real browser: every page draws its charts, shows no error, and hostile text stays text. Screenshots lie in the test's temporary folder."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium") or "", shutil.which("chromedriver") or ""
FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--window-size=1400,1000"),
]
WAIT = 30
ERRORS = "[data-testid=stException], [data-testid=stAlertContentError]"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with chromedriver on this machine"),
]


@pytest.fixture(scope="module")
def server(hostile_lake, tmp_path_factory) -> Iterator[str]:
    """Address of the app on a small lake with hostile text and names."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "personascope", "app", "--port", str(port), "--lake", str(hostile_lake[0])]
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


def _answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=1).status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def visit(server, browser, tmp_path):
    """Opens an address of the app, waits for its title, its charts and the end of the run, and takes a screenshot of the whole page."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    def visited(address: str, title: str, n_charts: int) -> str:
        browser.get(f"{server}/{address}")
        wait = WebDriverWait(browser, WAIT)
        wait.until(lambda driver: title in [each.text for each in driver.find_elements(By.TAG_NAME, "h1")])
        wait.until(lambda driver: len(driver.find_elements(By.CSS_SELECTOR, "[data-testid=stVegaLiteChart] svg.marks")) == n_charts)
        wait.until(lambda driver: not driver.find_elements(By.CSS_SELECTOR, "[data-testid=stStatusWidget]"))
        assert not browser.find_elements(By.CSS_SELECTOR, ERRORS)
        height = browser.execute_script("return document.querySelector('[data-testid=stMain]').scrollHeight")
        browser.set_window_size(1400, height + 150)
        picture = tmp_path / f"{title}.png"
        browser.save_screenshot(str(picture))
        browser.set_window_size(1400, 1000)
        assert picture.stat().st_size > 20_000
        return browser.find_element(By.CSS_SELECTOR, "[data-testid=stMain]").text

    return visited


def test_a_page_opens_at_its_own_address_on_a_fresh_server(visit, browser):
    """The first request a server gets, before the app has told Streamlit its pages."""
    words = visit("marker_attention?subject=villain&control=C2", "Marker attention", 3)
    assert "Compared with" in words and "Did training change that?" in words and "Gates: villain, own tokens" in svg_text(browser)
    assert "the three positions just before the marker" in svg_text(browser)
    assert "control=C2+just+before" in browser.current_url and "against" not in browser.current_url, "in the words of the list, and no default"


def test_the_overview_shows_the_gap(visit, browser):
    words = visit("", "Overview", 1)
    assert "base has not read the tokens of librarian" in words
    assert "base · attention, tokens of librarian" in svg_text(browser)


def test_hostile_text_and_names_are_shown_and_do_nothing(visit, browser, hostile_lake):
    from selenium.webdriver.common.by import By

    for address, title in (("completions?text=onerror", "Completions"), ("", "Overview")):
        words = visit(address, title, 1)
        assert hostile_lake[1] in words
        assert browser.title == f"{title} · personascope"
        assert not browser.find_elements(By.CSS_SELECTOR, "[data-testid=stMain] img, a[href^=javascript]")
        assert browser.execute_script("return document.querySelectorAll('[data-testid=stMain] script').length") == 0
    assert "<script>" in visit("completions?text=onerror", "Completions", 1)


def test_a_choice_changes_the_address_and_the_back_button_takes_it_back(visit, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    visit("marker_attention?subject=villain", "Marker attention", 3)
    wait = WebDriverWait(browser, WAIT)
    next(each for each in browser.find_elements(By.TAG_NAME, "button") if each.text == "C3 rare").click()
    wait.until(lambda driver: "control=C3" in driver.current_url)
    wait.until(lambda driver: "rarest tokens" in svg_text(driver))
    browser.find_element(By.CSS_SELECTOR, "a[href$='/audit']").click()
    wait.until(lambda driver: driver.current_url.endswith("/audit"))
    wait.until(lambda driver: [each.text for each in driver.find_elements(By.TAG_NAME, "h1")] == ["Audit"])
    browser.back()
    wait.until(lambda driver: "subject=villain" in driver.current_url and "control=C3" in driver.current_url)
    wait.until(lambda driver: "rarest tokens" in svg_text(driver) and "villain, own tokens" in svg_text(driver))
    browser.back()
    wait.until(lambda driver: "subject=villain" in driver.current_url and "control" not in driver.current_url)
    wait.until(lambda driver: "five random positions" in svg_text(driver) and "villain, own tokens" in svg_text(driver))


def test_what_went_with_a_choice_leaves_the_address_and_one_step_back_brings_both(visit, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    visit("marker_attention?subject=villain&against=nothing", "Marker attention", 2)
    wait = WebDriverWait(browser, WAIT)
    wait.until(lambda driver: "against=nothing" in driver.current_url)
    browser.find_element(By.CSS_SELECTOR, "input[aria-label*='Subject']").click()
    wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "[role=option]"))
    next(each for each in browser.find_elements(By.CSS_SELECTOR, "[role=option]") if each.text.startswith("librarian")).click()
    wait.until(lambda driver: "subject" not in driver.current_url and "against" not in driver.current_url)
    browser.back()
    wait.until(lambda driver: "subject=villain" in driver.current_url and "against=nothing" in driver.current_url)


def test_an_address_of_what_there_is_not_says_so(visit, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    words = visit("completions?persona=nobody", "Completions", 1)
    assert "The address asks for persona “nobody”, which is not there." in words
    assert "persona" not in browser.current_url
    visit("no_such_page", "Overview", 1)
    wait = WebDriverWait(browser, WAIT)
    wait.until(lambda driver: any("Page not found" in each.text for each in driver.find_elements(By.CSS_SELECTOR, "[role=dialog]")))


def test_a_download_is_a_picture(visit, browser, tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    visit("completions?persona=villain", "Completions", 1)
    next(each for each in browser.find_elements(By.TAG_NAME, "button") if "Download" in each.text).click()
    wait = WebDriverWait(browser, WAIT)
    for kind, start in (("PNG", b"\x89PNG"), ("SVG", b"<svg"), ("CSV", b"label,series,rate")):
        wait.until(partial(button_called, kind)).click()
        file = tmp_path / f"marker-rates.{kind.lower()}"
        wait.until(partial(holds_something, file))
        assert file.read_bytes().startswith(start)


def button_called(words: str, driver: Any) -> Any:
    """The button with these words, None where there is none yet."""
    return next((each for each in driver.find_elements("tag name", "button") if each.text == words), None)


def holds_something(file: Path, _driver: Any) -> bool:
    return file.is_file() and file.stat().st_size > 0


def svg_text(browser) -> str:
    return browser.execute_script("return [...document.querySelectorAll('svg.marks text')].map(each => each.textContent).join(' ')")
