"""Copies of images in several stores, and of snapshots by themselves."""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib.metadata
import logging
import os
import threading
import time
import uuid

from keystoneauth1 import adapter
from keystoneauth1 import session
from keystoneauth1 import token_endpoint
import pytest

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import image_api
from nova_multistore import lookup
from nova_multistore import opts
from nova_multistore.compute import patch
from tests import patience
from tests.cloud import glance as cloud_glance
from tests.cloud import nova as cloud_nova
from tests.cloud import proxy as cloud_proxy
from tests.functional import broken
from tests.functional import expected_digest
from tests.functional import upgrade_check

pytestmark = pytest.mark.eventlet

MIB = 1 << 20
GLANCE = int(importlib.metadata.version('glance').split('.')[0])
TIMEOUT = 60


@pytest.fixture
def images(sites):
    return as_admin(sites)


def as_admin(glance):
    """What asks a Glance as its administrator."""
    url = f'{glance.url}/v2'
    auth = token_endpoint.Token(url, cloud_glance.ADMIN)
    sender = adapter.Adapter(session.Session(auth), endpoint_override=url)
    return image_api.Images(lambda: sender)


def made(glance, size, store):
    """Create an image of so many bytes, and return its id."""
    return glance.create_image(
        os.urandom(size), stores=[store], disk_format='raw'
    )


def states(found):
    return {copy.store: copy.state.value for copy in found}


def whole(glance, image_id):
    """Everywhere that Glance says it is, the image is what it is."""
    listed = glance.stores_of(image_id)
    digests = glance.sha256(image_id)
    return len({digests[store] for store in listed}) == 1


def imports(glance):
    return [
        request.status
        for request in glance.requests()
        if request.method == 'POST' and request.path.endswith('/import')
    ]


def test_copy(sites, images):
    """To stores without it; what is there is done, and asks nothing."""
    image_id = made(sites, MIB, 'dcn0')
    seen = []

    found = copies.copy(
        images,
        image_id,
        ['dcn0', 'dcn1', 'dcn2'],
        TIMEOUT,
        lambda _image, found: seen.append(found),
    )

    assert states(found) == dict.fromkeys(['dcn0', 'dcn1', 'dcn2'], 'done')
    assert sorted(sites.stores_of(image_id)) == ['dcn0', 'dcn1', 'dcn2']
    assert whole(sites, image_id)
    assert states(seen[0]) == {
        'dcn0': 'done',
        'dcn1': 'missing',
        'dcn2': 'missing',
    }
    assert seen[-1] == found
    sites.forget_requests()
    assert copies.copy(images, image_id, ['dcn1'], TIMEOUT)
    assert imports(sites) == []


def test_one_store_fails(sites, images):
    """It alone is asked again."""
    image_id = made(sites, MIB, 'central')
    sites.forget_requests()

    with broken(sites, 'dcn1'):
        found = copies.copy(
            images, image_id, ['dcn0', 'dcn1', 'dcn2'], TIMEOUT
        )

    assert states(found) == {
        'dcn0': 'done',
        'dcn1': 'failed',
        'dcn2': 'done',
    }
    assert imports(sites) == [202] * copies.TRIES
    assert whole(sites, image_id)
    staged = sites.directory('os_glance_staging_store') / image_id
    assert not staged.exists()

    found = copies.copy(images, image_id, ['dcn0', 'dcn1'], TIMEOUT)

    assert states(found) == {'dcn0': 'done', 'dcn1': 'done'}
    assert whole(sites, image_id)


def test_another_import_is_waited_for(sites, images):
    """Glance lets nobody copy what it copies for somebody else."""
    image_id = made(sites, 64 * MIB, 'central')
    sites.forget_requests()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for found in pool.map(
            lambda store: copies.copy(images, image_id, [store], TIMEOUT),
            ['dcn0', 'dcn1', 'dcn2'],
        ):
            assert set(states(found).values()) == {'done'}

    assert sorted(imports(sites))[:3] == [202] * 3
    assert 409 in imports(sites)
    assert whole(sites, image_id)


