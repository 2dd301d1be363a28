"""Who counts as an administrator, in clouds with other policies, too."""

from __future__ import annotations

import types

from keystoneauth1 import access
from keystoneauth1 import fixture as ks_fixture
from keystoneauth1 import session as ks_session
from keystoneauth1 import token_endpoint
from keystoneauth1.identity import access as access_plugin
import pytest

from nova_multistore import exception
from nova_multistore.osc import base
from nova_multistore.osc import cloud as osc_cloud
from nova_multistore.osc import image_pages

MINE, THEIRS = {'id': '1', 'owner': 'mine'}, {'id': '2', 'owner': 'theirs'}


class Images:
    """Lists private images in pages of one; tasks are closed to all."""

    def __init__(self, *found, status=403):
        self.found = list(found)
        self.status = status

    def ask(self, method, path):
        if self.status != 200:
            raise exception.GlanceRefused(self.status, 'no tasks')

    def page(self, marker=None, **filters):
        assert filters == {'visibility': 'private'}
        ids = [image['id'] for image in self.found]
        begin = ids.index(marker) + 1 if marker else 0
        return self.found[begin : begin + 1], begin + 1 < len(ids)


def check(images, *roles):
    image_pages.check_administrator(
        types.SimpleNamespace(images=images, project_id='mine', roles=roles),
        '--all-projects',
    )


@pytest.mark.parametrize(
    ('images', 'roles'),
    [
        (Images(), ['member', 'admin']),
        (Images(MINE), ['Admin']),
        (Images(MINE, THEIRS), ['cloud_admin']),
        (Images(THEIRS), []),
        (Images(THEIRS, status=404), []),
        (Images(status=200), ['operator']),
    ],
)
def test_administrator(images, roles):
    """One sign is enough: a role, what Glance lists, or its tasks."""
    check(images, *roles)


@pytest.mark.parametrize('status', [401, 403, 404])
@pytest.mark.parametrize('images', [(), (MINE,), (MINE, {**MINE, 'id': '3'})])
def test_no_administrator(images, status):
    """All three are named."""
    with pytest.raises(base.UsageError) as caught:
        check(Images(*images, status=status), 'member', 'reader')

    words = str(caught.value)
    assert words.startswith('--all-projects is for administrators: ')
    assert 'role admin' in words
    assert 'no private image of another project' in words
    assert f'(HTTP {status})' in words


def roles_of(auth):
    connection = types.SimpleNamespace(session=ks_session.Session(auth=auth))
    return osc_cloud.Cloud(connection).roles


def test_roles():
    """They are those of the token."""
    token = ks_fixture.V3Token()
    token.add_role(name='reader')
    token.add_role(name='admin')

    auth = access_plugin.AccessInfoPlugin(access.create(body=token))

    assert roles_of(auth) == ('reader', 'admin')


def test_roles_that_are_not_told():
    """Whoever only has a token, or none, does not know."""
    assert roles_of(token_endpoint.Token('http://glance', 'x')) == ()
    assert roles_of(None) == ()
