"""``nova-multistore-status``: what an operator asks on a compute host."""

from __future__ import annotations

import contextlib
import functools
import sys
from typing import TYPE_CHECKING
from typing import Any
import uuid

from keystoneauth1 import adapter as ks_adapter
from keystoneauth1 import exceptions as auth_exceptions
import nova.conf
from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from nova_multistore import exception
from nova_multistore import image_api
from nova_multistore import lookup
from nova_multistore import opts
from nova_multistore import selection
from nova_multistore import stores
from nova_multistore.cmd import computes
from nova_multistore.cmd import explain
from nova_multistore.compute import ceph
from nova_multistore.compute import download_store
from nova_multistore.compute import patch

if TYPE_CHECKING:
    from collections.abc import Sequence

CONF = nova.conf.CONF

Code = upgradecheck.Code
Result = upgradecheck.Result


#: What checks say if they have nothing to look at, or if all is well.
NOT_IN_CEPH = '[libvirt] images_type is not rbd: disks are not in Ceph.'
NOTHING_TO_COPY = (
    'As far as nova.conf says, nothing has to be copied before a server '
    'starts from its snapshot.'
)
MAY_COPY = 'The user of [nova_multistore] may copy images.'
# Since this version of its API, Glance hashes the locations it is given.
_HASHES_LOCATIONS = (2, 17)


