"""``multistore placement check``: from where each site starts servers."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from openstack import exceptions as sdk_exceptions

from nova_multistore import exception
from nova_multistore import stores
from nova_multistore.osc import base
from nova_multistore.osc.placement import planner

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from nova_multistore.osc.placement import file
    from nova_multistore.osc.placement.file import Site

_COLUMNS = ('site', 'image_id', 'name', 'start', 'reason')
_FAILS = 'fails'
_FAILS_FOR_MEMBERS = 'fails for members'


class CheckPlacements(base.ListCommand):
    """Show from where each site would start a server from each image

    The file names the sites. The images are those that its placements mean,
    and those that servers use. A server starts from a clone in the site's own
    Ceph, from a copy that is made there first, or from a download, or the
    start fails. It fails for members alone if Nova has the image copied with
    their own token. The exit code is 1 if a start fails, and 3 if a placement
    means no image.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        planner.add_file(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
        plan, placements, catalogue = planner.read(self, parsed_args.file)
        if not placements.sites:
            raise placements.error(1, 'there are no sites to check')
        for site in placements.sites:
            _check_site(site, catalogue, placements)
        return _COLUMNS, self._rows(plan, placements.sites, catalogue)

    def _rows(
        self,
        plan: planner.Planner,
        sites: tuple[Site, ...],
        catalogue: stores.Catalogue,
    ) -> Iterator[tuple[Any, ...]]:
        failures = 0
        for image in self._images(plan):
            for site in sites:
                start, reason = how(image, site, catalogue)
                failures += start in (_FAILS, _FAILS_FOR_MEMBERS)
                yield site.name, image['id'], image.get('name'), start, reason
        met = planner.check_met(self, plan)
        self.outcome = base.Outcome.FAILED if failures else met

    def _images(self, plan: planner.Planner) -> Iterator[dict[str, Any]]:
        """Return the images that placements mean or servers use."""
        used = set(plan.used or self._used())
        for change in plan.changes(prune=False):
            used.discard(change.image['id'])
            yield change.image
        for image_id in sorted(used):
            try:
                yield self.cloud.images.show(image_id)
            except exception.GlanceRefused as exc:
                # A server outlives its image.
                if not exc.is_gone:
                    raise

    def _used(self) -> set[str]:
        """Return the ids of the images that servers use, if Nova tells them.

        Those of one project are no sample of what sites start.
        """
        try:
            return self.cloud.images_in_use()
        except sdk_exceptions.ForbiddenException:
            self.app.stderr.write(
                'images that only servers use are left out: Nova lists the '
                'servers of all projects to administrators alone\n'
            )
            return set()


def _check_site(
    site: Site,
    catalogue: stores.Catalogue,
    placements: file.Placements,
) -> None:
    """Make sure that Glance has the stores of a site.

    :raises UsageError: it has not
    """
    for store in (site.ceph, site.store, *site.stores):
        if store is not None and store not in catalogue.ids:
            raise placements.error(
                site.line,
                f"{site.name} names store '{store}', which Glance does not "
                f'have; it has {", ".join(catalogue.ids)}',
            )


def how(
    image: dict[str, Any], site: Site, catalogue: stores.Catalogue
) -> tuple[str, str]:
    """Return how a server would start.

    :param image: the image, as Glance's API has it
    :param site: where
    :param catalogue: Glance's stores
    :returns: in words, and why
    """
    if image['status'] != 'active':
        return _FAILS, f'the image is {image["status"]}'
    present = stores.of_image(image)
    known = [
        store
        for store in catalogue.stores
        if not site.stores or store.id in site.stores
    ]
    within = [store for store in known if store.id in present]
    if not within:
        return (
            _FAILS,
            f'it is in {", ".join(present) or "no store"}, which the Glance '
            'of this site does not have',
        )
    if site.ceph and image['disk_format'] != 'raw':
        reason = f'{image["disk_format"]} images cannot be cloned'
    elif site.ceph in present:
        return f'clone in {site.ceph}', ''
    elif site.ceph in catalogue.writable:
        # As nova-compute does with images_rbd_glance_store_name.
        reason = f'it is not in {site.ceph}'
        if site.may_copy:
            return f'copied to {site.ceph} first', reason
        return (
            _FAILS_FOR_MEMBERS,
            f'{reason}, and a member may not have it copied there (may_copy)',
        )
    else:
        reason = f'it is not in {site.ceph}' if site.ceph else ''
    if site.ceph in [store.id for store in within]:
        return f'download from {site.ceph}', reason
    # Glance goes by the weights of its stores, nova-compute has no say.
    first = max(within, key=lambda store: store.weight or 0)
    return f'download from {first.id}', reason
