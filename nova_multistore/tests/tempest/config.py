"""The options that the plugin adds to ``tempest.conf``."""

from __future__ import annotations

from oslo_config import cfg

GROUP = cfg.OptGroup('nova_multistore', title='Options of nova-multistore')

OPTS = [
    cfg.ListOpt(
        'stores',
        default=[],
        help="""
The Glance stores that the tests put base images into.

Servers are started from each of these images, and the tests see where the
servers' own images land. With a store that is not the default store, the tests
show what the package adds to Nova.

Possible values:

* Empty: every store that ``GET /v2/info/stores`` of Glance lists and does not
  mark as read-only.
* Ids of such stores: those from whose images a tenant can start a server. With
  disks in Ceph and ``[libvirt] images_rbd_glance_store_name`` on the computes,
  that is the named store alone, unless Glance lets a tenant copy images.
""",
    ),
    cfg.StrOpt(
        'ordered_store',
        help="""
The store that ``[glance] store`` names in ``nova.conf`` of the computes.

The tests expect snapshots and backups in this store, and images of shelved
servers where the base image is.

Possible values:

* Unset, if ``[glance] store`` is not set: the tests expect all images where
  the base image is.
* The id of a store.
""",
    ),
]