class Checks(upgradecheck.UpgradeCommands):
    """What has to be true before nova-compute is started with the package.

    Glance is asked with the credentials of ``[service_user]``.
    """

    def _check_nova(self) -> Result:
        problems = patch.problems()
        if problems:
            return Result(Code.FAILURE, '; '.join(problems))
        if patch.is_newer():
            return Result(
                Code.WARNING,
                'This Nova is newer than any that was tested; it has all that '
                'is needed.',
            )
        return Result(Code.SUCCESS, 'It has all that is needed.')

    def _check_glance(self) -> Result:
        try:
            catalogue = _catalogue()
        except exception.LookupFailed as exc:
            return Result(Code.WARNING, f'{exc}.')
        if not catalogue.stores:
            return Result(
                Code.WARNING,
                'Glance does not have several stores: snapshots go where they '
                'go without the package.',
            )
        return Result(
            Code.SUCCESS,
            f'Stores that can be written to: {", ".join(catalogue.writable)}.',
        )

    def _check_store(self) -> Result:
        if not CONF.glance.store:
            return Result(
                Code.SUCCESS, 'It is not set: snapshots follow the base image.'
            )
        try:
            _catalogue().check_writable(CONF.glance.store)
        except exception.LookupFailed as exc:
            return Result(Code.WARNING, f'It cannot be checked: {exc}.')
        except exception.StoreRefused as exc:
            return Result(Code.FAILURE, f'{exc}.')
        return Result(
            Code.SUCCESS,
            f"'{CONF.glance.store}' is one of Glance's stores, and can be "
            'written to.',
        )

    def _check_ceph_store(self) -> Result:
        if not lookup.disks_in_ceph():
            return Result(Code.SUCCESS, NOT_IN_CEPH)
        if not ceph.takes_clones():
            return Result(
                Code.WARNING,
                'Disks are in Ceph, but [libvirt] snapshot_image_format is '
                f"'{CONF.libvirt.snapshot_image_format}', and only a raw "
                'image can be a clone. Each snapshot and backup is a full '
                'copy.',
            )
        try:
            catalogue = _catalogue()
        except exception.LookupFailed as exc:
            return Result(Code.WARNING, f'It cannot be checked: {exc}.')
        cluster = ceph.cluster(catalogue.places)
        if cluster.lacks(CONF.glance.store):
            return Result(
                Code.WARNING,
                f"Disks are in Ceph, but [glance] store '{CONF.glance.store}' "
                'is elsewhere. Each snapshot and backup is a full copy.',
            )
        pools = set(filter(None, map(cluster.pool, catalogue.writable)))
        if not pools:
            return Result(
                Code.WARNING,
                "Disks are in Ceph, but none of Glance's stores is known to "
                'be there. Snapshots are made inside Ceph only where Nova '
                'itself finds a pool.',
            )
        return _try_pools(sorted(pools))

    def _check_copy_image(self) -> Result:
        own = ceph.named_store()
        if not (lookup.disks_in_ceph() and own):
            return Result(Code.SUCCESS, NOTHING_TO_COPY)
        if CONF.nova_multistore.auth_type:
            return self._copying
        try:
            catalogue = _catalogue()
        except exception.LookupFailed as exc:
            return Result(Code.WARNING, f'It cannot be checked: {exc}.')
        cluster = ceph.cluster(catalogue.places)
        if all(store == own or cluster.pool(store) for store in catalogue.ids):
            return Result(
                Code.SUCCESS, 'Every image is in the Ceph of the disks.'
            )
        return Result(
            Code.WARNING,
            'A member cannot start a server from an image that is not in '
            f"'{own}', nor unshelve or rebuild one: Nova asks Glance, with "
            "the member's token, to copy the image there, and Glance's policy "
            'copy_image is for administrators unless it is changed. The '
            'server goes to ERROR; one that is to be unshelved stays '
            'SHELVED_OFFLOADED. If [nova_multistore] has credentials, Nova '
            'uses these instead.',
        )

    def _check_endpoints(self) -> Result:
        if not CONF.glance.api_servers:
            return Result(
                Code.SUCCESS, 'It is not set: there is one API of Glance.'
            )
        lists, silent = {}, []
        for server in CONF.glance.api_servers:
            try:
                found = stores.parse(_ask('/info/stores', server))
            except exception.MultistoreError as exc:
                silent.append(f'{server}: {exc}')
            else:
                lists[server] = ', '.join(found.writable)
        if silent:
            return Result(Code.WARNING, '; '.join(silent))
        if len(set(lists.values())) > 1:
            told = '; '.join(f'{s}: {lists[s]}' for s in lists)
            return Result(
                Code.WARNING,
                f'[glance] api_servers do not have the same stores ({told}). '
                'A snapshot goes by the stores of the API that is asked.',
            )
        return Result(Code.SUCCESS, 'All of them have the same stores.')

    def _check_details(self) -> Result:
        if not lookup.disks_in_ceph():
            return Result(Code.SUCCESS, NOT_IN_CEPH)
        try:
            _ask('/info/stores/detail')
        except exception.GlanceRefused as exc:
            return Result(
                Code.WARNING,
                f'{exc}. Without an answer, nova-compute knows which stores '
                'are in the Ceph of the disks only if images show their '
                'locations. Give the user of [service_user] the role service '
                "(Glance 2025.1 and later), or open Glance's policy "
                'stores_info_detail to that user.',
            )
        except exception.LookupFailed as exc:
            return Result(Code.WARNING, f'It cannot be checked: {exc}.')
        return Result(Code.SUCCESS, 'Glance tells where its stores are.')

    def _check_copy_to(self) -> Result:
        wanted = CONF.nova_multistore.copy_to
        if not wanted:
            return Result(Code.SUCCESS, 'It is not set: nothing is copied.')
        try:
            catalogue = _catalogue()
            for store in wanted:
                catalogue.check_writable(store)
            methods = _ask('/info/import')['import-methods']['value']
        except exception.StoreRefused as exc:
            return Result(Code.FAILURE, f'{exc}.')
        except exception.MultistoreError as exc:
            return Result(Code.WARNING, f'It cannot be checked: {exc}.')
        if 'copy-image' not in methods:
            return Result(
                Code.FAILURE,
                "Glance's [DEFAULT] enabled_import_methods has no copy-image "
                f'({", ".join(methods)}).',
            )
        if not CONF.nova_multistore.auth_type:
            return Result(
                Code.WARNING,
                'This section has no credentials: copies are requested with '
                'the token of the user who asks for the snapshot. Unless it '
                "is changed, Glance's policy copy_image is for "
                'administrators alone.',
            )
        return self._copying

    def _check_move_to(self) -> Result:
        orders = opts.orders(CONF)
        store = orders.move_to
        if not store:
            return Result(Code.SUCCESS, 'It is not set: nothing moves.')
        if orders.store:
            return Result(
                Code.FAILURE,
                '[glance] store is set, too: snapshots go there, and nothing '
                'moves.',
            )
        cluster = None
        try:
            catalogue = _catalogue()
            catalogue.check_writable(store)
            if lookup.disks_in_ceph():
                cluster = ceph.cluster(catalogue.places)
        except exception.StoreRefused as exc:
            return Result(Code.FAILURE, f'{exc}.')
        except exception.LookupFailed as exc:
            return Result(Code.WARNING, f'It cannot be checked: {exc}.')
        selected = selection.select(
            selection.Facts(
                selection.Operation.SNAPSHOT,
                image_ref=str(uuid.uuid4()),
                catalogue=catalogue,
                orders=orders,
                ceph_store=ceph.named_store(),
                cluster=cluster,
                clones=ceph.takes_clones(),
            )
        )
        if not selected.move_from:
            why = 'no other store is known to be in the Ceph of disks'
            if selected.pool:
                why = 'it is in the Ceph of the disks'
            return Result(
                Code.SUCCESS,
                f'Snapshots are made in {store} straight away: {why}.',
            )
        if not CONF.nova_multistore.auth_type:
            return Result(
                Code.WARNING,
                'This section has no credentials: images are moved with the '
                'token of the user who asks for the snapshot. Unless '
                "Glance's policies copy_image and delete_image_location are "
                'changed, they are for administrators alone.',
            )
        if self._copying.code is not Code.SUCCESS:
            return self._copying
        return _judge_proofs()

    @functools.cached_property
    def _copying(self) -> Result:
        """Whether the credentials of ``[nova_multistore]`` may copy."""
        return _try_to_copy()

    def _check_downloads(self) -> Result:
        if not download_store.has_near_store():
            return Result(
                Code.SUCCESS,
                'This compute has no Ceph store of its own: Glance chooses '
                'the store that an image is read from.',
            )
        if not download_store.can_prefer():
            return Result(
                Code.SUCCESS,
                'Glance chooses the store that an image is read from: this '
                'glanceclient cannot name a store; 4.12 and later can.',
            )
        return Result(
            Code.SUCCESS,
            "Glance is asked to read images from this compute's own Ceph "
            'store, if they are there.',
        )

    def _check_filter(self) -> Result:
        # An upload to an image that does not exist.
        path = f'/images/{uuid.uuid4()}/file'
        base = str(uuid.uuid4())
        try:
            answer = lookup.adapter(lookup.service_context()).put(
                path,
                data=b'',
                headers={
                    'Content-Type': 'application/octet-stream',
                    selection.BASE_IMAGE_REF_HEADER: base,
                },
                raise_exc=False,
                timeout=stores.TIMEOUT,
            )
        except (
            exception.LookupFailed,
            auth_exceptions.ClientException,
        ) as exc:
            return Result(Code.WARNING, f'It cannot be checked: {exc}.')
        told = answer.headers.get(selection.BASE_IMAGE_REF_HEADER)
        if told == base:
            return Result(Code.SUCCESS, "It is in Glance's pipeline.")
        if told is not None:
            return Result(
                Code.WARNING,
                "It is in Glance's pipeline, and does not work there: it "
                "could not look up a base image. Glance's log says why. The "
                'filter has to stand behind the context: '
                'nova-multistore-paste --glance FILE puts it there.',
            )
        return Result(
            Code.SUCCESS,
            "It is not in Glance's pipeline. Computes with this package do "
            'not need the filter. Images of volumes, and computes without '
            'this package, need it.',
        )

    _upgrade_checks = (
        ('Nova', _check_nova),
        ('Glance', _check_glance),
        ('[glance] store', _check_store),
        ('Ceph store', _check_ceph_store),
        ('Policy copy_image', _check_copy_image),
        ('Policy stores_info_detail', _check_details),
        ('[glance] api_servers', _check_endpoints),
        ('[nova_multistore] copy_to', _check_copy_to),
        ('[nova_multistore] move_to', _check_move_to),
        ('Downloads', _check_downloads),
        ('Filter in Glance', _check_filter),
    )


