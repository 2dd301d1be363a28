"""The documentation in a real browser, on a wide and on a narrow screen."""

from __future__ import annotations

import functools
import http.server
import pathlib
import subprocess
import sys
import threading
from urllib import parse

import pytest

REPOSITORY = pathlib.Path(__file__).parents[2]
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
#: What is drawn, and is not said to those who do not see it.
MUTE = """() => [...document.querySelectorAll('article img:not([alt])')]
    .map(e => e.outerHTML.slice(0, 80))"""
LINKS = """() => [...document.querySelectorAll('a[href]')].map(e => e.href)"""
SCRIPTS = {
    'overflow': OVERFLOW,
    'pictures': PICTURES,
    'mute': MUTE,
    'links': LINKS,
    'ids': "() => [...document.querySelectorAll('[id]')].map(e => e.id)",
}


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


def names():
    """Return the names of all pages."""
    source = REPOSITORY / 'doc' / 'source'
    return sorted(path.stem for path in source.glob('*.rst'))


@pytest.fixture(scope='module', params=WIDTHS)
def visited(url, browser, request):
    """Visit all pages; return what each has, and what did not load."""
    page = browser.new_page(viewport={'width': request.param, 'height': 900})
    failed, found = [], {}
    page.on(
        'response',
        lambda r: failed.append(r.url) if r.status >= 400 else None,
    )
    for name in names():
        page.goto(f'{url}{name}.html')
        found[f'{url}{name}.html'] = {
            what: page.evaluate(script) for what, script in SCRIPTS.items()
        }
    page.close()
    return found, failed


def test_they_fit(visited):
    """Nothing is wider than the screen, and all pictures are drawn."""
    pages, failed = visited

    for what in ('overflow', 'pictures', 'mute'):
        wrong = {url: page[what] for url, page in pages.items() if page[what]}
        assert wrong == {}, what
    assert failed == []


def test_links(url, browser, visited):
    """A link leads to a page, and to something that is on it."""
    pages, _failed = visited
    links = {
        tuple(parse.urldefrag(link))
        for page in pages.values()
        for link in page['links']
        if link.startswith(url)
    }

    page = browser.new_page()
    status = {at: page.request.get(at).status for at, _fragment in links}
    page.close()
    dangling = [
        (at, fragment)
        for at, fragment in links
        if fragment and at in pages and fragment not in pages[at]['ids']
    ]

    assert {at: code for at, code in status.items() if code != 200} == {}
    assert dangling == []
    assert len(status) >= len(names())


def test_search(url, browser):
    """It finds a page by a word that is on it."""
    page = browser.new_page()
    page.goto(f'{url}search.html?q=textfile')
    page.wait_for_selector('#search-results a[href*="operations.html"]')
    page.close()
