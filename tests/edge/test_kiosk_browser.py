"""The page of the kiosk's screen, in a real browser: what a person sees and can do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from chromium_pipe import Browser, running_browser
from kiosk_desk import SmallDesk, serving_kiosk
from PIL import Image
from pipeline_bundles import COLOURS, YELLOW, build_pipeline, squares
from tiny_bundles import build_bundle, picture_bytes

from edge.bundle.policy import DecisionPolicy
from edge.kiosk.desk import Watching
from edge.telemetry import Topic
from edge.types import FeedbackKind

pytestmark = pytest.mark.browser

TOKEN = "a-token-that-is-long-enough"  # noqa: S105 - of a test
NASTY = "<img src=x onerror=alert(1)>&amp;"
SHELF = squares(
    *((1, 1, COLOURS["red"]), (5, 6, COLOURS["blue"]), (3, 4, COLOURS["blue"]), (6, 1, YELLOW)), side=640, kind="JPEG"
)
SIZES = [((1920, 1080), False), ((1920, 1080), True), ((390, 844), False), ((390, 844), True), ((1024, 600), False)]
# The darkest and the lightest text against what lies behind it, by WCAG 2.2, 1.4.3.
CONTRASTS = """(() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => parts(colour).slice(0, 3).map((one) => one / 255)
    .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (parts(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  for (const e of document.querySelectorAll("body *:not(svg *)")) {
    const own = [...e.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !e.checkVisibility() || e.matches("option, noscript *")) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), e.id || e.tagName, e.textContent.trim().slice(0, 40)]);
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running_browser(tmp_path_factory.mktemp("browser") / "profile") as running:
        yield running


@pytest.fixture(autouse=True)
def clean(browser: Browser) -> Iterator[None]:
    """Every test begins with an empty page, and ends without a complaint or a request to strangers."""
    browser.call("Page.navigate", url="about:blank")
    browser.until("location.href === 'about:blank'")
    browser.requests.clear()
    browser.complaints.clear()
    yield
    foreign = {urlsplit(one.removeprefix("blob:")).hostname for one in browser.requests} - {"127.0.0.1", None}
    assert foreign == set()
    refused = "Failed to load resource"  # a device that is away, or that wants a token, is meant to be
    assert [one for one in browser.complaints if refused not in one] == []


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    doubtful = DecisionPolicy(accept_confidence=1.0, confirm_confidence=0.5, accept_margin=0.0)
    return {
        "pipeline": build_pipeline(folder / "pipeline"),
        "tiny": build_bundle(folder / "tiny"),
        "doubtful": build_bundle(folder / "doubtful", decision=doubtful),
        "nasty": build_bundle(folder / "nasty", labels=(NASTY, "green", "blue"), name="n", decision=doubtful),
    }


@pytest.fixture
def doubtful(bundles: dict[str, Path], browser: Browser) -> Iterator[SmallDesk]:
    """A page that asks whether it is red."""
    with serving_kiosk(bundles["doubtful"]) as (desk, server):
        desk.watch(picture_bytes("red", size=(640, 480)))
        browser.open(server.address)
        browser.until("document.getElementById('asked').innerText === 'Is this red?'")
        yield desk


def counted(browser: Browser) -> dict[str, int]:
    rows = browser.value(
        "[...document.querySelectorAll('#counts tr')]"
        ".map((row) => [...row.children].map((cell) => cell.innerText.trim()))"
    )
    assert isinstance(rows, list)
    return {label: int(number) for label, number in rows}


@pytest.mark.parametrize(("size", "dark"), SIZES)
def test_the_boxes_lie_where_the_things_are_and_the_numbers_are_right(
    browser: Browser, bundles: dict[str, Path], tmp_path: Path, size: tuple[int, int], dark: bool
) -> None:
    with serving_kiosk(bundles["pipeline"]) as (desk, server):
        desk.watch(SHELF)
        browser.open(server.address, size=size, dark=dark)
        browser.until("document.querySelectorAll('#overlay .thing').length === 4")
        assert counted(browser) == {"blue": 2, "red": 1, "unknown": 1}
        assert browser.text("#total") == "4"
        assert browser.text("#outcome") == "Not everything recognised"
        words = browser.value("[...document.querySelectorAll('#overlay text')].map((one) => one.textContent)")
        assert isinstance(words, list)
        assert sorted(word.split(" ")[0] for word in words) == ["blue", "blue", "red", "unknown"]
        browser.value("document.getElementById('stage').scrollIntoView({block: 'start'})")
        places = browser.value(
            "[...document.querySelectorAll('#overlay .thing')].map((one) => one.getBoundingClientRect())"
            ".map((one) => [one.x, one.y, one.width, one.height])"
        )
        shot = tmp_path / "shot.png"
        browser.screenshot(shot)
    assert isinstance(places, list)
    with Image.open(shot) as picture:
        seen = [picture.convert("RGB").getpixel((int(x + w / 2), int(y + h / 2))) for x, y, w, h in places]
        edges = [picture.convert("RGB").getpixel((int(x + w / 2), int(y + h - 4))) for x, y, w, h in places]
    expected = sorted([COLOURS["red"], COLOURS["blue"], COLOURS["blue"], YELLOW])
    for found, wanted in zip(sorted(seen), expected, strict=True):
        assert found == pytest.approx(wanted, abs=12)
    assert all(edge != inner for edge, inner in zip(edges, seen, strict=True)), "no line is drawn around the things"


@pytest.mark.parametrize(("size", "dark"), SIZES)
def test_everything_can_be_read_and_nothing_sticks_out(
    browser: Browser, bundles: dict[str, Path], size: tuple[int, int], dark: bool
) -> None:
    for name, picture in (("pipeline", SHELF), ("doubtful", picture_bytes("red", size=(640, 480)))):
        with serving_kiosk(bundles[name]) as (desk, server):
            desk.telemetry.trouble(Topic.ROAD, "the server cannot be reached: connection refused, next try in 30 s")
            desk.watch(picture)
            browser.open(server.address, size=size, dark=dark)
            browser.until("!document.getElementById('verdict').hidden && document.getElementById('trouble').innerText")
            contrasts = browser.value(CONTRASTS)
            assert isinstance(contrasts, list)
            assert len(contrasts) > 10
            assert [one for one in contrasts if one[0] < 4.5] == []
            assert browser.value("document.documentElement.scrollWidth <= innerWidth") is True
            assert browser.value("document.getElementById('stage').getBoundingClientRect().height > 150") is True


def test_a_classifier_shows_its_classes_and_asks(browser: Browser, doubtful: SmallDesk) -> None:
    assert browser.text("#named") == "red"
    assert browser.text("#outcome") == "Please check"
    assert browser.text("#confirm") == "Yes, red"
    assert browser.value("document.getElementById('found').hidden") is True
    assert str(browser.text("#scores")).split()[0] == "red"
    assert re.fullmatch(r"camera:0, (now|\d+ s ago)", str(browser.text("#caption")))


def test_yes_is_stored_and_not_asked_again(browser: Browser, doubtful: SmallDesk) -> None:
    browser.value("new Promise((done) => setTimeout(done, 600))")  # a new answer cannot be judged in its first moment
    browser.click("#confirm")
    browser.until("document.getElementById('thanks').innerText === 'Thank you. It is stored.'")
    ((_, feedback),) = doubtful.answers
    assert (feedback.kind, feedback.label, feedback.who) == (FeedbackKind.CONFIRMED, "red", "kiosk")
    assert browser.value("document.getElementById('question').hidden") is True


def test_a_person_corrects_it_with_the_keyboard_alone(browser: Browser, doubtful: SmallDesk) -> None:
    browser.value("document.body.focus()")
    reached = []
    for _ in range(12):
        browser.press("Tab", 9)
        reached.append(browser.value("document.activeElement.id || document.activeElement.tagName"))
        if reached[-1] == "correct":
            break
    assert reached[-1] == "correct", reached
    assert "confirm" in reached
    outline = browser.value("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    browser.press("Enter", 13, "\r")
    browser.until("document.activeElement.id === 'label'")
    browser.until("document.querySelectorAll('#labels option').length === 3")
    browser.write("crimson")
    browser.press("Enter", 13, "\r")
    browser.until("document.getElementById('thanks').innerText === 'Thank you. It is stored.'")
    ((_, feedback),) = doubtful.answers
    assert (feedback.kind, feedback.label) == (FeedbackKind.CORRECTED, "crimson")


def test_none_of_these_by_name(browser: Browser, doubtful: SmallDesk) -> None:
    browser.click("#who")
    browser.write("Anna")
    browser.click("#correct")
    browser.click("#none")
    browser.until("document.getElementById('thanks').innerText === 'Thank you. It is stored.'")
    ((_, feedback),) = doubtful.answers
    assert (feedback.kind, feedback.label, feedback.who) == (FeedbackKind.NONE_OF_THESE, "", "Anna")


def test_the_answer_stays_while_a_person_deals_with_it(browser: Browser, doubtful: SmallDesk) -> None:
    browser.click("#correct")
    shown = browser.value("document.getElementById('picture').src")
    doubtful.watch(picture_bytes("blue", size=(640, 480)))
    looks = len([one for one in browser.requests if one.endswith("/live")])
    while len([one for one in browser.requests if one.endswith("/live")]) < looks + 3:
        browser.value("new Promise((done) => setTimeout(done, 50))")
    assert browser.text("#named") == "red"
    assert browser.value("document.getElementById('picture').src") == shown
    browser.click("#label")
    browser.write("ruby")
    browser.click("#correction button.main")
    browser.until("document.getElementById('named').innerText === 'blue'")
    ((_, feedback),) = doubtful.answers
    assert feedback.label == "ruby"


def test_what_could_not_be_stored_is_said(browser: Browser, doubtful: SmallDesk) -> None:
    from edge.errors import StorageError

    doubtful.fails = StorageError("full")
    browser.click("#correct")
    browser.click("#none")
    browser.until("document.getElementById('thanks').innerText.includes('full or failing')")
    assert browser.value("document.getElementById('question').hidden") is False
    doubtful.fails = None
    browser.click("#none")
    browser.until("document.getElementById('thanks').innerText === 'Thank you. It is stored.'")


def test_names_of_any_kind_are_text(browser: Browser, bundles: dict[str, Path]) -> None:
    with serving_kiosk(bundles["nasty"]) as (desk, server):
        desk.watch(picture_bytes("red", size=(640, 480)), name=NASTY)
        browser.open(server.address)
        browser.until(f"document.getElementById('named').textContent === {NASTY!r}")
        browser.click("#correct")
        browser.until("document.querySelectorAll('#labels option').length === 3")
        assert browser.value("document.querySelectorAll('img').length") == 1
        assert NASTY in browser.text("#caption")


def test_every_state_is_told(browser: Browser, bundles: dict[str, Path]) -> None:
    def title(text: str) -> str:
        return f"document.getElementById('notice-title').innerText === {text!r}"

    with serving_kiosk(None) as (desk, server):
        browser.open(server.address)
        browser.until(title("No bundle yet"))
        browser.until("document.getElementById('bundle').innerText === 'No bundle'")
        port = server.port
    browser.until(title("No connection to the device"))
    # The same device comes back, with a bundle: the page finds it by itself.
    with serving_kiosk(bundles["tiny"], port=port) as (desk, server):
        browser.until(title("No camera"))
        desk.watched = Watching(name="camera:0")
        browser.until(title("Waiting for the first picture"))
        desk.watch(picture_bytes("green", size=(640, 480)))
        browser.until("document.getElementById('outcome').innerText === 'Recognised'")
        assert browser.value("document.getElementById('notice').hidden") is True
        browser.until("document.getElementById('bundle').innerText === 'Bundle tiny 1'")
        desk.watched = Watching(name="camera:0", lost="no frame for 10 s")
        browser.until(title("The camera is gone"))
        assert browser.text("#notice-text") == "no frame for 10 s"
        assert browser.value("document.getElementById('stage').classList.contains('away')") is True
        desk.watched = Watching(name="camera:0")
        browser.until("document.getElementById('notice').hidden")


def test_a_picture_of_ones_own(browser: Browser, bundles: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "mine.png"
    file.write_bytes(SHELF)
    with serving_kiosk(bundles["pipeline"]) as (desk, server):
        browser.open(server.address)
        browser.until("document.getElementById('notice-title').innerText === 'No camera'")
        upload(browser, file)
        browser.until("document.querySelectorAll('#overlay .thing').length === 4")
        assert browser.text("#caption") == "mine.png"
        assert counted(browser) == {"blue": 2, "red": 1, "unknown": 1}
        assert desk.counts().frames_seen == 1
        file.write_bytes(b"no picture")
        upload(browser, file)
        browser.until("document.getElementById('thanks').innerText.includes('not a JPEG, PNG or WebP picture')")


def upload(browser: Browser, file: Path) -> None:
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=root, selector="#upload")["nodeId"]
    browser.call("DOM.setFileInputFiles", files=[str(file)], nodeId=node)


def test_a_kiosk_with_a_token_asks_for_it(browser: Browser, bundles: dict[str, Path]) -> None:
    with serving_kiosk(bundles["tiny"], token=TOKEN) as (desk, server):
        desk.watch(picture_bytes("blue", size=(640, 480)))
        browser.open(server.address)
        browser.until("document.getElementById('door').open")
        browser.click("#token")
        browser.write(TOKEN)
        browser.press("Enter", 13, "\r")
        browser.until("document.getElementById('named').innerText === 'blue'")
        assert browser.value("document.getElementById('door').open") is False
        assert browser.value("location.href") == server.address


def test_the_description_of_the_api_works_offline(browser: Browser, bundles: dict[str, Path]) -> None:
    with serving_kiosk(bundles["tiny"]) as (_, server):
        browser.open(f"{server.address}docs")
        browser.until("document.querySelectorAll('.opblock').length === 9")
        browser.click("#operations-pictures-predict_predict_post .opblock-summary-control")
        browser.until("document.querySelector('.try-out__btn')")
        browser.click(".try-out__btn")
        browser.until("document.querySelector('.btn.execute')")
        browser.click(".btn.execute")
        browser.until("document.querySelector('.live-responses-table tbody .response-col_status')")
        assert browser.text(".live-responses-table tbody .response-col_status").strip().startswith("200")
        paths = {urlsplit(one).path for one in browser.requests}
        assert paths >= {"/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/openapi.json", "/predict"}
