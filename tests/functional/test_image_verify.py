"""The command that reads copies of images, on the real Glance."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random

from glance.policies import image as glance_policies
import pytest

from nova_multistore import copies
from nova_multistore import image_api
from nova_multistore.osc import image_relocate
from nova_multistore.osc import image_verify
from tests import command
from tests.cloud import glance as cloud_glance
from tests.functional import SITES
from tests.functional import connect
from tests.functional import end_locks
from tests.functional import equal
from tests.functional import kill
from tests.functional import replaced
from tests.functional import three_sites

KIB = 1 << 10
DATA = os.urandom(64 * KIB)
#: How often a command or a Glance is killed, and how many images there are.
KILLS, MANY = 4, 12


@pytest.fixture(scope='module')
def running(tmp_path_factory):
    """A Glance for all tests."""
    with three_sites(
        tmp_path_factory.mktemp('glance'), filters=cloud_glance.FILTER
    ) as glance:
        yield glance


@pytest.fixture
def glance(running):
    """The Glance, without the images of another test."""
    yield running
    running.clear()


@pytest.fixture
def verify(glance):
    """Verify images, as an administrator."""
    cloud = connect(glance.url)
    return lambda *args: command.run(image_verify.VerifyImages, cloud, *args)


def make(glance, *names, **properties):
    return glance.create_image(
        DATA, stores=list(names), disk_format='raw', **properties
    )


def test_one_bit_of_one_copy(glance, verify):
    """That copy alone is reported, and repaired."""
    damaged = make(glance, *SITES)
    make(glance, *SITES)
    glance.flip('dcn0', damaged)

    result = verify('--all-projects')

    assert result.code == 1
    [row] = result.rows
    assert (row['image_id'], row['store']) == (damaged, 'dcn0')
    assert row['state'] == 'damaged'
    assert '65536 bytes with sha512 ' in row['reason']
    assert 'copies: 5 good, 1 damaged' in result.progress

    result = verify('--all-projects', '--fix')

    assert (result.code, len(result.rows)) == (0, 1)
    assert result.states == {'dcn0': 'repaired'}
    equal(glance, damaged, *SITES)
    assert copies.REPAIR not in glance.image(damaged)
    assert verify('--all-projects').rows == []


def test_progress(glance, verify):
    """It says how much there is to read, in few lines."""
    for _ in range(14):
        make(glance, 'central')
    make(glance, 'central', 'dcn0')

    everything = verify('--all')
    one_store = verify('--store', 'dcn0')
    some = verify('--all', '--sample', '3')

    for result, number, size in (
        (everything, 15, '1.0 MiB'),
        (one_store, 1, '64.0 KiB'),
        (some, 3, None),
    ):
        reads = [
            line
            for line in result.progress.splitlines()
            if line.startswith('read: ')
        ]
        noun = 'image' if number == 1 else 'images'
        assert 1 <= len(reads) <= 3
        assert reads[-1].startswith(f'read: {number} of {number} {noun}')
        if size:
            assert f', {size}/{size}' in reads[-1]


@pytest.mark.parametrize('damaged', SITES)
def test_glance_would_send_another(glance, verify, damaged):
    """Whichever copy it is, and whichever Glance's own download takes."""
    image_id = make(glance, *SITES)
    glance.flip(damaged, image_id)

    result = verify(image_id)

    assert result.states == {
        name: 'damaged' if name == damaged else 'good' for name in SITES
    }


@pytest.mark.parametrize('size', [0, 100, 64 * KIB + 1])
def test_other_length(glance, verify, size):
    image_id = make(glance, 'central', 'dcn0')
    path = glance.directory('central') / image_id
    path.write_bytes((DATA + b'\0')[:size])

    result = verify(image_id, '--fix')

    assert (result.code, result.states) == (
        0,
        {'central': 'repaired', 'dcn0': 'good'},
    ), result
    equal(glance, image_id, 'central', 'dcn0')


