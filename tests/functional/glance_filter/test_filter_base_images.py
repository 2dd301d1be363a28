"""Base images, as they are and as hostile clients name them."""

from __future__ import annotations

import ast
import re
import statistics
import time
import uuid

import hypothesis
from hypothesis import strategies as st
import pytest

from tests import inputs
from tests.cloud import glance as cloud_glance
from tests.functional.glance_filter import BASE
from tests.functional.glance_filter import MIB
from tests.functional.glance_filter import Log
from tests.functional.glance_filter import ask
from tests.functional.glance_filter import land
from tests.functional.glance_filter import lasting
from tests.functional.glance_filter import put
from tests.functional.glance_filter import queued


def change(glance, image_id, **attributes):
    """Change an image's attributes."""
    changes = (
        {'op': 'replace', 'path': f'/{name}', 'value': value}
        for name, value in attributes.items()
    )
    glance.change_image(image_id, *changes, admin=True)


def absent(glance):
    return str(uuid.uuid4())


def deleted(glance):
    image_id = lasting(glance)
    glance.delete_image(image_id)
    return image_id


def deactivated(glance):
    image_id = lasting(glance)
    path = f'/v2/images/{image_id}/actions/deactivate'
    ask(glance, 'POST', path, admin=True)
    return image_id


def unlisted(glance):
    image_id = lasting(glance)
    change(glance, image_id, os_hidden=True)
    return image_id


@pytest.mark.parametrize(
    ('make', 'store'),
    [
        (absent, 'cheap'),
        (deleted, 'cheap'),
        (queued, 'cheap'),
        (deactivated, 'cheap'),
        (unlisted, 'fast'),
    ],
)
def test_state_of_base_image(glance, log, make, store):
    """It counts as long as it shows a store to who asks for it by its id."""
    assert land(glance, {BASE: make(glance)}) == store
    assert len(log.lines('INFO')) == len(log.lines()) == 1


def others(glance, visibility, status=None):
    """Create a base image of another project.

    :param status: of this project's membership; None without one
    """
    if visibility == 'shared' and not cloud_glance.HAS_MEMBERS:
        pytest.skip('this Glance does not show a shared image on SQLite')
    image_id = glance.create_image(
        b'a base image',
        stores=['fast'],
        disk_format='raw',
        visibility=visibility,
        project='other',
    )
    if status:
        path = f'/v2/images/{image_id}/members'
        body = {'member': cloud_glance.PROJECT}
        ask(glance, 'POST', path, body, project='other')
        if status != 'pending':
            path += f'/{cloud_glance.PROJECT}'
            ask(glance, 'PUT', path, {'status': status})
    return image_id


VISIBILITIES = [
    ('private', None, False),
    ('shared', None, False),
    # Glance shows it to who knows the id; it is only left out of lists.
    ('shared', 'pending', True),
    ('shared', 'rejected', True),
    ('shared', 'accepted', True),
    ('community', None, True),
    ('public', None, True),
]


@pytest.mark.parametrize(('visibility', 'status', 'visible'), VISIBILITIES)
def test_base_image_of_another_project(
    glance, log, visibility, status, visible
):
    """What Glance does not show to who sends the data does not exist."""
    image_id = others(glance, visibility, status)
    assert (glance.image(image_id) is not None) is visible

    assert land(glance, {BASE: image_id}) == ('fast' if visible else 'cheap')

    [line] = log.lines()
    assert ('the base image is deleted or not visible' in line) is not visible