def test_time_is_over(sites, images):
    """What is known is returned; Glance goes on."""
    image_id = made(sites, 64 * MIB, 'central')

    found = copies.copy(images, image_id, ['dcn0', 'dcn1'], 0)

    assert states(found) == {'dcn0': 'missing', 'dcn1': 'missing'}
    sites.finish_tasks(image_id)
    assert sorted(sites.stores_of(image_id)) == ['central', 'dcn0', 'dcn1']


def test_refused(sites, images):
    """It is said at once, in Glance's own words."""
    image_id = made(sites, 512, 'central')

    with pytest.raises(exception.GlanceRefused, match='nosuch') as refused:
        copies.copy(images, image_id, ['nosuch'], TIMEOUT)

    assert refused.value.status == 409
    assert '<' not in refused.value.reason
    with pytest.raises(exception.GlanceRefused) as refused:
        copies.copy(images, str(uuid.uuid4()), ['dcn0'], TIMEOUT)
    assert refused.value.status == 404


def test_many_at_once(sites, images):
    """Twenty images, three stores each."""
    image_ids = [made(sites, MIB, 'central') for _ in range(20)]
    wanted = ['dcn0', 'dcn1', 'dcn2']

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        found = list(
            pool.map(
                lambda image_id: copies.copy(
                    images, image_id, wanted, 2 * TIMEOUT
                ),
                image_ids,
            )
        )

    assert [states(each) for each in found] == [
        dict.fromkeys(wanted, 'done')
    ] * 20
    for image_id in image_ids:
        assert len(sites.stores_of(image_id)) == 4
        assert whole(sites, image_id)


def test_killed_glance(sites, images):
    """Where it says that an image is, the image is whole.

    What it holds is taken from it after an hour. In a store that it was
    writing to there is a remnant, which Glance itself never removes.
    """
    image_id = made(sites, 256 * MIB, 'central')
    wanted = ['dcn0', 'dcn1', 'dcn2']
    images.import_data(image_id, wanted, name='copy-image')
    remnant = sites.directory('dcn1') / image_id
    left = patience.Patience(TIMEOUT)
    while not remnant.exists() and left:
        time.sleep(0.001)

    sites.kill()
    sites.start()

    assert sorted(sites.stores_of(image_id)) == ['central', 'dcn0']
    assert whole(sites, image_id)
    found = copies.copy(images, image_id, wanted, 2)
    assert states(found) == {
        'dcn0': 'done',
        'dcn1': 'copying',
        'dcn2': 'waiting',
    }

    sites.age_tasks(image_id)
    found = copies.copy(images, image_id, wanted, TIMEOUT)

    assert states(found) == {
        'dcn0': 'done',
        'dcn1': 'failed',
        'dcn2': 'done',
    }
    assert f'{remnant} already exists' in sites.log.read_text()
    assert whole(sites, image_id)

    remnant.unlink()
    found = copies.copy(images, image_id, wanted, TIMEOUT)

    assert set(states(found).values()) == {'done'}
    assert whole(sites, image_id)


def test_a_store_of_another_glance(sites, images, tmp_path):
    """One that this Glance does not have is copied from and to elsewhere.

    Each site has a Glance of its own that knows the central store and its
    own, on one database.
    """
    with other(sites, tmp_path, ['central', 'dcn0']) as here:
        image_id = made(here, MIB, 'dcn0')
        at_site = as_admin(here)
        found = copies.copy(at_site, image_id, ['central'], TIMEOUT)
        assert states(found) == {'central': 'done'}

        with pytest.raises(exception.GlanceRefused) as refused:
            copies.copy(at_site, image_id, ['dcn2'], TIMEOUT)
        assert 'dcn2' in refused.value.reason
    if GLANCE >= 33:
        # In 26, the import stumbles over the store that it does not know.
        with other(sites, tmp_path / 'there', ['central', 'dcn1']) as there:
            found = copies.copy(as_admin(there), image_id, ['dcn1'], TIMEOUT)
        assert states(found) == {'dcn1': 'done'}
    assert whole(sites, image_id)


