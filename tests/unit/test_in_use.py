"""What disks may need, as far as Nova and Cinder tell."""

from __future__ import annotations

import argparse
import types

from openstack import exceptions as sdk_exceptions
import pytest

from nova_multistore import stores
from nova_multistore.osc import cloud as osc_cloud
from nova_multistore.osc import in_use

CATALOGUE = stores.Catalogue(
    (
        stores.Store('ceph', place=stores.Place('rbd')),
        stores.Store('files', place=stores.Place('file')),
        stores.Store('untold'),
    )
)


def cloud(servers=(), volumes=()):
    """Nova and Cinder; an error is raised, the rest is returned."""

    def answer(found):
        if isinstance(found, Exception):
            raise found
        return list(found)

    return types.SimpleNamespace(
        servers_by_image=lambda: answer(servers),
        volumes_by_image=lambda: answer(volumes),
    )


def why(asked, store='ceph', image_id='x', ignored=False):
    return in_use.InUse(asked, CATALOGUE, ignored).why(image_id, store)


@pytest.mark.parametrize(
    ('servers', 'volumes', 'words'),
    [
        ([('x', 's')], [], 'server s was made from it'),
        ([('x', 's'), ('x', 't')], [], '2 servers were made from it'),
        ([], [('x', 'v')], 'volume v was made from it'),
        ([(None, 's')], [], 'servers: s cannot be looked at'),
        (sdk_exceptions.HttpException('no'), [], 'servers: '),
        ([], sdk_exceptions.HttpException('no'), 'volumes: '),
        (
            sdk_exceptions.ForbiddenException('inner_policy'),
            [],
            '(servers: administrators alone may list those of all projects; ',
        ),
    ],
)
@pytest.mark.parametrize('store', ['ceph', 'untold'])
def test_needed(servers, volumes, words, store):
    """What is not known stays, too."""
    found = why(cloud(servers, volumes), store)

    assert words in found
    assert '--even-in-use' in found


@pytest.mark.parametrize(
    'how',
    [
        {'store': 'files'},
        {'image_id': 'y'},
        {'ignored': True},
    ],
)
def test_not_needed(how):
    assert why(cloud([('x', 's')]), **how) is None


def test_store_of_files_asks_nobody():
    assert (
        why(cloud(ValueError('asked'), ValueError('asked')), 'files') is None
    )


def test_asked_again(monkeypatch):
    """Servers may be started while a command runs."""
    asked = []

    def servers_by_image():
        asked.append(None)
        return [('x', 's')] if len(asked) > 1 else []

    users = in_use.InUse(
        types.SimpleNamespace(
            servers_by_image=servers_by_image, volumes_by_image=list
        ),
        CATALOGUE,
        ignored=False,
    )

    assert users.why('x', 'ceph') is None
    assert users.why('x', 'ceph') is None
    monkeypatch.setattr(in_use, 'FRESH', -1.0)
    assert 'server s' in users.why('x', 'ceph')
    assert len(asked) == 2


def test_option():
    parser = argparse.ArgumentParser()
    in_use.add_option(parser)
    assert parser.parse_args(['--even-in-use']).even_in_use
    assert not parser.parse_args([]).even_in_use


def service(**answers):
    """A service that lists what it has, by path."""
    return types.SimpleNamespace(
        get=lambda path, **how: types.SimpleNamespace(
            status_code=200,
            json=lambda: answers[path.split('?')[0].strip('/')],
        )
    )


@pytest.mark.parametrize('endpoint', [None, 'http://cinder'])
def test_volumes(endpoint):
    """Those that were not made from an image are left out."""
    config = types.SimpleNamespace(
        get_endpoint=lambda kind: endpoint,
        get_region_name=lambda kind: None,
        get_interface=lambda kind: None,
        get_session=lambda: types.SimpleNamespace(
            get_endpoint=lambda **filters: None
        ),
    )
    listed = {
        'volumes': [
            {'id': 'v', 'volume_image_metadata': {'image_id': 'x'}},
            {'id': 'w'},
        ]
    }
    connection = types.SimpleNamespace(
        config=config, block_storage=service(**{'volumes/detail': listed})
    )

    found = list(osc_cloud.Cloud(connection).volumes_by_image())

    assert found == ([('x', 'v')] if endpoint else [])
