"""What is asked of Glance and Ceph before a store is selected."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING
from typing import Any

from nova_multistore import exception
from nova_multistore import lookup
from nova_multistore import selection
from nova_multistore import stores
from nova_multistore.compute import ceph

if TYPE_CHECKING:
    from nova.context import RequestContext


def gather(
    context: RequestContext, facts: selection.Facts, in_ceph: bool
) -> selection.Facts:
    """Ask for what the rules need, and for nothing else.

    :param context: whose token is sent
    :param facts: what is known already
    :param in_ceph: whether the disk is in Ceph
    """
    if not facts.image_ref:
        return facts
    facts = dataclasses.replace(
        facts,
        ceph_store=ceph.named_store() if in_ceph else None,
        clones=ceph.takes_clones(),
    )
    image = None
    deadline = time.monotonic() + stores.TIMEOUT

    def left() -> float:
        return deadline - time.monotonic()

    try:
        if facts.ordered:
            store, _rule = facts.ordered
            catalogue = lookup.catalogue_for(context, store, left())
        else:
            catalogue = lookup.catalogue(context, left())
        facts = dataclasses.replace(facts, catalogue=catalogue)
        if catalogue.stores and _needs_image(facts, catalogue, in_ceph):
            image = lookup.base_image(context, facts.base_image_ref, left())
            found = stores.of_image(image)
            if not found and image.get('status') == 'deactivated':
                raise exception.LookupFailed(
                    'the base image is deactivated, and Glance does not show '
                    'its stores'
                )
            facts = dataclasses.replace(facts, base_stores=found)
    except exception.LookupFailed as exc:
        facts = dataclasses.replace(
            facts,
            unknown=str(exc),
            unasked=not isinstance(exc, exception.ImageGone),
        )
    if in_ceph:
        facts = dataclasses.replace(
            facts, cluster=_cluster(facts.catalogue, image)
        )
    return facts


def _needs_image(
    facts: selection.Facts, catalogue: stores.Catalogue, in_ceph: bool
) -> bool:
    """Tell whether the base image has to be looked up.

    If somebody asked for a store, only the place of that store counts, and
    only for a direct snapshot. If the snapshot is to move there, the store in
    which it is made counts, too.
    """
    if not facts.ordered:
        return True
    store, rule = facts.ordered
    moves = rule is selection.Rule.MOVE
    return (
        in_ceph and facts.clones and (moves or store not in catalogue.places)
    )


def _cluster(
    catalogue: stores.Catalogue | None, image: dict[str, Any] | None
) -> selection.Cluster:
    """Put together what is known of stores in Ceph."""
    places = stores.places_of_image(image) if image else {}
    if catalogue:
        places.update(catalogue.places)
    return ceph.cluster(places)
