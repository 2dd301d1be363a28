"""What may need the data of an image in Ceph: disks that are clones of it."""

from __future__ import annotations

import collections
import threading
import time
from typing import TYPE_CHECKING

from keystoneauth1 import exceptions as auth_exceptions
from openstack import exceptions as sdk_exceptions

from nova_multistore import exception

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from collections.abc import Iterable

    from nova_multistore import stores
    from nova_multistore.osc.cloud import Cloud

#: How old the answers of Nova and Cinder may be, in seconds.
FRESH = 300.0
_OPTION = '--even-in-use'


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that ignores servers and volumes."""
    parser.add_argument(
        _OPTION,
        action='store_true',
        help='Also delete copies in Ceph of images that servers or volumes '
        'were made from. Their disks may be clones of such a copy. With clone '
        'format 2, Ceph then keeps the copy in the trash of its pool; that '
        'pool must not be removed',
    )


class InUse:
    """Tells which copies disks may be clones of.

    Ceph itself cannot be asked from here. Nova and Cinder know which images
    servers and volumes were made from. It may be used by several threads.

    :param cloud: the cloud
    :param catalogue: Glance's stores
    :param ignored: whether the user does not mind
    """

    def __init__(
        self, cloud: Cloud, catalogue: stores.Catalogue, ignored: bool
    ) -> None:
        self._cloud = cloud
        self._catalogue = catalogue
        self._ignored = ignored
        self._lock = threading.Lock()
        self._asked: float | None = None
        self._users: dict[str, str] = {}
        self._unknown = ''

    def why(self, image_id: str, store: str) -> str | None:
        """Return why the copy of an image in a store may be needed there.

        :param image_id: the image's id
        :param store: the store's id
        :returns: None if it is not, or the store is not in Ceph
        """
        place = self._catalogue.named(store).place
        # Glance says to administrators alone what a store is.
        if self._ignored or (place is not None and place.type != 'rbd'):
            return None
        with self._lock:
            now = time.monotonic()
            if self._asked is None or now - self._asked > FRESH:
                self._ask()
                self._asked = time.monotonic()
            user = self._users.get(image_id)
        if user:
            return (
                f'{user} made from it, and a disk that is a clone needs it '
                f'there ({_OPTION} deletes it)'
            )
        if self._unknown:
            return (
                'it is not known whether a disk is a clone of it '
                f'({self._unknown}; {_OPTION} deletes it)'
            )
        return None

    def _ask(self) -> None:
        unknown = []
        self._users = {}
        for noun, ask in (
            ('volume', self._cloud.volumes_by_image),
            ('server', self._cloud.servers_by_image),
        ):
            try:
                self._users.update(_count(noun, ask))
            except sdk_exceptions.ForbiddenException:
                unknown.append(
                    f'{noun}s: administrators alone may list those of all '
                    'projects'
                )
            except (
                exception.LookupFailed,
                auth_exceptions.ClientException,
                sdk_exceptions.SDKException,
            ) as exc:
                words = ' '.join(str(exc).split())
                unknown.append(f'{noun}s: {words}')
        self._unknown = '; '.join(unknown)


def _count(
    noun: str, ask: Callable[[], Iterable[tuple[str | None, str]]]
) -> dict[str, str]:
    """Return what was made from each image, in words.

    :raises LookupFailed: it is not known of all
    """
    made = collections.defaultdict(list)
    for image_id, user_id in ask():
        if image_id is None:
            raise exception.LookupFailed(
                f'{user_id} cannot be looked at; a cell of Nova may be down'
            )
        made[image_id].append(user_id)
    return {
        image_id: f'{noun} {users[0]} was'
        if len(users) == 1
        else f'{len(users)} {noun}s were'
        for image_id, users in made.items()
    }
