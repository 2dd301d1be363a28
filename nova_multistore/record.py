"""The record: what was decided for a snapshot, written on its image.

It is a report for people and for the audit. Any user can write the properties
of an image, so nothing that needs more rights than the user has relies on the
record.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING
from typing import Any

from nova_multistore import copies
from nova_multistore import selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nova_multistore import stores

#: Property: id of the store that was decided on. It is missing if that was
#: Glance's default store, and Glance did not say which that is.
STORE = 'nova_multistore_decided_store'
#: Property: the rule that decided, as :class:`.selection.Rule` names it.
RULE = 'nova_multistore_rule'
#: Property: why the place of the snapshot, or how it was made, differs from
#: the decision.
DIFFERENCE = 'nova_multistore_difference'
#: Property: id of the store in which the snapshot was made, as long as it is
#: to move from there to the one that was decided on.
MOVE_FROM = 'nova_multistore_move_from'
#: All properties of a record, the stores that are to have a copy included.
PROPERTIES = (STORE, RULE, DIFFERENCE, MOVE_FROM, copies.PROPERTY)
#: How long a difference may be, in characters.
LONGEST = 255
#: Beginning of a difference: nobody knows whether the store is the right one,
#: as Glance did not say what the decision depends on.
UNASKED = 'Glance could not be asked: '
#: Beginning of a difference: Glance took the data, and put it in another store
#: than the upload named.
ELSEWHERE = 'Glance put it elsewhere: '
# What is between two differences.
_BETWEEN = '; '


@dataclasses.dataclass(frozen=True)
class Record:
    """The record of an image."""

    #: Id of the store; None for Glance's default store.
    store: str | None
    rule: selection.Rule
    #: In words; None if the snapshot is as it was decided.
    difference: str | None = None
    #: Id of the store that the image is to leave; None if it stays.
    move_from: str | None = None

    @property
    def is_unasked(self) -> bool:
        """Whether Glance could not be asked where the snapshot belongs."""
        return self._says(UNASKED)

    @property
    def is_excused(self) -> bool:
        """Whether the difference is a reason to be in another store."""
        return bool(self.difference) and not self._says(ELSEWHERE)

    def expected(self, catalogue: stores.Catalogue) -> str | None:
        """Return the store that is to have the image.

        :param catalogue: Glance's stores
        :returns: store id; None if there is a reason to be elsewhere, or
            Glance cannot write to the store any more
        """
        store = self.store or catalogue.default
        if self.is_excused or store not in catalogue.writable:
            return None
        return store

    def _says(self, beginning: str) -> bool:
        return any(
            words.startswith(beginning)
            for words in (self.difference or '').split(_BETWEEN)
        )


def join(differences: Sequence[str]) -> str:
    """Return differences as the image has them.

    :param differences: in words
    """
    return _BETWEEN.join(differences)[:LONGEST]


def write(
    selected: selection.Selection,
    copy_to: Sequence[str],
    differences: Sequence[str] = (),
) -> dict[str, str]:
    """Return the properties for the image of a snapshot.

    :param selected: what was decided
    :param copy_to: ids of the stores that are to have a copy
    :param differences: those that are known already, in words
    :returns: properties by name; none if Glance does not have several stores
    """
    catalogue = selected.catalogue
    if catalogue is not None and not catalogue.stores:
        return {}
    store = selected.store or (catalogue and catalogue.default)
    properties = {RULE: selected.rule.value}
    if store:
        properties[STORE] = store
    if selected.move_from and selected.move_from not in copy_to:
        properties[MOVE_FROM] = selected.move_from
    if copy_to:
        properties[copies.PROPERTY] = ','.join(copy_to)
    if differences:
        properties[DIFFERENCE] = join(differences)
    return properties


def read(image: dict[str, Any]) -> Record | None:
    """Read the record of an image.

    :param image: the image, as Glance's API has it
    :returns: the record; None if there is none, or it cannot be read
    """
    try:
        rule = selection.Rule(image.get(RULE))
    except ValueError:
        return None
    return Record(
        image.get(STORE), rule, image.get(DIFFERENCE), image.get(MOVE_FROM)
    )
