"""What the tests of the audit share."""

from __future__ import annotations

import io
import uuid

import pytest

from nova_multistore import lookup
from nova_multistore.osc import snapshot_audit
from tests import command
from tests.cloud import glance as cloud_glance
from tests.functional import connect
from tests.functional.audit import DATA
from tests.functional.audit import STORES


@pytest.fixture(scope='module')
def glance(root):
    """With stores of this module's own."""
    (root / 'glance').mkdir()
    with cloud_glance.Glance(
        root / 'glance', stores=STORES, default='central'
    ) as glance:
        yield glance


@pytest.fixture(scope='module')
def nova_url(patched_nova):
    """Where Nova takes the tokens that Glance takes."""
    with patched_nova.served() as url:
        yield url


@pytest.fixture
def nova(nova):
    """Nothing is remembered of what Glance said."""
    lookup.forget()
    return nova


@pytest.fixture
def project():
    """A project of the test's own."""
    return uuid.uuid4().hex


class Watched(io.StringIO):
    """Tells what was written when it is flushed."""

    def __init__(self, flushed):
        super().__init__()
        self._flushed = flushed

    def flush(self):
        super().flush()
        self._flushed(self.getvalue())


@pytest.fixture
def audited(glance, project, nova_url):
    """Run the command, as the project or as an administrator."""

    def audited(
        *args,
        admin=False,
        url=glance.url,
        flushed=lambda text: None,
        own=True,
        nova=nova_url,
    ):
        mine = project if own else ''
        # By its user's name Nova knows that it is an administrator's.
        token = (
            cloud_glance.token(mine, ('member', 'reader', 'admin'), 'admin')
            if admin
            else cloud_glance.token(mine)
        )
        result = command.run(
            snapshot_audit.AuditSnapshots,
            connect(url, token, compute=nova),
            *args,
            stdout=Watched(flushed),
        )
        # No list is no empty list.
        assert result.shown or result.code == 2, result.words
        return result

    return audited


@pytest.fixture
def conf(tmp_path):
    """Write a nova.conf."""

    def conf(store=None, copy_to=(), libvirt=''):
        path = tmp_path / f'{uuid.uuid4().hex}.conf'
        path.write_text(
            (f'[glance]\nstore = {store}\n' if store else '')
            + f'[nova_multistore]\ncopy_to = {",".join(copy_to)}\n'
            + f'[libvirt]\n{libvirt}\n'
        )
        return f'--config-file={path}'

    return conf


@pytest.fixture
def snapshot(glance, project):
    """Create the image that a snapshot is."""

    def snapshot(*stores, data=DATA, image_type='snapshot', **properties):
        return glance.create_image(
            data,
            stores=stores or ('dcn0',),
            disk_format='raw',
            image_type=image_type,
            **{'name': 'nightly', 'project': project, **properties},
        )

    return snapshot


@pytest.fixture
def queued(glance, project):
    """Create a snapshot that waits for its data."""

    def queued(**properties):
        return glance.create_queued_image(
            **{'project': project, 'image_type': 'snapshot', **properties}
        )

    return queued
