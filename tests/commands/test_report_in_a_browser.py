"""The page of `report` in a headless browser: it sorts, sends nothing, and fits its window."""

from __future__ import annotations

import socket
from pathlib import Path

import browser
import pytest
from result_files import students

import ddlabel

PROGRAM = browser.find()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no browser: apt-get install chromium")
RECORDED = {
    "curve": {
        "loss": [2.0, 0.01, 300.0, None, 1e-6],
        "gradient_norm": [5.0, 4.0, 3.0, 2.0, 1.5],
        "checked_epochs": [2, 5],
        "test_accuracy": [0.4, 0.99],
    },
    "confusion": [[8, 2, 0], [1, 9, 0], [5, 0, 5]],
    "reliability": [[0, 0, 0], [10, 4, 5.5], [20, 18, 18.9]],
}
LONG = "a-very-long-name-of-a-bundle-that-has-no-blank-where-a-line-could-end-" * 2
TABLE = "document.querySelector('table.sortable')"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    records = []
    for bundle, offset in (("soft", 0), ("dense", 10), (LONG, 20), ("</script><script>x", 5)):
        for epochs in (30, 200):
            accuracies = [50 + offset + seed - epochs / 100 for seed in range(4)]
            records += students(accuracies, bundle=f"{bundle}.h5", epochs=epochs, result=RECORDED)
    ddlabel.report(records, out=folder / "report.html")
    with browser.open_browser(PROGRAM, folder / "profile") as opened:
        opened.resize(1400)
        opened.open(folder / "report.html")
        yield opened


def column(page: browser.Page, number: int) -> list[str]:
    script = f"Array.from({TABLE}.tBodies[0].rows, row => row.cells[{number}].textContent)"
    return page.run(script)


def click_head(page: browser.Page, number: int) -> None:
    page.run(f"{TABLE}.tHead.rows[0].cells[{number}].querySelector('button').click()")


def test_a_click_on_a_head_sorts_by_its_numbers_and_another_the_reverse(page):
    click_head(page, 3)
    rising = [float(text.split()[0]) for text in column(page, 3)]
    assert rising == sorted(rising)
    click_head(page, 3)
    falling = [float(text.split()[0]) for text in column(page, 3)]
    assert falling == sorted(falling, reverse=True)


def test_names_that_are_numbers_are_sorted_as_numbers(page):
    click_head(page, 1)
    assert column(page, 1) == 4 * ["30"] + 4 * ["200"]


def test_the_lists_sort_by_two_columns(page):
    choose = """
    for (const [number, value] of [[0, "1"], [1, "0"]]) {
      const list = document.querySelectorAll('.controls select')[number];
      list.value = value;
      list.dispatchEvent(new Event('change', { bubbles: true }));
    }"""
    page.run(choose)
    rows = list(zip(column(page, 1), column(page, 0), strict=True))
    assert [epochs for epochs, _ in rows] == 4 * ["30"] + 4 * ["200"]
    for epochs in ("30", "200"):
        names = [name for each, name in rows if each == epochs]
        assert names == sorted(names)


def test_no_request_leaves_even_if_a_script_tries(page):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        address = f"http://127.0.0.1:{port}/"
        tried = page.run(f"fetch('{address}').then(() => 'sent', () => 'refused')")
        page.run(f"new Image().src = '{address}'; navigator.sendBeacon('{address}', 'x')")
        assert tried == "refused"
        with pytest.raises(TimeoutError):
            server.accept()
    assert [url for url in page.requested() if not url.startswith(("file:", address))] == []


def test_the_page_has_no_error_of_its_own(page):
    errors = [event for event in page.events if event.get("method") == "Runtime.exceptionThrown"]
    assert errors == []
    assert page.run("document.querySelectorAll('script').length") == 1


@pytest.mark.parametrize("width", [1400, 400])
def test_nothing_overlaps_or_leaves_the_window(page, width, tmp_path):
    page.resize(width)
    assert page.run("document.documentElement.scrollWidth") <= width
    # Tables may scroll in their boxes; texts of charts may not leave the window or each other.
    outside = f"""
    Array.from(document.querySelectorAll(
        '.chart span, .chart svg, svg, svg text, .legend span, figcaption, dd, h1, h2, h3, pre'))
      .filter(each => each.getBoundingClientRect().right > {width} + 0.5
                   || each.getBoundingClientRect().left < -0.5)
      .map(each => each.textContent)"""
    assert page.run(outside) == []
    overlapping = """
    Array.from(document.querySelectorAll('.chart svg, figure svg')).flatMap(drawing => {
      const texts = drawing.querySelectorAll('.chart text, .tick.x');
      const boxes = Array.from(texts, t => t.getBoundingClientRect());
      return boxes.filter((box, i) => i > 0 && box.left < boxes[i - 1].right);
    }).length"""
    assert page.run(overlapping) == 0
    small = """
    Array.from(document.querySelectorAll('svg text'))
      .filter(each => each.getBoundingClientRect().height < 11).length"""
    assert page.run(small) == 0
    Path(tmp_path / "page.png").touch()
    page.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
