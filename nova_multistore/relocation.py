"""An image leaves a store only with a proof that another has all of it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import TYPE_CHECKING
from typing import Any

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import image_api
from nova_multistore import record
from nova_multistore import stores

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Collection
    from collections.abc import Generator
    from collections.abc import Sequence

#: How long to wait for the end of an import, and between looks, in seconds.
SETTLE, PAUSE = 60.0, 0.5
#: How long a move in the background leaves the first copy where it is once
#: the second one is proven whole, in seconds. Whoever still reads the first
#: copy, from Ceph say, gets zeros after it is deleted.
GRACE = 1800.0
#: The hash by which copies are compared if Glance has none of the image.
ALGORITHM = 'sha256'
#: Why copies cannot be compared.
NO_FILTER = (
    "this glance-api does not have nova-multistore's filter in its pipeline"
)
#: Why a store in Ceph does not delete an image.
IN_USE = 'in use: the disk of a server or a volume is a clone of it'


@dataclasses.dataclass(frozen=True)
class Proof:
    """A proof that a store has all of an image. Only this module makes one."""

    #: The image when that was proven, as Glance's API has it.
    image: dict[str, Any]
    #: Id of the store.
    store: str
    #: Ids of the stores whose copies were compared with this one: the image
    #: may leave these stores. None if the image may leave any other.
    compared: frozenset[str] | None = None


@dataclasses.dataclass(frozen=True)
class Departure:
    """What became of an image in the stores that it was to leave."""

    #: Why a store still has the image, None if it has not; by the id of each
    #: store but the target.
    reasons: dict[str, str | None]
    #: The stores that refused to delete the image.
    refused: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Sources:
    """The stores that an image is to leave, if nothing speaks against it."""

    #: What Glance lists.
    catalogue: stores.Catalogue
    #: Returns why the copy of an image in a store may still be needed; None
    #: if it is not. It is called with the ids of the image and the store.
    needed: Callable[[str, str], str | None]
    #: Ids of the stores; None for all that can be written to and are not to
    #: have a copy.
    stores: Collection[str] | None = None

    def reasons(
        self, image: dict[str, Any], target: str
    ) -> dict[str, str | None]:
        """Return why the other stores of an image keep it.

        :param image: the image, as Glance's API has it
        :param target: id of the store that is to have it
        :returns: by store id; None for a store that the image is to leave
        """
        return {
            store: self._why_kept(image, store)
            for store in stores.of_image(image)
            if store != target
        }

    def _why_kept(self, image: dict[str, Any], store: str) -> str | None:
        try:
            self.catalogue.check_writable(store)
        except exception.ReadOnlyStore:
            return 'read-only'
        except exception.UnknownStore:
            return "not one of this Glance's stores"
        if self.stores is None:
            if store in stores.split(image.get(copies.PROPERTY)):
                return 'a copy is wanted there'
        elif store not in self.stores:
            return 'not in --from'
        return self.needed(image['id'], store)


def prove(
    images: image_api.Images,
    before: dict[str, Any],
    target: str,
    sources: Sources,
) -> Proof:
    """Do what :func:`proving` does, and wait for it."""
    return copies.finish(proving(images, before, target, sources))


def proving(
    images: image_api.Images,
    before: dict[str, Any],
    target: str,
    sources: Sources,
) -> Generator[float, None, Proof]:
    """Make certain that a store has all of an image.

    That is certain if there was only one copy, Glance had a hash of it, made
    the new copy from it, and still has the same hash: Glance compares hashes
    while it copies. Otherwise, such as for an image that Glance never hashed,
    each copy is read from its own store, and the copies are compared.

    :param images: Glance's image API
    :param before: the image before it was copied, as Glance's API has it
    :param target: id of the store
    :param sources: the stores that the image is to leave then
    :returns: yields for how long to pause before the next step, in seconds,
        and returns the proof
    :raises NotWhole: it is not certain
    :raises LookupFailed: Glance did not answer
    :raises GlanceRefused: the image is not there
    """
    after, held = yield from releasing(images, before['id'], SETTLE)
    found = _obstacles(after, target, held)
    found += _differences(before, after)
    if found:
        raise exception.NotWhole(before['id'], found)
    if _is_vouched_for(before, after, target):
        return Proof(after, target)
    leaving = [
        s for s, kept in sources.reasons(after, target).items() if not kept
    ]
    if leaving:
        yield from _compare(images, after, [target, *leaving])
    return Proof(after, target, frozenset(leaving))


def prove_by_reading(
    images: image_api.Images,
    image_id: str,
    target: str,
    algorithm: str,
    value: str,
) -> Proof:
    """Take data that were just read from a store as a proof, if Glance agrees.

    :param images: Glance's image API
    :param image_id: the image's id
    :param target: id of the store
    :param algorithm: name of the hash of the data that were read
    :param value: that hash, in hexadecimal
    :raises NotWhole: Glance has no such hash of the image, or took the hash
        from a copy: then it does not tell a right copy from a wrong one
    :raises LookupFailed: Glance did not answer
    :raises GlanceRefused: the image is not there
    """
    image, held = released(images, image_id)
    found = _obstacles(image, target, held)
    known = copies.hashes(image).get(algorithm)
    if known is None:
        found.append(f'Glance has no {algorithm} of it')
    elif known != value:
        found.append(f'its {algorithm} is {known}, and {value} was read')
    elif image.get(copies.HASH) == copies.NO_HASH:
        found.append(
            'Glance hashed it only after it was copied, and that hash does '
            'not tell which copy is right'
        )
    if found:
        raise exception.NotWhole(image_id, found)
    return Proof(image, target)


def foreseen(
    images: image_api.Images, image: dict[str, Any], target: str
) -> str | None:
    """Return why there will be no proof, as far as that is known beforehand.

    :param images: Glance's image API
    :param image: the image before it is copied, as Glance's API has it
    :param target: id of the store that is to have it
    :returns: in words; None if there may be one
    :raises LookupFailed: Glance did not answer
    """
    if _is_vouched_for(image, image, target) or images.reads_copies():
        return None
    return f'{_why_compared(image)}; {NO_FILTER}'


def leave(
    images: image_api.Images, proof: Proof, sources: Sources
) -> Departure:
    """Delete an image from stores.

    If this completes a move, the property that notes the move is removed.

    :param images: Glance's image API
    :param proof: the proof that another store has the image
    :param sources: the stores that the image is to leave
    :raises NotWhole: the proof does not hold any more; nothing was deleted
    :raises LookupFailed: Glance did not answer
    :raises GlanceRefused: the image is not there
    """
    image, held = released(images, proof.image['id'])
    if found := _doubts(proof, image, held):
        raise exception.NotWhole(image['id'], found)
    reasons = sources.reasons(image, proof.store)
    if proof.compared is not None:
        for store in {*reasons} - proof.compared:
            reasons[store] = reasons[store] or 'it was copied there just now'
    refused = {
        store: reason
        for store, kept in reasons.items()
        if not kept and (reason := _delete(images, image['id'], store))
    }
    reasons.update(refused)
    left = image.get(record.MOVE_FROM)
    if left and not reasons.get(left):
        # The property means nothing any more.
        with contextlib.suppress(exception.MultistoreError):
            images.remove_property(image['id'], record.MOVE_FROM)
    return Departure(reasons, tuple(refused))


def released(
    images: image_api.Images, image_id: str
) -> tuple[dict[str, Any], bool]:
    """Do what :func:`releasing` does, and wait for a minute at most."""
    return copies.finish(releasing(images, image_id, SETTLE))


def releasing(
    images: image_api.Images, image_id: str, patience: float
) -> Generator[float, None, tuple[dict[str, Any], bool]]:
    """Wait for the end of an import, or until Glance has hashed a location.

    A store has the image before the import that copied it has ended. Glance
    may undo a change that is made before that.

    :param images: Glance's image API
    :param image_id: the image's id
    :param patience: how long to wait at most, in seconds
    :returns: yields for how long to pause before the next look, in seconds,
        and returns the image, and whether an import still holds it
    :raises LookupFailed: Glance did not answer
    :raises GlanceRefused: the image is not there
    """
    began = time.monotonic()
    while True:
        image = images.show(image_id)
        held = copies.is_held(image) and not copies.is_forsaken(
            image, images.tasks(image_id)
        )
        spent = time.monotonic() - began
        if not held or spent >= patience:
            return image, held
        yield min(max(PAUSE, spent / 6), copies.WATCHED)


def _obstacles(image: dict[str, Any], target: str, held: bool) -> list[str]:
    """Return why nothing can be said of an image now, in words."""
    found = []
    if image['status'] != 'active':
        found.append(f'it is {image["status"]}')
    if held:
        found.append(
            'another import has begun (if Glance was killed, the image is '
            'held for up to two hours)'
        )
    if target not in stores.of_image(image):
        found.append(f'it is no longer in {target}')
    return found


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return how an image has changed, in words.

    A size or hash that the image did not have before is no difference.
    """
    was = {'size': before.get('size'), **copies.hashes(before)}
    found = {'size': now.get('size'), **copies.hashes(now)}
    return [
        f'its {name} is {found.get(name)}, and was {value}'
        for name, value in was.items()
        if value and found.get(name) != value
    ]


