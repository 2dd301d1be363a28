"""Where images belong: the rules for them, and what has to change."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING
from typing import Any

from openstack import exceptions as sdk_exceptions

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import stores
from nova_multistore.osc import base
from nova_multistore.osc import image_pages
from nova_multistore.osc import progress
from nova_multistore.osc.placement import file

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection
    from collections.abc import Iterator

    from nova_multistore.osc.cloud import Cloud
    from nova_multistore.osc.placement.file import Placements
    from nova_multistore.osc.placement.file import Rule


@dataclasses.dataclass(frozen=True)
class Change:
    """What has to change for one image."""

    image: dict[str, Any]
    #: Names of the rules that mean it.
    rules: tuple[str, ...]
    #: Ids of the stores that are to have it, and have it not.
    copy_to: tuple[str, ...]
    #: Ids of the stores that have it, and that no rule names.
    delete_from: tuple[str, ...]
    #: Whether a server was started from it.
    in_use: bool
    #: Why none of that can be done, in words; empty if it can.
    obstacle: str = ''

    @property
    def urgency(self) -> tuple[int, bool, int]:
        """The order in which images are changed, the smallest first.

        Images with the fewest copies come first, then images that servers
        use, then small ones.
        """
        return (
            len(stores.of_image(self.image)),
            not self.in_use,
            self.image.get('size') or 0,
        )


class Planner:
    """Finds the images that rules mean, and what has to change.

    :param cloud: the cloud
    :param catalogue: Glance's stores
    :param placements: the rules
    :param show: shows how far the looks at single images are
    :raises UsageError: a rule cannot be kept
    :raises openstack.exceptions.SDKException: there is no such project
    """

    def __init__(
        self,
        cloud: Cloud,
        catalogue: stores.Catalogue,
        placements: Placements,
        show: progress.Show = progress.nothing,
    ) -> None:
        self._cloud = cloud
        self._show = show
        self._catalogue = catalogue
        self._placements = placements
        # Names of the rules that mean an image.
        self._met: set[str] = set()
        self._rules = [
            _resolve(rule, cloud, catalogue, placements)
            for rule in placements.rules
        ]
        #: Ids of the images that servers were started from.
        self.used: Collection[str] = ()
        for rule in self._rules:
            if 'in_use' in rule.images:
                self.used = _in_use(rule, cloud, placements)
                break

    def changes(self, prune: bool) -> Iterator[Change]:
        """Return what has to change, for each image that a rule means.

        Glance selects the images, page by page.

        :param prune: whether images leave the stores that no rule names
        :raises LookupFailed: Glance did not answer
        :raises GlanceRefused: it will not list them
        """
        for index, rule in enumerate(self._rules):
            for image in self._listed(rule):
                if any(self._means(r, image) for r in self._rules[:index]):
                    # It came with that rule.
                    continue
                if 'in_use' in rule.images and image['id'] not in self.used:
                    continue
                rules = [rule] + [
                    other
                    for other in self._rules[index + 1 :]
                    if self._means(other, image)
                ]
                self._met.update(each.name for each in rules)
                yield self._change(image, rules, prune)

    @property
    def empty(self) -> list[str]:
        """What rules mean no image, in words; known once all were returned.

        Such a rule may have a mistake.
        """
        return [
            str(
                self._placements.error(
                    rule.line, f'{rule.name} means no active image'
                )
            )
            for rule in self._rules
            if rule.name not in self._met
        ]

    def _listed(self, rule: Rule) -> Iterator[dict[str, Any]]:
        wanted = rule.images
        filters = {
            'status': 'active',
            **wanted.get('properties', {}),
        }
        filters.update(
            (key, wanted[key])
            for key in ('name', 'owner', 'visibility')
            if key in wanted
        )
        tags = wanted.get('tags', ())
        if tags:
            # Glance takes several, which the rest of this does not need.
            filters['tag'] = tags[0]
        for page in image_pages.pages(
            self._cloud, self._catalogue, filters, (None,), self._show
        ):
            for image in page:
                if set(tags) <= set(image.get('tags') or ()):
                    yield image

    def _means(self, rule: Rule, image: dict[str, Any]) -> bool:
        """Tell whether a rule means an image that is active."""
        wanted = rule.images
        return (
            all(
                image.get(key) == wanted[key]
                for key in ('name', 'owner', 'visibility')
                if key in wanted
            )
            and set(wanted.get('tags', ())) <= set(image.get('tags') or ())
            and wanted.get('properties', {}).items() <= image.items()
            and ('in_use' not in wanted or image['id'] in self.used)
        )

    def _change(
        self, image: dict[str, Any], rules: list[Rule], prune: bool
    ) -> Change:
        present = stores.of_image(image)
        named = dict.fromkeys(s for rule in rules for s in rule.stores)
        least = max(rule.min_copies for rule in rules)
        writable = self._catalogue.writable
        stay = list(present)
        if prune and named:
            named.update(
                dict.fromkeys(stores.split(image.get(copies.PROPERTY)))
            )
            stay = [s for s in present if s in named or s not in writable]
        wanted = dict.fromkeys((*stay, *(s for s in named if s in writable)))
        # What is there already is the cheapest, then the default store.
        further = sorted(writable, key=lambda s: s != self._catalogue.default)
        for store in (*present, *further):
            if len(wanted) >= least:
                break
            wanted[store] = None
        return Change(
            image,
            tuple(rule.name for rule in rules),
            tuple(s for s in wanted if s not in present),
            tuple(s for s in present if s not in wanted),
            image['id'] in self.used,
            self._catalogue.unreadable(image),
        )


def _in_use(rule: Rule, cloud: Cloud, placements: Placements) -> set[str]:
    """Return the ids of the images that servers were started from.

    :raises UsageError: Nova does not tell it
    """
    try:
        return cloud.images_in_use()
    except sdk_exceptions.ForbiddenException as exc:
        raise placements.error(
            rule.line,
            f'{rule.name}: in_use is for administrators: Nova lists the '
            'servers of all projects to nobody else',
        ) from exc


def _resolve(
    rule: Rule,
    cloud: Cloud,
    catalogue: stores.Catalogue,
    placements: Placements,
) -> Rule:
    """Return a rule with the ids of what it names.

    :raises UsageError: it cannot be kept
    """
    writable = catalogue.writable
    named = writable if rule.stores == (file.ALL,) else rule.stores
    for store in named:
        try:
            catalogue.check_writable(store)
        except exception.StoreRefused as exc:
            raise placements.error(rule.line, f'{rule.name}: {exc}') from exc
    if rule.min_copies > len(writable):
        raise placements.error(
            rule.line,
            f'{rule.name} wants {rule.min_copies} copies, and there are only '
            f'{len(writable)} stores that can be written',
        )
    images = dict(rule.images)
    if 'owner' in images:
        images['owner'] = cloud.find_project(images['owner'])
    return dataclasses.replace(rule, stores=tuple(named), images=images)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the commands that plan."""
    add_file(parser)
    parser.add_argument(
        '--prune',
        action='store_true',
        help='Have each image that a placement means leave the stores that '
        'no placement names for it',
    )


def add_file(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names the file."""
    parser.add_argument(
        'file',
        metavar='<file>',
        type=pathlib.Path,
        help='YAML file that says which images belong in which stores',
    )


def read(
    command: base.ListCommand, path: pathlib.Path
) -> tuple[Planner, file.Placements, stores.Catalogue]:
    """Read a file of placements, and what Glance says of the stores.

    :param command: the command
    :param path: where the file is
    :raises UsageError: it is not valid, or cannot be kept
    :raises LookupFailed: Glance's answer cannot be read
    """
    placements = file.Placements(path)
    catalogue = command.cloud.catalogue()
    base.check_writable(catalogue)
    return (
        Planner(
            command.cloud,
            catalogue,
            placements,
            progress.passing(command.app.stderr),
        ),
        placements,
        catalogue,
    )


def check_met(command: base.Command, plan: Planner) -> base.Outcome:
    """Warn of placements that mean no image.

    :param command: the command that warns
    :param plan: has returned all changes
    :returns: the exit code of a command that has otherwise done all
    """
    for words in plan.empty:
        command.log.warning('%s', words)
    return base.Outcome.PARTLY if plan.empty else base.Outcome.DONE
