"""From one edge site to another, as the documentation shows it."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import json
from pathlib import Path
import shutil
from typing import Any

import pytest

from tests.e2e import edge as e2e_edge
from tests.e2e import fixture
from tests.e2e import glance
from tests.e2e import guest
from tests.e2e import journey
from tests.e2e import site
from tests.e2e import transcript as e2e_transcript
from tests.e2e.tenant import wait_for

MIB = 1 << 20
STATES = ('-c', 'store', '-c', 'state')
#: From where the second site would start servers.
PLACEMENTS = e2e_transcript.PAGES / 'edge-placements.yaml'
#: Who talks to which Glance: a member at each site, and an administrator.
CLOUDS = {
    'dcn0': ('dcn0', 'demo'),
    'dcn1': ('dcn1', 'demo'),
    'dcn1-admin': ('dcn1', 'admin'),
}


@pytest.fixture
def edges(
    cloud: fixture.Cloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, e2e_edge.Edge]]:
    """Return two sites, each with a Ceph of its own."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(
                e2e_edge.Edge(cloud.site, name, tmp_path_factory.mktemp(name))
            )
            for name in ('dcn0', 'dcn1')
        }


@pytest.fixture
def transcript(
    cloud: fixture.Cloud,
    clouds: Path,
    edges: dict[str, e2e_edge.Edge],
    tmp_path: Path,
) -> e2e_transcript.Transcript:
    """Return what runs the commands, in a directory with a disk."""
    known = json.loads(clouds.read_text())['clouds']
    # JSON is YAML.
    (tmp_path / 'clouds.yaml').write_text(
        json.dumps(
            {
                'clouds': {
                    name: {
                        **known[user],
                        'image_endpoint_override': edges[edge].url,
                    }
                    for name, (edge, user) in CLOUDS.items()
                }
            }
        )
    )
    guest.write_image(tmp_path / 'base.raw', 8 * MIB)
    transcript = e2e_transcript.Transcript(
        'edge-guide.txt',
        ('dcn0', 'dcn1', 'by itself', 'deletion'),
        tmp_path,
        cloud.site.environment(OS_CLIENT_CONFIG_FILE=tmp_path / 'clouds.yaml'),
    )
    for name, edge in edges.items():
        transcript.shown[edge.url] = e2e_edge.SHOWN_URL.format(name)
    return transcript


def test_from_edge_to_edge(
    cloud: fixture.Cloud,
    edges: dict[str, e2e_edge.Edge],
    transcript: e2e_transcript.Transcript,
) -> None:
    """By way of the centre; the other site has the bytes of the first."""
    run, tenant = transcript.run, cloud.tenant('demo')
    here, there = edges['dcn0'], edges['dcn1']

    def start(edge: e2e_edge.Edge, name: str, image: str, starts: int) -> str:
        run(
            *('--os-cloud', edge.name, 'server', 'create', name),
            *('--image', image, '--flavor', journey.TINY, '--nic', 'none'),
            *('--wait', '-c', 'name', '-c', 'status'),
        )
        path = f'/v2.1/servers?name={name}'
        [server] = tenant.ask('nova', 'GET', path)['servers']
        server_id: str = server['id']
        wait_for(
            f'the guest of {name}',
            lambda: edge.disk(server_id).starts,
            lambda found: found == starts,
        )
        return server_id

    def image(name: str) -> Any:
        [found] = tenant.images(name=name)
        return found

    cloud.run_compute(True, 'rbd', **here.options)
    with transcript.section('dcn0'):
        at_dcn0 = '--os-cloud', 'dcn0'
        run(
            *(*at_dcn0, 'multistore', 'image', 'import', 'base'),
            *('--file', 'base.raw', '--disk-format', 'raw'),
            *('--store', 'dcn0', '--store', 'central', '--wait', *STATES),
        )
        server = start(here, 'web', 'base', 1)
        run(
            *(*at_dcn0, 'server', 'image', 'create', 'web'),
            *('--name', 'web-snapshot', '--wait'),
            *('-c', 'name', '-c', 'status'),
        )
        states = run(
            *(*at_dcn0, 'multistore', 'image', 'show', 'web-snapshot'),
            *('--wait', *STATES),
        )
    assert states == {'dcn0': 'done', 'central': 'done'}
    base, snapshot = image('base'), image('web-snapshot')
    assert here.parent(server) == base['id']
    central = glance.directory(cloud.site, e2e_edge.CENTRAL)
    copied = guest.Disk('raw', central / snapshot['id'])
    for each in copied, here.image(snapshot['id']):
        assert each.is_same(here.disk(server))
    assert there.images == []
    tenant.openstack('server', 'delete', '--wait', server)

    cloud.run_compute(True, 'rbd', **there.options)
    shutil.copy(PLACEMENTS, transcript.root)
    check = (
        *('--os-cloud', 'dcn1-admin', 'multistore', 'placement', 'check'),
        *(PLACEMENTS.name, '-c', 'name', '-c', 'site', '-c', 'start'),
    )
    with transcript.section('dcn1'):
        run(*check)
        states = run(
            *('--os-cloud', 'dcn1-admin', 'multistore', 'image', 'copy'),
            *('web-snapshot', '--store', 'dcn1', '--wait', *STATES),
        )
        assert states == {'dcn1': 'done'}
        run(*check)
        server = start(there, 'web-again', 'web-snapshot', 2)
    assert there.parent(server) == snapshot['id']
    assert there.image(snapshot['id']).is_same(copied)
    with transcript.section('by itself'):
        other = start(there, 'other', 'base', 1)
        states = run(
            *('--os-cloud', 'dcn1', 'multistore', 'image', 'show', 'base'),
            *STATES,
        )
    assert there.parent(other) == base['id']
    assert states == {'dcn0': 'done', 'central': 'done', 'dcn1': 'done'}
    tenant.openstack('server', 'delete', '--wait', server, other)

    with transcript.section('deletion'):
        run('--os-cloud', 'dcn0', 'image', 'delete', 'web-snapshot', code=1)
        assert image('web-snapshot')['stores'] == 'dcn1'
        run('--os-cloud', 'dcn1', 'image', 'delete', 'web-snapshot')
    with pytest.raises(site.CloudFailed, match='500'):
        tenant.ask('glance-dcn0', 'DELETE', f'/v2/images/{base["id"]}')
    tenant.ask('glance-dcn1', 'DELETE', f'/v2/images/{base["id"]}')
    assert here.images == there.images == []
    assert list(central.iterdir()) == []
    transcript.write()