def _catalogue() -> stores.Catalogue:
    """Return Glance's stores.

    :raises LookupFailed: Glance did not say
    """
    return lookup.catalogue(lookup.service_context())


def _ask(path: str, server: str | None = None) -> Any:
    """Ask Glance with the credentials of ``[service_user]``."""
    images = lookup.images(lookup.service_context(), server=server)
    return images.ask('GET', path)


def _try_pools(pools: Sequence[str]) -> Result:
    """Make an empty image in each pool, as a snapshot would be made there.

    :param pools: the pools of stores that are in the Ceph of the disks
    """
    refusals = list(filter(None, map(ceph.refusal, pools)))
    if refusals:
        return Result(
            Code.WARNING,
            f'{"; ".join(refusals)}. Each snapshot and backup that goes there '
            'is therefore a full copy.',
        )
    return Result(
        Code.SUCCESS,
        f"Ceph user '{ceph.user()}' can make images in pool "
        f'{", ".join(pools)}.',
    )


def _try_to_copy() -> Result:
    """Ask for a copy to a store that has the image already.

    Glance checks whether the user may do so before it sees that there is
    nothing to do.
    """
    try:
        images = lookup.images(lookup.service_context(opts.COPY_GROUP))
        found = images.ask('GET', '/images?status=active&limit=20')['images']
        image = _in_a_store(images, found)
        if image is None:
            return Result(
                Code.WARNING,
                'It cannot be checked: its user sees no image to try with.',
            )
        images.import_data(
            image['id'], stores.of_image(image)[:1], name='copy-image'
        )
    except exception.GlanceRefused as exc:
        if exc.status in (400, 409):
            return Result(Code.SUCCESS, MAY_COPY)
        return Result(
            Code.FAILURE,
            f"{exc}. Glance's policy copy_image has to allow that to the "
            'user of [nova_multistore]. The policy is for administrators '
            'unless it is changed.',
        )
    except exception.LookupFailed as exc:
        return Result(Code.WARNING, f'It cannot be checked: {exc}.')
    return Result(Code.SUCCESS, MAY_COPY)


