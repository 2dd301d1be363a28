"""What ``nova-multistore-status`` says of Glances that no test starts."""

from __future__ import annotations

import types

import pytest

from nova_multistore import lookup
from nova_multistore import selection
from nova_multistore import stores
from nova_multistore.cmd import status


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
    monkeypatch.setattr(status, '_cluster', lambda: cluster)

    result = status.Checks()._check_copy_image()

    assert result.code == code
