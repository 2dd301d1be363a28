"""Requests of the commands to Nova and Glance, as the user."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any
import urllib.parse

from openstack import exceptions as sdk_exceptions
from osc_lib import exceptions

from nova_multistore import image_api
from nova_multistore import stores

if TYPE_CHECKING:
    import openstack.connection

# The first microversion in which Nova's answer has the id of the image.
_MICROVERSION = '2.45'
# Part of the answer of a nova-api that does not have the filter.
_UNEXPECTED = "'store' was unexpected"


class Cloud:
    """A cloud, through openstacksdk's connection to it."""

    def __init__(self, connection: openstack.connection.Connection) -> None:
        self._connection = connection

    @property
    def _compute(self) -> Any:
        # Not before it is used: this fails if Nova does not answer.
        return self._connection.compute

    @property
    def _image(self) -> Any:
        return self._connection.image

    @property
    def images(self) -> image_api.Images:
        """Glance's image API."""
        return image_api.Images(lambda: self._image)

    @property
    def project_id(self) -> str | None:
        """Id of the user's project, None if the token has none."""
        return self._connection.current_project_id

    def server(self, name_or_id: str) -> dict[str, Any]:
        """Return a server.

        :param name_or_id: name or id
        :returns: the server, as Nova's API has it
        :raises openstack.exceptions.SDKException: there is no such one, or
            more than one
        """
        found = self._compute.find_server(name_or_id, ignore_missing=False)
        return self.server_now(found.id) or {}

    def server_now(self, server_id: str) -> dict[str, Any] | None:
        """Return a server as it is now, None if it was deleted.

        :param server_id: its id
        """
        body = _get(self._compute, f'/servers/{server_id}')
        return None if body is None else body['server']

    def images_in_use(self) -> set[str]:
        """Return the ids of the images that servers were started from.

        :raises openstack.exceptions.SDKException: Nova refuses, as the user
            is no administrator
        """
        found = set()
        query: str | None = '/servers/detail?all_tenants=1&limit=1000'
        while query:
            body = _get(self._compute, query)
            for server in body['servers']:
                # It is empty if the server was started from a volume.
                if server.get('image'):
                    found.add(server['image']['id'])
            links = body.get('servers_links', ())
            query = next(
                (
                    '/servers/detail?' + urllib.parse.urlsplit(e['href']).query
                    for e in links
                    if e['rel'] == 'next'
                ),
                None,
            )
        return found

    def image(self, image_id: str) -> dict[str, Any] | None:
        """Return an image, None if it does not exist or is not visible.

        :param image_id: its id
        :returns: the image, as Glance's API has it
        """
        image: dict[str, Any] | None = _get(self._image, f'/images/{image_id}')
        return image

    def find_image(self, name_or_id: str) -> str:
        """Return the id of an image.

        :param name_or_id: name or id
        :raises openstack.exceptions.SDKException: there is no such one, or
            more than one
        """
        found = self._image.find_image(name_or_id, ignore_missing=False)
        image_id: str = found.id
        return image_id

    def find_project(self, name_or_id: str) -> str:
        """Return the id of a project.

        :param name_or_id: name or id
        :raises openstack.exceptions.SDKException: there is no such one, or
            more than one
        """
        # Version 2 of Keystone's API, which the SDK has too, knows of none.
        identity: Any = self._connection.identity
        found = identity.find_project(name_or_id, ignore_missing=False)
        project_id: str = found.id
        return project_id

    def catalogue(self) -> stores.Catalogue:
        """Return the stores; with their places, if the user may see them.

        :returns: the catalogue, empty if Glance does not have several stores
        :raises LookupFailed: the answer cannot be read
        """
        try:
            body = _get(self._image, '/info/stores/detail')
        except sdk_exceptions.ForbiddenException:
            body = None
        if body is None:
            body = _get(self._image, '/info/stores')
        return stores.Catalogue() if body is None else stores.parse(body)

    def create_image(
        self, server_id: str, action: str, entity: dict[str, Any]
    ) -> str:
        """Ask Nova for an image of a server.

        :param server_id: id of the server
        :param action: ``createImage`` or ``createBackup``
        :param entity: what goes with the action
        :returns: the image's id
        :raises osc_lib.exceptions.CommandError: Nova refuses
        """
        answer = self._compute.post(
            f'/servers/{server_id}/action',
            json={action: entity},
            microversion=_MICROVERSION,
        )
        try:
            sdk_exceptions.raise_from_response(answer)
        except sdk_exceptions.HttpException as exc:
            reason = f'{exc.details or exc} (HTTP {exc.status_code})'
            if _UNEXPECTED in reason:
                reason += (
                    "; this nova-api does not have nova-multistore's filter "
                    'in its pipeline'
                )
            raise exceptions.CommandError(reason) from exc
        image_id: str = answer.json()['image_id']
        return image_id


def _get(service: Any, path: str) -> Any:
    """Return the decoded answer, None if the answer is 404."""
    answer = service.get(path)
    if answer.status_code == 404:
        return None
    sdk_exceptions.raise_from_response(answer)
    return answer.json()
