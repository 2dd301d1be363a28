"""What Nova's clients ask of Glance, and how often."""

from __future__ import annotations

from nova.image import glance as nova_glance
import pytest

from nova_multistore.compute import clients
from tests.unit import stub

SCHEMA = '/v2/schemas/image'


@pytest.fixture
def call(glance, patched, context):
    """Call glanceclient as Nova does."""

    def call(method, **kwargs):
        return nova_glance.GlanceClientWrapper().call(
            context, 2, method, kwargs=kwargs
        )

    return call


def test_schema(call, glance, image, monkeypatch):
    """It is asked for once, and again when it is old."""
    for _ in range(3):
        call('get', image_id=image['id'])
    assert len(glance.made('GET', SCHEMA)) == 1

    monkeypatch.setattr(clients, 'KEPT', -1.0)
    call('get', image_id=image['id'])
    assert len(glance.made('GET', SCHEMA)) == 2


def test_schema_of_another_server(call, conf, glance, image):
    """Each API server may have its own."""
    call('get', image_id=image['id'])
    with stub.Glance() as other:
        other.images.update(glance.images)
        conf.config(group='glance', api_servers=[other.url])
        call('get', image_id=image['id'])

        assert len(other.made('GET', SCHEMA)) == 1


def test_schema_that_is_not_given(call, glance, image):
    """The error is the caller's, and the next one asks again."""
    glance.answers['GET', SCHEMA] = stub.Answer(404)
    with pytest.raises(Exception, match='NotFound'):
        call('get', image_id=image['id'])
    del glance.answers['GET', SCHEMA]

    assert call('get', image_id=image['id'])['id'] == image['id']


def test_update(call, glance, image):
    """Its answer shows the image, so nobody asks for it again."""
    path = f'/v2/images/{image["id"]}'

    updated = call('update', image_id=image['id'], name='new')

    assert updated['name'] == 'new'
    assert updated['status'] == 'queued'
    assert len(glance.made('PATCH', path)) == 1
    # glanceclient's own look, before it.
    assert len(glance.made('GET', path)) == 1


def test_update_whose_answer_is_no_image(call, glance, image):
    """Then Glance is asked, as by glanceclient alone."""
    path = f'/v2/images/{image["id"]}'
    glance.answers['PATCH', path] = stub.Answer(200, {'message': 'done'})

    updated = call('update', image_id=image['id'], name='new')

    assert updated['id'] == image['id']
    assert len(glance.made('GET', path)) == 2


def test_question_that_is_not_about_a_change(glance, patched, context, image):
    """Only the next question of the client has the answer of a change."""
    client = nova_glance.GlanceClientWrapper()._create_onetime_client(
        context, 2
    )
    client.images.update(image['id'], name='new')
    glance.images[image['id']]['status'] = 'active'

    assert client.images.get(image['id'])['status'] == 'active'


def test_removed(glance, context, image):
    """Without the package, Nova's clients are glanceclient's own."""
    for _ in range(2):
        nova_glance.GlanceClientWrapper().call(
            context, 2, 'get', args=(image['id'],)
        )

    assert len(glance.made('GET', SCHEMA)) == 2
