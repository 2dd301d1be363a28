"""Uploads to a Glance behind uWSGI and HAProxy, as Kolla has it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import urllib.parse

from glanceclient import exc as glanceclient_exc
from nova import context as nova_context
from nova import exception as nova_exception
from nova.image import glance as nova_glance
import pytest

from nova_multistore import record
from nova_multistore.compute import upload as compute_upload
from tests.cloud import glance as cloud_glance
from tests.cloud import haproxy as cloud_haproxy
from tests.cloud import keystone as cloud_keystone
from tests.cloud import uwsgi as cloud_uwsgi
from tests.functional import expected_digest
from tests.functional import unwritable

MIB = 1 << 20
#: More than what the buffers on the way hold.
SIZE = 40 * MIB
#: Of everything, if there is no other one.
LIMIT = 1000
#: The largest image.
CAP = 64 * MIB


@pytest.fixture(scope='module')
def keystone():
    limits = ('count_total', 'count_uploading', 'size_total', 'stage_total')
    with cloud_keystone.Keystone(
        limits={f'image_{name}': LIMIT for name in limits}
    ) as keystone:
        yield keystone


@dataclasses.dataclass
class Front:
    """What can be asked for the same Glance, by URL."""

    #: uWSGI alone.
    uwsgi: str
    #: HAProxy before that.
    haproxy: str
    #: HAProxy before three glance-api, one of them behind uWSGI.
    three: str
    #: HAProxy whose glance-api is away.
    nobody: str


@pytest.fixture(scope='module')
def cloud(tmp_path_factory, keystone, running):
    root = tmp_path_factory.mktemp('glance')
    (root / 'policy.yaml').write_text('{}')
    options = {
        'filters': cloud_glance.FILTER,
        'image_size_cap': CAP,
        'oslo_policy.policy_file': root / 'policy.yaml',
        **keystone.glance_limits(),
    }
    with contextlib.ExitStack() as stack:
        glance = stack.enter_context(cloud_uwsgi.Glance(root, **options))
        others = [
            stack.enter_context(cloud_glance.Glance(root, **options))
            for _ in range(2)
        ]

        def haproxy(*ports):
            directory = tmp_path_factory.mktemp('haproxy')
            return stack.enter_context(
                cloud_haproxy.HAProxy(directory, ports)
            ).url

        cloud = stack.enter_context(running(glance))
        cloud.front = Front(
            glance.url,
            haproxy(glance.port),
            haproxy(glance.port, *(other.port for other in others)),
            haproxy(*cloud_glance.free_ports(1)),
        )
        yield cloud


@pytest.fixture(autouse=True)
def again(cloud, monkeypatch):
    """One more try, and no long questions."""
    monkeypatch.setattr(compute_upload, 'SETTLE', 2.0)
    cloud.nova.conf(**{'glance.num_retries': 1})
    yield
    cloud.nova.conf(**{'glance.api_servers': [cloud.glance.url]})


@pytest.fixture
def policy(cloud):
    """Change the policy of Glance for a while."""
    path = cloud.glance.root / 'policy.yaml'

    def write(rules):
        # Glance goes by the time of its last change.
        then = path.stat().st_mtime + 2
        new = path.with_name('new')
        new.write_text(json.dumps(rules))
        os.utime(new, (then, then))
        new.rename(path)

    @contextlib.contextmanager
    def policy(**rules):
        write(rules)
        try:
            yield
        finally:
            # Glance keeps a rule that is in the file no more.
            write(dict.fromkeys(rules, ''))

    return policy


@contextlib.contextmanager
def limited(keystone, glance):
    """The project has reached its limit."""
    glance.create_image(bytes(MIB), disk_format='raw')
    keystone.limits['image_size_total'] = 0
    try:
        yield
    finally:
        keystone.limits['image_size_total'] = LIMIT


def send(cloud, url, size=SIZE):
    """Upload data as a driver does."""
    context = nova_context.RequestContext(
        'user', cloud.nova.project, auth_token=cloud_glance.token()
    )
    image_id = cloud.glance.create_queued_image()
    cloud.nova.conf(**{'glance.api_servers': [url]})
    service = nova_glance.GlanceImageServiceV2()
    service._upload_data(context, image_id, io.BytesIO(bytes(size)))


@pytest.fixture(scope='module')
def server(cloud):
    return cloud.boot('fast', SIZE)


def test_snapshots(cloud, server):
    """They are whole, and where the base image is."""
    ways = (cloud.front.uwsgi, cloud.front.haproxy, *[cloud.front.three] * 3)
    expected = expected_digest(cloud.nova.disk(server))
    for url in ways:
        cloud.nova.conf(**{'glance.api_servers': [url]})

        image = cloud.snapshot(server)

        assert cloud.glance.sha256(image['id']) == {'fast': expected}
    with cloud.stock():
        image = cloud.snapshot(server)
    assert list(cloud.glance.sha256(image['id']).values()) == [expected]


def test_filter(cloud):
    """The package's filter in Glance chooses behind all of them."""
    base = cloud.glance.create_image(bytes(MIB), ['fast'], disk_format='raw')
    image_id = cloud.glance.create_queued_image()
    port = urllib.parse.urlsplit(cloud.front.three).port
    before, cloud.glance.port = cloud.glance.port, port
    try:
        for _ in range(3):
            image_id = cloud.glance.create_queued_image()
            headers = {
                'Content-Type': 'application/octet-stream',
                'X-OpenStack-Base-Image-Ref': base,
            }
            path = f'/v2/images/{image_id}/file'
            answer = cloud.glance.request(
                'PUT', path, bytes(MIB), headers=headers
            )
            assert answer == (204, b'')
            assert cloud.glance.stores_of(image_id) == ['fast']
    finally:
        cloud.glance.port = before


