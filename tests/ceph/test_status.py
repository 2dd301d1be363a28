"""``nova-multistore-status`` on a compute with its disks in Ceph."""

from __future__ import annotations

import pytest

from tests.ceph import cloud as ceph_cloud
from tests.cloud import ceph as cloud_ceph
from tests.cloud import glance as cloud_glance
from tests.functional import upgrade_check
from tests.unit import stub


@pytest.mark.parametrize(
    ('store', 'code', 'words'),
    [
        ('fast', 0, 'Result: Success'),
        ('cheap', 1, "[glance] store 'cheap' is elsewhere"),
        ('far', 1, "[glance] store 'far' is elsewhere"),
    ],
)
def test_store(stock_cloud, tmp_path, store, code, words):
    """A store that is elsewhere is a warning, for what it costs."""
    glance, ceph = stock_cloud.glance, stock_cloud.ceph

    told = upgrade_check(
        tmp_path,
        glance.url,
        f'[glance]\nstore = {store}\n'
        f'[libvirt]\nimages_type = rbd\n'
        f'images_rbd_pool = {ceph_cloud.DISKS}\n'
        f'images_rbd_ceph_conf = {ceph.configuration}\n',
    )

    assert told[0] == code, told[1]
    assert words in told[1]


@pytest.mark.parametrize(
    ('form', 'code', 'words'),
    [('raw', 0, 'Result: Success'), ('qcow2', 1, 'only a raw image')],
)
def test_format(stock_cloud, tmp_path, form, code, words):
    """Whoever does not have raw images gets no clones."""
    told = upgrade_check(
        tmp_path,
        stock_cloud.glance.url,
        f'[libvirt]\nimages_type = rbd\nsnapshot_image_format = {form}\n'
        f'images_rbd_pool = {ceph_cloud.DISKS}\n'
        f'images_rbd_ceph_conf = {stock_cloud.ceph.configuration}\n',
    )

    assert told[0] == code, told[1]
    assert words in told[1]


@pytest.mark.parametrize(
    ('filters', 'words'),
    [
        ({}, 'unless its [DEFAULT] do_secure_hash is False'),
        (cloud_glance.FILTER, 'is compared with its copy'),
    ],
)
def test_proofs_of_moves(stock_cloud, tmp_path, filters, words):
    """It is said when an image can leave the store that it was made in."""
    glance, ceph = stock_cloud.glance, stock_cloud.ceph
    image_id = glance.create_image(
        bytes(512), stores=['cheap'], disk_format='raw'
    )
    with glance.configured(filters):
        code, told = upgrade_check(
            tmp_path,
            glance.url,
            f'[libvirt]\nimages_type = rbd\n'
            f'images_rbd_pool = {ceph_cloud.DISKS}\n'
            f'images_rbd_ceph_conf = {ceph.configuration}\n'
            f'[nova_multistore]\nmove_to = cheap\nauth_type = admin_token\n'
            f'endpoint = {glance.url}\ntoken = {cloud_glance.ADMIN}\n',
        )
    glance.delete_image(image_id)

    assert code == 0, told
    assert words in told


USERS = {
    'writer': 'profile rbd pool=vms, profile rbd pool=images',
    'reader': 'profile rbd pool=vms, profile rbd-read-only pool=images',
    'stranger': 'profile rbd pool=vms',
}


@pytest.fixture(scope='module')
def guarded(tmp_path_factory):
    """A Ceph in which users may do what their caps say."""
    root = tmp_path_factory.mktemp('guarded')
    with cloud_ceph.Ceph(
        root, ['vms', 'images'], size=1 << 30, users=USERS
    ) as ceph:
        yield ceph


@pytest.fixture
def check(guarded, tmp_path):
    """Check a compute whose disks are in that Ceph, as one of its users."""
    place = {'pool': 'images', 'fsid': guarded.fsid}
    listed = {
        'stores': [
            {'id': 'fast', 'type': 'rbd', 'properties': place},
            {'id': 'cheap', 'type': 'file', 'default': 'true'},
        ]
    }
    with stub.Glance() as glance:
        for path in '/v2/info/stores', '/v2/info/stores/detail':
            glance.answers['GET', path] = stub.Answer(200, listed)

        def check(user, options=''):
            return upgrade_check(
                tmp_path,
                glance.url,
                f'[libvirt]\nimages_type = rbd\nimages_rbd_pool = vms\n'
                f'images_rbd_ceph_conf = {guarded.configuration}\n'
                f'rbd_user = {user}\n{options}',
            )

        yield check


@pytest.mark.parametrize('user', ['reader', 'stranger'])
@pytest.mark.parametrize(
    'options', ['', '[nova_multistore]\nmove_to = cheap\n']
)
def test_user_who_may_not_write(guarded, check, user, options):
    """Each snapshot would be a full copy: the missing caps are named."""
    code, told = check(user, options)

    assert code == 1, told
    assert f"Ceph user '{user}' cannot make images in pool 'images'" in told
    assert "osd caps 'profile rbd pool=images'" in told
    assert guarded.images('images') == []


def test_user_who_may_write(guarded, check):
    """It was tried, and nothing of that stays."""
    code, told = check('writer')

    assert code == 0, told
    assert "Ceph user 'writer' can make images in pool images" in told
    assert guarded.images('images') == []
