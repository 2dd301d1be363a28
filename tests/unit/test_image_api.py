"""Requests to Glance's image API."""

from __future__ import annotations

import io

from keystoneauth1 import exceptions as auth_exceptions
import pytest

from nova_multistore import exception
from nova_multistore import image_api
from tests.unit.images import IMAGE


@pytest.mark.parametrize(
    ('body', 'words'),
    [
        (
            b'<html><head><title>409 Conflict</title></head><body>'
            b'<h1>409 Conflict</h1>image &lt;x&gt; isn&#x27;t active</body>',
            "image <x> isn't active",
        ),
        (
            b'400 Bad Request<br /><br />Provided object does not match '
            b"schema 'image': 'x' is not one of ['ami']\n\nFailed validating"
            b" 'enum' in schema['properties']:\n    {'enum': ['ami']}",
            "Provided object does not match schema 'image': 'x' is not one "
            "of ['ami']",
        ),
    ],
)
def test_reason_of_a_refusal(body, words):
    """It is what Glance says, without titles, entities and schemas."""

    class Answer:
        status_code = 400
        content = body
        text = body.decode()

        def json(self):
            raise ValueError

    class Glance:
        def request(self, path, method, **how):
            return Answer()

    with pytest.raises(exception.GlanceRefused) as caught:
        image_api.Images(Glance).show(IMAGE)

    assert caught.value.reason == words


def test_stage():
    """It is sent once, and not for ever waited for."""
    sent = {}

    class Glance:
        def request(self, path, method, **how):
            sent.update(how)
            raise auth_exceptions.ConnectFailure('reset')

    images = image_api.Images(Glance)

    with pytest.raises(exception.LookupFailed, match='reset'):
        images.stage(IMAGE, io.BytesIO())

    assert sent['connect_retries'] == sent['status_code_retries'] == 0
    assert sent['allow_reauth'] is sent['redirect'] is False
    assert sent['timeout'] > 0
