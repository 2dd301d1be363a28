"""Copies of an image are read, compared, and made again."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from typing import TYPE_CHECKING
from typing import Any

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import record
from nova_multistore import relocation
from nova_multistore import stores

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable

    from nova_multistore import image_api

# How many images of a store are tried to see whether it can be read at all.
_PROBES = 5
# How much of a hash is shown, in characters.
_SHOWN = 12


class State(enum.Enum):
    """What was found of one copy."""

    #: It has the hash that Glance has of the image, or is as the others if
    #: Glance has none.
    GOOD = 'good'
    #: It was broken, and is good now.
    REPAIRED = 'repaired'
    #: It has another hash.
    DAMAGED = 'damaged'
    #: The store does not have the data.
    MISSING = 'missing'
    #: It could not be read.
    UNREADABLE = 'unreadable'
    #: It is not as another one, and Glance has no hash that says which of them
    #: is right.
    DIFFERENT = 'different'
    #: There is nothing to compare it with.
    UNKNOWN = 'unknown'
    #: It was deleted meanwhile.
    GONE = 'gone'


#: States in which a copy can be made again.
BROKEN = (State.DAMAGED, State.MISSING)
#: States in which something is wrong with the image.
WRONG = (*BROKEN, State.DIFFERENT)
#: States in which nothing is known of a copy.
OPEN = (State.UNREADABLE, State.UNKNOWN)


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found of one copy, and why."""

    state: State
    reason: str = ''
    #: Name of the hash that the data have, and that hash, in hexadecimal; None
    #: if they were not read.
    digest: tuple[str, str] | None = dataclasses.field(
        default=None, compare=False
    )

    def because(self, reason: str) -> Finding:
        """Return this finding with a further reason."""
        return Finding(
            self.state, '; '.join(filter(None, (self.reason, reason)))
        )


@dataclasses.dataclass(frozen=True)
class _Keeper:
    """A store that has a good copy of an image."""

    store: str
    #: Name of the hash that the data have, and that hash, in hexadecimal.
    digest: tuple[str, str]


def _is_hashed(image: dict[str, Any]) -> bool:
    """Tell whether there is a hash that copies can be compared with.

    The hash of a copy does not tell whether that is right.
    """
    return bool(copies.hashes(image)) and (
        image.get(copies.HASH) != copies.NO_HASH
    )


def _compare(found: dict[str, Finding]) -> dict[str, Finding]:
    """Compare copies of an image with each other.

    No hash says which of them is right.

    :param found: what was found of each, by store id
    """
    read = {store: f.digest for store, f in found.items() if f.digest}
    if len(read) < 2:
        return found
    if len(set(read.values())) > 1:
        told = ', '.join(
            f'{store} has {algorithm} {value[:_SHOWN]}...'
            for store, (algorithm, value) in read.items()
        )
        new = dict.fromkeys(
            read,
            Finding(
                State.DIFFERENT,
                f'no hash says which copy is right: {told}',
            ),
        )
        return {**found, **new}
    reason = 'Glance has no hash of it; the copies that were read are alike'
    return {
        store: Finding(State.GOOD, reason, finding.digest)
        if finding.state is State.UNKNOWN
        else finding
        for store, finding in found.items()
    }