def test_stopped_when_all_was_done(glance, verify):
    """Another run removes what says that a copy is being made again."""
    image_id = make(glance, 'central', 'dcn0', nova_multistore_repair='dcn0')

    assert verify(image_id).code == 0
    assert copies.REPAIR in glance.image(image_id)
    assert verify(image_id, '--fix').code == 0

    assert copies.REPAIR not in glance.image(image_id)
    equal(glance, image_id, 'central', 'dcn0')


def test_stopped_before_the_copy(glance, verify):
    """Another run makes it."""
    image_id = make(glance, 'central', nova_multistore_repair='dcn0')

    assert verify(image_id).states['dcn0'] == 'missing'
    assert verify(image_id, '--fix').states['dcn0'] == 'repaired'

    assert copies.REPAIR not in glance.image(image_id)
    equal(glance, image_id, 'central', 'dcn0')


def test_only_copy(glance, verify):
    """It is never deleted."""
    image_id = make(glance, 'dcn0')
    glance.flip('dcn0', image_id)
    before = glance.sha256(image_id)

    result = verify(image_id, '--fix')

    assert (result.code, result.states) == (1, {'dcn0': 'damaged'})
    assert 'no other copy is good' in result.rows[0]['reason']
    assert glance.sha256(image_id) == before
    assert glance.stores_of(image_id) == ['dcn0']


def test_all_copies_are_damaged(glance, verify):
    image_id = make(glance, 'central', 'dcn0')
    for name in 'central', 'dcn0':
        glance.flip(name, image_id)
    before = glance.sha256(image_id)

    result = verify(image_id, '--fix')

    assert result.code == 1
    assert set(result.states.values()) == {'damaged'}
    assert glance.sha256(image_id) == before


def test_missing(glance, verify):
    image_id = make(glance, *SITES)
    make(glance, 'dcn1')
    (glance.directory('dcn1') / image_id).unlink()

    assert verify(image_id).states['dcn1'] == 'missing'
    result = verify(image_id, '--fix')

    assert (result.code, result.states['dcn1']) == (0, 'repaired')
    equal(glance, image_id, *SITES)


def test_store_that_is_not_mounted(glance, verify):
    """Its copies are left alone: they come back with it."""
    image_ids = [make(glance, 'central', 'dcn1') for _ in range(3)]
    mounted = glance.directory('dcn1')
    away = mounted.with_name('away')
    mounted.rename(away)
    mounted.mkdir()

    result = verify('--all-projects', '--store', 'dcn1', '--fix')

    assert result.code == 1
    assert {row['state'] for row in result.rows} == {'missing'}
    assert 'may not be mounted' in result.rows[0]['reason']
    mounted.rmdir()
    away.rename(mounted)
    for image_id in image_ids:
        equal(glance, image_id, 'central', 'dcn1')
    assert verify('--all-projects', '--store', 'dcn1').rows == []


def test_store_that_fails(glance, verify):
    """Nothing is deleted where nothing is known."""
    image_id = make(glance, 'central', 'dcn1')

    with replaced(glance.directory('dcn1')):
        result = verify(image_id, '--fix')

    assert result.states['central'] == 'good'
    assert result.states['dcn1'] in ('missing', 'unreadable')
    equal(glance, image_id, 'central', 'dcn1')


def test_other_store_has_the_good_copy(glance, verify):
    """It is looked for, though it was not asked for."""
    image_id = make(glance, 'central', 'dcn0')
    glance.flip('central', image_id)

    result = verify(image_id, '--store', 'central', '--fix')

    assert (result.code, result.states) == (0, {'central': 'repaired'})
    equal(glance, image_id, 'central', 'dcn0')


def without_hash(glance, *kept):
    """Let Glance have no hash of any image, or only these attributes."""
    lost = {'os_hash_algo', 'os_hash_value', 'checksum'} - {*kept}
    changes = ', '.join(f'{name} = NULL' for name in sorted(lost))
    glance.change_database(f'UPDATE images SET {changes}')


