"""What a reader comes for, done in a real browser by a hand that counts: every task from the first page, in as few acts as it says.

An act is a click on a link, a button or a row, a choice in a list, a move of a slider, or a text typed and sent.
"""

import runpy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from browsing import BUSY, MARKS, WAIT, button_called, open_by_link, opened, served, svg_text, waiting
from sweep_pages import CELLS, write_cell

from personascope.warehouse import analyses
from personascope.warehouse.store.lake import Lake

pytestmark = [pytest.mark.slow(60), *MARKS]
PAGE = "[data-testid=stMain]"
FIRST = "return [...document.querySelectorAll('{}')].find(each => each.textContent.{}) || null"
TEXT = f"""return [document.querySelector('{PAGE}').innerText, document.querySelectorAll('{BUSY}').length]"""
PLANTED = Path(__file__).parents[1] / "sql"


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Path:
    """One lake of all studies: marker attention, a sweep, features, circuits."""
    root = tmp_path_factory.mktemp("tasks") / "lake"
    runpy.run_path(str(Path(__file__).with_name("conftest.py")))["write_synthetic"](root)
    found = Lake.open(root)
    for name in ("planted_circuits.py", "planted_features.py"):
        runpy.run_path(str(PLANTED / name))["build"](found)
    for (lr, epochs, seed), counts in CELLS.items():
        write_cell(found, lr, float(epochs), seed, counts)
    analyses.refresh(found)
    return root


@pytest.fixture(scope="module")
def server(lake, tmp_path_factory) -> Iterator[str]:
    with served(lake, tmp_path_factory.mktemp("server") / "log.txt") as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


class Hand:
    """A reader's hand on the first page of the app: `acts` counts what it did."""

    def __init__(self, browser: Any, server: str) -> None:
        self.browser, self.acts = browser, 0
        self._wait = waiting(browser, 2 * WAIT)
        browser.get(server)
        self.sees("Overview", "Studies")

    def sees(self, *words: str) -> str:
        """The text of the page and of its charts, once it holds all these words and is drawn to its end."""

        def text(driver: Any) -> str | None:
            shown, busy = driver.execute_script(TEXT)
            shown = f"{shown} {svg_text(driver)}"
            return shown if not busy and all(word in shown for word in words) else None

        return str(self._wait.until(text, f"looked for {words}"))

    def finds(self, find: Callable[[Any], Any]) -> Any:
        """What `find` gives, once it gives something."""
        return self._wait.until(find)

    def opens(self, page: str) -> None:
        """A click in the sidebar."""
        self.acts += 1
        open_by_link(self.browser, page)
        self._wait.until(lambda driver: driver.execute_script("return document.querySelector('h1')?.textContent") == page)
        self.sees(page)

    def presses(self, words: str) -> None:
        """A click on the button or segment with these words."""
        self.acts += 1
        self._click(partial(button_called, words))

    def chooses(self, label: str, option: str) -> None:
        """A choice in the list of that label."""
        self.acts += 1
        self._click(lambda driver: driver.find_element("css selector", f"{PAGE} input[aria-label*='{label}']"))
        self._click(lambda driver: driver.execute_script(FIRST.format("[role=option]", "trim() === arguments[0]"), option))

    def clicks_row(self, table: int, row: int) -> None:
        """A click into the box before a row, counted from 0, of a table that rows can be chosen in."""
        from selenium.webdriver.common.action_chains import ActionChains

        self.acts += 1
        canvas = self._wait.until(lambda driver: driver.find_elements("css selector", "[data-testid=stDataFrame] canvas[data-testid=data-grid-canvas]")[table])
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
        size = canvas.size
        ActionChains(self.browser).move_to_element_with_offset(canvas, 15 - size["width"] / 2, 35 * row + 52 - size["height"] / 2).click().perform()

    def _click(self, find: Callable[[Any], Any]) -> None:
        """A click on what `find` gives, looked for again while the page is being drawn."""
        from selenium.common.exceptions import ElementClickInterceptedException, ElementNotInteractableException, StaleElementReferenceException

        def clicked(driver: Any) -> bool:
            try:
                if driver.find_elements("css selector", BUSY) or (element := find(driver)) is None:
                    return False
                driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
                element.click()
            except (ElementClickInterceptedException, ElementNotInteractableException, StaleElementReferenceException):
                return False
            return True

        self._wait.until(clicked)


@pytest.fixture
def hand(browser, server) -> Hand:
    return Hand(browser, server)


def test_attention_trained_against_base_at_which_layer_and_how_sure(hand):
    hand.opens("Marker attention")
    words = hand.sees("Did training change that?", "Layer", "95% interval", "adjusted for all layers")
    assert "villain minus base on identical tokens" in words and "8 generations of 4 questions" in words
    assert hand.acts <= 2


def test_one_generation_and_its_heads(hand):
    hand.opens("Marker attention")
    hand.presses("One generation")
    hand.sees("One generation", "How do birds fly?")
    assert parse_qs(urlsplit(hand.browser.current_url).query)["section"] == ["One generation"]
    assert hand.acts <= 3


def test_clean_cells_at_5_and_at_10_per_cent_side_by_side(hand):
    from selenium.webdriver.common.keys import Keys

    hand.opens("Regimes")
    hand.presses("Thresholds")
    hand.acts += 1
    script = """return [...document.querySelectorAll('[data-testid=stSlider]')].find(each => each.textContent.includes(arguments[0]))
        ?.querySelector('[role=slider], input[type=range]')"""
    slider = hand.finds(lambda driver: driver.execute_script(script, "Leak: above"))
    slider.send_keys(Keys.ARROW_RIGHT * 10)
    hand.sees("Thresholds moved", "Both settings side by side", "at the defaults", "as moved")
    assert hand.acts <= 3


def test_the_first_head_to_patch_and_all_that_is_known_of_it(hand):
    hand.opens("Circuits")
    hand.presses("Heads")
    hand.sees("Every figure of every head")
    hand.chooses("Head", "1")
    hand.sees("Every figure of every head", "Means over")
    assert hand.acts <= 3


def test_features_of_two_conditions_at_a_layer_and_their_prompts(hand):
    hand.opens("Features")
    hand.chooses("Layer", "1")
    words = hand.sees("Features that differ, layer 1", "Prompts of")
    hand.clicks_row(1, 1)
    assert "that activate feature 3 most" in words
    hand.sees("that activate feature 7 most")
    assert hand.acts <= 4


def test_a_query_typed_plotted_and_sent_as_a_link(hand):
    from selenium.webdriver.common.keys import Keys

    hand.opens("SQL")
    hand.acts += 1
    hand.sees("ctrl-enter", "Gallery")
    area = hand.browser.find_element("css selector", "[data-testid=stTextArea] textarea")
    area.send_keys("select layer, avg(mean_delta) as mean_delta from attention_gates group by layer order by layer", Keys.CONTROL, Keys.ENTER)
    hand.sees("4 rows")
    hand.presses("line")
    hand.sees("mean delta by layer")
    assert hand.acts <= 3
    link = hand.browser.current_url
    hand.browser.get("about:blank")
    hand.browser.get(link)
    hand.sees("4 rows", "mean delta by layer")


def test_two_checkpoints_side_by_side(hand):
    hand.opens("Compare")
    hand.chooses("Beside", "villain")
    words = hand.sees("What they differ in", "settings in which", "villain")
    assert "base" in words
    assert hand.acts <= 2


def test_everything_about_one_persona_at_one_layer(hand):
    hand.opens("Slice")
    hand.chooses("Persona", "villain")
    hand.sees("as villain, layer", "Attention at the marker", "Completions")
    assert hand.acts <= 2