def _judge_proofs() -> Result:
    """Tell whether a move can prove that the copy is whole.

    A proof needs the hash of the clone. Since 2025.1 Glance has it, unless its
    ``[DEFAULT] do_secure_hash`` is False, which Glance does not tell. Without
    a hash, the copies are read and compared. For that, Glance needs the
    filter.
    """
    try:
        context = lookup.service_context(opts.COPY_GROUP)
        if lookup.images(context).reads_copies():
            return Result(
                Code.SUCCESS,
                'A clone without a hash is compared with its copy before it '
                'is deleted.',
            )
        hashes = _hashes_locations(lookup.adapter(context))
    except (exception.LookupFailed, auth_exceptions.ClientException) as exc:
        return Result(Code.WARNING, f'It cannot be checked: {exc}.')
    words = (
        "The package's filter is not in Glance's pipeline, so that an image "
        'can only leave its first store if Glance has hashed it there'
    )
    if hashes:
        return Result(
            Code.SUCCESS,
            f'{words}: Glance does so unless its [DEFAULT] do_secure_hash '
            'is False. Other images stay in both stores.',
        )
    return Result(
        Code.WARNING,
        f'{words}: Glance does so since 2025.1 only. Images stay in both '
        'stores.',
    )


def _hashes_locations(glance: ks_adapter.Adapter) -> bool:
    """Tell whether a Glance is new enough to hash what is not uploaded.

    Since then, Glance has version 2.17 of its API.

    :raises keystoneauth1.exceptions.ClientException: Glance does not answer
    """
    root = str(glance.endpoint_override).rpartition('/v2')[0]
    answer = glance.get(f'{root}/versions', timeout=stores.TIMEOUT)
    versions = (entry['id'] for entry in answer.json()['versions'])
    return any(
        tuple(map(int, version.strip('v').split('.'))) >= _HASHES_LOCATIONS
        for version in versions
    )


def _in_a_store(
    images: image_api.Images, found: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Return an image that is in a store, as far as Glance says.

    Glance's list lacks the stores of images from before Glance had several
    stores. When Glance shows one image, it looks them up.

    :param found: the images, as they were listed
    :raises LookupFailed: Glance did not answer
    """
    for image in found:
        if stores.of_image(image):
            return image
    for image in found:
        with contextlib.suppress(exception.GlanceRefused):
            image = images.show(image['id'])
        if stores.of_image(image):
            return image
    return None


def main() -> int:
    """Run ``nova-multistore-status``.

    :returns: the exit code: 0 success, 1 a warning, 2 a failure, 255 an error
    """
    checks = Checks()

    def add_parsers(subparsers: Any) -> None:
        upgrade = subparsers.add_parser(
            'upgrade', help='check Nova and Glance before nova-compute starts'
        )
        upgrade.add_argument('check', choices=['check'])
        upgrade.add_argument(
            '--json', action='store_true', help='print the results as JSON'
        )
        upgrade.set_defaults(action_fn=checks.check)
        explaining = subparsers.add_parser(
            'explain', help='say where a snapshot of a server here would go'
        )
        explaining.add_argument('server', help='name or UUID of the server')
        explaining.set_defaults(
            action_fn=lambda: explain.main(CONF.command.server)
        )

        asking = subparsers.add_parser(
            'computes', help='say which computes run with the package'
        )
        asking.add_argument(
            '--json', action='store_true', help='print them as JSON'
        )
        asking.set_defaults(action_fn=lambda: computes.main(CONF.command.json))

    CONF.register_cli_opt(cfg.SubCommandOpt('command', handler=add_parsers))
    try:
        CONF(sys.argv[1:] or ['--help'], project='nova')
    except (cfg.Error, OSError, UnicodeDecodeError) as exc:
        message = ' '.join(str(exc).split())
        if isinstance(exc, UnicodeDecodeError):
            message = f'a configuration file is no text file: {message}'
        print(f'nova-multistore-status: {message}', file=sys.stderr)
        return 255
    # As upgradecheck.main() does, which knows no other command.
    upgradecheck.CONF = CONF
    code: int = upgradecheck.run(CONF)
    return code
