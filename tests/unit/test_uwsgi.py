"""The warning about threads under uWSGI."""

from __future__ import annotations

import logging
import sys
import types

import pytest

from nova_multistore import uwsgi


@pytest.fixture
def said(caplog, monkeypatch):
    """Check, with a module as uWSGI has it; return what is said."""

    def said(module):
        monkeypatch.setitem(sys.modules, 'uwsgi', module)
        uwsgi.check.cache_clear()
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                uwsgi.check('nova-api', 'something is late')
        return [record.getMessage() for record in caplog.records]

    yield said
    uwsgi.check.cache_clear()


def test_without_threads(said):
    """It is said once what to set, and why."""
    assert said(types.SimpleNamespace(has_threads=0)) == [
        "uWSGI runs nova-api without 'enable-threads', so its threads stand "
        'still between two requests: something is late. Set '
        "'enable-threads = true' in the uwsgi.ini of nova-api."
    ]


@pytest.mark.parametrize(
    'module',
    [
        types.SimpleNamespace(has_threads=1),
        # It may be another module of that name.
        types.SimpleNamespace(),
        # There is none behind another web server.
        None,
    ],
)
def test_with_threads(said, module):
    assert said(module) == []
