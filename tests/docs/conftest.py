"""A real browser."""

from __future__ import annotations

from playwright import sync_api
import pytest

CHROMIUM = '/usr/bin/chromium'


@pytest.fixture(scope='session')
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=['--no-sandbox']
        )
        yield browser
        browser.close()
