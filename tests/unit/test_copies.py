"""How far an image is in several stores, and what is asked of Glance."""

from __future__ import annotations

import json

from keystoneauth1 import exceptions as auth_exceptions
import pytest

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import image_api

IMAGE = '11111111-1111-4111-8111-111111111111'
TASK = 'os_glance_import_task'
IMPORTING = 'os_glance_importing_to_stores'
FAILED = 'os_glance_failed_import'
MIB = 1 << 20


def image(stores='', status='active', **properties):
    made = {'id': IMAGE, 'status': status, 'stores': stores}
    # It is noted already that it has no hash.
    return {**made, copies.HASH: copies.NO_HASH, **properties}


def task(identity='t', status='processing', message='', backend=(), at='1'):
    return {
        'id': identity,
        'status': status,
        'message': message,
        'input': {'backend': list(backend)},
        'updated_at': at,
    }


def texts(found):
    return [(c.store, c.state.value, c.copied, c.reason) for c in found]


@pytest.mark.parametrize(
    ('shown', 'wanted', 'tasks', 'expected'),
    [
        (image('a,b'), (), (), [('a', 'done'), ('b', 'done')]),
        (image('a,b'), ('b',), (), [('a', 'done'), ('b', 'done')]),
        # ``cheap`` is not in ``cheap2``.
        (image('cheap2'), ('cheap',), (), ['done', ('cheap', 'missing')]),
        (
            image('a', **{TASK: 't', IMPORTING: 'b,c'}),
            ('d',),
            (),
            ['done', ('b', 'copying'), ('c', 'waiting'), ('d', 'waiting')],
        ),
        # What holds it has died, and somebody has taken it away.
        (image('a', **{IMPORTING: 'b'}), (), (), ['done', ('b', 'missing')]),
        (
            image('a', **{FAILED: 'b', IMPORTING: ''}),
            ('b',),
            (),
            ['done', ('b', 'failed')],
        ),
        # It failed there, and is being copied again.
        (
            image('a', **{TASK: 't', FAILED: 'b', IMPORTING: 'b'}),
            (),
            (),
            ['done', ('b', 'copying')],
        ),
        (image(status='queued'), ('a',), (), [('a', 'waiting')]),
        (image(status='deactivated'), ('a',), (), [('a', 'missing')]),
        (
            image('a', **{TASK: 't', IMPORTING: 'b'}),
            (),
            [task(message='Copied 7 MiB'), task('u', message='Copied 9 MiB')],
            ['done', ('b', 'copying', 7 * MIB)],
        ),
        (
            image('a', **{FAILED: 'b,c'}),
            (),
            [
                task('1', 'failure', ' no\n space ', ['b'], at='1'),
                task('2', 'failure', 'at all', ['b'], at='2'),
                task('3', 'success', 'other', ['b'], at='3'),
            ],
            ['done', ('b', 'failed', None, 'at all'), ('c', 'failed')],
        ),
    ],
)
def test_read(shown, wanted, tasks, expected):
    found = texts(copies.read(shown, wanted, tasks))

    assert found == [
        ('a' if shown['stores'] != 'cheap2' else 'cheap2', each, None, None)
        if isinstance(each, str)
        else (*each, *[None] * (4 - len(each)))
        for each in expected
    ]


def test_read_what_is_no_image():
    with pytest.raises(exception.LookupFailed):
        copies.read({'stores': 7})


class Glance:
    """Answers as it is told, and keeps what it was asked.

    It is an adapter of keystoneauth1, as far as it is used.
    """

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def request(self, path, method, json=None, raise_exc=True, **how):
        assert not raise_exc
        assert how['timeout']
        self.asked.append((method, path, json))
        found = self.answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


class Answer:
    def __init__(self, status, body=None, text=None):
        self.status_code = status
        self.text = json.dumps(body) if text is None else text
        self.content = b'' if body is None and text is None else b'...'

    def json(self):
        return json.loads(self.text)


