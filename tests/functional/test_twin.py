"""Configurations that once broke the law, with stock Nova and the package."""

from __future__ import annotations

import shutil

import pytest

from tests.cloud import haproxy
from tests.twin import knobs
from tests.twin import law
from tests.twin import runner
from tests.twin import steps

#: Each is what is not at its default.
CONFIGURATIONS = [
    {'api_servers': 'dead, live'},
    {'api_servers': 'balancer, one with one store', '[glance] store': 'fast'},
    {'api_servers': 'under a path', 'send_service_user_token': 'false'},
    {'image_size_cap': '2 MiB', 'property protection': 'ours by nobody'},
    {'user_storage_quota': '9 MiB', '[glance] store': 'fast'},
    {'limits of Keystone': '4 MiB', '[glance] store': 'fast'},
    {
        'stores': 'several, was one',
        'Glance filter': 'yes',
        'hash': 'none',
        'default store': 'reliable',
    },
    {
        'copy_to': 'cheap',
        'credentials of the package': 'yes',
        'image_property_quota': '20',
        'image_location_quota': '1',
        'import plugins': 'inject_image_metadata',
        'flavor': 'keystone+cachemanagement',
        'glance policy': 'no get_image_location, stores_info_detail',
    },
    pytest.param(
        {
            'api_servers': 'TLS, private CA',
            'default store': 'reliable',
            '[glance] store': 'cheap',
        },
        marks=[
            # There, TLS goes another way through Python.
            pytest.mark.eventlet,
            pytest.mark.skipif(
                not shutil.which('haproxy'), reason=f'needs {haproxy.PACKAGE}'
            ),
        ],
    ),
]


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    with runner.world(tmp_path_factory.mktemp('twin'), False) as world:
        yield world


@pytest.mark.parametrize('configuration', CONFIGURATIONS, ids=repr)
def test_law(world, configuration):
    """What succeeds with stock Nova succeeds with the package."""
    images, broken = runner.short(world, configuration)

    assert broken == []
    assert images


IMAGE = steps.Image('active', True, ['fast'], ['fast'], None)


def twin(*outcomes, left_over=(), warnings=(), images=()):
    return steps.Twin(
        list(outcomes), list(left_over), list(warnings), list(images)
    )


def outcome(ok=True, seconds=1.0, *images):
    return steps.Outcome(('snapshot', '0'), ok, '', seconds, list(images))


ELSEWHERE = steps.Image('active', True, ['cheap'], ['fast'], None)
EXCUSED = steps.Image('active', True, ['cheap'], ['fast'], 'it is full')


@pytest.mark.parametrize(
    ('stock', 'patched', 'words'),
    [
        (twin(outcome()), twin(outcome(False)), 'fails'),
        (twin(outcome()), twin(outcome(True, 4.1)), '4.1 s'),
        (twin(outcome()), twin(outcome(True, 1.0, ELSEWHERE)), 'instead of'),
        (twin(outcome()), twin(outcome(True, 1.0, EXCUSED)), 'a WARNING'),
        (
            twin(outcome()),
            twin(outcome(), left_over=['cheap: a file']),
            '1 more left',
        ),
        (
            twin(outcome(), images=['snapshot active']),
            twin(outcome(), images=['snapshot active'] * 2),
            '1 more of',
        ),
        (
            twin(outcome()),
            twin(outcome(), warnings=['WARNING: %s has no copy in %s']),
            'without a cause',
        ),
    ],
)
def test_law_is_broken(stock, patched, words):
    """The comparison says so."""
    assert any(words in line for line in law.compare(stock, patched, ['hash']))


def test_law_is_kept():
    """Also by what stock Nova does not do, and by what is excused."""
    stock = twin(outcome(False), outcome(True, 1.0, IMAGE))
    patched = twin(
        outcome(True),
        outcome(True, 3.9, EXCUSED),
        warnings=['WARNING: Store %s did not take image %s'],
    )

    assert law.compare(stock, patched, ['image_size_cap']) == []


@pytest.mark.parametrize(
    ('name', 'value'),
    [('hash', 'md5'), ('hashes', 'none'), ('clone format', '2')],
)
def test_knob_of_nobody(name, value):
    """A value has to be one of a knob that counts where disks are."""
    with pytest.raises(ValueError, match='no '):
        knobs.check({name: value}, knobs.FILES)


def test_knobs_of_seeds():
    """What is drawn is valid."""
    for where in (knobs.FILES, knobs.CEPH):
        for seed in range(100):
            knobs.check(knobs.draw(seed, where), where)
