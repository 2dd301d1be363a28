"""A store for each request: a paste filter for nova-api.

`createImage` and `createBackup` may have `"store": "<id>"`. The filter marks
the requests that pass through it. The store is read after Nova has found the
action and decoded the body, so that Nova alone parses requests.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from typing import TYPE_CHECKING
from typing import Any

from nova import exception as nova_exception
from nova import version as nova_version
from nova.api.openstack import common
from nova.compute import api as compute
from nova.compute import utils as compute_utils
import nova.conf
from oslo_log import log as logging
import webob.exc
import wrapt

from nova_multistore import exception
from nova_multistore import lookup
from nova_multistore import opts
from nova_multistore import policies
from nova_multistore import request_store
from nova_multistore import selection
from nova_multistore import uwsgi
from nova_multistore.api import authorization
from nova_multistore.seam import Seam

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

#: Key that names the store in the object of an action.
KEY = 'store'
#: How many characters the id of a store may have: as many as a value in
#: `metadata`.
LONGEST = 255

# Marks the WSGI environment of a request that came through the filter.
_MARK = 'nova_multistore.store'
_OPERATIONS = {
    'createImage': selection.Operation.SNAPSHOT,
    'createBackup': selection.Operation.BACKUP,
}
_lock = threading.Lock()
_applied = False


@dataclasses.dataclass(frozen=True)
class _Action:
    """A request for a snapshot or a backup."""

    context: Any
    server_id: str
    #: The action, such as `createImage`.
    name: str
    #: The object of the action in the body.
    entity: dict[str, Any]

    @property
    def operation(self) -> selection.Operation:
        return _OPERATIONS[self.name]

    @property
    def metadata(self) -> dict[str, Any]:
        """The properties that the user sets on the image."""
        metadata = self.entity.get('metadata')
        return metadata if isinstance(metadata, dict) else {}

    @property
    def named(self) -> list[Any]:
        """The stores that the request names, one for each place."""
        return [
            place[key]
            for place, key in (
                (self.entity, KEY),
                (self.metadata, selection.STORE_PROPERTY),
            )
            if key in place
        ]

    @property
    def body(self) -> dict[str, Any]:
        """The body without a store, as stock Nova takes it."""
        entity = {k: v for k, v in self.entity.items() if k != KEY}
        if selection.STORE_PROPERTY in self.metadata:
            entity['metadata'] = {
                k: v
                for k, v in self.metadata.items()
                if k != selection.STORE_PROPERTY
            }
        return {self.name: entity}

    def instance(self) -> Any:
        """Return the server.

        :raises webob.exc.HTTPNotFound: there is none
        """
        return common.get_instance(_compute(), self.context, self.server_id)


@functools.cache
def _compute() -> compute.API:
    return compute.API()


class StoreFilter:
    """Lets a request name the store of a snapshot or a backup."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Mark the request, and pass it on."""
        environ[_MARK] = True
        return self._application(environ, start_response)


def dispatch(
    proceed: Callable[..., Any],
    _resource: Any,
    /,
    method: Any,
    request: Any,
    action_args: dict[str, Any],
) -> Any:
    """Check the store that a request names, and remove it from the body.

    Wraps ``nova.api.openstack.wsgi.Resource.dispatch``, which calls the method
    that Nova has found for a request.

    :returns: what that method returns
    :raises webob.exc.HTTPException: the request is refused
    """
    action = None
    if _MARK in request.environ:
        action = _read(method, request, action_args)
    if action is None:
        return proceed()
    if action.named:
        store = _check_request(action)
        with request_store.named(action.context, store):
            return proceed(action_args={**action_args, 'body': action.body})
    if CONF.glance.store:
        _check_option(action, CONF.glance.store)
    return proceed()


def _read(
    method: Any, request: Any, action_args: dict[str, Any]
) -> _Action | None:
    """Read a request for a snapshot or a backup.

    :returns: None if it is another request, or one that Nova will refuse
    """
    name = getattr(method, 'wsgi_action', None)
    body = action_args.get('body')
    entity = body.get(name) if isinstance(body, dict) else None
    if name not in _OPERATIONS or not isinstance(entity, dict):
        return None
    context = request.environ['nova.context']
    return _Action(context, action_args['id'], name, entity)


