"""``multistore image import``: a new image, imported into several stores."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import stat
from typing import TYPE_CHECKING

from osc_lib import exceptions

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore.osc import base
from nova_multistore.osc import copy_rows
from nova_multistore.osc import image_new
from nova_multistore.osc import progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence


class LocalFile(io.BufferedReader):
    """A local file with the data of an image, and how much of it was read.

    :param path: its path
    :raises osc_lib.exceptions.CommandError: it cannot be read, or its size is
        not known
    """

    def __init__(self, path: str) -> None:
        try:
            raw = io.FileIO(path)
        except OSError as exc:
            raise exceptions.CommandError(str(exc)) from exc
        super().__init__(raw)
        status = os.fstat(raw.fileno())
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise exceptions.CommandError(f'{path} is not a regular file')
        #: In bytes.
        self.size = status.st_size
        #: Called with the number of bytes that were read so far.
        self.report: Callable[[int], None] = lambda _done: None

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.report(self.tell())
        return data


class _HalfSent(exceptions.CommandError):
    """Raised if Glance has only a part of a file."""


class ImportImage(base.ListCommand):
    """Create an image, and import its data into several stores

    Unlike openstack image import, this command creates the image, sends a
    local file, shows the state in each store and waits for all of them. With
    --image, the data are imported into an image that exists and has no data
    yet.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'name', metavar='<name>', nargs='?', help='Name of a new image'
        )
        parser.add_argument(
            '--image',
            metavar='<image>',
            help='Image without data to import into, instead of a new one '
            '(name or ID)',
        )
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument(
            '--uri',
            metavar='<uri>',
            help='URI that Glance downloads the data from (web-download)',
        )
        source.add_argument(
            '--file',
            metavar='<file>',
            help='Local file with the data (glance-direct)',
        )
        base.add_stores(parser)
        failure = parser.add_mutually_exclusive_group()
        failure.add_argument(
            '--allow-failure',
            action='store_false',
            dest='must_succeed',
            default=False,
            help='Keep the image if only some stores have it (default)',
        )
        failure.add_argument(
            '--disallow-failure',
            action='store_true',
            dest='must_succeed',
            help='Keep the image only if all of the stores have it',
        )
        image_new.add_options(parser)
        base.add_wait(parser, 'until the stores have the data')
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> copy_rows.Listing:
        images = self.cloud.images
        wanted = base.chosen(parsed_args, self.cloud.catalogue())
        with contextlib.ExitStack() as stack:
            file = None
            if parsed_args.file:
                file = stack.enter_context(LocalFile(parsed_args.file))
            if parsed_args.image:
                image_id = self._image_without_data(parsed_args)
            else:
                attributes = image_new.attributes(parsed_args)
                image_id = images.create(**attributes)['id']
            with self.interrupt_says(copy_rows.delete(image_id)):
                self._begin(image_id, wanted, parsed_args, file)
        follower = copies.Follower(images, image_id, wanted)
        if parsed_args.wait:
            self._wait(image_id, follower, parsed_args.timeout)
        else:
            follower.look()
        return copy_rows.COLUMNS, copy_rows.of_copies(
            image_id, follower.copies
        )

    def _image_without_data(self, parsed_args: argparse.Namespace) -> str:
        """Return the id of the image to import into.

        :raises UsageError: it has data, or the options do not fit it
        """
        if given := image_new.given(parsed_args):
            raise base.UsageError(
                f'--image names an image that exists: {", ".join(given)} '
                'cannot change it; openstack image set can'
            )
        image_id = self.cloud.find_image(parsed_args.image)
        image = self.cloud.images.show(image_id)
        if image['status'] != 'queued':
            raise base.UsageError(
                f'image {image_id} is {image["status"]}: only an image that '
                'is queued takes data'
            )
        if parsed_args.file and image.get('disk_format'):
            image_new.disk_format(parsed_args.file, image['disk_format'])
        return image_id

    def _begin(
        self,
        image_id: str,
        wanted: Sequence[str],
        parsed_args: argparse.Namespace,
        file: LocalFile | None,
    ) -> None:
        """Ask Glance to import the data.

        :raises GlanceRefused: it will not; a new image is deleted
        :raises osc_lib.exceptions.CommandError: whether it does is not known
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
        except _HalfSent:
            if not parsed_args.image:
                images.delete(image_id)
            raise
        except (exception.GlanceRefused, exception.LookupFailed) as exc:
            # The answer may be lost, or be one to a repeated request.
            if self._has_begun(image_id):
                return
            if isinstance(exc, exception.GlanceRefused):
                if not parsed_args.image:
                    images.delete(image_id)
                raise
            raise exceptions.CommandError(
                f'{exc}; {copy_rows.delete(image_id)}'
            ) from exc

    def _has_begun(self, image_id: str) -> bool:
        """Tell whether Glance imports an image, or has done so.

        :raises osc_lib.exceptions.CommandError: Glance does not say
        """
        try:
            image = self.cloud.images.show(image_id)
        except exception.MultistoreError as exc:
            raise exceptions.CommandError(
                f'{exc}; to see whether Glance imports the image: openstack '
                f'multistore image show {image_id}'
            ) from exc
        return copies.is_held(image) or image['status'] == 'active'

    def _stage(self, image_id: str, file: LocalFile) -> None:
        """Send the data to Glance.

        :raises LookupFailed: Glance did not answer
        :raises GlanceRefused: Glance will not take the data
        :raises _HalfSent: Glance has only a part of the data
        """
        images = self.cloud.images
        with progress.start(self.app.stderr) as said:
            file.report = lambda done: said.show([_sent(file, done)])
            images.stage(image_id, file)
        came = images.show(image_id)['size']
        if came != file.size:
            raise _HalfSent(f'Glance has only {came} of {file.size} bytes')

    def _wait(
        self, image_id: str, follower: copies.Follower, timeout: float
    ) -> None:
        with self.waiting(image_id) as said:
            progress.until_settled(
                [follower],
                timeout,
                lambda: said.show(
                    progress.items(follower.image, follower.copies)
                ),
            )
        outcome = copy_rows.outcome(follower.copies)
        if outcome is base.Outcome.DONE:
            return
        if follower.settled and outcome is base.Outcome.FAILED:
            words = copy_rows.left_over(image_id, follower.copies)
        else:
            words = copy_rows.shortfall(follower.image, follower.copies)
        self.fall_short(outcome, words)


def _sent(file: LocalFile, done: int) -> progress.Item:
    """Return the progress of a file that is sent."""
    moving = done < file.size
    return progress.Item(
        file.name,
        'sending' if moving else 'sent',
        moving=moving,
        done=done,
        total=file.size,
    )
