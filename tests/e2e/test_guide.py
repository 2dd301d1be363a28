"""Images imported into several stores, as the documentation shows it."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from pathlib import Path
import shutil
import sys
import threading

import pytest

from tests.cloud import ceph as cloud_ceph
from tests.cloud import glance as cloud_glance
from tests.cloud import server as cloud_server
from tests.e2e import guide as e2e_guide
from tests.e2e import transcript
from tests.e2e.guide import Guide

IMPORT = ('multistore', 'image', 'import')
SHOW = ('multistore', 'image', 'show')
STATES = ('-c', 'store', '-c', 'state')
SEVERAL = ('--store', 'central', '--store', 'dcn0', '--store', 'dcn1')
ALL = {'central', 'dcn0', 'dcn1'}
METRICS = transcript.PAGES / 'store-metrics.prom'
MAP = transcript.PAGES / 'stores.svg'
PLACEMENTS = transcript.PAGES / 'placements.yaml'
TIME = 'multistore_store_timestamp_seconds 1.8e+09'


@pytest.fixture(scope='module', params=['file', 'rbd'])
def kind(request: pytest.FixtureRequest) -> str:
    """Return the type of the stores."""
    found: str = request.param
    return found


@pytest.fixture(scope='module')
def ceph(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[cloud_ceph.Ceph | None]:
    """Return a Ceph with a pool for each store, None for files."""
    if kind == 'file':
        yield None
        return
    with cloud_ceph.Ceph(
        tmp_path_factory.mktemp('ceph'), e2e_guide.STORES
    ) as ceph:
        yield ceph


@pytest.fixture(scope='module')
def glance(
    kind: str,
    ceph: cloud_ceph.Ceph | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[cloud_glance.Glance]:
    """Return a Glance of three sites, which makes images raw."""
    options: dict[str, object] = {}
    for store in e2e_guide.STORES if ceph else ():
        options.update(ceph.store(store, store))
    with cloud_glance.Glance(
        tmp_path_factory.mktemp('guide'),
        stores=dict.fromkeys(e2e_guide.STORES, kind),
        default='central',
        filters=cloud_glance.FILTER,
        **{
            'image_import_opts.image_import_plugins': '[image_conversion]',
            'image_conversion.output_format': 'raw',
            'wsgi.python_interpreter': sys.executable,
            **options,
        },
    ) as glance:
        yield glance


@pytest.fixture(scope='module')
def guide(
    glance: cloud_glance.Glance, ceph: cloud_ceph.Ceph | None
) -> Iterator[Guide]:
    """Return the walk; the documentation shows the one with files."""
    with cloud_server.Server(e2e_guide.NoServers) as servers:
        guide = Guide(glance.root, glance, servers.url, ceph)
        yield guide
    if ceph is None:
        guide.write()


def source(guide: Guide) -> tuple[str, ...]:
    return ('--uri', guide.uri, '--disk-format', 'qcow2')


def test_failures(guide: Guide) -> None:
    """Allowed, they cost one store; not allowed, the image."""
    with guide.section('failures'):
        with guide.broken('dcn1'):
            states = guide.run(
                *(*IMPORT, 'allowed', *source(guide), *SEVERAL),
                *('--allow-failure', '--wait', *STATES),
                code=3,
            )
            assert states == {
                'central': 'done',
                'dcn0': 'done',
                'dcn1': 'failed',
            }
            image = guide.image('allowed')
            assert image['status'] == 'active'
            assert image['os_glance_failed_import'] == 'dcn1'

            guide.run(
                *(*IMPORT, 'strict', *source(guide), *SEVERAL),
                *('--disallow-failure', '--wait', *STATES),
                code=1,
            )
            image = guide.image('strict')
            assert image['status'] != 'active'
            # The plugin that makes images raw names all that were undone.
            assert image['os_glance_failed_import'] == 'central,dcn0,dcn1'
            assert guide.lies_in('strict') == set()
            guide.run('image', 'delete', image['id'])
        assert guide.lies_in('allowed') == {'central', 'dcn0'}
        states = guide.run(
            *('multistore', 'image', 'copy', 'allowed', '--store', 'dcn1'),
            *('--wait', *STATES),
        )
        assert states == {'dcn1': 'done'}
    assert guide.lies_in('allowed') == ALL


def test_several_stores(guide: Guide) -> None:
    """By their names, all of them, and from a local file."""
    with guide.section('several stores'):
        guide.run(
            *(*IMPORT, 'several', *source(guide), *SEVERAL),
            *('--wait', *STATES),
        )
        guide.run(
            *(*IMPORT, 'everywhere', *source(guide), '--all-stores'),
            *('--wait', *STATES),
        )
        guide.run(
            *(*IMPORT, 'local', '--file', 'cirros.qcow2'),
            *('--disk-format', 'qcow2', '--all-stores', '--wait', *STATES),
        )
        guide.run(
            *('image', 'show', 'several'),
            *('-c', 'disk_format', '-c', 'size', '-c', 'status'),
        )
    for name in ('several', 'everywhere', 'local'):
        assert guide.lies_in(name) == ALL


def test_without_failures(guide: Guide) -> None:
    """The image is active once it is in all stores."""
    with guide.section('without failures'):
        guide.run(
            *(*IMPORT, 'whole', *source(guide)),
            *('--store', 'central', '--store', 'dcn0'),
            *('--disallow-failure', '--wait', *STATES),
        )
        guide.run(*SHOW, 'whole', *STATES, '-c', 'size', '-c', 'default')
    assert guide.lies_in('whole') == {'central', 'dcn0'}
    assert guide.image('whole')['status'] == 'active'


def test_one_store(guide: Guide) -> None:
    """It need not be the default store."""
    with guide.section('one store'):
        guide.run(
            *(*IMPORT, 'alone', *source(guide), '--store', 'dcn0'),
            *('--wait', *STATES),
        )
        guide.run(*SHOW, 'alone', *STATES, '-c', 'size', '-c', 'default')
    assert guide.lies_in('alone') == {'dcn0'}


def test_progress(guide: Guide) -> None:
    """It is seen before, without waiting; and afterwards."""
    with guide.section('progress'), contextlib.ExitStack() as stack:
        gate = threading.Event()
        stack.callback(gate.set)
        stack.enter_context(guide.broken('dcn0'))
        guide.run(
            *(*IMPORT, 'watched', '--uri', guide.held_uri(gate)),
            *('--disk-format', 'qcow2', *SEVERAL, '-c', 'image_id'),
            *('-c', 'store'),
        )
        states = guide.run(*SHOW, 'watched', *STATES, '-c', 'status')
        assert states == {
            'central': 'copying',
            'dcn0': 'waiting',
            'dcn1': 'waiting',
        }
        image = guide.image('watched')
        assert image['os_glance_importing_to_stores'] == 'central,dcn0,dcn1'
        assert image['os_glance_failed_import'] == ''

        gate.set()
        states = guide.run(
            *(*SHOW, 'watched', '--wait', *STATES, '-c', 'status'), code=3
        )
        assert states == {'central': 'done', 'dcn1': 'done', 'dcn0': 'failed'}
        image = guide.image('watched')
        assert image['os_glance_importing_to_stores'] == ''
        assert image['os_glance_failed_import'] == 'dcn0'
    assert guide.lies_in('watched') == {'central', 'dcn1'}


def test_another_store(guide: Guide) -> None:
    """The image is nowhere else then; a second time there is nothing to do."""
    with guide.section('another store'):
        for expected in (
            {'central': 'done', 'dcn0': 'deleted'},
            {'central': 'done'},
        ):
            states = guide.run(
                *('multistore', 'image', 'relocate', 'alone'),
                *('--to', 'central', *STATES),
            )
            assert states == expected
    assert guide.lies_in('alone') == {'central'}


def test_usage(guide: Guide, kind: str, tmp_path: Path) -> None:
    """What lies in each store, and what lies in no other one."""
    metrics = tmp_path / 'metrics.prom'
    listing = 'multistore', 'store', 'list', '--all-projects'
    with guide.section('usage'):
        guide.run(*listing)

    shown = guide.ask(*listing, '--metrics', str(metrics))
    rows = {row['id']: row for row in shown}

    assert set(rows) == ALL
    assert sum(row['images'] for row in rows.values()) > len(rows)
    for store, row in rows.items():
        images = guide.images_in(store)
        alone = [image for image in images if image['stores'] == store]
        assert row['type'] == kind
        assert row['pool'] == (store if kind == 'rbd' else None)
        assert (row['images'], row['size']) == (
            len(images),
            sum(image['size'] for image in images),
        )
        assert (row['only_copies'], row['only_copies_size']) == (
            len(alone),
            sum(image['size'] for image in alone),
        )
        assert f'multistore_store_only_copies{{store="{store}"}} ' in (
            metrics.read_text()
        )
    if kind == 'file':
        # The time is the only thing that differs from run to run.
        *lines, _time = metrics.read_text().splitlines()
        METRICS.write_text('\n'.join([*lines, TIME, '']))


def test_map(guide: Guide, kind: str, tmp_path: Path) -> None:
    """It shows each image in each of its stores."""
    command = 'multistore', 'store', 'map', '--all-projects', '--output'
    with guide.section('map'):
        guide.run(*command, 'stores.svg')

    text = (guide.root / 'stores.svg').read_text()
    for store in ALL:
        for image in guide.images_in(store):
            assert text.count(f'({image["id"]})') == len(
                image['stores'].split(',')
            )
    if kind == 'file':
        MAP.write_text(f'{guide.readable(text)}\n')


def test_placement(guide: Guide) -> None:
    """The images are where the file says; then there is nothing to do."""
    shutil.copy(PLACEMENTS, guide.root)
    columns = '-c', 'Name', '-c', 'Size', '-c', 'Copy To', '-c', 'Delete From'
    plan = 'multistore', 'placement', 'plan', PLACEMENTS.name, '--prune'
    with guide.section('placement'):
        guide.run(*plan, *columns, code=3)
        guide.run(
            *('multistore', 'placement', 'apply', PLACEMENTS.name, '--prune'),
            *('--sort-column', 'State'),
        )
        guide.run(*plan, *columns)

    assert guide.lies_in('whole') == ALL
    assert guide.lies_in('several') == {'central', 'dcn0'}
    assert guide.lies_in('alone') == {'central'}


def test_verify(guide: Guide) -> None:
    """One bit of one copy is found, and mended."""
    verify = 'multistore', 'image', 'verify', '--all-projects'
    guide.damage('everywhere', 'dcn1')
    with guide.section('verify'):
        states = guide.run(*verify, code=1)
        assert states == {'dcn1': 'damaged'}
        states = guide.run(*verify, '--fix')
        assert states == {'dcn1': 'repaired'}
    assert guide.lies_in('everywhere') == ALL


def test_drain(guide: Guide) -> None:
    """All leave, also the default store; the images are whole elsewhere."""
    before = guide.images_in('central')
    drain = 'multistore', 'store', 'drain', 'central', '--to', 'dcn0'
    with guide.section('drain'):
        guide.run(*drain, '--dry-run')
        guide.run(*drain)

    assert [image for image in before if image['stores'] == 'central']
    assert guide.images_in('central') == []
    for image in before:
        assert 'central' not in guide.lies_in(image['name'])
