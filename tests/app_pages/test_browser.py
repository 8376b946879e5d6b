"""The app in a real browser: every page draws its charts, shows no error, and hostile text stays text. Screenshots lie in the test's temporary folder."""

import json
import re
from collections.abc import Iterator
from functools import partial
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from browsing import BUSY, ERRORS, MARKS, button_called, open_by_link, opened, served, stands_at, svg_text, waiting

from personascope.app import page_modules

pytestmark = MARKS


@pytest.fixture(scope="module")
def server(hostile_lake, tmp_path_factory) -> Iterator[str]:
    """Address of the app on a small lake with hostile text and names."""
    with served(hostile_lake[0], tmp_path_factory.mktemp("server") / "log.txt") as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def visit(server, browser, tmp_path):
    """Opens an address of the app, waits for its title, its charts and the end of the run, and takes a screenshot of the whole page."""
    from selenium.webdriver.common.by import By

    def visited(address: str, title: str, n_charts: int) -> str:
        browser.get(f"{server}/{address}")
        wait = waiting(browser)
        wait.until(lambda driver: title in [each.text for each in driver.find_elements(By.TAG_NAME, "h1")])
        wait.until(lambda driver: len(driver.find_elements(By.CSS_SELECTOR, "[data-testid=stVegaLiteChart] svg.marks")) == n_charts)
        wait.until(lambda driver: not driver.find_elements(By.CSS_SELECTOR, BUSY))
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

    visit("marker_attention", "Marker attention", 3)
    wait = waiting(browser)
    next(each for each in browser.find_elements(By.TAG_NAME, "button") if each.text == "C3 rare").click()
    wait.until(lambda driver: "control=C3" in driver.current_url)
    wait.until(lambda driver: "rarest tokens" in svg_text(driver))
    open_by_link(browser, "Audit")
    wait.until(partial(stands_at, "/audit", "Audit"))
    browser.back()
    wait.until(lambda driver: "control=C3" in driver.current_url)
    wait.until(lambda driver: "rarest tokens" in svg_text(driver) and "villain, own tokens" in svg_text(driver))
    browser.back()
    wait.until(lambda driver: "control" not in driver.current_url)
    wait.until(lambda driver: "five random positions" in svg_text(driver) and "villain, own tokens" in svg_text(driver))


def test_what_went_with_a_choice_leaves_the_address_and_one_step_back_brings_both(visit, browser):
    from selenium.webdriver.common.by import By

    visit("marker_attention?against=nothing", "Marker attention", 2)
    wait = waiting(browser)
    wait.until(lambda driver: "against=nothing" in driver.current_url)
    browser.find_element(By.CSS_SELECTOR, "input[aria-label*='Readout']").click()
    wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "[role=option]"))
    next(each for each in browser.find_elements(By.CSS_SELECTOR, "[role=option]") if each.text.startswith("librarian")).click()
    wait.until(lambda driver: "subject=librarian" in driver.current_url and "against" not in driver.current_url)
    browser.back()
    wait.until(lambda driver: "subject" not in driver.current_url and "against=nothing" in driver.current_url)


def test_an_address_of_what_there_is_not_says_so(visit, browser):
    from selenium.webdriver.common.by import By

    words = visit("completions?persona=nobody", "Completions", 1)
    assert "Persona nobody is not on this page: it shows all personas." in words
    words = visit("marker_attention?subject=villain&control=C9", "Marker attention", 3)
    assert "The address asks for control “C9”, which is not there." in words
    assert "control" not in browser.current_url
    assert "coverage" in visit("overview", "Overview", 1).lower()
    visit("no_such_page", "Overview", 1)
    wait = waiting(browser)
    wait.until(lambda driver: any("Page not found" in each.text for each in driver.find_elements(By.CSS_SELECTOR, "[role=dialog]")))


def test_a_download_is_a_picture(visit, browser, tmp_path):
    from selenium.webdriver.common.by import By

    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    visit("completions?persona=villain", "Completions", 1)
    next(each for each in browser.find_elements(By.TAG_NAME, "button") if "Download" in each.text).click()
    wait = waiting(browser)
    for kind, start in (("PNG", b"\x89PNG"), ("SVG", b"<svg"), ("CSV", b"# How often the marker comes. ")):
        wait.until(partial(button_called, kind)).click()
        name = f"marker-rates_persona-villain_lake_*.{kind.lower()}"
        wait.until(partial(holds_something, tmp_path, name))
        (file,) = tmp_path.glob(name)
        assert file.read_bytes().startswith(start)
    header = [line for line in file.read_text().splitlines() if line.startswith("#")]
    assert "# choices: persona: villain" in header and header[-1].endswith(" UTC") and "/lake, 2" in header[-1]


