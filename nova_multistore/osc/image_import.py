"""An image whose data are imported into several stores."""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING

from osc_lib import exceptions

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore.osc import base
from nova_multistore.osc import choice
from nova_multistore.osc import follow
from nova_multistore.osc import listing
from nova_multistore.osc import local
from nova_multistore.osc import progress

if TYPE_CHECKING:
    from collections.abc import Sequence


class ImportImage(base.ListCommand):
    """Create an image whose data are imported into several stores"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('name', metavar='<name>', help='Name of the image')
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument(
            '--uri',
            metavar='<uri>',
            help="Where Glance is to get the data; Glance's web-download",
        )
        source.add_argument(
            '--file',
            metavar='<file>',
            help="Local file with the data; Glance's glance-direct",
        )
        choice.add_stores(parser)
        failure = parser.add_mutually_exclusive_group()
        failure.add_argument(
            '--allow-failure',
            action='store_false',
            dest='must_succeed',
            default=False,
            help='Keep what lies in some of the stores only (default)',
        )
        failure.add_argument(
            '--disallow-failure',
            action='store_true',
            dest='must_succeed',
            help='Keep nothing unless it lies in all of the stores',
        )
        parser.add_argument(
            '--disk-format',
            metavar='<disk-format>',
            default='raw',
            help='Disk format of the data (default: raw)',
        )
        choice.add_wait(parser, 'until the data lie in the stores')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> listing.Listing:
        images = self.cloud.images
        wanted = choice.chosen(parsed_args, self.cloud.catalogue())
        with contextlib.ExitStack() as stack:
            file = None
            if parsed_args.file:
                file = stack.enter_context(local.LocalFile(parsed_args.file))
            image_id = images.create(
                name=parsed_args.name,
                disk_format=parsed_args.disk_format,
                container_format='bare',
            )['id']
            with self.interrupt_says(listing.delete(image_id)):
                self._begin(image_id, wanted, parsed_args, file)
        follower = copies.Follower(images, image_id, wanted)
        if parsed_args.wait:
            self._wait(image_id, follower, parsed_args.timeout)
        else:
            follower.look()
        return listing.of_copies(image_id, follower.copies)

    def _begin(
        self,
        image_id: str,
        wanted: Sequence[str],
        parsed_args: argparse.Namespace,
        file: local.LocalFile | None,
    ) -> None:
        """Have Glance import the data.

        :raises osc_lib.exceptions.CommandError: it does not
        """
        images = self.cloud.images
        try:
            if file is None:
                method = {'name': 'web-download', 'uri': parsed_args.uri}
            else:
                method = {'name': 'glance-direct'}
                self._stage(image_id, file)
            images.import_data(
                image_id, wanted, parsed_args.must_succeed, **method
            )
        except (exception.GlanceRefused, exception.LookupFailed) as exc:
            # An answer may be lost, or be that to a request that was repeated.
            if self._has_begun(image_id):
                return
            if isinstance(exc, exception.GlanceRefused):
                images.delete(image_id)
                raise
            raise exceptions.CommandError(
                f'{exc}; {listing.delete(image_id)}'
            ) from exc

    def _has_begun(self, image_id: str) -> bool:
        """Tell whether Glance imports an image, or has done so.

        :raises osc_lib.exceptions.CommandError: it does not say
        """
        try:
            image = self.cloud.images.show(image_id)
        except exception.MultistoreError as exc:
            raise exceptions.CommandError(
                f'{exc}; whether it imports the image is told by: '
                f'openstack multistore image show {image_id}'
            ) from exc
        return copies.is_held(image) or image['status'] == 'active'

    def _stage(self, image_id: str, file: local.LocalFile) -> None:
        """Send Glance the data.

        :raises LookupFailed: it did not answer
        :raises GlanceRefused: it will not take them
        :raises osc_lib.exceptions.CommandError: it does not have all of them
        """
        images = self.cloud.images
        with progress.start(self.app.stderr) as said:
            file.report = lambda done: said.show([_sent(file, done)])
            images.stage(image_id, file)
        came = images.show(image_id)['size']
        if came != file.size:
            images.delete(image_id)
            raise exceptions.CommandError(
                f'{came} of {file.size} bytes came to Glance'
            )

    def _wait(
        self, image_id: str, follower: copies.Follower, timeout: float
    ) -> None:
        with self.waiting(image_id) as said:
            follow.until_settled(
                [follower],
                timeout,
                lambda: said.show(
                    follow.items(follower.image, follower.copies)
                ),
            )
        outcome = listing.outcome(follower.copies)
        if outcome is base.Outcome.DONE:
            return
        if follower.settled and outcome is base.Outcome.FAILED:
            words = listing.left_over(image_id, follower.copies)
        else:
            words = listing.shortfall(image_id, follower.copies)
        self.fall_short(outcome, words)


def _sent(file: local.LocalFile, done: int) -> progress.Item:
    """Return how much of a file is sent, for those who wait."""
    state = 'sending' if done < file.size else 'sent'
    return progress.Item(file.name, state, done=done, total=file.size)