def test_no_hash(glance, verify):
    """There is nothing to compare it with, which is said."""
    image_id = make(glance, 'central')
    without_hash(glance)

    result = verify(image_id, '--fix')

    assert (result.code, result.states) == (3, {'central': 'unknown'})
    assert 'no other copy to compare' in result.rows[0]['reason']


def test_old_hash(glance, verify):
    """An old image has md5 alone, which is better than nothing."""
    image_id = make(glance, *SITES)
    without_hash(glance, 'checksum')
    assert verify(image_id).code == 0
    glance.flip('dcn0', image_id)

    result = verify(image_id, '--fix')

    assert (result.code, result.states['dcn0']) == (0, 'repaired')
    equal(glance, image_id, *SITES)


def test_copies_without_hash(glance, verify):
    """They are compared with each other; nobody knows which is right."""
    image_id = make(glance, *SITES)
    without_hash(glance)
    alike = verify(image_id)
    glance.flip('dcn0', image_id)
    before = glance.sha256(image_id)

    named = verify(image_id, '--store', 'central')
    result = verify(image_id, '--fix')

    assert (alike.code, {*alike.states.values()}) == (0, {'good'})
    assert 'Glance has no hash' in alike.rows[0]['reason']
    assert (named.code, named.states) == (1, {'central': 'different'})
    assert (result.code, {*result.states.values()}) == (1, {'different'})
    assert 'no hash says which copy is right' in result.rows[0]['reason']
    assert glance.sha256(image_id) == before


@pytest.mark.parametrize('kept', [(), ('checksum',)])
def test_moves_without_hash(glance, kept):
    """An old image can leave a store; one with a flipped bit stays."""
    cloud = connect(glance.url)
    right, wrong = (
        make(glance, 'central', 'dcn0'),
        make(glance, 'central', 'dcn0'),
    )
    without_hash(glance, *kept)
    glance.flip('central', wrong)

    results = [
        command.run(
            image_relocate.RelocateImage, cloud, image_id, '--to', 'dcn0'
        )
        for image_id in (right, wrong)
    ]

    assert [result.code for result in results] == [0, 1]
    assert 'its copies are not alike' in results[1].words
    equal(glance, right, 'dcn0')
    assert sorted(glance.stores_of(wrong)) == ['central', 'dcn0']


def test_read_only_store(glance, verify):
    image_id = make(glance, 'web')

    assert verify(image_id).states == {'web': 'good'}


@pytest.fixture
def web_without_lengths(glance):
    """The Glance; its web server does not say how long its files are."""
    glance.web_lengths = False
    yield glance
    glance.web_lengths = True


def test_length_that_the_store_does_not_know(web_without_lengths, verify):
    """It is the image's."""
    glance = web_without_lengths
    image_id = make(glance, 'web')
    path = f'/v2/stores/web/{image_id}'

    assert glance.request('GET', path) == (200, DATA)
    assert verify(image_id).states == {'web': 'good'}


@pytest.mark.parametrize('size', [0, 100, 64 * KIB + 1, 1 << 20])
def test_data_that_do_not_fit_the_image(web_without_lengths, verify, size):
    """They may have been cut off, so nothing is known of the copy."""
    glance = web_without_lengths
    image_id = make(glance, 'web')
    served = max(
        (glance.root / 'web').iterdir(), key=lambda path: path.stat().st_mtime
    )
    served.write_bytes((DATA * 17)[:size])

    try:
        status, _ = glance.request('GET', f'/v2/stores/web/{image_id}')
    except http.client.IncompleteRead:
        pass
    else:
        # Nothing had been sent yet.
        assert status == 500
    result = verify(image_id)

    assert (result.code, result.states) == (3, {'web': 'unreadable'})


