"""Images, page by page: those that Nova made, or all of them."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar

from nova_multistore import exception
from nova_multistore import statuses
from nova_multistore import stores
from nova_multistore import timed_calls
from nova_multistore.osc import base
from nova_multistore.osc import progress
from nova_multistore.osc import sizes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from collections.abc import Collection
    from collections.abc import Iterator

    from nova_multistore.osc.cloud import Cloud

T = TypeVar('T')

#: Values of the property ``image_type`` of images that Nova makes.
TYPES = ('snapshot', 'backup')
#: What is to be said of an image that has data, and of which Glance names no
#: store.
UNTOLD = 'Glance does not say in which stores it is'
#: The pauses before each retry of a question without an answer, in seconds.
#: Together they are longer than a restart of Glance.
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
# The role that Glance's policy ``context_is_admin`` means by default.
_ADMIN = 'admin'
# How many images are looked at by themselves at a time, and after how many it
# is said how far that is.
_PARALLEL, _STEP = 8, 100


def add_all_projects(parser: argparse._ActionsContainer, verb: str) -> None:
    """Add the option that says whose images are meant.

    :param verb: what the command does with them, in words
    """
    parser.add_argument(
        '--all-projects',
        action='store_true',
        help=f'{verb} the images of all projects (administrators only)',
    )


def owner(
    cloud: Cloud, all_projects: bool, project: str | None = None
) -> dict[str, str]:
    """Return the filter for whose images are meant.

    Glance lists to everybody what they may see.

    :param cloud: the cloud
    :param all_projects: whether the images of all projects are meant
    :param project: name or id of another project than the user's own
    :returns: filters of Glance's API
    :raises UsageError: the user may not see these images, or has no project
    :raises LookupFailed: Glance did not answer
    :raises openstack.exceptions.SDKException: there is no such project
    """
    if not all_projects and project is None:
        if cloud.project_id is None:
            raise base.UsageError(
                'the token is for no project: name a project, or use '
                '--all-projects'
            )
        return {'owner': cloud.project_id}
    option = '--all-projects' if project is None else '--project'
    check_administrator(cloud, option)
    return {} if project is None else {'owner': cloud.find_project(project)}


def check_administrator(cloud: Cloud, what: str) -> None:
    """Make sure that the user sees the images of all projects.

    Glance's policy ``context_is_admin`` decides that, and nothing says what
    it is. So one sign is enough: the role that this policy means by default, a
    list of tasks, which Glance shows by default to administrators alone and
    hardened clouds to nobody, or an image that others would not see.

    :param cloud: the cloud
    :param what: what only an administrator may do, in words
    :raises UsageError: the user does not see them
    :raises LookupFailed: Glance did not answer
    """
    if _ADMIN in map(str.lower, cloud.roles):
        return
    try:
        cloud.images.ask('GET', '/tasks?limit=1')
    except exception.GlanceRefused as exc:
        if _sees_another_project(cloud):
            return
        raise base.UsageError(
            f'{what} is for administrators: the token does not have the role '
            f'{_ADMIN}, Glance lists no private image of another project, and '
            f'no tasks ({exc})'
        ) from exc


def _sees_another_project(cloud: Cloud) -> bool:
    """Tell whether Glance lists a private image of another project.

    It does so for administrators alone, whatever its policies say.

    :raises LookupFailed: Glance did not answer
    """
    marker, more = None, True
    try:
        while more:
            images, more = cloud.images.page(marker, visibility='private')
            if any(image['owner'] != cloud.project_id for image in images):
                return True
            marker = images[-1]['id'] if more else None
    except exception.GlanceRefused:
        return False
    return False


def pages(
    cloud: Cloud,
    catalogue: stores.Catalogue,
    filters: dict[str, str],
    types: tuple[str | None, ...] = TYPES,
    show: progress.Show = progress.nothing,
    remote: Collection[str] = (),
    marker: str | None = None,
) -> Iterator[list[dict[str, Any]]]:
    """List images, hidden ones too; each page is asked for when it is needed.

    Glance's list does not know the stores of images from before Glance had
    several, and has the old name of a store that was renamed. Glance looks
    them up when it shows one image (``glance.location.ImageRepoProxy.get``),
    and writes them down. So an image of which the list names no store, or one
    that Glance does not have, is looked at by itself.

    :param cloud: the cloud
    :param catalogue: Glance's stores; if there are none, nothing is looked at
    :param filters: filters of Glance's API
    :param types: the types of images that are meant; None for all images
    :param show: called with how far the looks at single images are, and with
        nothing after the last one
    :param remote: ids of stores that only another Glance has
    :param marker: id of the image after which the list begins, if there is
        one type
    :returns: pages of images, as Glance's API has them
    :raises LookupFailed: Glance did not answer
    :raises GlanceRefused: it will not list them, or there is no such marker
    """
    before = []
    after_hidden = False
    if marker is not None:
        before = [marker]
        after_hidden = cloud.images.show(marker)['os_hidden']
    looks = _Looks(cloud, {*catalogue.ids, *remote}, show)
    for image_type in types:
        for hidden in ('true',) if after_hidden else ('false', 'true'):
            # Otherwise Glance leaves out what others share with everybody as
            # community images, for administrators too.
            chosen = {'visibility': 'all', **filters, 'os_hidden': hidden}
            if image_type is not None:
                chosen['image_type'] = image_type
            more = True
            while more:
                images, more = _page(cloud, before, chosen)
                before = [image['id'] for image in images]
                yield looks.at(images) if catalogue.stores else images
            before = []


def _is_placed(image: dict[str, Any], known: Collection[str]) -> bool:
    """Tell whether an image that has data is in known stores alone.

    :param image: the image, as Glance's API has it
    :param known: store ids
    :returns: True of an image that has no data, too
    """
    present = stores.of_image(image)
    return image.get('status') not in statuses.WITH_DATA or (
        bool(present) and set(present) <= set(known)
    )


class _Looks:
    """Looks at images of which a list does not know enough.

    :param cloud: the cloud
    :param known: ids of the stores that need no look
    :param show: as for :func:`pages`
    """

    def __init__(
        self, cloud: Cloud, known: Collection[str], show: progress.Show
    ) -> None:
        self._cloud = cloud
        self._known = known
        self._show = show
        # Numbers of images, on all pages so far.
        self._done = self._total = 0

    def at(self, images: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the images of a page, as far as they are still there.

        :raises LookupFailed: Glance did not answer
        """
        unclear = [i for i in images if not _is_placed(i, self._known)]
        if not unclear:
            return images
        self._total += len(unclear)
        seen: dict[str, dict[str, Any] | None] = {}
        try:
            for image, now in timed_calls.each(
                functools.partial(_look, self._cloud), unclear, _PARALLEL
            ):
                seen[image['id']] = now
                self._done += 1
                if self._done % _STEP == 0 or len(seen) == len(unclear):
                    self._show([self._item()])
        finally:
            self._show([])
        looked = (seen.get(image['id'], image) for image in images)
        return [image for image in looked if image is not None]

    def _item(self) -> progress.Item:
        total = sizes.count(self._total, 'image')
        return progress.Item(
            'looked at',
            f'{self._done} of {total} whose stores are not listed',
            moving=True,
            counts=True,
        )