class Verifier:
    """Reads copies of images, each from its own store.

    It may be used by several threads.

    :param images: Glance's image API
    :param catalogue: Glance's stores
    :param needed: returns why the copy of an image in a store may be needed
        there, None if it is not; called with the ids of image and store
    :param listed: returns the images that a store has
    :param report: called with the size of each piece that was read, in bytes
    """

    def __init__(
        self,
        images: image_api.Images,
        catalogue: stores.Catalogue,
        needed: Callable[[str, str], str | None],
        listed: Callable[[str], Iterable[dict[str, Any]]],
        report: Callable[[int], None],
    ) -> None:
        self._images = images
        self._catalogue = catalogue
        self._needed = needed
        self._listed = listed
        self._report = report
        # Stores of which something could be read.
        self._alive: set[str] = set()

    def to_read(self, image: dict[str, Any], wanted: str | None) -> list[str]:
        """Return the stores whose copies are read.

        Without a hash, they are compared with each other.

        :param image: the image, as Glance's API has it
        :param wanted: id of the only store that is meant; None for all
        :returns: store ids
        """
        return [
            store
            for store in stores.of_image(image)
            if wanted in (None, store) or not _is_hashed(image)
        ]

    def verify(
        self, image: dict[str, Any], wanted: str | None
    ) -> dict[str, Finding]:
        """Read the copies of an image.

        :param image: the image, as Glance's API has it
        :param wanted: id of the only store that is meant; None for all
        :returns: what was found, by store id
        """
        present = stores.of_image(image)
        found = {
            store: self._look(image, store)
            for store in self.to_read(image, wanted)
        }
        if not _is_hashed(image):
            found = _compare(found)
        for store in stores.split(image.get(copies.REPAIR)):
            if store not in present and store in self._catalogue.writable:
                found[store] = Finding(State.MISSING, 'a repair was stopped')
        return {s: f for s, f in found.items() if wanted in (None, s)}

    def _look(self, image: dict[str, Any], store: str) -> Finding:
        """Read one copy, and compare it with the hash if there is one."""
        if store not in self._catalogue.ids:
            return Finding(State.UNREADABLE, "not one of this Glance's stores")
        algorithm, expected = next(
            iter(copies.hashes(image).items()), (relocation.ALGORITHM, None)
        )
        try:
            digest = copies.finish(
                self._images.digest(
                    image['id'], store, algorithm, self._report
                )
            )
        except exception.GlanceRefused as exc:
            if exc.status == 410:
                return Finding(State.MISSING, exc.reason)
            if exc.status == 404:
                return Finding(State.GONE)
            return Finding(State.UNREADABLE, str(exc))
        except exception.LookupFailed as exc:
            return Finding(State.UNREADABLE, str(exc))
        self._alive.add(store)
        read = algorithm, digest.value
        if expected is None and digest.size == image['size']:
            return Finding(
                State.UNKNOWN,
                'Glance has no hash of the image, and there is no other copy '
                'to compare this one with',
                read,
            )
        if read[1] == expected:
            return Finding(State.GOOD, digest=read)
        told = f'{digest.size} bytes with {algorithm} {read[1][:_SHOWN]}...'
        wanted = f'{image["size"]} bytes'
        if expected:
            wanted += f' with {expected[:_SHOWN]}...'
        return Finding(State.DAMAGED, f'{told}, not {wanted}', read)

    def mend(
        self, image: dict[str, Any], found: dict[str, Finding], timeout: float
    ) -> dict[str, Finding]:
        """Make the broken copies of an image again.

        A copy is deleted after it was found broken twice, and only if there is
        a good one.

        :param image: the image, as Glance's API has it
        :param found: what was found of its copies, by store id
        :param timeout: how long to wait for the copies, in seconds
        :returns: what became of the broken ones, by store id
        """
        broken = {s: f for s, f in found.items() if f.state in BROKEN}
        if not broken:
            named = stores.split(image.get(copies.REPAIR))
            good = [s for s, f in found.items() if f.state is State.GOOD]
            if named and set(named) <= set(good):
                # An earlier run was stopped when all had been done.
                self._done(image['id'])
            return {}
        keeper = self._keeper(image, found)
        if keeper is None:
            return {
                store: finding.because('no other copy is good')
                for store, finding in broken.items()
            }
        present = stores.of_image(image)
        after = {
            store: self._again(image, store, finding)
            for store, finding in broken.items()
            if store in present
        }
        certain = {s: f for s, f in after.items() if f == broken[s]}
        wanted = [s for s in broken if s in certain or s not in present]
        if not wanted:
            return after
        try:
            after.update(
                self._replace(image, keeper, certain, wanted, timeout)
            )
        except exception.MultistoreError as exc:
            after.update((s, broken[s].because(str(exc))) for s in wanted)
        return after

    def _keeper(
        self, image: dict[str, Any], found: dict[str, Finding]
    ) -> _Keeper | None:
        """Return a store that has a good copy of an image."""
        for store in stores.of_image(image):
            finding = found.get(store) or self._look(image, store)
            if finding.state is State.GOOD and finding.digest:
                return _Keeper(store, finding.digest)
        return None

    def _again(
        self, image: dict[str, Any], store: str, before: Finding
    ) -> Finding:
        """Make sure that a copy is broken."""
        if before.state is State.MISSING and not self._is_alive(image, store):
            return before.because(
                'nothing else can be read from this store, so it may not be '
                'mounted'
            )
        now = self._look(image, store)
        if now == before:
            return before
        return Finding(
            State.UNREADABLE,
            f'first {before.state.value} ({before.reason}), then '
            f'{now.state.value} {now.reason}'.strip(),
        )

    def _is_alive(self, image: dict[str, Any], store: str) -> bool:
        """Tell whether another image can be read from a store."""
        tried = 0
        for other in self._listed(store):
            if store in self._alive or tried == _PROBES:
                break
            if other['id'] != image['id']:
                tried += 1
                self._look(other, store)
        return store in self._alive

    def _replace(
        self,
        image: dict[str, Any],
        keeper: _Keeper,
        certain: dict[str, Finding],
        wanted: list[str],
        timeout: float,
    ) -> dict[str, Finding]:
        """Delete broken copies, and make them again.

        :param keeper: a store that has a good copy
        :param certain: what was found of the copies to delete, by store id
        :param wanted: ids of the stores to copy to
        :returns: what became of the copies, by store id
        :raises MultistoreError: Glance refuses or does not answer
        """
        image_id = image['id']
        found: dict[str, Finding] = {}
        if certain:
            # If this process is killed now, another one makes them again.
            self._images.set_property(
                image_id, copies.REPAIR, ','.join(wanted)
            )
            left = relocation.leave(
                self._images,
                relocation.prove_by_reading(
                    self._images, image_id, keeper.store, *keeper.digest
                ),
                relocation.Sources(self._catalogue, self._needed, [*certain]),
            )
            for store, finding in certain.items():
                if reason := left.reasons.get(store):
                    found[store] = finding.because(reason)
                elif store == image.get(record.MOVE_FROM):
                    found[store] = Finding(State.GONE)
        lacking = [store for store in wanted if store not in found]
        made = copies.copy(self._images, image_id, lacking, timeout)
        for copy in made:
            found[copy.store] = self._judge(image, copy)
        if all(copy.state is copies.State.DONE for copy in made):
            self._done(image_id)
        return found

    def _done(self, image_id: str) -> None:
        """Remove the property that says what is to be made again."""
        with contextlib.suppress(exception.MultistoreError):
            _image, held = relocation.released(self._images, image_id)
            if not held:
                self._images.remove_property(image_id, copies.REPAIR)

    def _judge(self, image: dict[str, Any], copy: copies.Copy) -> Finding:
        """Read a copy that was made again."""
        if copy.state is not copies.State.DONE:
            return Finding(
                State.MISSING, copy.reason or f'the copy is {copy.state.value}'
            )
        found = self._look(image, copy.store)
        return Finding(State.REPAIRED) if found.state is State.GOOD else found
