"""The options that the package adds to ``nova.conf``."""

from __future__ import annotations

from oslo_config import cfg

GLANCE_GROUP = 'glance'

GLANCE_OPTS = [
    cfg.StrOpt(
        'store',
        help="""
The Glance store that takes every snapshot and backup of this compute.

Unset, a snapshot goes to the store of its server's base image, and to
Glance's default store where that cannot be told. Shelving and cross-cell
resize follow the base image whether this is set or not. Volume-backed
servers have no snapshot data in Glance, so that this does not concern them.

An unknown or read-only store is reported when nova-compute starts, and fails
each snapshot and backup before the server's disk is read.

Possible values:

* The id of a store that ``GET /v2/info/stores`` of Glance lists and does not
  mark as read-only.

Related options:

* ``[libvirt] images_rbd_glance_store_name``: with disks in Ceph, a snapshot
  that Nova makes inside Ceph stays there, whatever this option says. Any
  other is a full copy, and where this names another store than that one Nova
  has to copy it back before a server can be started from it.
""",
    ),
]


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the package's options.

    :param conf: the configuration that reads ``nova.conf``
    :raises oslo_config.cfg.DuplicateOptError: something else has already
        registered an option of that name
    """
    conf.register_opts(GLANCE_OPTS, group=GLANCE_GROUP)


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """List the package's options, for oslo.config's generators.

    :returns: list of (group name, list of options)
    """
    return [(GLANCE_GROUP, list(GLANCE_OPTS))]
