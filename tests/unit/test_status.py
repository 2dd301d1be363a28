"""What ``nova-multistore-status`` says of Glances that no test starts."""

from __future__ import annotations

import types

import pytest

from nova_multistore import lookup
from nova_multistore import selection
from nova_multistore import stores
from nova_multistore.cmd import status
from tests.unit import stub

IN_CEPH = stores.Place('rbd', pool='images', fsid='one')


@pytest.mark.parametrize(
    ('versions', 'filtered', 'code', 'words'),
    [
        (['v2.16', 'v2.9'], False, 1, 'since 2025.1 only'),
        (['v2.17', 'v2.9'], False, 0, 'do_secure_hash'),
        (['v2.18'], False, 0, 'do_secure_hash'),
        (['v3.0'], False, 0, 'do_secure_hash'),
        (['v2.9'], True, 0, 'is compared with its copy'),
    ],
)
def test_proofs(monkeypatch, versions, filtered, code, words):
    """Without hashes and the filter, an image stays in both stores."""
    asked = []

    def get(url, timeout):
        asked.append(url)
        entries = [{'id': version} for version in versions]
        return types.SimpleNamespace(json=lambda: {'versions': entries})

    glance = types.SimpleNamespace(endpoint_override='http://g/x/v2', get=get)
    images = types.SimpleNamespace(reads_copies=lambda: filtered)
    monkeypatch.setattr(lookup, 'service_context', lambda group: None)
    monkeypatch.setattr(lookup, 'images', lambda context: images)
    monkeypatch.setattr(lookup, 'adapter', lambda context: glance)

    result = status._judge_proofs()

    assert (result.code, words in result.details) == (code, True)
    assert asked == ([] if filtered else ['http://g/x/versions'])


@pytest.mark.parametrize(
    ('second', 'code'), [('one', 0), ('other', 1), ('', 1)]
)
def test_all_stores_in_the_ceph_of_the_disks(
    monkeypatch, conf, glance, second, code
):
    """Then each image can be cloned, and a member needs no copy."""
    conf.config(group='libvirt', images_type='rbd')
    conf.config(group='libvirt', images_rbd_glance_store_name='fast')
    places = {
        'fast': stores.Place('rbd', 'one', 'images'),
        'second': stores.Place('rbd', second, 'more'),
    }
    catalogue = stores.Catalogue(tuple(map(stores.Store, places)))
    cluster = selection.Cluster('one', places)
    monkeypatch.setattr(status, '_catalogue', lambda: catalogue)
    monkeypatch.setattr(status.ceph, 'cluster', lambda places: cluster)

    result = status.Checks()._check_copy_image()

    assert result.code == code


@pytest.fixture
def known(conf, monkeypatch):
    """What the checks ask, answered."""
    catalogue = stores.parse(stub.STORES)
    monkeypatch.setattr(status, '_catalogue', lambda: catalogue)
    monkeypatch.setattr(status, '_ask', lambda path, server=None: stub.STORES)
    monkeypatch.setattr(status.lookup, 'disks_in_ceph', lambda: True)
    cluster = selection.Cluster('one', {'fast': IN_CEPH})
    monkeypatch.setattr(status.ceph, 'cluster', lambda places: cluster)
    monkeypatch.setattr(status.ceph, 'refusal', lambda pool: None)
    conf.config(group='glance', store='fast', api_servers=['http://glance'])
    return conf


@pytest.mark.parametrize(
    ('check', 'words'),
    [
        (status.Checks._check_nova, 'has all that is needed'),
        (status.Checks._check_store, "'fast' is one of Glance's stores"),
        (status.Checks._check_ceph_store, 'can make images in pool images'),
        (status.Checks._check_details, 'tells where its stores are'),
        (status.Checks._check_endpoints, 'have the same stores'),
        (status.Checks._check_copy_image, 'nothing has to be copied before'),
    ],
)
def test_success_has_words(known, check, words):
    """Whoever reads it sees what was looked at."""
    result = check(status.Checks())

    assert (result.code, words in str(result.details)) == (0, True), (
        result.details
    )


@pytest.mark.parametrize(
    'check',
    [status.Checks._check_ceph_store, status.Checks._check_details],
)
def test_disks_that_are_not_in_ceph(known, monkeypatch, check):
    monkeypatch.setattr(status.lookup, 'disks_in_ceph', lambda: False)

    assert check(status.Checks()).details == status.NOT_IN_CEPH


def test_no_api_servers(known):
    known.config(group='glance', api_servers=None)

    result = status.Checks()._check_endpoints()

    assert 'It is not set' in result.details