def connected(*answers):
    glance = Glance(*answers)
    return image_api.Images(lambda: glance), glance


def test_import_data():
    images, glance = connected(Answer(202))

    images.import_data(IMAGE, ('a', 'b'), True, name='web-download', uri='x')

    [(method, path, body)] = glance.asked
    assert (method, path) == ('POST', f'/images/{IMAGE}/import')
    assert body == {
        'method': {'name': 'web-download', 'uri': 'x'},
        'stores': ['a', 'b'],
        'all_stores_must_succeed': True,
    }


def test_delete_from():
    images, glance = connected(Answer(204))

    images.delete_from(IMAGE, 'a')

    assert glance.asked == [('DELETE', f'/stores/a/{IMAGE}', None)]


@pytest.mark.parametrize(
    'answer',
    [
        Answer(409, {'code': '409 Conflict', 'message': 'It is so.<br />'}),
        Answer(
            409,
            text='<html><head><title>409 Conflict</title></head>'
            '<body>It is\n so.</body></html>',
        ),
        Answer(409, text='It is so.'),
    ],
    ids=['json', 'html', 'text'],
)
def test_refusal(answer):
    """It says what Glance says, whichever way Glance says it."""
    images, _ = connected(answer)

    with pytest.raises(exception.GlanceRefused) as refused:
        images.show(IMAGE)

    assert (refused.value.status, refused.value.reason) == (409, 'It is so.')
    assert str(refused.value) == 'Glance refuses: It is so. (HTTP 409)'


@pytest.mark.parametrize(
    'answer', [Answer(503), auth_exceptions.ConnectFailure('no\nway')]
)
def test_silence(answer):
    images, _ = connected(answer)

    with pytest.raises(exception.LookupFailed):
        images.show(IMAGE)


def test_tasks_that_are_not_to_be_seen():
    images, _ = connected(Answer(404, {'message': 'no'}))

    assert images.tasks(IMAGE) == []


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on when somebody waits."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(copies, 'time', clock)
    return clock


@pytest.mark.parametrize(
    ('detailed', 'longest'),
    [(False, copies.PAUSES[1]), (True, copies.WATCHED)],
)
def test_pause(clock, monkeypatch, detailed, longest):
    """The longer nothing changes, up to a bound."""
    monkeypatch.setattr(copies, 'JITTER', 0)
    held = Answer(200, image('a', **{TASK: 't', IMPORTING: 'b'}))
    tasks = Answer(200, {'tasks': []})
    images, _ = connected(*([held, tasks] if detailed else [held]) * 100)
    follower = copies.Follower(images, IMAGE, detailed=detailed)
    pauses = []

    for _ in range(100):
        follower.look()
        assert not follower.settled
        pauses.append(follower.pause)
        clock.sleep(follower.pause)

    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (copies.PAUSES[0], longest)


@pytest.mark.parametrize('status', ['success', 'failure'])
def test_task_that_ends_between_two_questions(clock, status):
    """What the image was before that is not what it is."""
    before = image('a', status='importing', **{TASK: 't', IMPORTING: 'b,c'})
    # Glance takes back what it has copied if all or none was asked for.
    after = image('', status='queued', **{FAILED: 'b', IMPORTING: ''})
    images, glance = connected(
        Answer(200, before),
        Answer(200, {'tasks': [task(status=status)]}),
        Answer(200, after),
    )
    follower = copies.Follower(images, IMAGE, ['a', 'b'])

    found = {copy.store: copy.state.value for copy in follower.look()}

    assert found['b'] == 'failed'
    assert found['a'] != 'done'
    assert [path.rpartition('/')[2] for _, path, _ in glance.asked] == [
        IMAGE,
        'tasks',
        IMAGE,
    ]


