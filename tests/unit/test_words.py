"""What the commands say of mistakes: what is wrong, where, and what to do."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import types

from openstack import exceptions as sdk_exceptions
import pytest

from nova_multistore import exception
from nova_multistore import image_api
from nova_multistore import relocation
from nova_multistore import stores
from nova_multistore.osc import base
from nova_multistore.osc import cloud as osc_cloud
from nova_multistore.osc import explain
from nova_multistore.osc import nova_conf
from nova_multistore.osc import snapshot_audit
from nova_multistore.osc import snapshot_create
from nova_multistore.osc import store_drain
from nova_multistore.osc.placement import check as placement_check
from nova_multistore.osc.placement import file as placement_file
from nova_multistore.osc.placement import plan as placement_plan
from tests import command

CATALOGUE = {
    'stores': [
        {'id': 'cheap', 'default': 'true'},
        {'id': 'fast'},
        {'id': 'web', 'read-only': 'true'},
    ]
}
IMAGE = '11111111-1111-4111-8111-111111111111'


def server(image=IMAGE):
    return {
        'id': 's-1',
        'name': 'web-1',
        'image': {'id': image} if image else '',
    }


def cloud(**more):
    return types.SimpleNamespace(
        catalogue=lambda: stores.parse(CATALOGUE),
        image=lambda image_id: {'id': image_id, 'stores': 'fast'},
        images=types.SimpleNamespace(page=lambda **filters: ([], False)),
        server=lambda name: server(),
        **more,
    )


class TestNovaConf:
    """An error in nova.conf names the file, and the option."""

    @pytest.mark.parametrize(
        ('section', 'option', 'words'),
        [
            ('glance', 'store = fats', "[glance] store: store 'fats' is not"),
            ('glance', 'store = web', "[glance] store: store 'web' is read-"),
            (
                'nova_multistore',
                'move_to = fats',
                "[nova_multistore] move_to: store 'fats' is not",
            ),
        ],
    )
    def test_store(self, tmp_path, section, option, words):
        first, second = tmp_path / 'nova.conf', tmp_path / 'compute.conf'
        first.write_text('[DEFAULT]\n')
        second.write_text(f'[{section}]\n{option}\n')

        done = command.run(
            explain.Explain,
            cloud(),
            *('web-1', f'--config-file={first}', f'--config-file={second}'),
        )

        assert done.code == 2
        assert done.words.startswith(f'{second}: {words}')
        assert 'can be written are cheap, fast' in done.words

    def test_store_of_the_request(self, tmp_path):
        """It is not blamed on the file."""
        path = tmp_path / 'nova.conf'
        path.write_text('[glance]\nstore = nosuch\n')

        done = command.run(
            explain.Explain,
            cloud(),
            *('web-1', '--store', 'fats', f'--config-file={path}'),
        )

        assert done.words.startswith("store 'fats' is not")

    def test_binary(self, tmp_path):
        path = tmp_path / 'nova.conf'
        path.write_bytes(b'\x7fELF\xff\xfe\x00\x01')

        with pytest.raises(base.UsageError, match=f'^{path} is no text file'):
            nova_conf.read([str(path)])

    def test_binary_among_others(self, tmp_path):
        """It is that one which is named."""
        text, binary = tmp_path / 'nova.conf', tmp_path / 'qemu'
        text.write_text('[DEFAULT]\n')
        binary.write_bytes(b'\x7fELF\xff')

        with pytest.raises(base.UsageError, match=f'^{binary} is no text'):
            nova_conf.read([str(text), str(binary)])

    def test_directory(self, tmp_path):
        with pytest.raises(
            base.UsageError, match=f'{tmp_path} cannot be read'
        ):
            nova_conf.read([str(tmp_path)])


class TestVolumeBacked:
    """There is a next step."""

    CLOUD = cloud()
    CLOUD.server = lambda name: server(None)
    STEP = 'openstack image create --volume'

    def test_explain(self):
        done = command.run(explain.Explain, self.CLOUD, 'web-1')

        assert done.code == 0
        assert 'is volume-backed' in done.rows['reason']
        assert self.STEP in done.progress

    @pytest.mark.parametrize(
        ('which', 'step'),
        [
            (snapshot_create.CreateSnapshot, STEP),
            (
                snapshot_create.CreateBackup,
                'openstack volume backup create --force',
            ),
        ],
    )
    def test_create(self, which, step):
        """Nova is not asked for what it refuses."""
        done = command.run(which, self.CLOUD, 'web-1', '--store', 'fast')

        assert done.code == 1
        assert 'server s-1 is volume-backed' in done.words
        assert step in done.words


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', ":1: it is empty: it has to be a mapping with 'placements'"),
        ('# no more\n', ':1: it is empty: '),
        ('- a', ":1: it is a list: it has to be a mapping with 'placements'"),
        ('text', ':1: it is a string: it has to be a mapping with'),
        ('placements:', ':1: placements: it is empty: it has to be a list'),
        (
            'placements: [{name: x, images: all, stores: fast}]',
            ":1: placements: stores: 'fast' is neither 'all' nor a list: "
            'write [fast]',
        ),
        (
            'placements: [{name: x, images: base, stores: all}]',
            ":1: placements: images: 'base' is neither 'all' nor a mapping",
        ),
        (
            'placements: [{name: x, images: {tags: golden}, stores: all}]',
            ":1: placements: images: tags: 'golden' is a string: it has to be "
            'a list',
        ),
        (
            'placements: [{name: x, images: {name: 24.04}, stores: all}]',
            ':1: placements: images: name: 24.04 is a number: it has to be a '
            'string',
        ),
        (
            'placements: [{name: x, images: all, stores: 7}]',
            ':1: placements: stores: 7 is a number: it has to be a list or a '
            'string',
        ),
    ],
)
def test_placements(tmp_path, text, words):
    """In the words of YAML, and with what is expected."""
    path = tmp_path / 'placements.yaml'
    path.write_text(text)

    with pytest.raises(base.UsageError) as caught:
        placement_file.Placements(path)

    assert str(caught.value).startswith(f'{path}{words}')


class TestServersThatAreNotTold:
    """Nova tells administrators alone what all servers were started from."""

    RULES = 'placements:\n- {{name: x, images: {}, stores: [fast]}}\n'
    SITES = 'sites:\n- {name: edge}\n'

    @pytest.fixture
    def run(self, tmp_path):
        def run(which, images):
            path = tmp_path / 'placements.yaml'
            path.write_text(self.RULES.format(images) + self.SITES)

            def refuse():
                raise sdk_exceptions.ForbiddenException(
                    "Policy doesn't allow os_compute_api:servers:detail:"
                    'get_all_tenants to be performed.'
                )

            member = cloud(images_in_use=refuse)
            member.images.page = lambda marker, **filters: (
                [{'id': IMAGE, 'status': 'active', 'stores': 'fast'}]
                if filters['os_hidden'] == 'false'
                else [],
                False,
            )
            return command.run(which, member, str(path))

        return run

    @pytest.mark.parametrize(
        'which',
        [placement_plan.PlanPlacements, placement_check.CheckPlacements],
    )
    def test_in_use(self, run, which):
        done = run(which, '{in_use: true}')

        assert (done.code, done.rows) == (2, [])
        assert ':2: x: in_use is for administrators: ' in done.words
        assert 'get_all_tenants' not in done.words

    def test_check(self, run):
        """What placements mean can be told."""
        done = run(placement_check.CheckPlacements, 'all')

        assert (done.code, [row['image_id'] for row in done.rows]) == (
            0,
            [IMAGE],
        )
        assert 'images that only servers use are left out' in done.progress


def named(noun, *found):
    """A cloud in which a name is not clear, or nobody has it."""

    def find(name, **_):
        if found:
            raise sdk_exceptions.DuplicateResource('More than one')
        raise sdk_exceptions.NotFoundException(f'No {noun} found for {name}')

    things = [types.SimpleNamespace(id=i, name=n) for i, n in found]

    def listed(name, is_hidden=False):
        return iter([] if is_hidden else things)

    service = types.SimpleNamespace(
        **{f'find_{noun}': find, f'{noun}s': listed}
    )
    return osc_cloud.Cloud(
        types.SimpleNamespace(compute=service, image=service, identity=service)
    )


@pytest.mark.parametrize(
    ('noun', 'find'),
    [
        ('server', osc_cloud.Cloud.server),
        ('image', osc_cloud.Cloud.find_image),
        ('project', osc_cloud.Cloud.find_project),
    ],
)
def test_name_of_several(noun, find):
    """Their ids are named; Nova also lists what only has it as a part."""
    asked = named(noun, ('1', 'web'), ('2', 'web'), ('3', 'web-2'))

    with pytest.raises(sdk_exceptions.DuplicateResource) as caught:
        find(asked, 'web')

    assert str(caught.value) == (
        f"several {noun}s are called 'web': 1, 2; give the ID of one"
    )


def test_server_of_another_project():
    """Whoever may see it finds it by its ID alone."""
    with pytest.raises(sdk_exceptions.NotFoundException) as caught:
        named('server').server('web')

    assert str(caught.value) == (
        "no server 'web' is in this project; administrators give the ID of a "
        'server of another project'
    )


@pytest.mark.parametrize(
    ('action', 'words'),
    [
        ('copy_image', 'copy images to other stores'),
        ('delete_image_location', 'delete an image from a store'),
        ('modify_image', 'change this image'),
        ('publicize_image', 'make images public'),
        ('unheard_of', 'do this'),
    ],
)
@pytest.mark.parametrize('form', ['html', 'json'])
def test_policy_of_glance(action, words, form):
    """What the user may not do comes first, then the policy."""
    text = f'You are not authorized to complete {action} action.'
    page = (
        '<html><head><title>403 Forbidden</title></head><body>'
        f'<h1>403 Forbidden</h1>{text}<br /></body></html>'
    )

    def to_json():
        if form == 'html':
            raise ValueError
        return {'message': f'{text}<br /><br />'}

    answer = types.SimpleNamespace(
        status_code=403, content=b'x', text=page, json=to_json
    )
    glance = types.SimpleNamespace(request=lambda *args, **how: answer)

    with pytest.raises(exception.GlanceRefused) as caught:
        image_api.Images(lambda: glance).show(IMAGE)

    assert caught.value.reason.startswith(
        f'this user may not {words} (policy {action}'
    )


def test_disk_that_is_a_clone():
    """Glance says so in 230 characters."""
    refused = exception.GlanceRefused(
        409,
        f'The data for Image {IMAGE} could not be deleted because it is in '
        'use: The image cannot be deleted because it is in use through the '
        'backend store outside of Glance.',
    )

    def delete_from(image_id, store):
        raise refused

    images = types.SimpleNamespace(delete_from=delete_from)

    assert relocation._delete(images, IMAGE, 'fast') == (
        'in use: the disk of a server or a volume is a clone of it'
    )


PROGRAM = """
import sys
sys.modules['nova'] = None
sys.argv = ['nova-multistore-status', 'upgrade', 'check']
from nova_multistore.cmd import entry
sys.exit(entry.status())
"""


def test_status_without_nova():
    """One line, and the exit code for an error."""
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(__file__).parents[2],
        check=False,
    )

    assert done.returncode == 255
    assert done.stderr == (
        f'nova-multistore-status: Nova is not installed for {sys.executable}\n'
    )


@pytest.mark.parametrize(
    'which',
    [
        placement_plan.PlanPlacements,
        snapshot_audit.AuditSnapshots,
        store_drain.DrainStore,
    ],
)
def test_project_only_with_long(which):
    """With it, the id of an image is broken in a terminal of 120 columns."""
    assert which.detailed == ('project_id',)


def test_drain_of_the_default_store():
    """The message says why another store has to be named."""
    done = command.run(store_drain.DrainStore, cloud(), 'cheap')

    assert done.code == 2
    assert done.words == (
        'images that cheap alone has need another store: name it with --to, '
        "as Glance's default store is cheap"
    )
