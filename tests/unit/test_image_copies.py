"""Commands that show images and copy them, and what Glance tells."""

from __future__ import annotations

import io
import types

import pytest

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import record
from nova_multistore.osc import image_copy
from nova_multistore.osc import image_import
from nova_multistore.osc import image_relocate
from nova_multistore.osc import image_show
from tests import command
from tests.unit.images import FAILED
from tests.unit.images import HELD
from tests.unit.images import IMAGE
from tests.unit.images import IMPORTING
from tests.unit.images import RECORD
from tests.unit.images import TASK
from tests.unit.images import Images
from tests.unit.images import cloud
from tests.unit.images import image
from tests.unit.images import run
from tests.unit.images import said

pytestmark = pytest.mark.usefixtures('no_pause')


@pytest.mark.parametrize(
    ('which', 'args'),
    [
        (image_import.ImportImage, ['x', '--uri', 'u', '--all-stores']),
        (image_copy.CopyImage, [IMAGE, '--all-stores']),
        (image_show.ShowImages, [IMAGE]),
    ],
)
def test_interrupt(which, args, caplog):
    """It is said what goes on."""
    held = image(**HELD)
    images = Images(held, held, KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        run(which, images, *args, '--wait')

    assert said(caplog) == [
        'Glance goes on; look again with: openstack multistore image show '
        f'--wait {IMAGE}'
    ]


def test_glance_that_restarts():
    """It is asked again while there is time."""
    away = exception.ServiceAway('Glance did not answer')
    images = Images(image(**HELD), away, image('a,b'))

    result = run(image_show.ShowImages, images, IMAGE, '--wait')

    assert result.code == 0
    assert result.states == {'a': 'done', 'b': 'done'}


def test_glance_that_stays_away():
    away = exception.ServiceAway('Glance did not answer')
    images = Images(image(**HELD), away)

    result = run(
        image_show.ShowImages, images, IMAGE, '--wait', '--timeout', '1'
    )

    assert (result.code, result.words) == (1, 'Glance did not answer')


@pytest.mark.parametrize('status', ['active', 'deactivated'])
def test_stores_that_glance_does_not_tell(status):
    """The image is not called useless: its data are somewhere."""
    result = run(
        image_show.ShowImages, Images(image(status=status)), IMAGE, '--wait'
    )

    assert result.code == 1
    assert result.words == (
        f'image {IMAGE} is {status}, and Glance does not say in which stores '
        'it is'
    )


class TestNobodySends:
    """An image waits for its data, and nothing imports it."""

    QUEUED = image('', 'queued')
    WAITS = (
        f'image {IMAGE} is queued, and nobody has sent its data yet; look '
        f'again with: openstack multistore image show --wait {IMAGE}'
    )

    def test_show(self):
        """It is said what is waited for; that time ends is no failure."""
        result = run(
            image_show.ShowImages,
            Images(self.QUEUED),
            *(IMAGE, '--wait', '--timeout', '1'),
        )

        assert (result.code, result.words) == (3, self.WAITS)
        assert result.progress.startswith(f'{IMAGE}: queued, no data yet (0 s')

    def test_copy(self):
        result = run(
            image_copy.CopyImage,
            Images(self.QUEUED),
            *(IMAGE, '--store', 'b', '--wait', '--timeout', '1'),
        )

        assert (result.code, result.words) == (3, self.WAITS)
        assert result.progress.startswith('b: waiting for data (0 s')

    def test_one_of_two(self):
        """The other one is whole."""
        images = Images(image('a'), self.QUEUED)

        result = run(
            image_show.ShowImages,
            images,
            *('x', 'y', '--wait', '--timeout', '1'),
        )

        assert (result.code, result.words) == (3, self.WAITS)

    def test_long(self, monkeypatch):
        """It is given up within minutes, as a copy is."""
        monkeypatch.setattr(copies, 'IDLE', 0.0)

        result = run(
            image_show.ShowImages, Images(self.QUEUED), IMAGE, '--wait'
        )

        assert result.code == 1
        assert result.words == (
            f'image {IMAGE} is queued, and nobody has sent its data for 0 '
            f'seconds; send them with: openstack multistore image import '
            f'--image {IMAGE}, or delete it with: openstack image delete '
            f'{IMAGE}'
        )

    def test_snapshot(self, monkeypatch):
        """Nova sends nothing as long as it reads the disk."""
        monkeypatch.setattr(copies, 'IDLE', 0.0)
        queued = image('', 'queued', image_type='snapshot')

        result = run(
            image_show.ShowImages,
            Images(*[queued] * 9, image('a')),
            *(IMAGE, '--wait'),
        )

        assert (result.code, result.states) == (0, {'a': 'done'})


@pytest.mark.parametrize(
    ('shown', 'words'),
    [
        (
            image('', 'queued', **{FAILED: 'a,b'}),
            f"image {IMAGE} is in no store: Glance's log says why; delete "
            f'what is left with: openstack image delete {IMAGE}',
        ),
        (
            image('a', 'deactivated', **{FAILED: 'b'}),
            f"image {IMAGE} is not in b: Glance's log says why; it is "
            'deactivated, and is copied only while it is active: openstack '
            f'image set --activate {IMAGE}',
        ),
    ],
)
def test_what_cannot_be_copied(shown, words):
    """It is not advised to copy it: Glance answers that with 409."""
    result = run(image_show.ShowImages, Images(shown), IMAGE, '--wait')

    assert result.words == words


@pytest.mark.parametrize(
    ('which', 'args'),
    [
        (image_copy.CopyImage, ('--store', 'a')),
        (image_copy.CopyImage, ('--all-stores', '--wait')),
        (image_relocate.RelocateImage, ('--to', 'a')),
    ],
)
def test_only_another_glance_has_it(which, args):
    """Nothing is asked for that cannot be."""
    images = Images(image('far,off'))

    result = run(which, images, IMAGE, *args)

    assert (result.code, result.rows, images.asked) == (1, [], [])
    assert result.words == (
        f'image {IMAGE} cannot be read here: it is in far, off alone, which '
        'this Glance does not have; it has a, b, c, web'
    )


def test_another_glance_copies_it():
    """Then it is here soon, and can be copied on."""
    held = image('far', **{TASK: 't', IMPORTING: 'a'})
    images = Images(held, held, held, image('far,a'), image('far,a,b'))

    result = run(image_copy.CopyImage, images, IMAGE, '--store', 'b', '--wait')

    assert result.code == 0, result.words


def table(images, *args):
    """Return the titles of the columns in a table."""
    out = command.Terminal()
    app = types.SimpleNamespace(
        client_manager=types.SimpleNamespace(multistore=cloud(images)),
        stdout=out,
        stderr=io.StringIO(),
    )
    own = image_show.ShowImages(app, None)
    assert own.run(own.get_parser('x').parse_args([IMAGE, *args])) == 0
    [header] = [x for x in out.getvalue().splitlines() if 'Image ID' in x]
    return [cell.strip() for cell in header.strip('|').split('|')]


def test_table():
    """It has titles, and no column that is empty unless it is named."""
    usual = ['Image ID', 'Name', 'Status', 'Store', 'State', 'Size']
    written = image('a', **RECORD)

    assert table(Images(image('a'))) == usual
    assert table(Images(written)) == [*usual, 'Decided Store', 'Rule']
    assert table(Images(image('a')), '--long') == [*usual, 'Default']
    chosen = ['-c', 'Image ID', '-c', 'copied', '--sort-column', 'Copied']
    assert table(Images(written), *chosen) == ['Image ID', 'Copied']


def test_show_has_the_decision():
    """In each row; nothing where there is none."""
    shown = image('a,b', **RECORD, **{record.DIFFERENCE: 'a reason'})

    rows = run(image_show.ShowImages, Images(shown), IMAGE).rows

    assert {
        (row['decided_store'], row['rule'], row['difference']) for row in rows
    } == {('b', 'base-image', 'a reason')}