def _check_request(action: _Action) -> str:
    """Make sure that the store exists, and that the user may name it.

    :returns: id of the store
    :raises webob.exc.HTTPException: the answer, if the request is refused
    """
    store = _valid(action.named)
    instance = action.instance()
    try:
        authorization.authorize(
            action.context, action.operation, instance.project_id
        )
    except nova_exception.Forbidden as exc:
        raise webob.exc.HTTPForbidden(
            explanation=f'You may not name a store for a '
            f'{action.operation.value} of this server (policy '
            f"{policies.RULES[action.operation]}). Without '{KEY}', the cloud "
            'chooses the store.'
        ) from exc
    if compute_utils.is_volume_backed_instance(action.context, instance):
        raise webob.exc.HTTPBadRequest(
            explanation='The server is volume-backed: the image would hold no '
            'data, and snapshots of volumes are in no store of Glance. '
            f"Without '{KEY}', createImage has Cinder make these snapshots."
        )
    try:
        _look_up(action.context, store)
    except exception.ReadOnlyStore as exc:
        raise webob.exc.HTTPBadRequest(explanation=_said(exc)) from exc
    except exception.UnknownStore as exc:
        raise webob.exc.HTTPNotFound(explanation=_said(exc)) from exc
    except exception.LookupFailed as exc:
        LOG.warning(
            'A request for a snapshot in store %(store)r is refused: '
            '%(reason)s',
            {'store': store, 'reason': exc},
        )
        raise webob.exc.HTTPServiceUnavailable(
            explanation='The image service does not list its stores at the '
            'moment.'
        ) from exc
    return store


def _check_option(action: _Action, store: str) -> None:
    """Refuse a request that would fail later, unseen by the user.

    :raises webob.exc.HTTPException: ``[glance] store`` is wrong
    """
    try:
        _look_up(action.context, store)
    except exception.LookupFailed as exc:
        LOG.debug('[glance] store is not checked: %s', exc)
    except exception.StoreRefused as exc:
        instance = action.instance()
        if compute_utils.is_volume_backed_instance(action.context, instance):
            return
        LOG.error(
            '[glance] store is wrong, a %(operation)s is refused: %(reason)s',
            {'operation': action.operation.value, 'reason': exc},
            instance=instance,
        )
        raise webob.exc.HTTPInternalServerError(
            explanation='Images of servers cannot be stored: the cloud is '
            'misconfigured. Its administrators can read the reason in the '
            'log.'
        ) from exc


def _valid(named: list[Any]) -> str:
    """Return the store that is named.

    :raises webob.exc.HTTPBadRequest: it cannot be an id, or two are named
    """
    store = named[0]
    if (
        not isinstance(store, str)
        or not 0 < len(store) <= LONGEST
        or not store.isprintable()
    ):
        reason = (
            f'has to be a string of 1 to {LONGEST} characters that can be '
            'printed'
        )
    elif store != named[-1]:
        reason = f"differs from '{selection.STORE_PROPERTY}' in 'metadata'"
    else:
        return store
    raise webob.exc.HTTPBadRequest(
        explanation=f"Invalid input for '{KEY}': it {reason}."
    )


def _look_up(context: Any, store: str) -> None:
    """Make sure that Glance has a store, and takes data there.

    :raises StoreRefused: Glance does not
    :raises LookupFailed: Glance did not say
    """
    # A few workers serve all users, so none of them sleeps for one user.
    found = lookup.catalogue_for(context, store, patient=False)
    found.check_writable(store)


def _said(error: exception.StoreRefused) -> str:
    """Return an error as a sentence."""
    text = str(error)
    return f'{text[:1].upper()}{text[1:]}.'


_DISPATCH = Seam(
    'nova.api.openstack.wsgi',
    'Resource.dispatch',
    ('self', 'method', 'request', 'action_args'),
)
_CONTROLLERS = {
    'createImage': ('nova.api.openstack.compute.servers', 'ServersController'),
    'createBackup': (
        'nova.api.openstack.compute.create_backup',
        'CreateBackupController',
    ),
}


def _problems() -> list[str]:
    """Compare the installed Nova with what the filter expects.

    :returns: what does not fit, in words; empty if everything does
    """
    found = [_DISPATCH.problem()]
    for action, (module, name) in _CONTROLLERS.items():
        try:
            controller: Any = wrapt.resolve_path(module, name)[2]
            method = controller.wsgi_actions[action]
            marked = getattr(controller, method).wsgi_action
        except (ImportError, AttributeError, KeyError) as exc:
            found.append(f'{module}.{name} does not have {action} ({exc!r})')
            continue
        seam = Seam(module, f'{name}.{method}', ('self', 'req', 'id', 'body'))
        found.append(seam.problem())
        if marked != action:
            found.append(f'{module}.{name}.{method} is marked as {marked}')
    return [problem for problem in found if problem]


def _apply() -> None:
    """Wrap Nova's dispatcher, once in a process.

    :raises UnsupportedNova: the installed Nova is not as expected
    """
    global _applied
    with _lock:
        if _applied:
            return
        if found := _problems():
            raise exception.UnsupportedNova(
                nova_version.version_string(), found
            )
        parent, attribute, _original = _DISPATCH.find()
        wrapt.wrap_function_wrapper(
            parent, attribute, _DISPATCH.adapt(dispatch)
        )
        _applied = True


def filter_factory(
    global_conf: dict[str, str], **local_conf: str
) -> Callable[..., StoreFilter]:
    """Make the filter for paste.

    :returns: a function that wraps an application
    :raises UnsupportedNova: the installed Nova is not as expected
    """
    opts.register_opts(CONF)
    uwsgi.check(
        'nova-api',
        'a long question to Glance goes on with the next request',
    )
    _apply()
    authorization.prepare()
    return StoreFilter
