"""The command that says what lies in which store."""

from __future__ import annotations

import types

from prometheus_client import parser
import pytest

from nova_multistore import exception
from nova_multistore import stores
from nova_multistore.osc import store_list
from tests import command

CATALOGUE = {
    'stores': [
        {
            'id': 'cheap',
            'default': 'true',
            'type': 'file',
            'weight': 5,
            'description': 'slow disks',
            'properties': {},
        },
        {
            'id': 'fast',
            'type': 'rbd',
            'weight': 0,
            'properties': {'pool': 'images', 'fsid': 'c1'},
        },
        {'id': 'web', 'read-only': 'true', 'type': 'http', 'weight': 'no'},
    ]
}
IMAGES = [
    {'id': '0', 'stores': 'cheap', 'size': 5, 'image_type': 'snapshot'},
    {'id': '1', 'stores': 'cheap,fast', 'size': 7, 'image_type': 'backup'},
    {'id': '2', 'stores': 'fast', 'size': 11},
    {'id': '3', 'stores': 'fast', 'size': None, 'image_type': 'strange'},
    # One that waits for its data, and one in a store of another Glance.
    {'id': '4', 'size': None, 'status': 'queued'},
    {'id': '5', 'stores': 'elsewhere', 'size': 13},
]


class Glance:
    """Lists images in two pages, to somebody."""

    def __init__(self, administrator, fails=False):
        self.administrator = administrator
        self.fails = fails
        self.filters = []

    def page(self, marker=None, **filters):
        if filters == {'visibility': 'private'}:
            return [], False
        self.filters.append(filters)
        if filters['os_hidden'] == 'true':
            return [], False
        if marker is None:
            return IMAGES[:3], True
        if self.fails:
            raise exception.GlanceRefused(403, 'no more')
        return IMAGES[3:], False

    def ask(self, method, path):
        if not self.administrator:
            raise exception.GlanceRefused(403, 'no')


def run(*args, administrator=True, body=CATALOGUE, fails=False):
    glance = Glance(administrator, fails)
    cloud = types.SimpleNamespace(
        images=glance,
        project_id='mine',
        roles=(),
        find_project={'theirs': 'p-2'}.__getitem__,
        catalogue=lambda: stores.parse(body),
    )
    return command.run(store_list.ListStores, cloud, *args), glance


def test_usage():
    """An image counts in each of its stores, and as the only one in one."""
    done, glance = run()

    assert done.code == 0
    assert done.rows == [
        {
            'id': 'cheap',
            'description': 'slow disks',
            'type': 'file',
            'default': True,
            'read_only': False,
            'weight': 5,
            'images': 2,
            'size': 12,
            'only_copies': 1,
            'only_copies_size': 5,
            'snapshots': 1,
            'backups': 1,
            'others': 0,
            'pool': None,
            'cluster': None,
        },
        {
            'id': 'fast',
            'description': '',
            'type': 'rbd',
            'default': False,
            'read_only': False,
            'weight': 0,
            'images': 3,
            'size': 18,
            'only_copies': 2,
            'only_copies_size': 11,
            'snapshots': 0,
            'backups': 1,
            'others': 2,
            'pool': 'images',
            'cluster': 'c1',
        },
        {
            'id': 'web',
            'description': '',
            'type': 'http',
            'default': False,
            'read_only': True,
            'weight': None,
            'images': 0,
            'size': 0,
            'only_copies': 0,
            'only_copies_size': 0,
            'snapshots': 0,
            'backups': 0,
            'others': 0,
            'pool': None,
            'cluster': None,
        },
        {
            'id': 'elsewhere',
            'description': '',
            'type': '',
            'default': False,
            'read_only': False,
            'weight': None,
            'images': 1,
            'size': 13,
            'only_copies': 1,
            'only_copies_size': 13,
            'snapshots': 0,
            'backups': 0,
            'others': 1,
            'pool': None,
            'cluster': None,
        },
    ]
    assert glance.filters[0] == {
        'owner': 'mine',
        'visibility': 'all',
        'os_hidden': 'false',
    }


@pytest.mark.parametrize(
    ('args', 'owner'),
    [(('--all-projects',), None), (('--project', 'theirs'), 'p-2')],
)
def test_whose(args, owner):
    done, glance = run(*args)

    assert done.code == 0
    assert [f.get('owner') for f in glance.filters] == [owner] * 3


@pytest.mark.parametrize('option', [('--all-projects',), ('--project', 'x')])
def test_members_count_their_own(option):
    done, _ = run(*option, administrator=False)

    assert (done.code, done.rows) == (2, [])
    assert f'{option[0]} is for administrators' in done.words


def test_glance_with_one_store():
    done, _ = run(body={'stores': []})

    assert done.code == 2
    assert 'does not have several stores' in done.words


def metrics(path):
    """Read the file as Prometheus does."""
    labels = 'store', 'kind'
    return {
        (sample.name, *map(sample.labels.get, labels)): sample.value
        for family in parser.text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


def test_metrics(tmp_path):
    """The same figures, in a file that appears at once."""
    path = tmp_path / 'stores.prom'

    done, _ = run('--metrics', str(path), '--all-projects')

    assert (done.code, done.words) == (0, '')
    assert [each.name for each in tmp_path.iterdir()] == ['stores.prom']
    found = metrics(path)
    assert found['multistore_store_info', 'fast', None] == 1
    assert found['multistore_store_images', 'cheap', 'snapshot'] == 1
    assert found['multistore_store_images', 'fast', 'other'] == 2
    assert found['multistore_store_bytes', 'fast', 'backup'] == 7
    assert found['multistore_store_only_copies', 'fast', None] == 2
    assert found['multistore_store_only_copies_bytes', 'elsewhere', None] == 13
    assert found['multistore_store_timestamp_seconds', None, None] > 1e9


@pytest.mark.parametrize('option', [(), ('--project', 'theirs')])
def test_metrics_of_one_project(tmp_path, option):
    """Who watches the file is told that it is about one project."""
    path = tmp_path / 'stores.prom'

    done, _ = run('--metrics', str(path), *option)

    assert done.code == 0
    assert f'{path} has the images of one project alone' in done.words


def test_no_metrics_of_a_half(tmp_path):
    """What was there stays, if not all images are listed."""
    path = tmp_path / 'stores.prom'
    path.write_text('before')

    done, _ = run('--metrics', str(path), fails=True)

    assert (done.code, done.rows) == (1, [])
    assert path.read_text() == 'before'


def test_metrics_that_cannot_be_written(tmp_path):
    path = tmp_path / 'none' / 'stores.prom'

    done, _ = run('--metrics', str(path))

    assert done.code == 2
    assert f'{path} cannot be written' in done.words
