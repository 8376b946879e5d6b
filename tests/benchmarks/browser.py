"""How long a reader waits in the browser: every page's first screen after its first load, and a change of persona or of layer; run it, it is not a test.

The app is served on the lake and opened in Chromium, 1400 by 1000 pixels. Each page is loaded once, unmeasured, so that what the app keeps is kept; then it is
opened again from the sidebar, and its bar is set to one persona and one layer after another that it has not shown yet. A clock runs from the click until
nothing in the window is stale, waits or lacks its drawing, seen at every frame. Figures are medians over rounds, a Markdown table with date, commit and lake.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from selenium.common.exceptions import TimeoutException
from selenium.webdriver.support.ui import WebDriverWait

sys.path.insert(0, str(Path(__file__).parents[1]))
import browsing

from personascope.app import page_modules
from personascope.app_pages.shared.bar import LABELS
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

FIRST_MS, CHANGE_MS, FIRST_LOAD_S, AWAY = 1_000, 500, 180, "SQL"
DIMENSIONS = ("persona", "layer")
# What of the window is not as it will stay: parts of the last run, parts that wait, charts without a drawing. `arguments`: title of the page.
CLOCK = """
window.seen = (title) => {
  const inWindow = (part) => { const at = part.getBoundingClientRect(); return at.bottom > 0 && at.top < innerHeight && at.height > 0; };
  const some = (which, wrong = () => true) => [...document.querySelectorAll(which)].some((part) => inWindow(part) && wrong(part));
  const heads = [...document.querySelectorAll('h1')].map((head) => head.textContent);
  const bottom = document.querySelector('[data-testid=stMainBlockContainer]')?.getBoundingClientRect().bottom ?? 0;
  const runs = document.querySelector('[data-test-script-state]')?.dataset.testScriptState === 'running';
  return heads.length === 1 && heads[0] === title && !(runs && bottom < innerHeight)
    && !some('[data-stale=true]') && !some('[data-testid=stSpinner], [data-testid=stSkeleton]')
    && !some('[data-testid=stVegaLiteChart]', (chart) => !chart.querySelector('svg.marks, canvas'));
};
window.time = (act, title, done) => {
  const from = performance.now();
  let begun = false;
  act();
  const look = () => {
    const runs = document.querySelector('[data-test-script-state]')?.dataset.testScriptState === 'running';
    begun = begun || runs || document.querySelector('[data-stale=true]') !== null;
    if (begun && window.seen(title)) { done(performance.now() - from); } else { requestAnimationFrame(look); }
  };
  requestAnimationFrame(look);
};
"""
OPEN = """
const [link, title, done] = arguments;
window.time(() => link.click(), title, done);
"""
CHOOSE = """
const [words, title, done] = arguments;
const option = [...document.querySelectorAll('[role=option]')].find((each) => each.textContent === words);
window.time(() => option.click(), title, done);
"""


@dataclass
class Waits:
    """Milliseconds of one page."""

    title: str
    first: list[float] = field(default_factory=list)
    changes: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in DIMENSIONS})

    def row(self, first_ms: int) -> str:
        """The page as a row of the table; what is above its limit is bold."""
        cells = [_cell(self.first, first_ms), *(_cell(self.changes[name], CHANGE_MS) for name in DIMENSIONS)]
        return f"| {self.title} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lake", type=Path, required=True, help="the lake to show; it is not written to")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--first-ms", type=int, default=FIRST_MS, help="limit of a first screen, above which a figure is bold")
    parser.add_argument("--pages", nargs="*", help="addresses of some pages; all by default")
    arguments = parser.parse_args()
    if not (browsing.CHROMIUM and browsing.DRIVER):
        sys.exit("no chromium with chromedriver on this machine")
    browsing.WAIT = FIRST_LOAD_S  # a busy machine is measured too
    modules = {name: module for name, module in page_modules().items() if not arguments.pages or name in arguments.pages}
    found = []
    with (
        tempfile.TemporaryDirectory() as folder,
        browsing.served(arguments.lake, Path(folder) / "log") as address,
        browsing.opened(Path(folder) / "profile") as browser,
    ):
        browser.set_script_timeout(FIRST_LOAD_S)
        for name, module in modules.items():
            found.append(measure(browser, address, name, module.TITLE, arguments.rounds))
            print(found[-1].row(arguments.first_ms), file=sys.stderr)
    print("\n".join(table(found, arguments.lake, arguments.rounds, arguments.first_ms)))


def measure(browser: Any, address: str, name: str, title: str, rounds: int) -> Waits:
    """Waits of one page: opened again and again from another one, then its bar moved."""
    waits = Waits(title)
    away = AWAY if title != AWAY else "Power"
    browser.get(f"{address}/{name}")
    browser.execute_script(CLOCK)
    _settle(browser, title)
    for _ in range(rounds):
        browsing.open_by_link(browser, away)
        _settle(browser, away)
        link = WebDriverWait(browser, browsing.WAIT).until(lambda driver: browsing._link_called(title, driver))
        waits.first.append(browser.execute_async_script(OPEN, link, title))
        _settle(browser, title)
    for dimension in DIMENSIONS:
        for option in _options(browser, dimension)[1 : rounds + 1]:
            if _open_list(browser, dimension):
                waits.changes[dimension].append(browser.execute_async_script(CHOOSE, option, title))
                _settle(browser, title)
    return waits


def _options(browser: Any, dimension: str) -> list[str]:
    """What the bar offers of a dimension, from below where it is layers, so that `all` is the last; empty where the page does not tell them apart."""
    if not _open_list(browser, dimension):
        return []
    words = browser.execute_script("return [...document.querySelectorAll('[role=option]')].map((each) => each.textContent)")
    browser.execute_script("document.activeElement.blur(); document.body.click()")
    return [each for each in words if each]


def _open_list(browser: Any, dimension: str) -> bool:
    """Opens the list of a dimension; False where it is greyed or not there."""
    found = browser.find_elements("css selector", f"[data-testid=stSelectbox] input[aria-label*='{LABELS[dimension]}']")
    if not found or not found[0].is_enabled():
        return False
    found[0].click()
    try:
        WebDriverWait(browser, 5).until(lambda driver: driver.find_elements("css selector", "[role=option]"))
    except TimeoutException:
        return False
    return True


def _settle(browser: Any, title: str) -> None:
    """Waits until the page is drawn to its end."""
    idle = "return window.seen(arguments[0]) && document.querySelector('[data-test-script-state]').dataset.testScriptState !== 'running'"
    WebDriverWait(browser, FIRST_LOAD_S, 0.2).until(lambda driver: driver.execute_script(idle, title))


def _cell(waits: list[float], limit: int) -> str:
    if not waits:
        return "–"
    middle = statistics.median(waits)
    words = f"{middle:,.0f} ms"
    return f"**{words}**" if middle > limit else words


def table(found: list[Waits], lake: Path, rounds: int, first_ms: int) -> list[str]:
    """The Markdown of all pages under a sentence that says what was measured, when and on what."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent, check=False).stdout.strip()
    runs, rows = Warehouse(Lake.existing(lake)).select("select count(*), sum(n_rows) from runs").row(0)
    return [
        f"{datetime.now(UTC):%Y-%m-%d}, commit `{commit or 'unknown'}`, lake `{lake.name}` ({runs} runs, {rows:,} rows), medians of {rounds}; "
        f"limits: {first_ms:,} ms for a first screen, {CHANGE_MS} ms for a change; – : the page does not tell them apart, or offers one only",
        "",
        "| page | first screen | change of persona | change of layer |",
        "|---|---|---|---|",
        *(waits.row(first_ms) for waits in found),
    ]


if __name__ == "__main__":
    main()
