"""Images that Nova made, page by page, and the command that lists them."""

from __future__ import annotations

import csv
import io
import json
import types

from openstack import exceptions as sdk_exceptions
import pytest

from nova_multistore import exception
from nova_multistore import record
from nova_multistore import stores
from nova_multistore.osc import image_list
from nova_multistore.osc import image_pages
from nova_multistore.osc import progress
from tests import command

SERVER = '33333333-3333-4333-8333-333333333333'
STORES = {'stores': [{'id': 'cheap', 'default': 'true'}, {'id': 'fast'}]}
#: Glance without several stores.
ALONE = stores.Catalogue()
SILENT = exception.LookupFailed('Glance did not answer')


class Images:
    """Glance, which fails now and then, and whose images vanish."""

    def __init__(self, pages=(), failures=()):
        self._pages = list(pages)
        self._failures = list(failures)
        self.gone = set()
        self.markers = []

    def page(self, marker=None, *, image_type, os_hidden, visibility):
        assert visibility == 'all'
        if os_hidden == 'true':
            return [], False
        self.markers.append(marker)
        if self._failures:
            failure = self._failures.pop(0)
            if failure:
                raise failure
        if marker in self.gone:
            raise exception.GlanceRefused(400, 'no such image')
        page = self._pages.pop(0)
        return [{'id': name} for name in page], bool(self._pages)


def listed(images, catalogue=ALONE, **more):
    """List snapshots, but for the pages of hidden ones, which are empty."""
    cloud = types.SimpleNamespace(images=images)
    return filter(
        None,
        image_pages.pages(cloud, catalogue, {}, ('snapshot',), **more),
    )


def test_pages(pauses):
    """Each is asked for when it is due."""
    images = Images(['ab', 'cd', 'e'])

    for page in listed(images):
        if page[0]['id'] == 'a':
            assert images.markers == [None]

    assert images.markers == [None, 'b', 'd']
    assert pauses == []


def test_page_asked_again(pauses):
    """From where it stood."""
    images = Images(['ab', 'cd'], [None, SILENT, SILENT])

    pages = list(listed(images))

    assert [len(page) for page in pages] == [2, 2]
    assert images.markers == [None, 'b', 'b', 'b']
    assert pauses == [1.0, 2.0]


def test_glance_stays_away(pauses):
    """Not for ever."""
    images = Images(['ab'], [SILENT] * 99)

    with pytest.raises(exception.LookupFailed):
        list(listed(images))

    assert sum(pauses) == 63


def test_marker_deleted(pauses):
    """The one before it does as well."""
    images = Images(['abc', 'de'])
    images.gone = {'c', 'b'}

    pages = list(listed(images))

    assert [len(page) for page in pages] == [3, 2]
    assert images.markers == [None, 'c', 'b', 'a']


@pytest.mark.parametrize('gone', [set(), {'a', 'b'}])
def test_listing_refused(gone, pauses):
    """It is not asked for over and over."""
    images = Images(
        ['ab', 'c'], [] if gone else [exception.GlanceRefused(400, 'no')]
    )
    images.gone = gone

    with pytest.raises(exception.GlanceRefused):
        list(listed(images))


# What the list does not know.

TWO = stores.parse(STORES)


def one(name, *names, status='active'):
    found = {'id': name, 'status': status, 'stores': ','.join(names)}
    return found if names else {'id': name, 'status': status}


class Shown(Images):
    """Glance, whose list knows less than what it shows of an image."""

    def __init__(self, listed, shown=()):
        super().__init__([[image['id'] for image in listed]])
        self._listed = {image['id']: image for image in listed}
        self._shown = dict(shown)
        self.looks = []

    def page(self, *args, **kwargs):
        images, more = super().page(*args, **kwargs)
        return [self._listed[image['id']] for image in images], more

    def show(self, image_id):
        self.looks.append(image_id)
        shown = self._shown[image_id]
        if isinstance(shown, list):
            shown = shown.pop(0)
        if isinstance(shown, Exception):
            raise shown
        return shown


