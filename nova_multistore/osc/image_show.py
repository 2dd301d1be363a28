"""``multistore image show``: the state of images in each store."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING
from typing import Any

from nova_multistore import copies
from nova_multistore import record
from nova_multistore import statuses
from nova_multistore.osc import base
from nova_multistore.osc import copy_rows
from nova_multistore.osc import image_pages
from nova_multistore.osc import progress
from nova_multistore.osc import sizes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping

    from nova_multistore import stores
    from nova_multistore.osc.cloud import Cloud


_COLUMNS = (
    'image_id',
    'name',
    'status',
    'store',
    'state',
    'size',
    'copied',
    'default',
    'reason',
    *copy_rows.DECISION,
)


class ShowImages(base.ListCommand):
    """Show the state of images in each store

    A store is "missing" if it is to have an image, and no copy to it is under
    way. With --wait, the exit code says whether all stores have the images
    that they are to have.
    """

    optional = ('copied', 'reason', *copy_rows.DECISION)
    detailed = ('default',)

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'images', metavar='<image>', nargs='+', help='Image (name or ID)'
        )
        base.add_wait(parser, 'until nothing is under way')
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> copy_rows.Listing:
        catalogue = self.cloud.catalogue()
        followers = {
            image: _follower(self.cloud, catalogue, image)
            for image in dict.fromkeys(parsed_args.images)
        }
        if parsed_args.wait:
            self._wait(followers, parsed_args.timeout)
        else:
            for follower in followers.values():
                follower.look()
        return _COLUMNS, [
            row
            for follower in followers.values()
            for row in _rows(
                follower.image, follower.copies, catalogue.default
            )
        ]

    def _wait(
        self, followers: Mapping[str, copies.Follower], timeout: float
    ) -> None:
        with self.waiting(*followers) as said:
            progress.until_settled(
                list(followers.values()),
                timeout,
                lambda: said.show(_items(followers)),
            )
        outcomes = {
            follower: _outcome(follower) for follower in followers.values()
        }
        if set(outcomes.values()) == {base.Outcome.DONE}:
            return
        failed = set(outcomes.values()) == {base.Outcome.FAILED}
        self.fall_short(
            base.Outcome.FAILED if failed else base.Outcome.PARTLY,
            '\n'.join(
                _what_is_missing(follower)
                for follower, outcome in outcomes.items()
                if outcome is not base.Outcome.DONE
            ),
        )


def _follower(
    cloud: Cloud, catalogue: stores.Catalogue, name_or_id: str
) -> copies.Follower:
    return copies.Follower(
        cloud.images,
        cloud.find_image(name_or_id),
        awaited=lambda image: copy_rows.awaited(image, catalogue),
    )


def _items(followers: Mapping[str, copies.Follower]) -> list[progress.Item]:
    return [
        item
        for name, follower in followers.items()
        for item in progress.items(follower.image, follower.copies, f'{name} ')
        or [progress.Item(name, f'{follower.image["status"]}, no data yet')]
    ]


def _outcome(follower: copies.Follower) -> base.Outcome:
    """Return the exit code, as far as this image counts."""
    if follower.settled:
        return copy_rows.outcome(follower.copies)
    return base.Outcome.FAILED if follower.abandoned else base.Outcome.PARTLY


def _what_is_missing(follower: copies.Follower) -> str:
    """Return a sentence: what is missing of an image, and what to do."""
    image_id, status = follower.image['id'], follower.image['status']
    if not follower.settled and follower.abandoned:
        return copy_rows.abandoned(follower.image)
    if target := copy_rows.unfinished_move(follower.image, follower.copies):
        return _what_is_left_of_a_move(follower, target)
    if follower.copies:
        return copy_rows.shortfall(follower.image, follower.copies)
    if status in statuses.WITH_DATA:
        return f'image {image_id} is {status}, and {image_pages.UNTOLD}'
    if follower.settled:
        return copy_rows.left_over(image_id, follower.copies)
    return copy_rows.waits(follower.image)


def _what_is_left_of_a_move(follower: copies.Follower, target: str) -> str:
    """Return sentences: what an image lacks that is to move to a store."""
    image = follower.image
    source = image[record.MOVE_FROM]
    words = (
        f'image {image["id"]} is to move from {source} to {target}, which '
        'does not have it; complete the move with: openstack multistore image '
        f'relocate {image["id"]} --to {target} --from {source}'
    )
    others = [copy for copy in follower.copies if copy.store != target]
    if copy_rows.outcome(others) is base.Outcome.DONE:
        return words
    return f'{words}\n{copy_rows.shortfall(image, others)}'


def _rows(
    image: dict[str, Any],
    found: Iterable[copies.Copy],
    default: str | None,
) -> list[tuple[Any, ...]]:
    """Return a row for each store; one row if no store has the image."""
    about = (image['id'], image.get('name'), image['status'])
    decision = copy_rows.decision(image)
    total = sizes.SizeColumn(image.get('size'))
    rows = [
        (
            *(*about, copy.store, copy.state.value, total),
            *(sizes.SizeColumn(copy.copied), copy.store == default),
            copy.reason or '',
            *decision,
        )
        for copy in found
    ]
    nowhere = ('', '', total, sizes.SizeColumn(None), False, '')
    return rows or [(*about, *nowhere, *decision)]