def test_jitter(clock):
    """Those who began together do not ask together."""
    held = Answer(200, image('a', **{TASK: 't', IMPORTING: 'b'}))
    images, _ = connected(held)
    follower = copies.Follower(images, IMAGE, detailed=False)
    follower.look()
    clock.sleep(60)

    pauses = {follower.pause for _ in range(100)}

    assert len(pauses) > 50
    assert min(pauses) >= 10 * (1 - copies.JITTER)
    assert max(pauses) <= 10


def test_copy_through_failures(clock):
    """Glance restarts, and another has the image for a while."""
    images, glance = connected(
        Answer(503),
        Answer(200, image('a')),
        Answer(409, {'message': 'busy'}),
        auth_exceptions.ConnectFailure('gone'),
        Answer(200, image('a')),
        Answer(202),
        Answer(200, image('a', **{TASK: 't', IMPORTING: 'b'})),
        Answer(200, image('a,b')),
    )

    found = copies.copy(images, IMAGE, ['b'], 60)

    assert texts(found) == [('b', 'done', None, None)]
    assert glance.answers == []


@pytest.mark.parametrize(
    ('shown', 'noted'),
    [
        (image('a', **{copies.HASH: None}), 'none'),
        (image('a,b', **{copies.HASH: None}), 'none'),
        (image('a', os_hash_algo='sha512', os_hash_value=''), None),
        (image('a', os_hash_algo='sha512', os_hash_value='x'), 'sha512:x'),
        (image('a', os_hash_algo='nosuch', os_hash_value='x'), None),
        (image('a', checksum='y'), 'md5:y'),
        (
            image('a', checksum='y', **{copies.HASH: 'md5:y'}),
            None,
        ),
        # It may be the hash of either of them.
        (image('a,b', checksum='y'), None),
        (image('a', checksum='y', **{TASK: 't'}), None),
    ],
)
def test_hash_is_noted(shown, noted):
    """What hash an image had before it was copied."""
    answers = [Answer(200, shown)] if noted else []
    images, glance = connected(*answers, Answer(202))

    copies.request(images, shown, ['c'])

    if noted:
        change = {'op': 'add', 'path': f'/{copies.HASH}', 'value': noted}
        assert glance.asked[0] == ('PATCH', f'/images/{IMAGE}', [change])
    assert [method for method, *_ in glance.asked][-1:] == ['POST']
    assert glance.answers == []


def test_hash_that_cannot_be_noted():
    """The copy is made all the same."""
    images, glance = connected(Answer(403, {'message': 'no'}), Answer(202))

    copies.request(images, image('a', checksum='y'), ['c'])

    assert glance.answers == []


def test_copy_of_what_is_copied_already(clock):
    """Somebody was quicker than our question."""
    images, _ = connected(
        Answer(200, image('a')),
        Answer(400, {'message': "already present at store 'b'"}),
        Answer(200, image('a,b')),
    )

    assert texts(copies.copy(images, IMAGE, ['b'], 60)) == [
        ('b', 'done', None, None)
    ]


def test_copy_of_what_somebody_holds(clock):
    """Glance is asked at once, and then not too often."""
    held = image('a', **{TASK: 't', IMPORTING: 'b'})
    asked = []

    class Held(image_api.Images):
        def show(self, image_id):
            return held

        def import_data(self, *args, **kwargs):
            asked.append(clock.now)
            raise exception.GlanceRefused(409, 'busy')

    found = copies.copy(Held(None), IMAGE, ['b'], 7 * copies.STALE)

    assert texts(found) == [('b', 'copying', None, None)]
    assert len(asked) in (7, 8)
    assert all(b - a > copies.STALE for a, b in zip(asked, asked[1:]))


def test_copy_that_fails(clock):
    """It is asked three times."""
    asked = []

    class Failing(image_api.Images):
        def show(self, image_id):
            return image('a', **{FAILED: 'b,c'})

        def tasks(self, image_id):
            return []

        def import_data(self, image_id, wanted, name):
            asked.append(tuple(wanted))

    found = copies.copy(Failing(None), IMAGE, ['b', 'c'], 3600)

    assert [copy.state.value for copy in found] == ['failed', 'failed']
    assert asked == [('b', 'c')] * copies.TRIES