def _doubts(proof: Proof, image: dict[str, Any], held: bool) -> list[str]:
    """Return why a proof does not hold any more, in words."""
    found = _obstacles(image, proof.store, held)
    found += _differences(proof.image, image)
    changed = image.get('updated_at') != proof.image.get('updated_at')
    if proof.compared is not None and changed:
        # A copy may have been replaced since it was read.
        found.append('it was changed since its copies were compared')
    return found


def _is_vouched_for(
    before: dict[str, Any], after: dict[str, Any], target: str
) -> bool:
    """Tell whether Glance's hash is that of the data before they were copied.

    If an image in several stores was never hashed, or its hash is that of a
    copy, any of these stores may have other data than Glance says.
    """
    present = stores.of_image(before)
    if len(present) == 1 and target not in present:
        return bool(copies.hashes(before))
    algorithm, _, value = str(after.get(copies.HASH)).partition(':')
    return copies.hashes(after).get(algorithm, '') == value != ''


def _compare(
    images: image_api.Images, image: dict[str, Any], wanted: Sequence[str]
) -> Generator[float, None, None]:
    """Read copies of an image, and make certain that they are alike.

    :param wanted: ids of the stores to read it from
    :raises NotWhole: the copies are not alike, or cannot be read
    """
    known = copies.hashes(image)
    algorithm = next(iter(known), ALGORITHM)
    found: dict[str, str] = {}
    for store in wanted:
        try:
            found[store] = yield from _digest(images, image, store, algorithm)
        except (exception.GlanceRefused, exception.LookupFailed) as exc:
            raise exception.NotWhole(
                image['id'],
                [
                    f'{_why_compared(image)}, and its copies cannot be '
                    f'compared: {_because(exc)}'
                ],
            ) from exc
    values = {*found.values(), known.get(algorithm, found[wanted[0]])}
    if len(values) > 1:
        told = ', '.join(f'{s} has {v[:12]}...' for s, v in found.items())
        glance = f'; Glance has {known[algorithm][:12]}...' if known else ''
        raise exception.NotWhole(
            image['id'],
            [f'its copies are not alike: {algorithm}: {told}{glance}'],
        )


