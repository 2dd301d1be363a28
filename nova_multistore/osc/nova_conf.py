"""``nova.conf``, as far as a command can read it."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from oslo_config import cfg

from nova_multistore import opts
from nova_multistore import selection
from nova_multistore.osc import base

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from collections.abc import Sequence

    from nova_multistore import stores

# Nova's own options that matter for a selection.
_LIBVIRT_OPTS = [
    cfg.StrOpt('images_type', default='default'),
    cfg.StrOpt('images_rbd_glance_store_name'),
]


def add_option(parser: argparse.ArgumentParser, whose: str) -> None:
    """Add the option that names ``nova.conf``.

    :param whose: the hosts that it is from, in words
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

    :param files: paths; the options of later files override those of earlier
        ones, and without any file the defaults apply
    :returns: the configuration
    :raises UsageError: it cannot be read
    """
    for path in files:
        _check(pathlib.Path(path))
    conf = cfg.ConfigOpts()
    opts.register_opts(conf)
    conf.register_opts(_LIBVIRT_OPTS, group='libvirt')
    try:
        conf([], project='nova', default_config_files=list(files))
    except cfg.Error as exc:
        raise base.UsageError(str(exc)) from exc
    return conf


def _check(path: pathlib.Path) -> None:
    """Make sure that a file is one of text: oslo.config does not.

    :raises UsageError: it is not, or it cannot be read
    """
    try:
        path.read_text()
    except UnicodeDecodeError as exc:
        raise base.UsageError(f'{path} is no text file') from exc
    except OSError as exc:
        raise base.UsageError(
            f'{path} cannot be read: {exc.strerror}'
        ) from exc


def ceph_store(conf: cfg.ConfigOpts) -> str | None:
    """Return the compute's own Ceph store, if the configuration names it.

    :param conf: the configuration
    :returns: store id; None if none is named, or the disks are not in Ceph
    """
    if conf.libvirt.images_type != 'rbd':
        return None
    return conf.libvirt.images_rbd_glance_store_name or None


def cluster(
    conf: cfg.ConfigOpts, places: Mapping[str, stores.Place]
) -> selection.Cluster | None:
    """Return the Ceph cluster of the disks, as far as the stores tell.

    :param conf: the configuration
    :param places: where stores keep their images, by store id
    :returns: the cluster, None if the disks are not in Ceph
    """
    if conf.libvirt.images_type != 'rbd':
        return None
    own = places.get(ceph_store(conf) or '')
    return selection.Cluster(own.fsid if own else None, places)