@pytest.mark.parametrize('status', ['deactivated', 'killed', 'deleted'])
def test_copy_of_what_has_no_data(clock, status):
    images, _ = connected(Answer(200, image(status=status)))

    with pytest.raises(exception.GlanceRefused, match=status):
        copies.copy(images, IMAGE, ['b'], 60)


def test_copy_that_is_not_allowed(clock):
    images, glance = connected(
        Answer(200, image('a')), Answer(403, {'message': 'policy'})
    )

    with pytest.raises(exception.GlanceRefused, match='policy'):
        copies.copy(images, IMAGE, ['b'], 60)
    assert glance.answers == []


def test_copy_with_a_glance_that_is_away(clock):
    """For all of the time."""
    images, glance = connected(*[Answer(503)] * 100)
    begin = clock.now

    with pytest.raises(exception.LookupFailed):
        copies.copy(images, IMAGE, ['b'], 60)

    assert 60 <= clock.now - begin < 70
    assert len(glance.asked) < 61


class TestWithoutData:
    """An image that is not active, and that nothing holds."""

    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch):
        monkeypatch.setattr(copies, 'PAUSES', (0.0, 0.0))
        monkeypatch.setattr(copies, 'IDLE', 0.0)

    @pytest.mark.parametrize('status', ['queued', 'importing'])
    def test_nobody_sends_them(self, status):
        """It is given up within minutes, not after a day."""
        images, _ = connected(
            Answer(200, image(status=status)), Answer(200, {'tasks': []})
        )

        with pytest.raises(exception.GlanceRefused, match='nobody has sent'):
            copies.copy(images, 'x', ['b'], 60)

    def test_before_it_is_given_up(self, monkeypatch):
        """Whoever sends them may need a moment to begin."""
        monkeypatch.setattr(copies, 'IDLE', 60.0)
        images, _ = connected(
            Answer(200, image(status='queued')), Answer(200, image('a,b'))
        )

        [found] = copies.copy(images, 'x', ['b'], 60)

        assert found.state is copies.State.DONE

    @pytest.mark.parametrize(
        'answers',
        [
            [Answer(200, image(status='saving'))],
            [
                Answer(200, image(status='importing')),
                Answer(200, {'tasks': [task(status='processing')]}),
            ],
        ],
    )
    def test_somebody_sends_them(self, answers):
        """That may take hours."""
        images, _ = connected(*answers, Answer(200, image('a,b')))

        [found] = copies.copy(images, 'x', ['b'], 60)

        assert found.state is copies.State.DONE


@pytest.mark.parametrize(
    ('answer', 'words'),
    [
        (Answer(401, {'message': 'expired'}), 'it is not known whether'),
        (Answer(403, {'message': 'no'}), 'it is not known whether'),
        (Answer(404, {'message': 'gone'}), 'its data may be left in b, c'),
    ],
)
@pytest.mark.parametrize('held', [False, True])
def test_copies_that_cannot_be_followed(monkeypatch, answer, words, held):
    """What Glance was asked for is under way, whoever looks."""
    monkeypatch.setattr(copies, 'PAUSES', (0.0, 0.0))
    looks = [Answer(200, image('a', **{TASK: 't', IMPORTING: 'b,c'}))]
    images, _ = connected(
        Answer(200, image('a')), Answer(202), *(looks if held else []), answer
    )

    with pytest.raises(exception.CopyInterrupted, match=words) as caught:
        copies.copy(images, 'x', ['b', 'c'], 60)

    assert caught.value.stores == ('b', 'c')


@pytest.mark.parametrize('status', [401, 403, 404])
def test_copies_that_were_not_asked_for(status):
    """It is a refusal like any other."""
    images, _ = connected(Answer(status, {'message': 'no'}))

    with pytest.raises(exception.GlanceRefused):
        copies.copy(images, 'x', ['b'], 60)
