"""Images that are imported, and the format of their files."""

from __future__ import annotations

import re

import pytest

from nova_multistore import exception
from nova_multistore.osc import image_import
from nova_multistore.osc import image_new
from tests.unit.images import HELD
from tests.unit.images import IMAGE
from tests.unit.images import Images
from tests.unit.images import image
from tests.unit.images import run
from tests.unit.images import said

pytestmark = pytest.mark.usefixtures('no_pause')


def test_import_keeps_its_word():
    images = Images(image('a,b'))

    result = run(
        image_import.ImportImage,
        images,
        *('x', '--uri', 'u', '--store', 'b', '--store', 'a', '--store', 'b'),
        *('--disallow-failure', '--wait'),
    )

    assert result.code == 0
    assert images.asked == [
        (
            'create',
            {'name': 'x', 'disk_format': 'raw', 'container_format': 'bare'},
        ),
        (
            'import',
            (['b', 'a'], True, {'name': 'web-download', 'uri': 'u'}),
        ),
    ]


def test_import_of_a_file(tmp_path):
    path = tmp_path / 'data'
    path.write_bytes(b'1234567')
    images = Images(image())

    result = run(
        image_import.ImportImage,
        images,
        *('x', '--file', str(path), '--all-stores', '--disk-format', 'raw'),
    )

    assert result.code == 0
    assert images.asked[1:] == [
        ('stage', b'1234567'),
        ('import', (['a', 'b', 'c'], False, {'name': 'glance-direct'})),
    ]


def test_import_with_all_options():
    """Glance gets each by its own name, and no property overrides one."""
    images = Images(image())

    result = run(
        image_import.ImportImage,
        images,
        *('x', '--uri', 'u', '--all-stores', '--id', IMAGE, '--public'),
        *('--disk-format', 'iso', '--container-format', 'ovf', '--os-hidden'),
        *('--min-disk', '1', '--min-ram', '2', '--tag', 'a', '--tag', 'b'),
        *('--property', 'os=debian', '--property', 'name=y'),
    )

    assert result.code == 0
    assert images.asked[0] == (
        'create',
        {
            'id': IMAGE,
            'name': 'x',
            'disk_format': 'iso',
            'container_format': 'ovf',
            'visibility': 'public',
            'os_hidden': True,
            'min_disk': 1,
            'min_ram': 2,
            'tags': ['a', 'b'],
            'os': 'debian',
        },
    )


needs_inspector = pytest.mark.skipif(
    image_new.format_inspector is None, reason='oslo.utils is older than 7.4'
)


QCOW2 = b'QFI\xfb\0\0\0\3'.ljust(512, b'\0')


GPT = (
    bytes(446)
    # One partition of the type that stands for GPT, and the signature.
    + bytes([0, 0, 2, 0, 0xEE, 255, 255, 255, 1, 0, 0, 0, 255, 0, 0, 0])
    + bytes(48)
    + b'\x55\xaa'
).ljust(2048, b'\0')


@needs_inspector
@pytest.mark.parametrize(
    ('data', 'options', 'found'),
    [
        (b'1234567', (), 'raw'),
        (QCOW2, (), 'qcow2'),
        (QCOW2, ('--disk-format', 'qcow2'), 'qcow2'),
        (GPT, (), 'raw'),
        (GPT, ('--disk-format', 'gpt'), 'gpt'),
        (b'1234567', ('--disk-format', 'ami'), 'ami'),
    ],
)
def test_format_of_a_file(tmp_path, data, options, found):
    path = tmp_path / 'data'
    path.write_bytes(data)
    images = Images(image(size=len(data)))

    result = run(
        image_import.ImportImage,
        images,
        *('x', '--file', str(path), '--all-stores', *options),
    )

    assert result.code == 0
    assert images.asked[0][1]['disk_format'] == found


@needs_inspector
@pytest.mark.parametrize(
    ('data', 'named', 'words'),
    [
        (b'1234567', 'qcow2', 'is qcow2, but .*data is raw'),
        (QCOW2, 'raw', 'is raw, but .*data is qcow2'),
        (QCOW2, 'ami', 'is ami, but .*data is qcow2'),
    ],
)
def test_file_of_another_format(tmp_path, data, named, words):
    """Nothing is asked for."""
    path = tmp_path / 'data'
    path.write_bytes(data)
    images = Images(image())

    result = run(
        image_import.ImportImage,
        images,
        *('x', '--file', str(path), '--all-stores', '--disk-format', named),
    )

    assert result.code == 2
    assert re.search(words, result.words)
    assert images.asked == []


def test_format_without_an_inspector(tmp_path, monkeypatch):
    """It is to be named then."""
    monkeypatch.setattr(image_new, 'format_inspector', None)
    path = tmp_path / 'data'
    path.write_bytes(QCOW2)
    args = ['x', '--file', str(path), '--all-stores']

    refused = run(image_import.ImportImage, Images(image()), *args)
    images = Images(image(size=len(QCOW2)))
    run(image_import.ImportImage, images, *args, '--disk-format', 'qcow2')

    assert refused.code == 2
    assert 'use --disk-format' in refused.words
    assert images.asked[0][1]['disk_format'] == 'qcow2'