@pytest.mark.parametrize('size', [None, 0])
def test_length_that_nobody_knows(web_without_lengths, verify, size):
    glance = web_without_lengths
    image_id = make(glance, 'web')
    glance.change_database(
        'UPDATE images SET size = ? WHERE id = ?', size, image_id
    )

    status, body = glance.request('GET', f'/v2/stores/web/{image_id}')
    result = verify(image_id)

    assert (status, b'how long' in body) == (409, True)
    assert (result.code, result.states) == (3, {'web': 'unreadable'})
    assert 'how long' in result.rows[0]['reason']


def test_web_server_tells_another_length(glance, verify):
    """What it says is believed: the copy is another one."""
    image_id = make(glance, 'web')
    served = max(
        (glance.root / 'web').iterdir(), key=lambda path: path.stat().st_mtime
    )
    served.write_bytes(DATA[:100])

    assert verify(image_id).states == {'web': 'damaged'}


@pytest.fixture
def older_filter(monkeypatch):
    """The filter answers as an older one, which has no digests."""
    open_copy = image_api.Images._open_copy
    monkeypatch.setattr(
        image_api.Images,
        '_open_copy',
        lambda self, image_id, store, **query: open_copy(
            self, image_id, store
        ),
    )


@pytest.mark.usefixtures('older_filter')
def test_older_filter(glance, verify):
    """The data are read, and repaired."""
    image_id = make(glance, *SITES)
    glance.flip('dcn0', image_id)
    glance.forget_requests()

    result = verify(image_id, '--fix')

    assert (result.code, result.states) == (
        0,
        {'central': 'good', 'dcn0': 'repaired', 'dcn1': 'good'},
    )
    equal(glance, image_id, *SITES)
    assert not any('digest' in each.query for each in glance.requests())


@pytest.mark.usefixtures('older_filter')
@pytest.mark.parametrize('announced', [None, '', 'nonsense'])
def test_answer_without_a_length(glance, verify, monkeypatch, announced):
    """Something between Glance and the command may have removed it."""
    image_id = make(glance, 'central', 'dcn0')
    request = image_api.Images._request

    def cut(self, method, path, **how):
        answer = request(self, method, path, **how)
        if how.get('stream'):
            del answer.headers['Content-Length']
            if announced is not None:
                answer.headers['Content-Length'] = announced
        return answer

    monkeypatch.setattr(image_api.Images, '_request', cut)

    result = verify(image_id, '--fix')

    assert (result.code, set(result.states.values())) == (3, {'unreadable'})
    assert 'how long' in result.rows[0]['reason']
    equal(glance, image_id, 'central', 'dcn0')


def test_sample(glance, verify):
    for _ in range(5):
        make(glance, 'dcn0')

    result = verify('--all-projects', '--sample', '2')

    assert result.code == 0
    assert '2 images, 128.0 KiB read; copies: 2 good' in result.progress


def test_every_image_may_be_in_the_sample():
    images = [{'id': number} for number in range(10)]
    seen = {
        image['id']
        for _ in range(300)
        for image in image_verify.sample(images, 2)
    }
    assert seen == set(range(10))
    assert [*image_verify.sample(images, 20)] == images


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        ((), 'nothing to verify'),
        (('--store', 'nosuch'), 'they are central, dcn0, dcn1, web'),
        (('--all', 'queued'), 'not both'),
        (('queued',), 'has no copy'),
    ],
)
def test_refused(glance, verify, args, words):
    glance.create_queued_image(name='queued')

    result = verify(*args)

    assert (result.code, result.rows) == (2, [])
    assert words in result.words


@pytest.fixture
def without_filter(glance):
    """The Glance, without the filter."""
    glance.stop()
    glance.filters = {}
    glance.start()
    yield glance
    glance.stop()
    glance.filters = cloud_glance.FILTER
    glance.start()


def test_glance_without_the_filter(without_filter, verify):
    """It is said before anything is read: another copy would prove nothing."""
    image_id = make(without_filter, 'central')

    result = verify(image_id)

    assert (result.code, result.rows) == (2, [])
    assert "nova-multistore's filter" in result.words


