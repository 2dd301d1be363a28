"""From which of its stores nova-compute downloads an image."""

from __future__ import annotations

import hashlib
import os
import subprocess

import pytest

from nova_multistore import lookup
from nova_multistore.compute import near
from tests.cloud import nova as cloud_nova

pytestmark = [
    pytest.mark.eventlet,
    pytest.mark.skipif(
        not near.can_prefer(), reason='glanceclient is older than 4.12'
    ),
]

MIB = 1 << 20


@pytest.fixture
def edge(nova, sites):
    """The site of store ``dcn0``."""
    lookup.forget()
    nova.conf(**{'glance.api_servers': [sites.url], 'glance.store': 'dcn0'})
    yield nova
    lookup.forget()


@pytest.fixture
def make(sites):
    """Make an image whose copies in some of its stores are damaged."""
    made = []

    def make(*stores, damaged=()):
        data = os.urandom(MIB)
        made.append(sites.create_image(data, stores, disk_format='raw'))
        for store in damaged:
            sites.files(made[-1])[store].write_bytes(bytes(MIB))
        return made[-1]

    yield make
    for image_id in made:
        sites.delete_image(image_id)


def downloads(glance):
    """Return the queries of all downloads that Glance was asked for."""
    return [
        (r.query, r.status)
        for r in glance.requests()
        if r.method == 'GET' and r.path.endswith('/file')
    ]


def start(nova, glance, image_id):
    """Start a server, and return the digest of what it has of the image."""
    glance.forget_requests()
    server = nova.create_server(image_id)
    start = nova.root / 'start'
    subprocess.run(
        [
            'qemu-img',
            'dd',
            '-O',
            'raw',
            'bs=1M',
            'count=1',
            f'if={nova.disk(server)}',
            f'of={start}',
        ],
        check=True,
    )
    nova.delete_server(server)
    return hashlib.sha256(start.read_bytes()).hexdigest()


def test_near_store(edge, sites, make):
    """Nothing is read from the store that Glance would take."""
    image_id = make('central', 'dcn0', damaged=['central'])

    digest = start(edge, sites, image_id)

    assert downloads(sites) == [('prefer=dcn0', 200)]
    assert digest == sites.sha256(image_id)['dcn0']
    edge.wait_for_line(f'{image_id} is downloaded, preferably from store dcn0')


def test_stock(edge, sites, make):
    """Without a store of the site, Glance chooses as ever."""
    edge.conf(**{'glance.store': None})

    with pytest.raises(cloud_nova.NovaFailed):
        start(edge, sites, make('central', 'dcn0', damaged=['central']))

    assert {query for query, _status in downloads(sites)} == {''}


def test_damaged_near_copy(edge, sites, make):
    """A preference is no guarantee, but is not given up silently either."""
    image_id = make('central', 'dcn0')
    sites.files(image_id)['dcn0'].unlink()

    digest = start(edge, sites, image_id)

    assert digest == sites.sha256(image_id)['central']


@pytest.mark.parametrize('stores', [['central'], ['central', 'dcn1']])
def test_elsewhere(edge, sites, make, stores):
    """A store without the image is not named."""
    start(edge, sites, make(*stores))

    assert downloads(sites) == [('', 200)]


def test_policy(edge, sites, make, policy):
    """Who may not prefer a store gets the image as before."""
    policy(download_from_store='role:admin')

    start(edge, sites, make('central', 'dcn0'))

    assert downloads(sites) == [('prefer=dcn0', 403), ('', 200)]
    policy(download_from_store='@')


def test_glance_is_silent(edge, sites, make, monkeypatch):
    """The download goes on if Glance does not say where the image is."""

    def fail(*_args, **_kwargs):
        raise lookup.exception.LookupFailed('no answer')

    image_id = make('central', 'dcn0')
    monkeypatch.setattr(lookup, 'base_image', fail)

    start(edge, sites, image_id)

    assert downloads(sites) == [('', 200)]
