"""The documentation in a real browser, on a wide and on a narrow screen."""

from __future__ import annotations

import functools
import http.server
import pathlib
import subprocess
import sys
import threading
from urllib import parse

from playwright import sync_api
import pytest

REPOSITORY = pathlib.Path(__file__).parents[2]
CHROMIUM = '/usr/bin/chromium'
WIDTHS = (1280, 390)

#: What is wider than the page, and not moved within a box of its own.
OVERFLOW = """() => {
    const width = document.documentElement.clientWidth;
    return document.documentElement.scrollWidth <= width ? [] :
        [...document.querySelectorAll('article *')]
            .filter(e => e.getBoundingClientRect().right > width)
            .map(e => e.outerHTML.slice(0, 80));
}"""
PICTURES = """() => [...document.querySelectorAll('img, object')]
    .filter(e => e.getBoundingClientRect().height < 20)
    .map(e => e.outerHTML.slice(0, 80))"""
LINKS = """() => [...document.querySelectorAll('a[href]')].map(e => e.href)"""


@pytest.fixture(scope='module')
def url(tmp_path_factory):
    """Where the pages are."""
    root = tmp_path_factory.mktemp('html')
    subprocess.run(
        [
            *(sys.executable, '-m', 'sphinx', '-q', '-b', 'html'),
            *(REPOSITORY / 'doc' / 'source', root),
        ],
        check=True,
    )
    handler = functools.partial(Quiet, directory=str(root))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}/'
        server.shutdown()
        thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and logs nothing."""

    def log_message(self, format, *args):
        pass


@pytest.fixture(scope='module')
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=['--no-sandbox']
        )
        yield browser
        browser.close()


def names():
    """Return the names of all pages."""
    source = REPOSITORY / 'doc' / 'source'
    return sorted(path.stem for path in source.glob('*.rst'))


@pytest.mark.parametrize('width', WIDTHS)
def test_pages(url, browser, width):
    """They fit, and have all that they refer to."""
    page = browser.new_page(viewport={'width': width, 'height': 900})
    failed = []
    page.on(
        'response',
        lambda r: failed.append(r.url) if r.status >= 400 else None,
    )
    found, links = {}, set()
    for name in names():
        page.goto(f'{url}{name}.html')
        for what, script in ('overflow', OVERFLOW), ('pictures', PICTURES):
            if wrong := page.evaluate(script):
                found[name, what] = wrong
        links.update(page.evaluate(LINKS))
    here = {
        parse.urldefrag(link).url for link in links if link.startswith(url)
    }
    found.update(
        {
            (link, 'link'): answer.status
            for link in here
            if (answer := page.request.get(link)).status != 200
        }
    )
    page.close()

    assert found == {}
    assert failed == []
    assert len(here) >= len(names())


def test_anchors(url, browser):
    """A link into a page leads to something that is there."""
    page = browser.new_page()
    targets, links = {}, set()
    for name in names():
        page.goto(f'{url}{name}.html')
        links.update(page.evaluate(LINKS))
        targets[f'{url}{name}.html'] = set(
            page.evaluate(
                "() => [...document.querySelectorAll('[id]')].map(e => e.id)"
            )
        )
    page.close()

    dangling = [
        link
        for link in links
        for at, fragment in [parse.urldefrag(link)]
        if fragment and at in targets and fragment not in targets[at]
    ]
    assert dangling == []


def test_search(url, browser):
    """It finds a page by a word that is on it."""
    page = browser.new_page()
    page.goto(f'{url}search.html?q=textfile')
    page.wait_for_selector('#search-results a[href*="operations.html"]')
    page.close()


def test_pictures_have_words(url, browser):
    """What is drawn is said to those who do not see it."""
    page = browser.new_page()
    for name in names():
        page.goto(f'{url}{name}.html')
        mute = page.evaluate(
            """() => [...document.querySelectorAll('article img:not([alt])')]
                .map(e => e.outerHTML.slice(0, 80))"""
        )
        assert mute == [], name
    page.close()
