"""Images that Nova made, snapshots and backups, page by page."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar

from nova_multistore import exception
from nova_multistore.osc import base

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from collections.abc import Iterator

    from nova_multistore.osc.cloud import Cloud

T = TypeVar('T')

#: Values of the property ``image_type`` of images that Nova makes.
TYPES = ('snapshot', 'backup')
#: The pauses before each retry of a question without an answer, in seconds.
#: Together they are longer than a restart of Glance.
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


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

    Glance lists to everybody what they may see. Tasks it shows by default to
    those alone who see all images.

    :param cloud: the cloud
    :param all_projects: whether those of all projects are
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

    :param cloud: the cloud
    :param what: what only such a user may do, in words
    :raises UsageError: the user does not
    :raises LookupFailed: Glance did not answer
    """
    try:
        cloud.images.ask('GET', '/tasks?limit=1')
    except exception.GlanceRefused as exc:
        if exc.status in (401, 403):
            raise base.UsageError(
                f'{what} is for administrators: {exc}'
            ) from exc


def pages(
    cloud: Cloud,
    filters: dict[str, str],
    types: tuple[str | None, ...] = TYPES,
) -> Iterator[list[dict[str, Any]]]:
    """List images, hidden ones too; each page is asked for when it is needed.

    :param cloud: the cloud
    :param filters: filters of Glance's API
    :param types: the types of images that are meant; None for all images
    :returns: pages of images, as Glance's API has them
    :raises LookupFailed: Glance did not answer
    :raises GlanceRefused: it will not list them
    """
    for image_type in types:
        for hidden in ('false', 'true'):
            chosen = {**filters, 'os_hidden': hidden}
            if image_type is not None:
                chosen['image_type'] = image_type
            before: list[str] = []
            more = True
            while more:
                images, more = _page(cloud, before, chosen)
                before = [image['id'] for image in images]
                yield images


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