def test_members(glance):
    """They read what they may download, and nothing else."""
    own = make(glance, 'central', 'dcn0')
    foreign = make(glance, 'central', project='other')
    glance.flip('dcn0', own)
    member = connect(glance.url, cloud_glance.token())

    result = command.run(image_verify.VerifyImages, member, own)

    assert (result.code, result.states['dcn0']) == (1, 'damaged')
    status, body = glance.request('GET', f'/v2/stores/central/{foreign}')
    assert status == 404
    assert DATA[:100] not in body
    # Only an administrator may delete a copy.
    result = command.run(image_verify.VerifyImages, member, own, '--fix')
    assert result.code == 1
    assert result.states['dcn0'] == 'damaged'
    assert sorted(glance.stores_of(own)) == ['central', 'dcn0']


def test_policies(tmp_path):
    """Glance's own rules say who may read an image."""
    (tmp_path / 'etc').mkdir()
    (tmp_path / 'etc' / 'policy.yaml').write_text(
        '"download_image": "role:admin"\n'
    )
    with cloud_glance.Glance(
        tmp_path,
        stores={'central': 'file'},
        default='central',
        filters=cloud_glance.FILTER,
    ) as glance:
        image_id = make(glance, 'central')
        path = f'/v2/stores/central/{image_id}'
        assert glance.request('GET', path)[0] == 403
        assert glance.request('GET', path, admin=True) == (200, DATA)


def read(glance, store, image_id):
    """Read one copy, as a member."""
    return glance.request('GET', f'/v2/stores/{store}/{image_id}')


HAS_PREFERENCE = 'download_from_store' in [
    rule.name for rule in glance_policies.image_policies
]


@pytest.mark.skipif(not HAS_PREFERENCE, reason='needs Glance 33')
def test_policy_of_one_store(glance):
    """It says who may choose the store."""
    image_id = make(glance, 'central')
    rules = glance.root / 'policy.yaml'
    rules.write_text('"download_from_store": "role:admin"\n')
    path = f'/v2/stores/central/{image_id}'
    with glance.configured(**{'oslo_policy.policy_file': rules}):
        assert glance.request('GET', f'/v2/images/{image_id}/file')[0] == 200
        assert glance.request('GET', path)[0] == 403
        assert glance.request('GET', path, admin=True) == (200, DATA)


@pytest.mark.parametrize(
    'quota',
    [
        {'user_storage_quota': f'{len(DATA)}B'},
        {'image_location_quota': 1},
    ],
)
def test_quota(glance, quota):
    """It counts what is written, not what is read."""
    image_id = make(glance, 'central', 'dcn0')
    with glance.configured(**quota):
        assert glance.request('GET', f'/v2/images/{image_id}/file')[0] == 200
        for store in 'central', 'dcn0':
            assert read(glance, store, image_id) == (200, DATA)


def sent(glance):
    """What Glance notified of data that it sent, by event."""
    events = []
    for line in glance.log.read_text(errors='replace').splitlines():
        _, found, text = line.partition('notification.image.send ')
        if found:
            # Older releases end a line with the code of a colour.
            text = text[text.index('{') :].partition('\x1b')[0]
            said = json.loads(text)
            events.append((said['priority'], said['payload']))
    return events


def test_notification(glance):
    """Metering and audits see it, as they see a download."""
    image_id = make(glance, 'central', 'dcn0')
    other = make(glance, 'central')
    glance.log.write_text('')
    with glance.configured(**{'oslo_messaging_notifications.driver': 'log'}):
        glance.request('GET', f'/v2/images/{image_id}/file')
        assert read(glance, 'dcn0', image_id) == (200, DATA)
        with contextlib.suppress(http.client.IncompleteRead):
            glance.directory('central').joinpath(other).write_bytes(b'')
            read(glance, 'central', other)
        [download, *others] = sent(glance)

    assert download[1]['bytes_sent'] == len(DATA)
    assert download[1]['image_id'] == image_id
    assert others[0] == download
    assert [priority for priority, _ in others[1:]] == ['ERROR']