@contextlib.contextmanager
def other(glance, root, stores):
    """Another Glance on the same database, with some of the stores."""
    root.mkdir(exist_ok=True)
    options = {
        f'{store}.filesystem_store_datadir': glance.directory(store)
        for store in stores
    }
    with cloud_glance.Glance(
        root,
        stores=dict.fromkeys(stores, 'file'),
        default='central',
        **{
            **options,
            'database.connection': (
                f'sqlite:///{glance.root / "glance.sqlite"}?timeout=30'
            ),
        },
    ) as made:
        yield made


@pytest.fixture(scope='module')
def module_nova(root, sites):
    directory = root / 'sites-nova'
    directory.mkdir()
    try:
        with cloud_nova.Nova(
            directory, sites, before_compute=patch.apply
        ) as nova:
            cloud_nova.register_credentials(opts.COPY_GROUP)
            cloud_nova.register_credentials('service_user')
            yield nova
    finally:
        patch.remove()


@pytest.fixture
def nova(module_nova, sites):
    lookup.forget()
    module_nova.records.clear()
    sites.forget_requests()
    module_nova.conf(
        **{'nova_multistore.copy_to': ['central', 'dcn1'], **nobody()}
    )
    yield module_nova
    module_nova.conf(**{'nova_multistore.copy_to': [], **nobody()})


def nobody():
    return {'nova_multistore.auth_type': None, 'service_user.auth_type': None}


def somebody(glance):
    """Credentials in [nova_multistore]."""
    return cloud_nova.credentials(
        opts.COPY_GROUP, glance.url, cloud_glance.ADMIN
    )


@pytest.fixture(scope='module')
def base(sites, qcow2):
    return sites.create_image(qcow2, stores=['dcn0'])


@pytest.fixture
def server(nova, base):
    server = nova.create_server(base)
    nova.write_disk(server, os.urandom(MIB))
    yield server
    nova.delete_server(server)


def test_snapshots_are_copied(nova, sites, server):
    """And backups; not what shelving makes for a while."""
    nova.conf(**somebody(sites))
    digest = expected_digest(nova.disk(server))

    for operate in (nova.snapshot, nova.backup):
        image_id = operate(server)
        for store in ('central', 'dcn1'):
            nova.wait_for_line(f'Image {image_id} has a copy in store {store}')
        assert sorted(sites.stores_of(image_id)) == ['central', 'dcn0', 'dcn1']
        assert set(sites.sha256(image_id).values()) == {digest}
        assert sites.image(image_id)[copies.PROPERTY] == 'central,dcn1'

    shelved = nova.shelve(server)

    assert copies.PROPERTY not in sites.image(shelved)
    assert sites.stores_of(shelved) == ['dcn0']


def test_property_is_not_inherited(nova, sites, server):
    """A snapshot of a server of a snapshot says what holds for itself."""
    nova.conf(**somebody(sites))
    first = nova.snapshot(server)
    nova.wait_for_line(f'Image {first} has a copy in store dcn1')
    nova.conf(**{'nova_multistore.copy_to': []})
    other = nova.create_server(first)

    second = nova.snapshot(other)

    assert copies.PROPERTY in sites.image(first)
    assert copies.PROPERTY not in sites.image(second)
    nova.delete_server(other)


def test_members_may_copy(nova, sites, server, policy):
    """Without credentials it is asked for as who asked for the snapshot."""
    policy(copy_image='role:member')

    image_id = nova.snapshot(server)

    nova.wait_for_line(f'Image {image_id} has a copy in store dcn1')
    [asked] = (
        request
        for request in sites.requests()
        if request.path.endswith('/import')
    )
    assert asked.token.startswith(f'{nova.project}:')
    assert 'admin' not in asked.token


