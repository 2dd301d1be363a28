"""Glance behind TLS: `nova.conf` says whom to trust, and who asks."""

from __future__ import annotations

import ssl
import uuid

from nova.image import glance as nova_glance
import pytest

from nova_multistore import exception
from nova_multistore import lookup
from tests.cloud import tls
from tests.unit import stub

DATA = bytes(range(256))

pytestmark = pytest.mark.usefixtures('patched', 'own_session')


@pytest.fixture
def authority(tmp_path):
    return tls.Authority(tmp_path)


@pytest.fixture(params=['anybody', 'who has a certificate'])
def asks(request):
    """Who may ask that Glance."""
    return request.param


@pytest.fixture
def glance(conf, authority, asks):
    """A Glance with a certificate that no system trusts."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.issue('glance'))
    if asks != 'anybody':
        context.load_verify_locations(authority.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
        own = str(authority.issue('nova'))
        conf.config(group='glance', certfile=own, keyfile=own)
    with stub.Glance(context) as glance:
        conf.config(group='glance', api_servers=[glance.url])
        lookup.forget()
        yield glance


@pytest.fixture(params=['cafile', 'insecure'])
def trusted(request, conf, authority):
    """Have `nova.conf` trust it."""
    value = {'cafile': str(authority.certificate), 'insecure': True}
    conf.config(group='glance', **{request.param: value[request.param]})


def test_upload(glance, trusted, context, image):
    """The data arrive as they do with stock Nova."""
    service = nova_glance.GlanceImageServiceV2()

    service._upload_data(context, image['id'], DATA)

    [put] = glance.made('PUT')
    assert put.body == DATA


def test_questions(glance, trusted, context, base):
    """So do the package's own."""
    assert lookup.catalogue(context).ids == ('cheap', 'fast', 'web')
    assert lookup.base_image(context, base['id'], 5.0) == base
    assert lookup.show(context, base['id'], 5.0) == base
    assert lookup.images(context).show(base['id']) == base


@pytest.mark.parametrize('asks', ['anybody'], indirect=True)
def test_certificate_of_nobody(glance, context):
    """Nothing is asked without trust, and the error says why."""
    with pytest.raises(exception.LookupFailed, match='SSL') as caught:
        lookup.base_image(context, str(uuid.uuid4()), 5.0)

    assert 'certificate verify failed' in str(caught.value)

    assert glance.requests == []