@pytest.mark.parametrize('way', ['uwsgi', 'haproxy'])
class TestEarlyAnswer:
    """What Glance says is read, though it does not read all of the data.

    uWSGI and HAProxy lose it mostly, as they send on data to a Glance that has
    answered.
    """

    def test_quota(self, cloud, keystone, way):
        with limited(keystone, cloud.glance):
            for _ in range(2):
                with pytest.raises(
                    glanceclient_exc.HTTPOverLimit, match='over a limit'
                ):
                    send(cloud, getattr(cloud.front, way))

    def test_policy(self, cloud, policy, way):
        with policy(upload_image='!'):
            for _ in range(2):
                with pytest.raises(
                    glanceclient_exc.HTTPForbidden, match='upload_image'
                ):
                    send(cloud, getattr(cloud.front, way))

    def test_store(self, cloud, way):
        with unwritable(cloud.glance.directory('cheap')):
            for _ in range(2):
                with pytest.raises(
                    nova_exception.GlanceConnectionFailed,
                    match='Insufficient permissions on image storage media',
                ):
                    send(cloud, getattr(cloud.front, way))

    def test_cap(self, cloud, way):
        with pytest.raises(glanceclient_exc.HTTPOverLimit, match='too large'):
            send(cloud, getattr(cloud.front, way), CAP + SIZE)


def test_nobody_there(cloud):
    """HAProxy's own answer is read, too."""
    with pytest.raises(
        nova_exception.GlanceConnectionFailed, match='No server is available'
    ):
        send(cloud, cloud.front.nobody)


def test_store_that_refuses(cloud, server):
    """The default store takes the data, and it is said why."""
    expected = expected_digest(cloud.nova.disk(server))
    cloud.nova.conf(**{'glance.api_servers': [cloud.front.haproxy]})

    with unwritable(cloud.glance.directory('fast')):
        image = cloud.snapshot(server)

    assert cloud.glance.sha256(image['id']) == {'cheap': expected}
    assert 'Insufficient permissions' in image[record.DIFFERENCE]


@pytest.mark.parametrize('num_retries', [0, 1])
def test_limit(cloud, keystone, server, num_retries):
    """There is a snapshot, as with stock Nova, that makes the limit met.

    Glance adds the size that is announced to what the project has, and does
    not read the data.
    """
    cloud.glance.clear()
    cloud.nova.conf(
        **{
            'glance.api_servers': [cloud.front.haproxy],
            'glance.num_retries': num_retries,
        }
    )
    keystone.limits['image_size_total'] = SIZE // MIB - 1
    try:
        assert cloud.snapshot(server)['status'] == 'active'
        assert cloud.snapshot(server) is None
    finally:
        keystone.limits['image_size_total'] = LIMIT