def test_members_may_not_copy(nova, sites, server):
    """The snapshot stands; what to run is in the log."""
    image_id = nova.snapshot(server)

    line = nova.wait_for_line('has no copy in', logging.WARNING)
    assert (
        f'openstack multistore image copy {image_id} --store central '
        '--store dcn1'
    ) in line
    assert sites.image(image_id)['status'] == 'active'
    assert sites.image(image_id)[copies.PROPERTY] == 'central,dcn1'
    assert imports(sites) == [403]


def test_image_of_another_project(nova, sites, server, monkeypatch):
    """Credentials that may do more are not used for it."""
    nova.conf(**somebody(sites))
    monkeypatch.setattr(
        image_api.Images, 'show', lambda self, image_id: {'owner': 'other'}
    )

    nova.snapshot(server)

    nova.wait_for_line('the image belongs to project other', logging.WARNING)
    assert imports(sites) == []


def test_administrator_of_another_project(nova, sites, server):
    """The snapshot is in that project: it is copied all the same."""
    nova.conf(**somebody(sites))
    answer = nova.administrator('elsewhere').post_server_action(
        server, {'createImage': {'name': 'x'}}
    )
    image_id = answer['image_id']

    nova.wait_for_line(f'Image {image_id} has a copy in store dcn1')

    assert sites.image(image_id, project='elsewhere')['owner'] == 'elsewhere'
    nova.wait_until_idle()


def test_store_that_cannot_be_copied_to(nova, sites, server):
    """It is said which are there; the others are copied to."""
    nova.conf(
        **{'nova_multistore.copy_to': ['nosuch', 'web', 'dcn1']},
        **somebody(sites),
    )

    image_id = nova.snapshot(server)

    nova.wait_for_line(f'Image {image_id} has a copy in store dcn1')
    for words in ("store 'nosuch' is not one of", "store 'web' is read-only"):
        line = nova.wait_for_line(words, logging.WARNING)
        assert 'central, dcn0, dcn1, dcn2' in line
    assert sites.image(image_id)[copies.PROPERTY] == 'nosuch,web,dcn1'


def test_copy_that_fails(nova, sites, server):
    """The snapshot is the tenant's all the same."""
    nova.conf(**somebody(sites))
    with broken(sites, 'dcn1'):
        image_id = nova.snapshot(server)
        line = nova.wait_for_line('has no copy in dcn1', logging.WARNING)

    assert f'image copy {image_id} --store dcn1' in line
    assert sorted(sites.stores_of(image_id)) == ['central', 'dcn0']


def test_image_that_is_deleted(nova, sites, server):
    """Nobody is told of a failure."""
    nova.conf(**somebody(sites))
    started = threading.Event()
    with pytest.MonkeyPatch.context() as patcher:
        ask = image_api.Images.import_data

        def late(*args, **kwargs):
            started.wait(TIMEOUT)
            return ask(*args, **kwargs)

        patcher.setattr(image_api.Images, 'import_data', late)
        image_id = nova.snapshot(server)
        sites.delete_image(image_id)
        started.set()

        nova.wait_for_line(f'Image {image_id} is gone')
    assert not any(
        image_id in line for line in nova.log_lines(logging.WARNING)
    )


@pytest.fixture
def once_asked(monkeypatch):
    """Do something as soon as Glance has been asked for copies."""
    functions = []
    ask = image_api.Images.import_data

    def asked(self, image_id, *args, **kwargs):
        ask(self, image_id, *args, **kwargs)
        while functions:
            functions.pop()(image_id)

    monkeypatch.setattr(image_api.Images, 'import_data', asked)
    return functions.append


def test_image_that_is_deleted_while_it_is_copied(
    nova, sites, server, once_asked
):
    """Glance may leave data behind: the stores are named."""
    nova.conf(**somebody(sites))
    once_asked(sites.delete_image)

    image_id = nova.snapshot(server)

    line = nova.wait_for_line('was deleted while Glance', logging.WARNING)
    assert f'Image {image_id} ' in line
    assert 'central, dcn1' in line