def test_answers_tell_nothing(glance, base):
    """Whatever the base image is, they are alike.

    And what is hidden takes as long as what does not exist, but for less than
    the noise: Glance itself spends a little more on the former, and so does a
    GET of it. These uploads are refused, since the image has its data already,
    after the filter did all that it does.
    """
    refs = {
        (visibility, status): others(glance, visibility, status)
        for visibility, status, _ in VISIBILITIES
    }
    hidden = {name: [] for name in refs if (*name, False) in VISIBILITIES}
    refs['absent'] = absent(glance)
    hidden['absent'] = []

    def answer(name):
        return put(glance, base('fast'), b'data', {BASE: refs[name]})

    answers = {answer(name) for name in refs}
    for _ in range(60):
        for name, seconds in hidden.items():
            begin = time.perf_counter()
            answers.add(answer(name))
            seconds.append(time.perf_counter() - begin)

    assert [status for status, _ in answers] == [409]
    deciles = statistics.quantiles(hidden.pop('absent'), n=10)
    # On a machine that does nothing else there is next to none.
    noise, median = max(deciles[-1] - deciles[0], 0.002), deciles[4]
    for seconds in hidden.values():
        assert abs(statistics.median(seconds) - median) < noise


UUID = r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'
# What a header can hold; a server refuses the three others by itself.
latin_1 = st.text(
    st.characters(max_codepoint=255, exclude_characters='\r\n\0')
)
uuids = st.uuids().map(str)
hostile = st.one_of(
    latin_1,
    st.text(st.characters(exclude_characters='\r\n\0')).map(
        lambda text: text.encode('utf-8', 'replace').decode('latin-1')
    ),
    st.builds('{}{}{}'.format, latin_1, uuids, latin_1),
    st.lists(uuids, min_size=2).map(','.join),
    st.builds(
        '{2}{0}{1}'.format,
        st.sampled_from(
            [
                "' OR '1'='1",
                "'; DROP TABLE images; --",
                '../../../etc/passwd',
                '/v2/images/%2e%2e/',
                '?limit=1#',
                '%00%0d%0aX-Image-Meta-Store: fast',
                '{{7*7}}${jndi:ldap://x}%s%n',
                '\x1b[2J\x07\x08',
            ]
        ),
        uuids,
        st.sampled_from(['', ' ', '\t', '\x0b', '\xa0']),
    ),
    st.sampled_from(['urn:uuid:{}', '{{{}}}', '0x{:.30}', '+{:.31}']).flatmap(
        lambda form: st.uuids().map(lambda u: form.format(u.hex))
    ),
    st.builds(
        lambda text, size: (text * size)[:size],
        st.sampled_from(['x', '0', '-', '\xff', 'a, ']),
        st.sampled_from([65, 8191, MIB]),
    ),
    uuids,
)


def test_hostile_values(glance, base):
    """They change nothing, and what is no UUID is one WARNING."""
    image_id = base('cheap')
    expected = put(glance, image_id, b'data', {BASE: absent(glance)})

    @inputs.HOSTILE
    @hypothesis.given(hostile)
    def check(value):
        log = Log(glance)
        assert put(glance, image_id, b'data', {BASE: value}) == expected
        value = value.strip(' \t')
        [line] = log.lines()
        assert line.isascii()
        assert line.isprintable()
        if re.fullmatch(UUID, value, re.IGNORECASE | re.ASCII):
            assert 'the base image is deleted or not visible' in line
        else:
            assert ' WARNING ' in line
            quoted = line.partition('not a UUID: ')[2]
            assert ast.literal_eval(quoted) == value[:64]

    check()


@pytest.mark.parametrize(
    'value',
    [
        '',
        'x' * MIB,
        "'; DROP TABLE images; --",
        '../../../etc/passwd',
        'smörgåsbord'.encode().decode('latin-1'),
        '\x01\x1b[2J\x7f\x85\xa0',
    ],
    ids=len,
)
def test_upload_with_hostile_value(glance, value):
    """It lands in the default store, whole."""
    assert land(glance, {BASE: value}) == 'cheap'


def test_lookup_that_fails(glance, log):
    """The upload goes on."""
    image_id = lasting(glance)
    glance.change_database(
        'UPDATE image_locations SET meta_data = ? WHERE image_id = ?',
        *('no JSON', image_id),
    )
    assert glance.request('GET', f'/v2/images/{image_id}')[0] == 500

    assert land(glance, {BASE: image_id}) == 'cheap'

    assert any(
        f'base image {image_id} could not be looked up' in line
        for line in log.lines('ERROR')
    )