def test_import_into_an_image():
    """None is created; and none is deleted if Glance refuses."""
    waiting = image(status='queued', disk_format='raw')
    images = Images(waiting, **{'import': exception.GlanceRefused(400, 'no')})

    result = run(
        image_import.ImportImage,
        images,
        *('--image', 'x', '--uri', 'u', '--store', 'a'),
    )

    assert (result.code, result.words) == (1, 'Glance refuses: no (HTTP 400)')
    assert [what for what, *_ in images.asked] == ['import']


@pytest.mark.parametrize(
    ('args', 'found', 'words'),
    [
        ((), {}, 'a new image needs a name'),
        (('--image', 'i'), {'status': 'active'}, 'is active: only'),
        (('x', '--image', 'i'), {}, '<name> cannot change it'),
        (
            ('--image', 'i', '--public', '--tag', 'a', '--property', 'a=b'),
            {},
            '--public, --tag, --property cannot change it',
        ),
        pytest.param(
            *(('--image', 'i'), {'disk_format': 'qcow2'}, 'is raw'),
            marks=needs_inspector,
        ),
    ],
)
def test_import_that_makes_no_sense(tmp_path, args, found, words):
    (tmp_path / 'data').write_bytes(b'1234567')
    images = Images(image(**{'status': 'queued', **found}))

    result = run(
        image_import.ImportImage,
        images,
        *(*args, '--file', str(tmp_path / 'data'), '--store', 'a'),
    )

    assert result.code == 2
    assert words in result.words
    assert images.asked == []


def test_import_of_half_a_file(tmp_path):
    """It is not imported."""
    path = tmp_path / 'data'
    path.write_bytes(b'12345678')
    images = Images(image())

    result = run(
        image_import.ImportImage,
        images,
        *('x', '--file', str(path), '--all-stores', '--disk-format', 'raw'),
    )

    assert (result.code, result.words) == (1, 'Glance has only 7 of 8 bytes')
    assert [what for what, *_ in images.asked] == ['create', 'stage', 'delete']


@pytest.mark.parametrize(
    ('error', 'words', 'asked'),
    [
        (
            exception.GlanceRefused(400, 'no'),
            'Glance refuses: no (HTTP 400)',
            ['create', 'import', 'delete'],
        ),
        (
            exception.LookupFailed('Glance did not answer'),
            'Glance did not answer; delete what is left with: openstack image '
            f'delete {IMAGE}',
            ['create', 'import'],
        ),
    ],
)
def test_import_that_does_not_begin(error, words, asked):
    """What certainly did not begin leaves nothing."""
    images = Images(image(status='queued'), **{'import': error})

    result = run(
        image_import.ImportImage, images, *('x', '--uri', 'u', '--all-stores')
    )

    assert (result.code, result.words) == (1, words)
    assert [what for what, *_ in images.asked] == asked


@pytest.mark.parametrize(
    'error',
    [exception.GlanceRefused(409, 'held'), exception.ServiceAway('no answer')],
)
def test_import_whose_answer_was_lost(error):
    """It has begun: the image is kept."""
    begun = image(status='queued', **HELD)
    images = Images(begun, begun, image('a,b,c'), **{'import': error})

    result = run(
        image_import.ImportImage,
        images,
        *('x', '--uri', 'u', '--all-stores', '--wait'),
    )

    assert result.code == 0
    assert [what for what, *_ in images.asked] == ['create', 'import']


def test_import_that_nobody_knows_of():
    """It is said how to look."""
    away = exception.ServiceAway('no answer')
    images = Images(away, **{'import': away})

    result = run(
        image_import.ImportImage, images, *('x', '--uri', 'u', '--all-stores')
    )

    assert result.code == 1
    assert result.words.endswith(f'openstack multistore image show {IMAGE}')


def test_interrupt_while_data_are_sent(tmp_path, caplog):
    """Nothing goes on then."""
    (tmp_path / 'data').write_bytes(b'x')
    images = Images(image(), stage=KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        run(
            image_import.ImportImage,
            images,
            *('x', '--file', str(tmp_path / 'data'), '--all-stores'),
            *('--disk-format', 'raw'),
        )

    assert said(caplog) == [
        f'delete what is left with: openstack image delete {IMAGE}'
    ]


def test_local_file(tmp_path):
    """It tells how much has been read of it."""
    path = tmp_path / 'data'
    path.write_bytes(b'123456')
    told = []

    with image_import.LocalFile(str(path)) as file:
        file.report = told.append
        assert file.size == 6
        assert [file.read(4), file.read(4), file.read(4)] == [
            b'1234',
            b'56',
            b'',
        ]

    assert told == [4, 6, 6]
