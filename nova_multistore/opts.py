"""The options that the package adds to ``nova.conf``."""

from __future__ import annotations

from oslo_config import cfg

GLANCE_GROUP = 'glance'

GLANCE_OPTS = [
    cfg.StrOpt(
        'store',
        help="""
The Glance store that takes every snapshot and backup of this compute for which
the request names no other.

Unset, a snapshot goes to the store of its server's base image, and to
Glance's default store where that cannot be told. Shelving and cross-cell
resize follow the base image whether this is set or not. Volume-backed
servers have no snapshot data in Glance, so that this does not concern them.

An unknown or read-only store is reported when nova-compute starts, and fails
each snapshot and backup before the server's disk is read. If it is set for
nova-api as well, and that has the package's filter, the request is refused.

Possible values:

* The id of a store that ``GET /v2/info/stores`` of Glance lists and does not
  mark as read-only.

Related options:

* ``[libvirt] images_type``: with disks in Ceph, a snapshot is cloned inside
  Ceph if this names a store in the cluster of the disks. Otherwise it is a
  full copy, and Nova has to copy that back before a server can be started
  from it. Which store is where, Glance has to tell: with the user's token, or
  with the credentials of ``[service_user]``.
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
