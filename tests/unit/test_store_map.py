"""The picture of the stores: how it is divided, and what it holds."""

from __future__ import annotations

import re
import tracemalloc
import types
import uuid
from xml.etree import ElementTree

import hypothesis
from hypothesis import strategies as st
import pytest

from nova_multistore import stores
from nova_multistore.osc import cloud as osc_cloud
from nova_multistore.osc import image_pages
from nova_multistore.osc import store_map
from nova_multistore.osc import treemap
from tests import command

CATALOGUE = stores.parse(
    {
        'stores': [
            {'id': 'cheap', 'default': 'true'},
            {'id': 'fast'},
            {'id': 'web', 'read-only': 'true'},
        ]
    }
)
HOSTILE = '</title><script>alert(1)</script>\x00\x1b[31m\ud800"\'&<'
SVG = '{http://www.w3.org/2000/svg}'


def image(*names, size=1 << 20, name='x', owner='demo', **more):
    return {
        'id': str(uuid.uuid4()),
        'name': name,
        'owner': owner,
        'size': size,
        'status': 'active',
        'updated_at': '2026-01-01T00:00:00Z',
        'stores': ','.join(names),
        **more,
    }


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """Draw images; return the code, the picture and what was said."""

    def draw(images, suffix='.svg', *args):
        path = tmp_path / f'map{suffix}'

        def pages(cloud, catalogue, filters, types, show, remote):
            for number in range(0, len(images), 1000):
                yield images[number : number + 1000]

        monkeypatch.setattr(image_pages, 'pages', pages)
        cloud = types.SimpleNamespace(
            catalogue=lambda: CATALOGUE, images=None, project_id='demo'
        )
        result = command.run(
            store_map.MapStores, cloud, '--output', str(path), *args
        )
        text = path.read_text() if path.exists() else None
        return result, text

    return draw


def cells(text):
    """Return the parts of a picture: colour and words of each."""
    root = ElementTree.fromstring(text)
    return [
        (rectangle.get('fill'), rectangle.find(f'{SVG}title').text)
        for rectangle in root.iter(f'{SVG}rect')
        if rectangle.find(f'{SVG}title') is not None
    ]


@hypothesis.given(
    st.lists(st.integers(0, 1 << 45), max_size=200),
    st.floats(10, 2000),
    st.floats(10, 2000),
)
def test_parts_fill_the_whole(sizes, width, height):
    """Each has the area that it should have, and none covers another."""
    sizes = sorted(sizes, reverse=True)
    boxes = [*treemap.layout(sizes, width, height)]

    assert len(boxes) == len(sizes)
    total = sum(max(size, 1) for size in sizes)
    for size, (x, y, wide, high) in zip(sizes, boxes):
        share = max(size, 1) / total * width * height
        assert wide * high == pytest.approx(share, rel=1e-6, abs=1e-3)
        assert x >= -1e-6
        assert y >= -1e-6
        assert x + wide <= width * (1 + 1e-6)
        assert y + high <= height * (1 + 1e-6)
    for number, (x, y, wide, high) in enumerate(boxes[:20]):
        for left, below, w, h in boxes[:number]:
            over_x = min(x + wide, left + w) - max(x, left)
            over_y = min(y + high, below + h) - max(y, below)
            assert min(over_x, over_y) <= 1e-6 * max(width, height)


def test_colours(draw):
    """They say how many copies there are, and whether there is a problem."""
    alone, twice, troubled = (
        image('cheap', name='alone'),
        image('cheap', 'fast', name='twice'),
        image(
            'fast',
            name='troubled',
            image_type='snapshot',
            nova_multistore_copy_to='cheap',
            nova_multistore_rule='request',
            os_hash_value='x',
        ),
    )
    thrice = image('cheap', 'fast', 'web', name='thrice')

    result, text = draw([alone, twice, thrice, troubled])

    assert result.code == 0
    assert '4 images in 3 stores, 1 image with a problem' in result.progress
    colours = [colour for colour, _ in store_map._LEGEND]
    found = {(words.split(' ')[0], colour) for colour, words in cells(text)}
    assert found == {
        ('alone', colours[0]),
        ('twice', colours[1]),
        ('thrice', colours[2]),
        ('troubled', colours[3]),
    }
    assert len(cells(text)) == 1 + 2 + 3 + 1
    assert 'cheap: default, 3 images, 3.0 MiB, 1 without another copy' in text


@pytest.mark.parametrize('suffix', ['.svg', '.html'])
def test_names_of_a_tenant(draw, suffix):
    """They are text, whatever they are."""
    result, text = draw([image('cheap', name=HOSTILE, owner=HOSTILE)], suffix)

    assert result.code == 0
    assert '<script' not in text
    assert '\x00' not in text
    svg = text[text.index('<svg') : text.index('</svg>') + 6]
    [(_, words)] = cells(svg)
    assert words.startswith(
        '</title><script>alert(1)</script>\ufffd\ufffd[31m'
    )


def many(number):
    """Return images with long names, of many projects."""
    return [
        image(
            *(('cheap', 'fast') if each % 3 else ('cheap',)),
            size=(each % 977 + 1) << 20,
            name='\N{SNOWMAN}' * 255,
            owner=f'project-{each % 500}',
        )
        for each in range(number)
    ]


def test_many_images(draw):
    """The file stays small, and nothing is left out: it is counted."""
    images = many(20_000)
    tracemalloc.start()

    result, text = draw(images, '.html')

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.code == 0
    assert peak < 16 << 20
    assert len(text.encode()) < 1 << 20
    svg = text[text.index('<svg') : text.index('</svg>') + 6]
    drawn = [words for _, words in cells(svg)]
    grouped = sum(
        int(found[1])
        for words in drawn
        if (found := re.match(r'(\d+) images? of ', words))
    )
    alone = sum(' of ' not in words.splitlines()[0] for words in drawn)
    placed = sum(len(entry['stores'].split(',')) for entry in images)
    assert grouped + alone == placed


def test_nothing(draw):
    result, text = draw([])
    assert result.code == 0
    assert cells(text) == []


@pytest.mark.parametrize('suffix', ['.png', ''])
def test_other_formats(draw, suffix):
    result, text = draw([image('cheap')], suffix)
    assert (result.code, text) == (2, None)
    assert 'does not end with .svg or .html' in result.words


def test_file_that_cannot_be_written(draw):
    result, text = draw([image('cheap')], '/nosuch/x.svg')
    assert (result.code, text) == (2, None)
    assert 'cannot be written' in result.words


def test_images_in_use():
    """Nova's pages are followed; a server from a volume has no image."""
    pages = {
        '/servers/detail?all_tenants=1&soft_deleted=true&limit=1000': {
            'servers': [
                {'id': '1', 'image': {'id': 'a'}},
                {'id': '2', 'image': ''},
            ],
            'servers_links': [
                {'rel': 'next', 'href': 'http://nova/v2.1/servers/detail?x=y'}
            ],
        },
        '/servers/detail?x=y': {
            'servers': [{'id': '3', 'image': {'id': 'b'}}, {'id': '4'}]
        },
    }
    compute = types.SimpleNamespace(
        get=lambda path, microversion: types.SimpleNamespace(
            status_code=200, json=lambda: pages[path]
        )
    )
    cloud = osc_cloud.Cloud(types.SimpleNamespace(compute=compute))
    assert cloud.images_in_use() == {'a', 'b'}
