"""The options that the package adds to ``nova.conf``."""

from __future__ import annotations

from keystoneauth1 import loading
from oslo_config import cfg

from nova_multistore import selection

GLANCE_GROUP = 'glance'
#: This section also has the credentials for copies.
COPY_GROUP = 'nova_multistore'

GLANCE_OPTS = [
    cfg.StrOpt(
        'store',
        help="""
Glance store for every snapshot and backup of the servers on this compute. A
request can name another store.

If this is not set, a snapshot goes to a store that has the base image of the
server, or to Glance's default store if none is known. Shelving and cross-cell
resize always use the store of the base image. Snapshots of volume-backed
servers have no data in Glance, so this option does not apply to them.

If the store is unknown or read-only, nova-compute logs an error when it
starts, and each snapshot and backup fails before the disk of the server is
read. If this is also set for a nova-api with the package's filter, nova-api
refuses the requests.

Possible values:

* The id of a store that ``GET /v2/info/stores`` of Glance lists and does not
  mark as read-only.

Related options:

* ``[libvirt] images_type``: with disks in Ceph, a snapshot is a clone inside
  Ceph if this store is in the same cluster. Otherwise the snapshot is a full
  copy, and Nova has to copy the image back before it can start a server from
  that image. nova-compute asks Glance where its stores are, with the user's
  token or with the credentials of ``[service_user]``.
""",
    ),
]


COPY_OPTS = [
    cfg.ListOpt(
        'copy_to',
        default=[],
        help="""
Further Glance stores that get a copy of every snapshot and backup of the
servers on this compute, such as the store of the central site.

This option does not change where the snapshot itself goes. When the snapshot
is active, nova-compute asks Glance to copy it, in the background. If a copy
fails, nova-compute logs the command that makes the copy; the snapshot does not
fail. The stores are written on the image, as its property
``nova_multistore_copy_to``, so that ``openstack multistore snapshot audit
--fix`` finds missing copies.

If a store is unknown or read-only, nova-compute logs an error when it starts,
and no copies are made there.

Possible values:

* Ids of stores that ``GET /v2/info/stores`` of Glance lists and does not mark
  as read-only, separated by commas.

Related options:

* ``auth_type`` and the options that belong to it, in this section: credentials
  with which nova-compute asks Glance for copies. If they are not set,
  nova-compute uses the user's token. Unless Glance's policy ``copy_image`` is
  changed, only administrators may copy images. With disks in Ceph, the
  credentials are also used for the copy to
  ``[libvirt] images_rbd_glance_store_name`` that Nova needs before it starts a
  server from an image that is elsewhere.
* Glance's ``[DEFAULT] enabled_import_methods`` must include ``copy-image``.
""",
    ),
    cfg.StrOpt(
        'move_to',
        help="""
Glance store to which every snapshot and backup of the servers on this compute
moves after it was made.

With disks in Ceph, the snapshot is made as a clone inside Ceph, in this
compute's own Ceph store: in seconds, without a suspended guest and without a
file on this host. The snapshot can be used at once. In the background, Glance
copies it to this store. When that copy is proven whole, nova-compute waits 30
minutes for those who still read the first copy, and then deletes the snapshot
from the first store. Until then, the image has the property
``nova_multistore_move_from``. ``openstack multistore snapshot audit --fix``
completes a move that was interrupted. A snapshot that servers were started
from stays in the first store, too, while their disks are clones of it.

A copy is proven whole by the hash that Glance had of the clone. If Glance does
not hash clones (before 2025.1, or with ``[DEFAULT] do_secure_hash = False``),
both copies are read and compared, for which Glance needs the package's filter;
without the filter, the snapshot stays in both stores.

If the disk is not in Ceph, or Glance does not say which store is in the same
cluster, the snapshot is uploaded to this store straight away. A request can
name another store; then the snapshot does not move. Shelving and cross-cell
resize are not affected.

If the store is unknown or read-only, nova-compute logs an error when it
starts, and each snapshot and backup fails before the disk of the server is
read.

Possible values:

* The id of a store that ``GET /v2/info/stores`` of Glance lists and does not
  mark as read-only.

Related options:

* ``[glance] store`` excludes this option. If both are set, nova-compute logs
  an error when it starts, and snapshots go to ``[glance] store``.
* ``auth_type`` and the options that belong to it, in this section: credentials
  with which images are moved, as for ``copy_to``.
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


def orders(conf: cfg.ConfigOpts) -> selection.Orders:
    """Return the stores that the options name.

    :param conf: the configuration that has read them
    """
    ours = conf[COPY_GROUP]
    return selection.Orders(
        store=conf[GLANCE_GROUP].store,
        move_to=ours.move_to,
        copy_to=tuple(dict.fromkeys(ours.copy_to)),
    )


# The option that names the store, for each rule that follows an option.
_OF_RULE = {
    selection.Rule.CONFIG: (GLANCE_GROUP, 'store'),
    selection.Rule.MOVE: (COPY_GROUP, 'move_to'),
}


def where(conf: cfg.ConfigOpts, facts: selection.Facts) -> str:
    """Return where the option that orders a store is set, in words.

    :param conf: the configuration that has read it
    :param facts: what is known, with the orders of that configuration
    :returns: the file, if it is known, and the option; empty if no option
        orders a store
    """
    rule = facts.ordered[1] if facts.ordered else None
    if rule not in _OF_RULE:
        return ''
    group, name = _OF_RULE[rule]
    found = conf.get_location(name, group)
    file = f'{found.detail}: ' if found and found.detail else ''
    return f'{file}[{group}] {name}'


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
