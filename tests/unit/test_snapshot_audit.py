"""The command that audits snapshots: its exit code, and its figures."""

from __future__ import annotations

import types

from keystoneauth1 import exceptions as auth_exceptions
from openstack import exceptions as sdk_exceptions
from prometheus_client import parser
import pytest

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import stores
from nova_multistore.osc import snapshot_audit
from tests import command

CATALOGUE = {'stores': [{'id': 'cheap', 'default': 'true'}, {'id': 'fast'}]}
GOOD = {
    'id': 'good',
    'name': 'nightly',
    'owner': 'mine',
    'status': 'active',
    'size': 5,
    'stores': 'cheap',
    'image_type': 'snapshot',
    'updated_at': '2020-01-01T00:00:00Z',
}
LACKING = {**GOOD, 'id': 'lacking', copies.PROPERTY: 'fast'}
# Nobody has sent its data for a long time. Its server would tell why.
WAITING = {
    **GOOD,
    'id': 'waiting',
    'status': 'queued',
    'size': None,
    'stores': '',
    'instance_uuid': '33e64cb0-62f8-495b-b072-0e19eabba3cf',
}
AWAY = exception.LookupFailed('Glance did not answer')


class Glance:
    """Lists images, the second page of which may fail."""

    def __init__(self, images, error=None):
        self.images = {image['id']: image for image in images}
        self._error = error

    def page(self, marker=None, **filters):
        if filters != {
            'visibility': 'all',
            'os_hidden': 'false',
            'image_type': 'snapshot',
        }:
            return [], False
        if marker is None:
            return list(self.images.values()), self._error is not None
        raise self._error

    def ask(self, method, path):
        return {'tasks': []}

    def show(self, image_id):
        return self.images[image_id]

    def tasks(self, image_id):
        return []


def run(path, *images, error=None, catalogue=None, args=('--all-projects',)):
    """Run an audit that writes its figures."""

    def server_now(server_id):
        raise sdk_exceptions.HttpException('no')

    cloud = types.SimpleNamespace(
        images=Glance(images, error),
        roles=(),
        project_id='mine',
        server_now=server_now,
        catalogue=catalogue or (lambda: stores.parse(CATALOGUE)),
    )
    return command.run(
        snapshot_audit.AuditSnapshots, cloud, *args, '--metrics', str(path)
    )


def figures(path):
    """Read the file as Prometheus does."""
    return {
        sample.name.removeprefix('multistore_audit_'): sample.value
        for family in parser.text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'audit.prom'


@pytest.fixture(autouse=True)
def _patience(pauses):
    """Do not wait for an answer that does not come."""


@pytest.mark.parametrize(
    ('images', 'code', 'problems'), [([GOOD], 0, 0), ([GOOD, LACKING], 1, 1)]
)
def test_figures(path, images, code, problems):
    """They are in a file that is there all at once."""
    done = run(path, *images)

    found = figures(path)
    assert found.pop('timestamp_seconds') > 1e9
    assert (done.code, done.words) == (code, '')
    assert found == {
        'problems': problems,
        'images': len(images),
        'complete': 1,
    }
    assert list(path.parent.iterdir()) == [path]


def fail(error):
    """Return what raises an error when it is called."""

    def failing():
        raise error

    return failing


@pytest.mark.parametrize(
    'error',
    [
        AWAY,
        exception.GlanceRefused(401, 'no'),
        sdk_exceptions.EndpointNotFound('no such endpoint'),
        auth_exceptions.Unauthorized('the password is wrong'),
    ],
)
def test_nothing_is_counted(path, error):
    """An audit that could not begin has not found 0 problems."""
    path.write_text('multistore_audit_problems 0')

    done = run(path, GOOD, catalogue=fail(error))

    found = figures(path)
    assert found.pop('timestamp_seconds') > 1e9
    assert done.code == 4
    assert str(error) in done.words
    assert found == {'images': 0, 'complete': 0}


@pytest.mark.parametrize(
    ('images', 'problems'),
    [([GOOD], {}), ([GOOD, LACKING], {'problems': 1})],
)
def test_a_half_is_counted(path, images, problems):
    """What was found is known, and that there may be more."""
    done = run(path, *images, error=AWAY)

    found = figures(path)
    del found['timestamp_seconds']
    assert done.code == 4
    assert 'not all images were audited' in done.progress
    assert found == {**problems, 'images': len(images), 'complete': 0}


def test_servers_that_nova_does_not_show(path):
    """What depends on them was not looked for."""
    done = run(path, WAITING)

    found = figures(path)
    del found['timestamp_seconds']
    assert (done.code, done.rows) == (4, [])
    assert 'Nova did not show 1 server' in done.progress
    assert found == {'images': 1, 'complete': 0}


def test_one_project(path):
    """Who watches the file is told that it is about one project."""
    done = run(path, GOOD, args=())

    assert done.code == 0
    assert f'{path} has the images of one project alone' in done.words


def test_usage(path):
    """It is known before anything is asked, and the file stays."""
    path.write_text('before')

    done = run(path, GOOD, args=('--config-file', '/no/such'))

    assert done.code == 2
    assert path.read_text() == 'before'


def test_file_that_cannot_be_written(tmp_path):
    path = tmp_path / 'none' / 'audit.prom'

    done = run(path, GOOD)

    assert done.code == 2
    assert f'{path} cannot be written' in done.words
