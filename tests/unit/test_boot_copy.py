"""The copy in the compute's own Ceph that a server starts from."""

from __future__ import annotations

import logging

from keystoneauth1 import loading
from nova import context as nova_context
from nova import exception as nova_exception
from oslo_context import context as oslo_context
import pytest

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import opts
from nova_multistore.compute import boot_copy

IMAGE = '11111111-1111-4111-8111-111111111111'
ACTIVE = {'id': IMAGE, 'status': 'active'}


@pytest.fixture
def store(conf):
    """The compute's own store has a name."""
    conf.config(group='libvirt', images_rbd_glance_store_name='fast')
    conf.config(group='libvirt', images_rbd_glance_copy_timeout=7)


@pytest.fixture
def glance(conf, store, monkeypatch):
    """Credentials, and a Glance that makes of a copy what it is told."""
    conf.register_opts(
        loading.get_auth_plugin_conf_options('admin_token'), opts.COPY_GROUP
    )
    conf.config(group=opts.COPY_GROUP, auth_type='admin_token')
    looks = []

    def copy(images, image_id, wanted, timeout, report):
        assert (image_id, wanted, timeout) == (IMAGE, ['fast'], 7)
        for look in looks:
            if isinstance(look, Exception):
                raise look
            report({}, (look,))
        return (looks[-1],)

    monkeypatch.setattr(boot_copy.lookup, 'service_context', lambda name: name)
    monkeypatch.setattr(boot_copy.lookup, 'images', lambda context: context)
    monkeypatch.setattr(boot_copy.copies, 'copy', copy)
    return looks


def fail():
    raise AssertionError('Nova is not to ask by itself')


def ask(proceed=fail, image=ACTIVE, context=None):
    boot_copy.copy_to_store(proceed, None, context=context, image_meta=image)


def test_progress(glance, caplog):
    """Each change is a line."""
    caplog.set_level(logging.INFO)
    state = copies.State
    glance += [
        copies.Copy('fast', state.WAITING),
        copies.Copy('fast', state.WAITING),
        copies.Copy('fast', state.COPYING, copied=5 << 20),
        copies.Copy('fast', state.DONE),
    ]

    ask()

    assert caplog.messages == [
        f'Asking Glance to copy image {IMAGE} to store fast',
        f'Image {IMAGE}, store fast: waiting',
        f'Image {IMAGE}, store fast: copying, 5 MiB',
        f'Image {IMAGE}, store fast: done',
        f'Image {IMAGE} has a copy in store fast',
    ]


def test_context_of_the_thread(glance, context, monkeypatch):
    """It is the request's, also after the service's was used."""
    service = nova_context.RequestContext(overwrite=False)
    monkeypatch.setattr(
        boot_copy.lookup, 'images', lambda _: service.update_store()
    )
    context.update_store()
    glance.append(copies.Copy('fast', copies.State.DONE))

    ask(context=context)

    assert oslo_context.get_current() is context


@pytest.mark.parametrize(
    ('end', 'words'),
    [
        (
            copies.Copy('fast', copies.State.FAILED, reason='no room'),
            'no room',
        ),
        (copies.Copy('fast', copies.State.FAILED), "in Glance's log"),
        (copies.Copy('fast', copies.State.COPYING), 'copying'),
        (exception.GlanceRefused(403, 'no'), 'HTTP 403'),
        (exception.LookupFailed('no answer'), 'no answer'),
    ],
)
def test_no_copy(glance, end, words):
    """It is the error after which Nova downloads the image, in words."""
    glance.append(end)

    with pytest.raises(nova_exception.ImageUnacceptable, match=words):
        ask()


@pytest.mark.parametrize('image', [{**ACTIVE, 'status': 'deactivated'}])
def test_image_that_nobody_may_use(glance, image):
    """More rights than the user's do not change that."""
    with pytest.raises(
        nova_exception.ImageUnacceptable, match='it is deactivated'
    ):
        ask(image=image)


def refuse():
    raise nova_exception.ImageNotAuthorized(image_id=IMAGE)


def test_without_credentials(store):
    """Nova asks, as the user; a refusal says what to do."""
    with pytest.raises(
        nova_exception.ImageNotAuthorized,
        match=r'openstack multistore image copy .* --store fast',
    ):
        ask(refuse)


@pytest.mark.parametrize(
    ('host_list', 'left'),
    [([], {}), (['another'], {'retry': 1}), (None, {'retry': 1})],
)
def test_last_host(store, host_list, left):
    """Nova says why by itself, if it can try no other host."""
    properties = {'retry': 1}

    with pytest.raises(nova_exception.ImageNotAuthorized):
        boot_copy.build(
            lambda: ask(refuse),
            None,
            filter_properties=properties,
            host_list=host_list,
        )

    assert properties == left


def test_without_credentials_but_with_rights(store):
    asked = []

    ask(lambda: asked.append(1))

    assert asked == [1]