def test_looks():
    """Those of which the list names no store, or one that is not there."""
    listing = [
        one('a', 'fast'),
        one('b'),
        one('c', 'cheap', 'gone'),
        one('d', status='deactivated'),
        one('e', status='queued'),
        one('f', 'cheap', 'fast'),
    ]
    now = {name: one(name, 'fast', 'cheap') for name in 'bcd'}
    images = Shown(listing, now)

    [page] = listed(images, TWO)

    assert sorted(images.looks) == ['b', 'c', 'd']
    assert page == [now.get(image['id'], image) for image in listing]


def test_looks_that_tell_nothing(pauses):
    """One that is gone is left out, one that is refused is as listed."""
    listing = [one('a'), one('b'), one('c', 'gone')]
    images = Shown(
        listing,
        {
            'a': exception.GlanceRefused(404, 'no'),
            'b': exception.GlanceRefused(403, 'no'),
            'c': [SILENT, SILENT, one('c', 'fast')],
        },
    )

    [page] = listed(images, TWO)

    assert page == [one('b'), one('c', 'fast')]
    assert pauses == [1.0, 2.0]


def test_looks_that_fail(pauses):
    """A Glance that stays away is an error."""
    shown = []
    images = Shown([one('a')], {'a': SILENT})

    with pytest.raises(exception.LookupFailed):
        list(listed(images, TWO, show=shown.append))

    # What shows progress makes room for the error.
    assert shown == [[]]


def test_looks_that_are_not_needed():
    """A Glance without several stores, and stores of other sites."""
    images = Shown([one('a'), one('b', 'far')])
    assert len(next(listed(images))) == 2
    images = Shown([one('b', 'far'), one('c', 'far', 'fast')])
    shown = []

    assert len(next(listed(images, TWO, remote=['far'], show=shown.append)))

    assert images.looks == shown == []


def test_progress_of_looks():
    """Every hundred, at the end, and not in between."""
    names = [str(number) for number in range(250)]
    images = Shown(
        [one(name) for name in names],
        {name: one(name, 'fast') for name in names},
    )
    shown = []

    list(listed(images, TWO, show=shown.append))

    assert [[item.state for item in items] for items in shown] == [
        ['100 of 250 images whose stores are not listed'],
        ['200 of 250 images whose stores are not listed'],
        ['250 of 250 images whose stores are not listed'],
        [],
    ]


@pytest.mark.parametrize('stream', [io.StringIO(), command.Terminal()])
def test_progress_makes_room(stream):
    """What comes after it is not drawn over."""
    show = progress.passing(stream)

    show([])
    assert stream.getvalue() == ''
    for number in range(2):
        show([progress.Item('looked at', f'{number} of 2')])
    show([])
    stream.write('next\n')
    show([progress.Item('looked at', '2 of 2')])
    show([])

    said = stream.getvalue()
    assert said.index('1 of 2') < said.index('next\n') < said.index('2 of 2 ')


# The command.


CREATED = '2026-11-30T03:04:05Z'


def image(number, **changes):
    return {
        'id': f'image-{number}',
        'created_at': CREATED,
        'os_hidden': False,
        'name': f'name-{number}',
        'image_type': 'snapshot',
        'instance_uuid': SERVER,
        'status': 'active',
        'size': 7,
        'stores': 'fast',
        **changes,
    }


ALL = [
    image(1, **{record.RULE: 'request', record.STORE: 'fast'}),
    image(2, stores='cheap,fast', os_hidden=True),
    image(3, stores='cheap', name='web-1-shelved'),
    image(4, stores='cheap', image_type='backup'),
    image(5, owner='other', stores=''),
    {
        'id': 'image-6',
        'name': 'debian',
        'status': 'active',
        'size': 7,
        'stores': 'fast',
        'created_at': CREATED,
        'os_hidden': False,
    },
]


class Glance:
    """A Glance that filters."""

    def __init__(self, administrator=False):
        self.administrator = administrator
        self.asked = []

    def page(self, marker, **filters):
        self.asked.append(filters)

        def has(image, name, value):
            default = {
                'owner': 'mine',
                'os_hidden': False,
                'visibility': 'all',
            }.get(name)
            return str(image.get(name, default)).lower() == value

        found = [
            image
            for image in ALL
            if all(has(image, *item) for item in filters.items())
        ]
        if marker is not None:
            ids = [image['id'] for image in found]
            del found[: ids.index(marker) + 1]
        return found, False

    def show(self, image_id):
        for image in ALL:
            if image['id'] == image_id:
                return image
        raise exception.GlanceRefused(404, f'no image {image_id}')

    def ask(self, method, path):
        if not self.administrator:
            raise exception.GlanceRefused(403, 'no')


