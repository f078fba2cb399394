"""The pages of a fleet of 10,000 devices, in a real browser: what a person sees and can do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from chromium_pipe import Browser, running_browser
from console_server import add_people, make_app, serving, small_store

from benchmarks.fleet_store import fill_fleet
from cloud_train.fleet_types import Role
from cloud_train.store.database import Database
from cloud_train.store.tables import AUDIT, MEMBERS, ROLLOUTS

pytestmark = pytest.mark.browser

PAGES = ("/", "/devices", "/devices/kiosk-00000", "/rollouts", "/rollouts/1", "/audit", "/devices?text=nobody")
SIZES = [((1280, 900), False), ((1280, 900), True), ((390, 844), False), ((390, 844), True)]
# The darkest and the lightest text against what lies behind it, by WCAG 2.2, 1.4.3.
CONTRASTS = """(() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => parts(colour).slice(0, 3).map((one) => one / 255)
    .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (parts(colour).length < 4 || parts(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const poor = [];
  for (const e of document.querySelectorAll("body *:not(svg *):not(option)")) {
    const own = [...e.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !e.checkVisibility() || e.matches(".skip")) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) poor.push([(a + 0.05) / (b + 0.05), e.tagName, e.textContent.slice(0, 40)]);
  }
  return poor;
})()"""


@dataclass
class Fleet:
    address: str
    database: Database
    tokens: dict[Role, str]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running_browser(tmp_path_factory.mktemp("browser") / "profile") as running:
        yield running


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with ExitStack() as stack:
        database = stack.enter_context(small_store(tmp_path_factory.mktemp("fleet")))
        now = time.time()
        fill_fleet(database, devices=10_000, with_hours=500, hours=48, now=now)
        tokens = add_people(database, now=now)
        address = stack.enter_context(serving(make_app(database)))
        yield Fleet(address=address, database=database, tokens=tokens)


@pytest.fixture(autouse=True)
def clean(browser: Browser) -> Iterator[None]:
    """Every test begins signed out, and ends without a complaint or a request to strangers."""
    browser.call("Network.clearBrowserCookies")
    browser.requests.clear()
    browser.complaints.clear()
    yield
    assert {urlsplit(one).hostname for one in browser.requests} == {"127.0.0.1"}
    assert [one for one in browser.complaints if not one.startswith("verbose: [DOM]")] == []


def sign_in(browser: Browser, fleet: Fleet, role: Role, path: str = "/") -> None:
    browser.open(fleet.address + path)
    assert browser.text("h1") == "Sign in"
    browser.until("document.activeElement.name === 'token'")
    browser.write(fleet.tokens[role])
    browser.press("Enter", 13, "\r")
    browser.until("document.querySelector('nav') && document.readyState === 'complete'")


def names(browser: Browser) -> list[str]:
    found = browser.value("[...document.querySelectorAll('tbody th[scope=row]')].map((one) => one.innerText)")
    assert isinstance(found, list)
    return found


def test_signing_in_leads_back_to_where_one_wanted_to_go(browser: Browser, fleet: Fleet) -> None:
    sign_in(browser, fleet, Role.VIEWER, "/devices?health=silent")
    assert browser.value("location.pathname + location.search") == "/devices?health=silent"
    browser.click("header button")
    browser.until("document.title.startsWith('Sign in') && document.readyState === 'complete'")
    browser.open(fleet.address + "/devices")
    assert browser.text("h1") == "Sign in"


def test_ten_thousand_devices_a_hundred_a_page(browser: Browser, fleet: Fleet) -> None:
    sign_in(browser, fleet, Role.VIEWER, "/devices")
    assert browser.text("#count") == "10,000 devices"
    assert names(browser) == [f"kiosk-{number:05d}" for number in range(100)]
    browser.click("a[rel=next]")
    browser.until("location.search.includes('after=') && document.readyState === 'complete'")
    assert names(browser) == [f"kiosk-{number:05d}" for number in range(100, 200)]
    browser.value("history.back()")
    browser.until("!location.search.includes('after=') && document.readyState === 'complete'")
    assert names(browser)[0] == "kiosk-00000"


def test_filter_and_sort(browser: Browser, fleet: Fleet) -> None:
    sign_in(browser, fleet, Role.VIEWER, "/devices")
    browser.click("input[name=label]")
    browser.write("store=17")
    browser.press("Enter", 13, "\r")
    browser.until("location.search.includes('store') && document.readyState === 'complete'")
    assert browser.text("#count") == "50 devices"
    assert names(browser)[:2] == ["kiosk-00017", "kiosk-00217"]
    browser.click("th.number a")
    browser.until("location.search.includes('sort=-outbox') && document.readyState === 'complete'")
    assert browser.text("#count") == "50 devices"
    depths = browser.value("[...document.querySelectorAll('td.number')].map((one) => Number(one.innerText))")
    assert depths == sorted(depths, reverse=True)
    assert browser.value("document.querySelector('[aria-sort=descending]').innerText").startswith("Outbox")


def test_a_device_and_its_chart(browser: Browser, fleet: Fleet) -> None:
    sign_in(browser, fleet, Role.OPERATOR, "/devices")
    browser.click("tbody a")
    browser.until("location.pathname === '/devices/kiosk-00000' && document.readyState === 'complete'")
    assert browser.text("h1") == "kiosk-00000"
    assert browser.value("document.querySelectorAll('svg[role=img] g').length") == 48
    heights = browser.value(
        "[...document.querySelectorAll('svg[role=img] rect')].map((r) => r.getBoundingClientRect().height)"
    )
    assert isinstance(heights, list)
    assert max(heights) > 40
    browser.click(".acts summary")
    browser.click("textarea")
    browser.value("document.querySelector('textarea').value = ''")
    browser.write("store=99\nnew=yes")
    browser.click(".acts details[open] button")
    browser.until("document.body?.innerText.includes('new=yes') && document.readyState === 'complete'")
    row = fleet.database.read(MEMBERS.select().where(MEMBERS.c.device_id == "kiosk-00000"))[0]
    assert row["labels"] == {"store": "99", "new": "yes"}


def state(fleet: Fleet) -> tuple[str, int]:
    row = fleet.database.read(ROLLOUTS.select().where(ROLLOUTS.c.rollout_id == 1))[0]
    return row["state"], row["ring"]


def test_a_rollout_is_advanced_and_halted_with_the_mouse(browser: Browser, fleet: Fleet) -> None:
    sign_in(browser, fleet, Role.OPERATOR, "/rollouts")
    browser.click("tbody a")
    browser.until("location.pathname === '/rollouts/1' && document.readyState === 'complete'")
    assert state(fleet) == ("running", 1)
    assert browser.value("document.querySelectorAll('progress').length") == 2
    browser.click("#advance summary")
    browser.click("#advance button")
    browser.until("document.querySelectorAll('progress').length === 3 && document.readyState === 'complete'")
    assert state(fleet) == ("running", 2)
    browser.click("#halt summary")
    browser.click("#halt input[name=reason]")
    browser.write("it looks wrong")
    browser.click("#halt button")
    browser.until(
        "document.getElementById('state')?.innerText.includes('halted') && document.readyState === 'complete'"
    )
    assert state(fleet) == ("halted", 2)
    assert "it looks wrong" in browser.text("main")
    entry = fleet.database.read(AUDIT.select().where(AUDIT.c.subject == "rollout:1").order_by(AUDIT.c.id.desc()))[0]
    assert (entry["who"], entry["action"]) == ("person:operator", "rollout.halt")


def test_a_viewer_has_no_buttons(browser: Browser, fleet: Fleet) -> None:
    sign_in(browser, fleet, Role.VIEWER, "/")
    for path in PAGES:
        browser.open(fleet.address + path)
        buttons = browser.value("[...document.querySelectorAll('button')].map((one) => one.innerText)")
        assert isinstance(buttons, list)
        assert set(buttons) <= {"Sign out", "Filter"}


@pytest.mark.parametrize(("size", "dark"), SIZES)
def test_everything_can_be_read_and_nothing_sticks_out(
    browser: Browser, fleet: Fleet, size: tuple[int, int], dark: bool
) -> None:
    sign_in(browser, fleet, Role.ADMIN, "/")
    for path in PAGES:
        browser.open(fleet.address + path, size=size, dark=dark)
        browser.value("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert browser.value(CONTRASTS) == [], path
        assert browser.value("document.documentElement.scrollWidth <= innerWidth") is True, path
        unnamed = browser.value(
            "[...document.querySelectorAll('input:not([type=hidden]), select, textarea')]"
            ".filter((one) => !one.labels.length).map((one) => one.name)"
        )
        assert unnamed == [], path


def test_all_of_it_by_keyboard(browser: Browser, fleet: Fleet, tmp_path: Path) -> None:
    sign_in(browser, fleet, Role.OPERATOR, "/devices/kiosk-00001")
    reached = []
    for _ in range(20):
        browser.press("Tab", 9)
        reached.append(browser.value("document.activeElement.innerText || document.activeElement.tagName"))
        if reached[-1] == "Hold it":
            break
    assert reached[0] == "To the content"
    assert reached[-1] == "Hold it", reached
    assert browser.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Enter", 13, "\r")
    browser.until("document.body?.innerText.includes('it stays on what it runs')")
