"""What an audit looks up in Glance and Nova."""

from __future__ import annotations

import types

from keystoneauth1 import exceptions as auth_exceptions
from openstack import exceptions as sdk_exceptions
import pytest

from nova_multistore import exception
from nova_multistore.osc import audit_source
from tests.unit.judging import BASE
from tests.unit.judging import IMAGE
from tests.unit.judging import SERVER
from tests.unit.judging import server
from tests.unit.judging import unasked


class Images:
    """Glance, which fails."""

    def __init__(self, failures=()):
        self._failures = list(failures)

    def show(self, image_id):
        raise self._failures.pop(0)

    def tasks(self, image_id):
        return []


def inquire(images, server_now=unasked):
    return audit_source.Source(
        types.SimpleNamespace(images=images, server_now=server_now)
    )


SILENT = exception.LookupFailed('Glance did not answer')


def test_look(pauses):
    """It is never remembered, and a refusal is no absence."""
    refused = exception.GlanceRefused(403, 'no')
    gone = exception.GlanceRefused(404, 'no')
    lookups = inquire(Images(failures=[SILENT, gone, refused])).lookups

    assert lookups.look(IMAGE) is None
    with pytest.raises(exception.GlanceRefused):
        lookups.look(IMAGE)


@pytest.mark.parametrize('status', [403, 404])
def test_base_image_not_to_be_seen(status, pauses):
    images = Images(failures=[SILENT, exception.GlanceRefused(status, 'x')])

    lookups = inquire(images).lookups

    assert lookups.image(BASE) is None
    # It is remembered.
    assert lookups.image(BASE) is None


def test_server():
    """As much of it as is needed, once until it is to be asked anew."""
    asked = []

    def server_now(server_id):
        asked.append(server_id)
        return None if server_id == 'gone' else {**server(), 'more': 'x'}

    asking = inquire(Images(), server_now)

    for _page in range(2):
        asking.forget_servers()
        for _ in range(2):
            assert asking.lookups.server(SERVER) == server()
            assert asking.lookups.server('gone') is None

    assert asked == [SERVER, 'gone'] * 2
    assert asking.untold == 0


def test_nova_answers_with_an_error(pauses):
    """Of another server it may tell."""
    answers = {SERVER: sdk_exceptions.HttpException('no'), 'b': server()}

    def server_now(server_id):
        if isinstance(answers[server_id], Exception):
            raise answers[server_id]
        return answers[server_id]

    asking = inquire(Images(), server_now)

    assert asking.lookups.server(SERVER) == {}
    assert asking.lookups.server('b') == server()
    assert asking.untold == 1
    assert pauses == []


def test_nova_does_not_answer(pauses):
    """It is not asked about every further server as well."""

    def server_now(server_id):
        raise auth_exceptions.ConnectFailure('no')

    asking = inquire(Images(), server_now)

    assert asking.lookups.server('a') == {}
    assert asking.lookups.server('b') == {}
    assert asking.untold == 2
    assert sum(pauses) == 63
