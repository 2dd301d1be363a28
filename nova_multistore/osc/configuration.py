"""What there is of Nova's configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from osc_lib import exceptions
from oslo_config import cfg

from nova_multistore import opts
from nova_multistore import selection

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from collections.abc import Sequence

    from nova_multistore import stores

# Nova's own, as far as they have a say.
_LIBVIRT_OPTS = [
    cfg.StrOpt('images_type', default='default'),
    cfg.StrOpt('images_rbd_glance_store_name'),
]


def add_option(parser: argparse.ArgumentParser, whose: str) -> None:
    """Add the option that names ``nova.conf``.

    :param whose: which compute hosts'
    """
    parser.add_argument(
        '--config-file',
        metavar='<nova.conf>',
        action='append',
        default=[],
        help=f'nova.conf of {whose} (repeat for several)',
    )


def read(files: Sequence[str]) -> cfg.ConfigOpts:
    """Read ``nova.conf``.

    :param files: its path, or several that complete each other; none if it
        is not known
    :returns: the configuration
    :raises osc_lib.exceptions.CommandError: it cannot be read
    """
    conf = cfg.ConfigOpts()
    opts.register_opts(conf)
    conf.register_opts(_LIBVIRT_OPTS, group='libvirt')
    try:
        conf([], project='nova', default_config_files=list(files))
    except cfg.Error as exc:
        raise exceptions.CommandError(str(exc)) from exc
    return conf


def ceph_store(conf: cfg.ConfigOpts) -> str | None:
    """Return what it names as the compute's own Ceph store.

    :param conf: the configuration
    :returns: store id; None if none is named, or the disks are not in Ceph
    """
    if conf.libvirt.images_type != 'rbd':
        return None
    return conf.libvirt.images_rbd_glance_store_name or None


def cluster(
    conf: cfg.ConfigOpts, places: Mapping[str, stores.Place]
) -> selection.Cluster | None:
    """Return where the disks are, as far as the stores tell.

    :param conf: the configuration
    :param places: where stores keep their images, by store id
    :returns: the cluster, None if the disks are not in Ceph
    """
    if conf.libvirt.images_type != 'rbd':
        return None
    own = places.get(ceph_store(conf) or '')
    return selection.Cluster(own.fsid if own else None, places)
