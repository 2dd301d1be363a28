"""Wraps `glance_store._drivers.rbd.Store.add`: it sends only what differs.

Whatever is not as expected, the image is sent whole, as by Glance alone.
"""

from __future__ import annotations

import functools
import inspect
import pathlib
from typing import TYPE_CHECKING
from typing import Any

from glance_store._drivers import rbd
from glance_store.common import utils
from oslo_config import cfg
from oslo_log import log as logging
import wrapt

from nova_multistore.glance import candidates
from nova_multistore.glance import delta
from nova_multistore.glance import remnants
from nova_multistore.seam import Seam

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from nova_multistore.glance.candidates import Candidate

CONF = cfg.CONF
LOG = logging.getLogger(__name__)

# What was sent, by the task that sent it, until Glance finishes that; and for
# how many tasks.
_MESSAGES: dict[Any, list[str]] = {}
_TASKS = 100
_ADD = inspect.signature(
    lambda image_id, image_file, image_size, hashing_algo, context=None,
    verifier=None: None
)  # fmt: skip


class _Stream:
    """What Glance sends to a store, which can be read from its begin again.

    :param source: what Glance sends: a file, or pieces
    :param staged: the file that it comes from
    :param size: of a piece, in bytes
    """

    def __init__(self, source: Any, staged: pathlib.Path, size: int) -> None:
        self._source = iter(utils.chunkreadable(source, size))
        self.staged = staged
        self._size = size
        self._read = 0
        #: What reading the source has raised.
        self.error: Exception | None = None

    def pieces(self) -> Iterator[bytes]:
        """Read what was not read yet."""
        while True:
            try:
                piece = next(self._source)
            except StopIteration:
                return
            except Exception as exc:
                self.error = exc
                raise
            self._read += len(piece)
            yield piece

    def again(self) -> Iterator[bytes]:
        """Return what was read already, from the file, and then the rest."""
        left = self._read
        with self.staged.open('rb') as file:
            while left:
                piece = file.read(min(self._size, left))
                if not piece:
                    raise OSError(f'{self.staged} has become shorter')
                left -= len(piece)
                yield piece
        yield from self.pieces()


def _add(
    stores: frozenset[str],
    wrapped: Any,
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Store an image.

    Wraps ``glance_store._drivers.rbd.Store.add``.
    """
    if instance.backend_group not in stores:
        return wrapped(*args, **kwargs)
    try:
        given = _ADD.bind(*args, **kwargs)
        given.apply_defaults()
        staged = _staged(given.arguments['image_id'])
    except (TypeError, cfg.NoSuchOptError):
        LOG.exception('Images are sent whole: Glance is not as expected')
        return wrapped(*args, **kwargs)
    if not staged.is_file():
        # It comes from a client.
        return wrapped(*args, **kwargs)
    stream = _Stream(
        given.arguments['image_file'], staged, instance.WRITE_CHUNKSIZE
    )
    try:
        return _send(stores, instance, stream, given.arguments)
    except Exception as exc:
        if stream.error is not None:
            raise
        LOG.info(
            'Image %(image)s is sent whole to store %(store)s: %(reason)s',
            {
                'image': given.arguments['image_id'],
                'store': instance.backend_group,
                'reason': exc if isinstance(exc, delta.Whole) else repr(exc),
            },
        )
    given.arguments['image_file'] = stream.again()
    return wrapped(*given.args, **given.kwargs)


def _send(
    stores: frozenset[str], store: Any, stream: _Stream, given: dict[str, Any]
) -> tuple[str, int, str, str, dict[str, str]]:
    """Send what differs.

    :returns: what the store returns
    :raises Exception: the image has to be sent whole, because of that
    """
    image = candidates.load(given['image_id'])
    size = stream.staged.stat().st_size
    with (
        delta.connected(store) as cluster,
        cluster.open_ioctx(store.pool) as ioctx,
    ):
        remnants.remove(store, ioctx, image)
        candidate = _candidate(stores, store, image, size, given)
        place = rbd.StoreLocation(
            {
                'fsid': cluster.get_fsid(),
                'pool': store.pool,
                'image': image.image_id,
                'snapshot': rbd.DEFAULT_SNAPNAME,
            },
            store.conf,
        ).get_uri()
        made = delta.Delta(store, cluster, ioctx, image, size, candidate)
        checksum, hash_value = made.send(
            stream.pieces(), stream.staged, given['hashing_algo']
        )
    _tell(image, store.backend_group, size, made.sent, candidate)
    metadata = {'store': store.backend_group}
    return place, size, checksum, hash_value, metadata


def _candidate(
    stores: frozenset[str],
    store: Any,
    image: Any,
    size: int,
    given: dict[str, Any],
) -> Candidate:
    """Return what an image is probably much like.

    :param size: how long the image is, in bytes
    :raises delta.Whole: there is none, or the image is not one for this
    """
    if given['verifier'] is not None:
        raise delta.Whole('it is signed')
    if not size:
        raise delta.Whole('it is empty')
    # Before Glance 32, an import says 0 for each image.
    if given['image_size'] not in (0, size):
        raise delta.Whole(
            f'Glance has staged {size} bytes, not {given["image_size"]}'
        )
    if not candidates.is_raw(image):
        raise delta.Whole('it is not raw')
    if not image.owner:
        raise delta.Whole('no project owns it')
    found = candidates.find(image, size, store.backend_group, stores)
    if found is None:
        raise delta.Whole(
            'no other image of its server, and not its base image, is both '
            'there and in a store that is near'
        )
    return found


def _tell(
    image: Any, store: str, size: int, sent: int, candidate: Candidate
) -> None:
    """Log what was sent, and keep it for Glance's task."""
    message = (
        f'Sent {sent} of {size} bytes to store {store}: the rest is as in '
        f'image {candidate.image_id}'
    )
    LOG.info('Image %s: %s', image.image_id, message)
    task = image.extra_properties.get('os_glance_import_task')
    if not task:
        return
    _MESSAGES[task] = [*_MESSAGES.pop(task, ()), message]
    if len(_MESSAGES) > _TASKS:
        # It has failed; the log has them.
        del _MESSAGES[next(iter(_MESSAGES))]


def _finish(proceed: Callable[[], Any], _instance: Any, task: Any) -> Any:
    """Write on a task what was sent; then it is finished.

    Until then, Glance would replace that by what it has read. Wraps
    ``_CompleteTask._finish_task`` from
    ``glance.async_.flows.api_image_import``.
    """
    if messages := _MESSAGES.pop(task.task_id, None):
        task.message = '; '.join(messages)
    return proceed()


def _staged(image_id: str) -> pathlib.Path:
    """Return where Glance has the data of an image that it imports."""
    root = CONF.os_glance_staging_store.filesystem_store_datadir
    return pathlib.Path(root, image_id)


_FINISH = Seam(
    'glance.async_.flows.api_image_import',
    '_CompleteTask._finish_task',
    ('self', 'task'),
)


@functools.cache
def apply(stores: frozenset[str]) -> None:
    """Have copies to stores send only what differs, once in a process.

    :param stores: ids of the stores, all of them in Ceph
    """
    wrapt.wrap_function_wrapper(
        'glance_store._drivers.rbd',
        'Store.add',
        functools.partial(_add, stores),
    )
    if problem := _FINISH.problem():
        LOG.warning('Tasks do not tell how much was sent: %s', problem)
    else:
        wrapt.wrap_function_wrapper(
            _FINISH.module, _FINISH.name, _FINISH.adapt(_finish)
        )
