"""The picture of the stores, in a real browser."""

from __future__ import annotations

import uuid

import pytest

from nova_multistore import stores
from nova_multistore.osc import store_map

NAMES = ('central', 'dcn0', 'dcn1')
HOSTILE = '</title><script>document.title = "taken"</script>\x00&<"\''
#: What is drawn beyond the picture, or too small to be pointed at.
WRONG = """() => {
    const svg = document.querySelector('svg');
    const whole = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('rect')].filter(e => {
        const box = e.getBoundingClientRect();
        return box.right > whole.right + 1 || box.bottom > whole.bottom + 1
            || box.width <= 0 || box.height <= 0;
    }).length;
}"""
LABELS = "() => [...document.querySelectorAll('text')].map(e => e.textContent)"
COUNT = "() => document.querySelectorAll('rect > title').length"


@pytest.mark.parametrize('suffix', ['.svg', '.html'])
@pytest.mark.parametrize('number', [7, 100_000])
def test_map(browser, tmp_path, suffix, number):
    """It opens, asks for nothing else, and runs nothing."""
    drawing = store_map.Drawing(
        stores.Catalogue(tuple(map(stores.Store, NAMES)))
    )
    for each in range(number):
        drawing.add(
            {
                'id': str(uuid.uuid4()),
                'name': HOSTILE,
                'owner': f'project {each % 300}',
                'size': (each % 997 + 1) << 24,
                'stores': ','.join(NAMES[: each % 3 + 1]),
            },
            'it is not well' if each % 50 == 0 else '',
        )
    path = tmp_path / f'map{suffix}'
    store_map.write(path, 'All of it', drawing)
    page = browser.new_page()
    asked, errors = [], []
    page.on('request', lambda request: asked.append(request.url))
    page.on('pageerror', lambda error: errors.append(str(error)))
    page.goto(path.as_uri())

    assert path.stat().st_size < 1 << 20
    assert asked == [path.as_uri()]
    assert errors == []
    assert page.title() == 'All of it'
    assert page.evaluate(WRONG) == 0
    placed = sum(len(NAMES[: each % 3 + 1]) for each in range(number))
    drawn = page.evaluate(COUNT)
    assert drawn == placed if number < 1000 else drawn > 1000
    labels = page.evaluate(LABELS)
    assert sum(label.startswith(NAMES) for label in labels) == len(NAMES)
    page.close()
