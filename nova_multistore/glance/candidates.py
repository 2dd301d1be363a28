"""Images that are probably much like another one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING
from typing import Any

from glance import context
from glance.common import exception
import glance.db
from oslo_config import cfg
from oslo_utils import uuidutils

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Mapping

CONF = cfg.CONF

# What Nova writes on the image of a server: the server, and its first image.
_SERVER, _BASE = 'instance_uuid', 'base_image_ref'
# How many images of a server are looked at.
_IMAGES = 10


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An image that lies in the target, and in a store that is near."""

    image_id: str
    #: In bytes.
    size: int
    #: Its location in the target, as Glance's images have it.
    far: Mapping[str, Any]
    #: Its location in the other store.
    near: Mapping[str, Any]


def load(image_id: str) -> Any:
    """Return an image, whoever has it.

    :raises glance.common.exception.ImageNotFound: there is no such image
    """
    return glance.db.ImageRepo(
        context.get_admin_context(), glance.db.get_api()
    ).get(image_id)


def find(
    image: Any, size: int, target: str, away: frozenset[str]
) -> Candidate | None:
    """Return the image that an image is probably much like.

    That is the newest image of the same server, otherwise the server's base
    image. The owner of the image must be able to see it: the time that a copy
    takes would tell of images of others.

    :param image: it has to be owned by a project
    :param size: how long it is, in bytes
    :param target: id of the store that it is copied to
    :param away: ids of the stores that are not near
    """
    for like in _look(image):
        if not 0 < like.size <= size or not is_raw(like):
            continue
        far = near = None
        for location in like.locations:
            store = location['metadata'].get('store')
            if store == target:
                far = location
            elif store in CONF.enabled_backends and store not in away:
                near = near or location
        if far and near:
            return Candidate(like.image_id, like.size, far, near)
    return None


def is_raw(image: Any) -> bool:
    """Tell whether an image has the blocks of a disk where the disk has them.

    Not so if they are compressed, or encrypted, for example.
    """
    return (image.disk_format, image.container_format) == ('raw', 'bare')


def _look(image: Any) -> Iterator[Any]:
    """Return active images that the image's owner may see, best first."""
    owner = context.RequestContext(project_id=image.owner, roles=['reader'])
    images = glance.db.ImageRepo(owner, glance.db.get_api())
    properties = image.extra_properties
    if uuidutils.is_uuid_like(properties.get(_SERVER)):
        for like in images.list(
            filters={'status': 'active', _SERVER: properties[_SERVER]},
            sort_key=['created_at'],
            sort_dir=['desc'],
            limit=_IMAGES + 1,
        ):
            if like.image_id != image.image_id:
                yield like
    if uuidutils.is_uuid_like(properties.get(_BASE)):
        try:
            base = images.get(properties[_BASE])
        except exception.ImageNotFound:
            return
        if base.status == 'active':
            yield base
