"""The options that the package adds to ``nova.conf``."""

from __future__ import annotations

from keystoneauth1 import loading
from oslo_config import cfg

GLANCE_GROUP = 'glance'
#: Has the credentials as well with which copies are asked for.
COPY_GROUP = 'nova_multistore'

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


COPY_OPTS = [
    cfg.ListOpt(
        'copy_to',
        default=[],
        help="""
Glance stores that are to have a copy of every snapshot and backup of this
compute, such as the one at the central site.

The snapshot itself goes where it always goes. Once it has its data, Glance is
asked to copy it, in the background: a copy that fails is logged with the
command that makes it, and never fails the snapshot. The stores are written on
the image as its property ``nova_multistore_copy_to``, so that
``openstack multistore snapshot audit --fix`` finds what is missing.

An unknown or read-only store is reported when nova-compute starts, and gets no
copies.

Possible values:

* Ids of stores that ``GET /v2/info/stores`` of Glance lists and does not mark
  as read-only, separated by commas.

Related options:

* ``auth_type`` and what goes with it, in this section: credentials with which
  Glance is asked to copy. Unset, that is the user's token, for clouds whose
  Glance lets members copy: its policy ``copy_image`` is for administrators
  unless it is changed.
* Glance's ``[DEFAULT] enabled_import_methods`` has to have ``copy-image``.
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
    conf.register_opts(COPY_OPTS, group=COPY_GROUP)
    loading.register_auth_conf_options(conf, COPY_GROUP)


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """List the package's options, for oslo.config's generators.

    :returns: list of (group name, list of options)
    """
    credentials = [
        *loading.get_auth_common_conf_options(),
        *loading.get_auth_plugin_conf_options('password'),
    ]
    return [
        (GLANCE_GROUP, list(GLANCE_OPTS)),
        (COPY_GROUP, [*COPY_OPTS, *credentials]),
    ]
