"""What ``nova-multistore-status`` asks of Glance."""

from __future__ import annotations

from typing import Any
import uuid

from keystoneauth1 import exceptions as auth_exceptions
import nova.conf
from oslo_upgradecheck import upgradecheck

from nova_multistore import exception
from nova_multistore import image_api
from nova_multistore import lookup
from nova_multistore import opts
from nova_multistore import selection
from nova_multistore import stores
from nova_multistore.compute import ceph

CONF = nova.conf.CONF

Code = upgradecheck.Code
Result = upgradecheck.Result


class GlanceChecks:
    """Checks that ask more than which stores there are."""

    @staticmethod
    def catalogue() -> stores.Catalogue:
        return lookup.catalogue(lookup.service_context())

    def endpoints(self) -> Result:
        lists, silent = {}, []
        for server in CONF.glance.api_servers or ():
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
                'Snapshots go by the stores of the one that is asked.',
            )
        return Result(Code.SUCCESS)

    def details(self) -> Result:
        if not ceph.is_used():
            return Result(Code.SUCCESS)
        try:
            _ask('/info/stores/detail')
        except exception.GlanceRefused as exc:
            return Result(
                Code.WARNING,
                f'{exc}. Which store is in the Ceph of the disks is known '
                'only where base images show their locations. Give the user '
                'of [service_user] the role service (Glance 2025.1 and '
                "later), or let it by Glance's policy stores_info_detail.",
            )
        except exception.LookupFailed as exc:
            return Result(Code.WARNING, f'It cannot be checked: {exc}.')
        return Result(Code.SUCCESS)

    def copy_to(self) -> Result:
        wanted = CONF.nova_multistore.copy_to
        if not wanted:
            return Result(Code.SUCCESS, 'It is not set: nothing is copied.')
        try:
            catalogue = self.catalogue()
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
                'Copies are asked for with the token of whoever asks for the '
                "snapshot. Glance's policy copy_image is for administrators "
                'unless it is changed; else put credentials in this section.',
            )
        try:
            return _try_to_copy()
        except exception.LookupFailed as exc:
            return Result(Code.WARNING, f'It cannot be checked: {exc}.')

    def filter(self) -> Result:
        # An upload of nothing to an image that is not there.
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
        if answer.headers.get(selection.BASE_IMAGE_REF_HEADER) == base:
            return Result(Code.SUCCESS, "It is in Glance's pipeline.")
        return Result(
            Code.SUCCESS,
            "It is not in Glance's pipeline. A compute with this package "
            "needs none; volumes' images and computes without it do.",
        )


def _ask(path: str, server: str | None = None) -> Any:
    """Ask Glance with the credentials of ``[service_user]``."""
    context = lookup.service_context()
    images = image_api.Images(lambda: lookup.adapter(context, server))
    return images.ask('GET', path)


def _try_to_copy() -> Result:
    """Ask for a copy where there is one: whether that is allowed comes first.

    :raises LookupFailed: Glance did not answer
    """
    context = lookup.service_context(opts.COPY_GROUP)
    images = image_api.Images(lambda: lookup.adapter(context))
    try:
        found = images.ask('GET', '/images?status=active&limit=20')['images']
        image = next((i for i in found if stores.of_image(i)), None)
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
            return Result(Code.SUCCESS)
        return Result(
            Code.FAILURE,
            f"{exc}. Glance's policy copy_image has to let the user of this "
            'section, which is for administrators unless it is changed.',
        )
    return Result(Code.SUCCESS)