def test_switched_off(glance):
    """Then Glance answers as without the filter, and the rest goes on."""
    image_id, new = make(glance, 'dcn0'), glance.create_queued_image()
    section = {'use': cloud_glance.FILTER['multistore']}
    off = {'multistore': {**section, 'read_one_copy': 'false'}}
    with glance.configured(filters=off):
        assert read(glance, 'dcn0', image_id)[0] == 405
        headers = {
            'Content-Type': 'application/octet-stream',
            'X-OpenStack-Base-Image-Ref': image_id,
        }
        glance.request('PUT', f'/v2/images/{new}/file', b'x', headers=headers)
        assert glance.stores_of(new) == ['dcn0']
    on = {'multistore': {**section, 'read_one_copy': 'true'}}
    with glance.configured(filters=on):
        assert read(glance, 'dcn0', image_id) == (200, DATA)


def test_store_that_did_not_load(glance):
    """It is the store that fails, not the request."""
    image_id = make(glance, 'central')
    glance.change_database(
        'UPDATE image_locations SET meta_data = ? WHERE image_id = ?',
        '{"store": "lost"}',
        image_id,
    )
    glance.stop()
    before = dict(glance.stores)
    # As if what the driver needs were not installed.
    glance.start({**before, 'lost': 'nosuch'})

    status, _ = read(glance, 'lost', image_id)

    glance.stop()
    glance.start(before)
    assert status == 503


def test_path(glance):
    image_id = make(glance, 'central')
    for store, status in (
        ('central', 200),
        ('dcn0', 404),
        ('nosuch', 404),
        ('..', 404),
    ):
        assert glance.request('GET', f'/v2/stores/{store}/{image_id}')[0] == (
            status
        )
    assert glance.request('GET', '/v2/stores/central/nosuch')[0] in (404, 405)
    assert glance.request('PUT', f'/v2/stores/central/{image_id}')[0] == 405


@pytest.mark.usefixtures('older_filter')
def test_data_that_end_early(glance, verify, monkeypatch):
    """A connection that was cut is no damage."""
    image_id = make(glance, 'central', 'dcn0')
    request = image_api.Images._request

    def cut(self, method, path, **how):
        answer = request(self, method, path, **how)
        if how.get('stream'):
            answer.iter_content = lambda size: iter([DATA[:100]])
        return answer

    monkeypatch.setattr(image_api.Images, '_request', cut)

    result = verify(image_id, '--fix')

    assert (result.code, set(result.states.values())) == (3, {'unreadable'})
    assert 'broke off after 100 of 65536 bytes' in result.rows[0]['reason']
    equal(glance, image_id, 'central', 'dcn0')


@pytest.mark.parametrize('seed', [1])
def test_killed_at_any_moment(glance, verify, seed):
    """Nothing is lost, and another run makes the copies again."""
    choose = random.Random(seed)
    image_ids = [make(glance, *SITES) for _ in range(MANY)]
    for number in range(KILLS):
        for image_id in image_ids:
            # A Glance that is killed may list a store without the data.
            there = (glance.directory('dcn0') / image_id).exists()
            if there and 'dcn0' in glance.stores_of(image_id):
                glance.flip('dcn0', image_id, choose.randrange(len(DATA)))
        begun = len(reparations(glance))
        kill(
            image_verify.VerifyImages,
            glance,
            *('--all-projects', '--fix', '--timeout', '2'),
            reached=lambda begun=begun: len(reparations(glance)) != begun,
            later=choose.uniform(0, 0.2),
            with_glance=bool(number % 2),
        )
        for image_id in image_ids:
            assert {'central', 'dcn1'} <= {*glance.stores_of(image_id)}
    end_locks(glance)

    result = verify('--all-projects', '--fix')

    assert result.code == 0, result
    for image_id in image_ids:
        equal(glance, image_id, *SITES)
        assert copies.REPAIR not in glance.image(image_id)


def reparations(glance):
    """Return the images whose copies are being made again."""
    return [image['id'] for image in glance.images() if copies.REPAIR in image]