def run(*args, administrator=False):
    def server(name):
        if name != 'web-1':
            raise sdk_exceptions.NotFoundException(f'no server {name}')
        return {'id': SERVER}

    cloud = types.SimpleNamespace(
        images=Glance(administrator),
        project_id='mine',
        roles=(),
        server=server,
        catalogue=lambda: stores.parse(STORES),
    )
    return command.run(image_list.ListImages, cloud, *args)


@pytest.mark.parametrize(
    ('args', 'numbers'),
    [
        ((), '13462'),
        (('--store', 'fast'), '162'),
        (('--kind', 'base'), '6'),
        (('--kind', 'snapshot'), '12'),
        (('--kind', 'shelve'), '3'),
        (('--kind', 'backup'), '4'),
        (('--kind', 'backup', '--store', 'fast'), ''),
        (('--server', 'web-1'), '1342'),
        (('--server', SERVER.replace('3', 'A')), ''),
        (('--limit', '2'), '13'),
        (('--limit', '9'), '13462'),
        (('--limit', '1', '--kind', 'base'), '6'),
        (('--marker', 'image-3'), '462'),
        (('--marker', 'image-3', '--limit', '1'), '4'),
        # A hidden one: all others come before.
        (('--marker', 'image-2'), ''),
    ],
)
def test_list(args, numbers):
    """The filters are all met."""
    done = run(*args)

    assert done.code == 0
    assert [row['id'] for row in done.rows] == [f'image-{n}' for n in numbers]


def test_list_all_projects():
    assert len(run('--all-projects', administrator=True).rows) == len(ALL)


def test_list_has_the_decision():
    [first, *_others] = run('--server', 'web-1').rows

    assert first == {
        'id': 'image-1',
        'name': 'name-1',
        'kind': 'snapshot',
        'server_id': SERVER,
        'status': 'active',
        'size': 7,
        'created_at': CREATED,
        'stores': ['fast'],
        'decided_store': 'fast',
        'rule': 'request',
        'difference': '',
        'missing': [],
    }


@pytest.mark.parametrize(
    ('args', 'code', 'words'),
    [
        (('--store', 'nosuch'), 2, 'they are cheap, fast'),
        (('--server', 'nosuch'), 1, 'no server nosuch'),
        (('--kind', 'nosuch'), 2, ''),
        (('--limit', '0'), 2, ''),
        (('--marker', 'nosuch'), 1, 'no image nosuch'),
        (('--all-projects',), 2, 'for administrators'),
    ],
)
def test_list_refuses(args, code, words):
    done = run(*args)

    assert done.code == code
    assert words in done.words
    assert done.rows == []


def test_list_fits_a_terminal():
    """A table has what identifies an image, and --long has the rest."""

    def titles(*args):
        table = run(*args, '-f', 'table').table
        return [cell.strip() for cell in table[1].strip('|').split('|')]

    assert titles() == ['ID', 'Name', 'Kind', 'Stores', 'Size']
    assert titles('--long')[5:] == [
        'Status',
        'Created At',
        'Server ID',
        'Decided Store',
        'Rule',
    ]
    assert titles('-c', 'ID', '-c', 'Rule') == ['ID', 'Rule']


@pytest.mark.parametrize('form', ['json', 'csv'])
def test_titles_for_a_program(form):
    """Its columns are called as in OpenStackClient's lists; it gets all."""
    shown = run('-f', form).shown

    found = (
        [*json.loads(shown)[0]]
        if form == 'json'
        else next(csv.reader(shown.splitlines()))
    )

    assert found[:5] == ['ID', 'Name', 'Kind', 'Stores', 'Size']
    assert {'Created At', 'Server ID', 'Missing'} < set(found)


def test_columns_by_name():
    """As by title, for a program, too."""
    by_title, by_name = (
        run('-f', 'csv', '-c', column, '--sort-column', column).shown
        for column in ('Server ID', 'server_id')
    )

    assert by_name.splitlines()[0] == '"Server ID"'
    assert by_name == by_title
