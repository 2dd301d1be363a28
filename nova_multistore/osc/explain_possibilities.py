"""Where a snapshot may go, as far as ``nova.conf`` is not known."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from nova_multistore import selection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Mapping

    from nova_multistore import stores


@dataclasses.dataclass(frozen=True)
class Possibility:
    """One store that a snapshot may go to."""

    #: Store id; None for any other store, and for the default store of a
    #: Glance that does not have several.
    store: str | None
    rule: selection.Rule
    #: In words.
    reason: str
    #: When it goes there, in words. Empty for the usual case, which is the
    #: one if no other applies.
    condition: str = ''


def all_of(
    facts: selection.Facts,
    places: Mapping[str, stores.Place],
    configured: bool,
) -> list[Possibility]:
    """Return every possibility that is not excluded, the default case last.

    A store that ``[glance] store`` may name comes after that.

    :param facts: what is known
    :param places: where stores keep their images, by store id
    :param configured: whether ``nova.conf`` is known
    :returns: at least one
    :raises UnknownStore: Glance does not list the store that was asked for
    :raises ReadOnlyStore: the store that was asked for is read-only
    """
    usual = _possibility(facts)
    if not facts.base_image_ref or facts.ordered:
        return [usual]
    found: dict[str | None, Possibility] = {}
    for condition, alternative in _alternatives(facts, places, configured):
        each = _possibility(alternative, condition)
        if each.store != usual.store:
            found.setdefault(each.store, each)
    writable = facts.catalogue.writable if facts.catalogue else ()
    others = []
    if not configured and len(writable) > 1:
        rule = selection.Rule.CONFIG
        words = '[glance] store names it'
        others = [Possibility(None, rule, words, words)]
    return [*found.values(), usual, *others]


def _alternatives(
    facts: selection.Facts,
    places: Mapping[str, stores.Place],
    configured: bool,
) -> Iterator[tuple[str, selection.Facts]]:
    """Return the facts for each Ceph in which the disks may be."""
    if facts.catalogue is None or facts.ceph_store:
        return
    if configured and facts.cluster is None:
        return
    clusters: dict[str, list[str]] = {}
    for store in facts.catalogue.writable:
        place = places.get(store)
        if place and place.fsid:
            clusters.setdefault(place.fsid, []).append(store)
        elif not place:
            # It may be in Ceph.
            yield (
                f'disks are in the Ceph of {store}',
                dataclasses.replace(facts, ceph_store=store),
            )
    for fsid, inside in clusters.items():
        yield (
            f'disks are in the Ceph of {" and ".join(inside)}',
            dataclasses.replace(
                facts, cluster=selection.Cluster(fsid, places)
            ),
        )


def _possibility(facts: selection.Facts, condition: str = '') -> Possibility:
    selected = selection.select(facts)
    default = facts.catalogue.default if facts.catalogue else None
    return Possibility(
        selected.store or default, selected.rule, selected.reason, condition
    )


def sentence(found: list[Possibility]) -> str:
    """Return the possibilities as a part of a sentence.

    :param found: what :func:`all_of` returned
    """
    if len(found) == 1:
        return found[0].store or ''
    words = ''
    for each in found:
        if each.rule is selection.Rule.CONFIG:
            words += ', unless [glance] store names another'
        elif each.condition:
            words += f'{each.store} on a compute whose {each.condition}, '
        else:
            words += f'otherwise {each.store}' if words else str(each.store)
    return words
