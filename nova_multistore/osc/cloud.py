"""Requests of the commands to Nova and Glance, as the user."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING
from typing import Any
import urllib.parse
import uuid

from keystoneauth1 import exceptions as auth_exceptions
from openstack import exceptions as sdk_exceptions
from osc_lib import exceptions

from nova_multistore import exception
from nova_multistore import image_api
from nova_multistore import stores

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Iterator

    import openstack.connection

# The first microversion in which Nova's answer has the id of the image.
_MICROVERSION = '2.45'
# The first one in which Nova lists servers of cells that it cannot reach.
_DOWN_CELLS = '2.69'
# Part of the answer of a nova-api that does not have the filter.
_UNEXPECTED = "'store' was unexpected"
_NO_FILTER = (
    "this nova-api does not have nova-multistore's filter in its pipeline"
)


@dataclasses.dataclass(frozen=True)
class Permission:
    """What nova-api says of a user who wants to name a store."""

    #: None if that is not known.
    allowed: bool | None
    #: Why not, or why it is not known, in words.
    reason: str | None = None


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

    @property
    def roles(self) -> tuple[str, ...]:
        """Names of the roles of the user's token, none if they are not known.

        They are those that Keystone told with the token.
        """
        session: Any = self._connection.session
        ask = getattr(session.auth, 'get_access', None)
        if ask is None:
            return ()
        try:
            return tuple(ask(session).role_names)
        except auth_exceptions.ClientException:
            # The next request says why there is no token.
            return ()

    def server(self, name_or_id: str) -> dict[str, Any]:
        """Return a server.

        :param name_or_id: name or id
        :returns: the server, as Nova's API has it
        :raises openstack.exceptions.SDKException: there is no such server, or
            more than one
        """
        try:
            found = self._compute.find_server(name_or_id, ignore_missing=False)
        except sdk_exceptions.DuplicateResource as exc:
            listed = self._compute.servers(name=name_or_id)
            raise _several('server', name_or_id, listed) from exc
        except sdk_exceptions.NotFoundException as exc:
            raise sdk_exceptions.NotFoundException(
                f"no server '{name_or_id}' is in this project; administrators "
                'give the ID of a server of another project'
            ) from exc
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
        return {
            image_id for image_id, _ in self.servers_by_image() if image_id
        }

    def servers_by_image(self) -> Iterator[tuple[str | None, str]]:
        """Return the servers of all projects, and what they were started from.

        Those that are deleted and can be restored are among them.

        :returns: ids of image and server; None in place of the image if Nova
            cannot look at the server. Servers without an image are left out.
        :raises openstack.exceptions.SDKException: Nova refuses, as the user
            is no administrator
        """
        for server in _all(
            self._compute,
            '/servers/detail?all_tenants=1&soft_deleted=true',
            'servers',
            _DOWN_CELLS,
        ):
            if 'image' not in server:
                yield None, server['id']
            # It is empty if the server was started from a volume.
            elif server['image']:
                yield server['image']['id'], server['id']

    def volumes_by_image(self) -> Iterator[tuple[str, str]]:
        """Return the volumes of all projects that were made from an image.

        :returns: ids of image and volume; none in a cloud without Cinder
        :raises openstack.exceptions.SDKException: Cinder refuses, as the user
            is no administrator
        """
        kind = 'block-storage'
        config: Any = self._connection.config
        endpoint = config.get_endpoint(
            kind
        ) or config.get_session().get_endpoint(
            service_type=kind,
            region_name=config.get_region_name(kind),
            interface=config.get_interface(kind),
        )
        if not endpoint:
            return
        service: Any = self._connection.block_storage
        for volume in _all(
            service, '/volumes/detail?all_tenants=1', 'volumes'
        ):
            made_from = volume.get('volume_image_metadata') or {}
            if made_from.get('image_id'):
                yield made_from['image_id'], volume['id']

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
        :raises openstack.exceptions.SDKException: there is no such image, or
            more than one
        """
        try:
            found = self._image.find_image(name_or_id, ignore_missing=False)
        except sdk_exceptions.DuplicateResource as exc:
            listed = itertools.chain.from_iterable(
                self._image.images(name=name_or_id, is_hidden=hidden)
                for hidden in (False, True)
            )
            raise _several('image', name_or_id, listed) from exc
        image_id: str = found.id
        return image_id

    def find_project(self, name_or_id: str) -> str:
        """Return the id of a project.

        :param name_or_id: name or id
        :raises openstack.exceptions.SDKException: there is no such project, or
            more than one
        """
        # Version 2 of Keystone's API, which the SDK has too, knows of none.
        identity: Any = self._connection.identity
        try:
            found = identity.find_project(name_or_id, ignore_missing=False)
        except sdk_exceptions.DuplicateResource as exc:
            listed = identity.projects(name=name_or_id)
            raise _several('project', name_or_id, listed) from exc
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
                reason += f'; {_NO_FILTER}'
            raise exceptions.CommandError(reason) from exc
        image_id: str = answer.json()['image_id']
        return image_id

    def may_name_store(self, server_id: str, action: str) -> Permission:
        """Ask nova-api whether the user may name a store. Nothing is made.

        The request lacks what Nova requires, and its store does not exist.
        The filter looks at the policy before it looks at either.

        :param server_id: id of a server that has an image
        :param action: ``createImage`` or ``createBackup``
        """
        store = uuid.uuid4().hex
        answer = self._compute.post(
            f'/servers/{server_id}/action', json={action: {'store': store}}
        )
        try:
            sdk_exceptions.raise_from_response(answer)
        except sdk_exceptions.HttpException as exc:
            said = str(exc.details or exc)
            if exc.status_code == 404 and store in said:
                return Permission(True)
            if exc.status_code == 403:
                return Permission(False, said)
            if exc.status_code == 400:
                return Permission(None, _NO_FILTER)
            return Permission(None, f'{said} (HTTP {exc.status_code})')
        raise exception.LookupFailed(
            f'nova-api has accepted a request for {action} without a name'
        )


def _several(
    noun: str, name: str, listed: Iterable[Any]
) -> sdk_exceptions.DuplicateResource:
    """Return an error that names the ids of all that have a name.

    :param noun: what they are
    :param listed: they, and perhaps others
    """
    ids = ', '.join(each.id for each in listed if each.name == name)
    return sdk_exceptions.DuplicateResource(
        f"several {noun}s are called '{name}': {ids}; give the ID of one"
    )


def _all(
    service: Any, path: str, key: str, microversion: str | None = None
) -> Iterator[dict[str, Any]]:
    """Return what a service lists, page by page.

    :param path: with a query
    :param key: what the answer has it under
    """
    query: str | None = f'{path}&limit=1000'
    path = path.partition('?')[0]
    while query:
        body = _get(service, query, microversion)
        if body is None:
            raise exception.LookupFailed(f'{path} is not there')
        yield from body[key]
        query = next(
            (
                f'{path}?{urllib.parse.urlsplit(link["href"]).query}'
                for link in body.get(f'{key}_links', ())
                if link['rel'] == 'next'
            ),
            None,
        )


def _get(service: Any, path: str, microversion: str | None = None) -> Any:
    """Return the decoded answer, None if the answer is 404."""
    options = {'microversion': microversion} if microversion else {}
    answer = service.get(path, **options)
    if answer.status_code == 404:
        return None
    sdk_exceptions.raise_from_response(answer)
    return answer.json()