def _why_compared(image: dict[str, Any]) -> str:
    algorithm = next(iter(copies.hashes(image)), None)
    if algorithm:
        return f'its {algorithm} may be that of a copy'
    return 'Glance has no hash of it'


def _digest(
    images: image_api.Images,
    image: dict[str, Any],
    store: str,
    algorithm: str,
) -> Generator[float, None, str]:
    """Have one copy of an image read.

    :returns: its hash, in hexadecimal
    :raises LookupFailed: Glance did not read all data
    :raises GlanceRefused: Glance refused
    """
    digest = yield from images.digest(image['id'], store, algorithm)
    if digest.size != image.get('size'):
        raise exception.LookupFailed(
            f'{store} has {digest.size} of {image.get("size")} bytes'
        )
    return digest.value


def _because(error: exception.GlanceRefused | exception.LookupFailed) -> str:
    if isinstance(error, exception.GlanceRefused) and (
        error.status == image_api.NO_FILTER
    ):
        return NO_FILTER
    return str(error)


def _delete(images: image_api.Images, image_id: str, store: str) -> str | None:
    """Delete an image from a store.

    :returns: why the store still has it, None if it does not
    """
    try:
        images.delete_from(image_id, store)
    except exception.GlanceRefused as exc:
        if exc.is_gone:
            # Another request was quicker.
            return None
        in_use = exc.status == 409 and 'in use' in exc.reason
        return IN_USE if in_use else str(exc)
    except exception.LookupFailed as exc:
        return str(exc)
    return None