def test_token_that_ends(nova, sites, server, policy, once_asked):
    """Glance goes on with what it was asked for: nobody says otherwise."""
    policy(copy_image='role:member')
    with cloud_proxy.Proxy(sites.url) as proxy:
        nova.conf(**{'glance.api_servers': [proxy.url]})
        once_asked(
            lambda image_id: proxy.fail(
                'GET',
                f'/v2/images/{image_id}$',
                cloud_proxy.Answer(401),
                times=None,
            )
        )
        image_id = nova.snapshot(server)
        line = nova.wait_for_line('It is not known', logging.WARNING)
        nova.conf(**{'glance.api_servers': [sites.url]})

    assert 'central, dcn1' in line
    assert f'image show {image_id}' in line
    assert not any('has no copy' in line for line in nova.log_lines())
    sites.finish_tasks(image_id)
    assert sorted(sites.stores_of(image_id)) == ['central', 'dcn0', 'dcn1']


@pytest.mark.parametrize(
    ('store', 'words'),
    [('nosuch', 'is not one of'), ('web', 'is read-only')],
)
def test_option_is_checked_at_the_start(nova, sites, store, words):
    """With the credentials of [service_user]."""
    token = cloud_glance.token('service')
    nova.conf(
        **{'nova_multistore.copy_to': ['central', store]},
        **cloud_nova.credentials('service_user', sites.url, token),
    )

    nova.restart_compute()

    line = nova.wait_for_line(
        '[nova_multistore] copy_to is wrong', logging.ERROR
    )
    assert words in line


@pytest.mark.parametrize(
    ('text', 'code', 'words'),
    [
        ('', 0, 'It is not set: nothing is copied.'),
        ('copy_to = central\n{admin}', 0, 'Result: Success'),
        ('copy_to = central\n{member}', 2, 'for administrators'),
        ('copy_to = central', 1, 'This section has no credentials'),
        ('copy_to = central,nosuch', 2, 'central, dcn0, dcn1, dcn2'),
        ('copy_to = web', 2, 'is read-only'),
    ],
)
def test_upgrade_check(sites, base, tmp_path, text, code, words):
    """What copies need is tried, and nothing is made."""
    credentials = {
        name: f'auth_type = admin_token\nendpoint = {sites.url}\n'
        f'token = {token}\n'
        for name, token in (
            ('admin', cloud_glance.ADMIN),
            ('member', cloud_glance.token()),
        )
    }
    images = sites.images()

    told = upgrade_check(
        tmp_path,
        sites.url,
        f'[nova_multistore]\n{text.format(**credentials)}',
    )

    assert told[0] == code, told[1]
    assert words in told[1]
    assert "It is not in Glance's pipeline" in told[1]
    assert sites.images() == images


def test_upgrade_check_of_import_methods(tmp_path):
    with cloud_glance.Glance(
        tmp_path, enabled_import_methods='[web-download]'
    ) as glance:
        code, told = upgrade_check(
            tmp_path, glance.url, '[nova_multistore]\ncopy_to = fast\n'
        )

    assert code == 2
    assert 'enabled_import_methods has no copy-image (web-download)' in told


def test_upgrade_check_of_api_servers(sites, tmp_path):
    """Each is asked: one is away, or has other stores than the rest."""
    servers = f'[glance]\napi_servers = {sites.url}'
    code, told = upgrade_check(
        tmp_path, sites.url, f'{servers},http://127.0.0.1:9\n'
    )
    assert code == 1
    assert 'http://127.0.0.1:9: Glance did not answer' in told

    with other(sites, tmp_path / 'site', ['central', 'dcn0']) as site:
        code, told = upgrade_check(
            tmp_path, sites.url, f'{servers},{site.url}\n'
        )
    assert code == 1
    assert 'do not have the same stores' in told