def _look(cloud: Cloud, image: dict[str, Any]) -> dict[str, Any] | None:
    """Return an image as it is now, None if it is gone.

    :param image: the image, as it was listed
    :returns: the same, if Glance does not show it
    :raises LookupFailed: Glance did not answer
    """
    try:
        return patiently(functools.partial(cloud.images.show, image['id']))
    except exception.GlanceRefused as exc:
        return None if exc.is_gone else image


def patiently(ask: Callable[[], T]) -> T:
    """Ask again for a while if there is no answer.

    :param ask: asks once
    :raises LookupFailed: there was no answer in all of that time
    """
    for pause in PAUSES:
        try:
            return ask()
        except exception.LookupFailed:
            time.sleep(pause)
    return ask()


def _page(
    cloud: Cloud, before: list[str], filters: dict[str, str]
) -> tuple[list[dict[str, Any]], bool]:
    """Ask for the page that follows some images.

    :param before: ids of these images; any may be deleted by now
    """
    while True:
        marker = before[-1] if before else None
        try:
            return patiently(
                functools.partial(cloud.images.page, marker, **filters)
            )
        except exception.GlanceRefused as exc:
            # Glance's answer if the marker was deleted.
            if exc.status != 400 or len(before) < 2:
                raise
            before.pop()
