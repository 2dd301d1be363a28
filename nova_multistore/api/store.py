"""A store for each request: a paste filter for nova-api.

`createImage` and `createBackup` may have `"store": "<id>"`. What Nova gets to
see of it is a property for the image, as a request's `metadata` may hold.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING
from typing import Any

from nova import exception as nova_exception
from nova import utils
from nova.api.openstack import common
from nova.api.openstack import wsgi
from nova.compute import api as compute
from nova.compute import utils as compute_utils
import nova.conf
from oslo_log import log as logging
import webob.exc

from nova_multistore import exception
from nova_multistore import lookup
from nova_multistore import opts
from nova_multistore import policy
from nova_multistore import selection

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

#: What names the store in the object of an action.
KEY = 'store'
#: How long the id of a store may be: as long as what `metadata` may hold.
LONGEST = 255

# With the id of the project in the URL or without it, as Nova's own routes.
_ACTION = re.compile(r'(?:/[0-9a-f-]+)?/servers/([^/]+)/action/?')
_OPERATIONS = {
    'createImage': selection.Operation.SNAPSHOT,
    'createBackup': selection.Operation.BACKUP,
}


@dataclasses.dataclass(frozen=True)
class _Action:
    """A request for a snapshot or a backup."""

    context: Any
    server_id: str
    operation: selection.Operation
    #: The decoded body, and what it holds of the action.
    body: dict[str, Any]
    entity: dict[str, Any]
    #: What becomes properties of the image.
    metadata: dict[str, Any]

    @property
    def named(self) -> list[Any]:
        """What the request names as its store, in either place."""
        return [
            place[key]
            for place, key in (
                (self.entity, KEY),
                (self.metadata, selection.STORE_PROPERTY),
            )
            if key in place
        ]


class StoreFilter:
    """Lets a request name the store of a snapshot or a backup.

    It belongs behind Nova's own `keystonecontext`: that tells whose request
    it is.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._compute = compute.API()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Pass the request on, unless it is such a one and refused."""
        application = self._application
        if environ['REQUEST_METHOD'] == 'POST' and (
            path := _ACTION.fullmatch(environ['PATH_INFO'])
        ):
            request = wsgi.Request(environ)
            action = _read(request, path[1])
            if action is not None:
                try:
                    self._check(request, action)
                except webob.exc.HTTPException as exc:
                    application = wsgi.Fault(exc)
        return application(environ, start_response)

    def _check(self, request: wsgi.Request, action: _Action) -> None:
        if action.named:
            self._check_request(action)
            _hand_on(request, action)
        elif CONF.glance.store:
            self._check_option(action, CONF.glance.store)

    def _check_request(self, action: _Action) -> None:
        """See that the store is one, and that the user may name it.

        :raises webob.exc.HTTPException: the answer, if not
        """
        store = _valid(action.named)
        instance = self._instance(action)
        try:
            policy.authorize(
                action.context, action.operation, instance.project_id
            )
        except nova_exception.Forbidden as exc:
            raise webob.exc.HTTPForbidden(
                explanation=exc.format_message()
            ) from exc
        if compute_utils.is_volume_backed_instance(action.context, instance):
            raise webob.exc.HTTPBadRequest(
                explanation='The server is volume-backed: the image would '
                "hold no data, and no store has a say in where its volumes' "
                'snapshots go.'
            )
        try:
            _look_up(action.context, store)
        except exception.ReadOnlyStore as exc:
            raise webob.exc.HTTPBadRequest(explanation=_said(exc)) from exc
        except exception.UnknownStore as exc:
            raise webob.exc.HTTPNotFound(explanation=_said(exc)) from exc
        except exception.LookupFailed as exc:
            LOG.warning(
                "A request for a snapshot in store '%(store)s' is refused: "
                '%(reason)s',
                {'store': store, 'reason': exc},
            )
            raise webob.exc.HTTPServiceUnavailable(
                explanation='The image service does not tell its stores at '
                'the moment.'
            ) from exc
        _disown(instance)

    def _check_option(self, action: _Action, store: str) -> None:
        """Say now what would fail later, where nobody tells the user.

        :raises webob.exc.HTTPException: no snapshot can be made
        """
        try:
            _look_up(action.context, store)
        except exception.LookupFailed as exc:
            LOG.debug('[glance] store is not checked: %s', exc)
        except exception.StoreRefused as exc:
            instance = self._instance(action)
            if compute_utils.is_volume_backed_instance(
                action.context, instance
            ):
                return
            LOG.error(
                '[glance] store is wrong, a %(operation)s is refused: '
                '%(reason)s',
                {'operation': action.operation.value, 'reason': exc},
                instance=instance,
            )
            raise webob.exc.HTTPInternalServerError(
                explanation='Images of servers cannot be stored: the cloud '
                'is misconfigured. Its administrators can read the reason in '
                'the log.'
            ) from exc

    def _instance(self, action: _Action) -> Any:
        return common.get_instance(
            self._compute, action.context, action.server_id
        )


def _read(request: wsgi.Request, server_id: str) -> _Action | None:
    """Read a request for a snapshot or a backup.

    :returns: None if it is none, or one that Nova is going to refuse
    """
    try:
        request.set_api_version_request()
        request.get_content_type()
        body = json.loads(request.body)
        [(name, entity)] = body.items()
        operation = _OPERATIONS[name]
        metadata = entity.get('metadata', {})
        metadata.keys()
    except (
        # In this order: Nova's own, the size limit's, a client that has gone.
        nova_exception.NovaException,
        webob.exc.HTTPException,
        OSError,
        # What is no such JSON.
        AttributeError,
        KeyError,
        RecursionError,
        TypeError,
        ValueError,
    ):
        return None
    context = request.environ['nova.context']
    return _Action(context, server_id, operation, body, entity, metadata)


def _valid(named: list[Any]) -> str:
    """Return the store that is named, if it is one name.

    :raises webob.exc.HTTPBadRequest: it is not
    """
    store = named[0]
    if not isinstance(store, str) or not 0 < len(store) <= LONGEST:
        reason = f'has to be a string of 1 to {LONGEST} characters'
    elif store != named[-1]:
        reason = f"differs from '{selection.STORE_PROPERTY}' in 'metadata'"
    else:
        return store
    raise webob.exc.HTTPBadRequest(
        explanation=f"Invalid input for '{KEY}': it {reason}."
    )


def _look_up(context: Any, store: str) -> None:
    """See that Glance has a store that takes data.

    :raises StoreRefused: it has not
    :raises LookupFailed: it does not say
    """
    lookup.catalogue_for(context, store).check_writable(store)


def _said(error: exception.StoreRefused) -> str:
    """Return an error as a sentence."""
    text = str(error)
    return f'{text[:1].upper()}{text[1:]}.'


def _disown(instance: Any) -> None:
    """Take from a server what it has from its image.

    That is never a request's own, and nova-compute ignores a store that is
    the same. It was started by a nova-api without this filter.
    """
    inherited = utils.SM_IMAGE_PROP_PREFIX + selection.STORE_PROPERTY
    if instance.system_metadata.pop(inherited, None) is not None:
        instance.save()


def _hand_on(request: wsgi.Request, action: _Action) -> None:
    """Put the store where Nova passes it on."""
    [store, *_] = action.named
    entity = {k: v for k, v in action.entity.items() if k != KEY}
    entity['metadata'] = {
        **action.metadata,
        selection.STORE_PROPERTY: store,
    }
    [name] = action.body
    request.body = json.dumps({name: entity}).encode()


def filter_factory(
    global_conf: dict[str, str], **local_conf: str
) -> Callable[..., StoreFilter]:
    """Make the filter for paste.

    :returns: what puts it in front of an application
    """
    opts.register_opts(CONF)
    # What Nova neither keeps of the image of a server nor hands down to those
    # that are made of it.
    if selection.STORE_PROPERTY not in utils.SM_SKIP_KEYS:
        utils.SM_SKIP_KEYS = (*utils.SM_SKIP_KEYS, selection.STORE_PROPERTY)
    return StoreFilter