def test_a_query_is_typed_plotted_and_opened_from_its_link_in_a_second_tab(visit, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    visit("sql", "SQL", 0)
    wait = waiting(browser)
    area = wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "[data-testid=stTextArea] textarea"))[0]
    area.send_keys("select subject, layer, mean_delta from attention_gates order by all", Keys.CONTROL, Keys.ENTER)
    wait.until(lambda driver: "12 rows" in driver.find_element(By.CSS_SELECTOR, "[data-testid=stMain]").text and "sql=select" in driver.current_url)
    wait.until(partial(button_called, "line")).click()
    wait.until(lambda driver: "mean delta by layer" in svg_text(driver) and "plot=line" in driver.current_url)
    link, lines, tab = browser.current_url, svg_text(browser), browser.current_window_handle
    browser.switch_to.new_window("tab")
    try:
        words = visit(link.split("/", 3)[3], "SQL", 1)
        assert svg_text(browser) == lines and "12 rows" in words and "12 rows of the query" in lines
        assert browser.find_element(By.CSS_SELECTOR, "[data-testid=stTextArea] textarea").get_attribute("value").startswith("select subject, layer")
    finally:
        browser.close()
        browser.switch_to.window(tab)
    browser.back()
    wait.until(lambda driver: "plot=line" not in driver.current_url and "sql=select" in driver.current_url)
    wait.until(lambda driver: not driver.find_elements(By.CSS_SELECTOR, "[data-testid=stVegaLiteChart]"))
    browser.back()
    wait.until(lambda driver: driver.current_url.endswith("/sql"))
    wait.until(lambda driver: driver.find_element(By.CSS_SELECTOR, "[data-testid=stTextArea] textarea").get_attribute("value") == "")


@pytest.mark.slow(200)
def test_back_and_forward_lead_over_every_pair_of_pages(server, browser):
    """What was chosen in the bar stays in every address, and nothing else comes into one."""
    titles = {name: module.TITLE for name, module in page_modules().items()}
    wait = waiting(browser)
    path = walk(list(titles))
    for start in range(0, len(path) - 1, MOST_HISTORY):
        names = path[start : start + MOST_HISTORY + 1]
        places = [f"/{name}" for name in names]
        browser.get(f"{server}{places[0]}?persona=villain")
        for number, (name, place) in enumerate(zip(names, places, strict=True)):
            if number:
                open_by_link(browser, titles[name])
            wait.until(partial(stands_at, f"{place}?persona=villain", titles[name]))
        steps = [*((browser.back, step) for step in range(len(names) - 2, -1, -1)), *((browser.forward, step) for step in range(1, len(names)))]
        for move, step in steps:
            move()
            wait.until(partial(stands_at, f"{places[step]}?persona=villain", titles[names[step]]))


@pytest.mark.parametrize("n", [2, 3, 14, 15])
def test_the_way_over_all_pairs_misses_none_and_goes_few_twice(n):
    path = walk([f"page {number}" for number in range(n)])
    gone = [frozenset(pair) for pair in pairwise(path)]
    assert set(gone) == {frozenset(pair) for pair in combinations(path, 2) if pair[0] != pair[1]} and len(set(path)) == n
    assert len(gone) == len(set(gone)) + (0 if n % 2 else n // 2 - 1)


def test_no_request_leaves_the_machine_and_charts_follow_a_dark_system(visit, browser, server):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    try:
        browser.execute_cdp_cmd("Network.enable", {})
        visit("completions", "Completions", 1)
        browser.get_log("performance")
        visit("", "Overview", 1)
        asked = [json.loads(each["message"])["message"] for each in browser.get_log("performance")]
        hosts = {urlsplit(each["params"]["request"]["url"]).netloc for each in asked if each["method"] == "Network.requestWillBeSent"}
        assert server.removeprefix("http://") in hosts
        assert {host for host in hosts if host and not host.startswith("127.0.0.1:")} == set()
        page, title = browser.execute_script(
            "return [getComputedStyle(document.querySelector('.stApp')).backgroundColor, "
            "document.querySelector('svg.marks .role-title-text text').getAttribute('fill')]"
        )
        assert max(shades(page)) < 60 and title == "#e8e9ed"
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


MOST_HISTORY = 40  # steps back; a browser keeps some 50


def walk(names: list[str]) -> list[str]:
    """A way over every pair of names, in one direction or the other, each once where a closed way is possible (Hierholzer): of an odd number of names."""
    left = {name: [other for other in names if other != name] for name in names}
    if len(names) % 2 == 0:  # an odd number of ways leads to every name: half of them, but for the two ends, are gone twice
        for one, other in zip(names[1:-1:2], names[2:-1:2], strict=True):
            left[one].append(other)
            left[other].append(one)
    done, path = [names[0]], list[str]()
    while done:
        if left[here := done[-1]]:
            there = left[here].pop(0)
            left[there].remove(here)
            done.append(there)
        else:
            path.append(done.pop())
    return path


def shades(colour: str) -> list[int]:
    return [int(each) for each in re.findall(r"\d+", colour)[:3]]


def holds_something(folder: Path, name: str, _driver: Any) -> bool:
    return any(file.stat().st_size > 0 for file in folder.glob(name))
