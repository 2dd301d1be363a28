"""The snippets for deployment tools, with the tools' own files.

What a tool would install is there already; what it writes outside of a
directory of the test's own is written into that.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml

from nova_multistore.cmd import paste
from tests.unit import pipelines

REPOSITORY = pathlib.Path(__file__).parents[2]
SNIPPETS = REPOSITORY / 'doc' / 'source' / 'deploy'
BIN = pathlib.Path(sys.executable).parent
ETC = pathlib.Path(sys.prefix, 'etc')
TEMPLATE = pathlib.Path('/usr/share/openstack-pkg-tools/init-script-template')


@pytest.fixture
def programs(tmp_path):
    """Programs as an image has them, Nova's own among them."""
    directory = tmp_path / 'bin'
    directory.mkdir()
    for name in ('nova-compute', 'nova-multistore-run'):
        (directory / name).symlink_to(BIN / name)
    (directory / 'nova-multistore-paste').symlink_to(
        BIN / 'nova-multistore-paste'
    )
    return directory


@pytest.fixture
def shell(tmp_path, programs):
    """Run a command of a snippet, with other paths; return its output."""

    def shell(command, **paths):
        for path, other in paths.items():
            command = command.replace(path, str(other))
        return subprocess.run(
            ['bash', '-euc', command],
            cwd=tmp_path,
            env={
                **os.environ,
                'PATH': f'{programs}:/usr/bin:/bin',
                'PYTHONPATH': str(REPOSITORY),
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    return shell


def assert_is_active(program):
    """Such a program is nova-compute, with the package."""
    assert program.resolve() == (BIN / 'nova-multistore-run').resolve()
    done = subprocess.run(
        [program, '--version'],
        env={**os.environ, 'PYTHONPATH': str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == importlib.metadata.version('nova')


def commands(dockerfile):
    """Return the commands of a Dockerfile that are about the package."""
    text = dockerfile.replace('\\\n', ' ')
    found = [
        line.removeprefix('RUN ')
        for line in text.splitlines()
        if line.startswith('RUN ') and 'multistore' in line
    ]
    # What is installed is there already.
    return [
        ' && '.join(
            part
            for part in (part.strip() for part in command.split('&&'))
            if not part.startswith('python3 -m pip ')
        )
        for command in found
    ]


def test_container(shell, programs):
    """The link takes the place of Nova's own program."""
    [command] = commands((SNIPPETS / 'container.dockerfile').read_text())

    shell(command)

    assert_is_active(programs / 'nova-compute')


@pytest.fixture(scope='module')
def kolla(tmp_path_factory):
    """Return the Dockerfiles that Kolla's own build makes, by image."""
    root = tmp_path_factory.mktemp('kolla')
    overrides = SNIPPETS / 'kolla-template-overrides.j2'
    subprocess.run(
        [
            *(BIN / 'kolla-build', '--template-only', '--work-dir', root),
            *('--template-override', overrides),
            '^(nova-compute|nova-api|glance-api)$',
        ],
        capture_output=True,
        check=True,
    )
    return {
        path.parent.name: path.read_text()
        for path in root.rglob('Dockerfile')
        if path.parent.name in ('nova-compute', 'nova-api', 'glance-api')
    }


def test_kolla_compute(kolla, shell, programs):
    """The package is installed as Kolla does it; the command stays."""
    assert 'oslo-vmware nova-multistore' in kolla['nova-compute']
    found = [c for c in commands(kolla['nova-compute']) if 'ln ' in c]

    shell(found[-1], **{'/var/lib/kolla/venv/bin': programs})

    assert_is_active(programs / 'nova-compute')


@pytest.mark.parametrize(
    ('image', 'file', 'which'),
    [
        ('nova-api', 'nova/api-paste.ini', 'nova'),
        ('glance-api', 'glance/glance-api-paste.ini', 'glance'),
    ],
)
def test_kolla_api(kolla, shell, tmp_path, image, file, which):
    """The filter is put into the file that the image has."""
    [command] = commands(kolla[image])
    path = tmp_path / 'paste.ini'
    shutil.copy(ETC / file, path)

    shell(command, **{f'/etc/{file}': path})

    stock = (ETC / file).read_text()
    assert path.read_text() == paste.insert(stock, paste.FILTERS[which])


def overridden(overrides):
    """Return the same of what a deployment tool puts into a file."""
    return {
        (section, name): value.split()
        for section, options in overrides.items()
        for name, value in options.items()
    }


def test_openstack_ansible():
    """What it changes is what the command changes, in Nova's own file."""
    snippet = yaml.safe_load((SNIPPETS / 'osa-user-variables.yml').read_text())
    for which, name, file in (
        ('nova', 'nova_api_paste_ini_overrides', 'nova/api-paste.ini'),
        (
            'glance',
            'glance_glance_api_paste_ini_overrides',
            'glance/glance-api-paste.ini',
        ),
    ):
        stock = (ETC / file).read_text()
        wanted = pipelines(paste.insert(stock, paste.FILTERS[which]))
        changed = overridden(snippet[name])
        assert changed.items() <= wanted.items()
        assert changed.keys() - pipelines(stock).keys() == {
            ('filter:multistore', 'use')
        }
    [start] = snippet['nova_compute_init_overrides'].values()
    assert shlex.split(start['ExecStart']) == [
        '{{',
        'nova_bin',
        '}}/nova-multistore-run',
        'nova-compute',
    ]


LOAD = """
import gc
import sys
from paste import deploy
which, path, name, conf = sys.argv[1:]
if which == 'nova':
    from nova import config, objects
    config.parse_args(['nova-api', '--config-file', conf])
    objects.register_all()
else:
    import glance.db
    from glance.common import config
    config.parse_args(['--config-file', conf])
app = deploy.loadapp(f'config:{path}', name=name)
print(*(type(each).__module__ for each in gc.get_objects()))
"""


@pytest.mark.parametrize(
    ('which', 'file', 'name', 'module'),
    [
        (
            'nova',
            'nova/api-paste.ini',
            'openstack_compute_api_v21',
            'nova_multistore.api.store',
        ),
        (
            'glance',
            'glance/glance-api-paste.ini',
            'glance-api-keystone',
            'nova_multistore.glance.base_image',
        ),
    ],
)
def test_openstack_helm(tmp_path, which, file, name, module):
    """Nova and Glance load the pipelines, which are not their own."""
    snippet = yaml.safe_load(
        (SNIPPETS / f'osh-{which}-values.yaml').read_text()
    )
    parser = configparser.RawConfigParser(default_section='')
    parser.read(ETC / file)
    audit_map = tmp_path / 'audit_map.conf'
    audit_map.write_text('[DEFAULT]\ntarget_endpoint_type = None\n')
    parser['filter:audit'] = {
        'paste.filter_factory': 'keystonemiddleware.audit:filter_factory',
        'audit_map_file': audit_map,
    }
    # What the chart does not have, or has in another kind.
    if which == 'glance':
        del parser[f'composite:{name}']
    for missing in ('filter:request_log', 'filter:osprofiler'):
        if which == 'nova':
            del parser[missing]
    for section, options in snippet['conf']['paste'].items():
        if section not in parser:
            parser[section] = {}
        # The newest oslo.middleware has it as an application alone.
        for option, value in options.items():
            parser[section][option] = value.replace(' healthcheck', '')
    path, conf = tmp_path / 'paste.ini', tmp_path / 'api.conf'
    with path.open('w') as text:
        parser.write(text)
    conf.write_text(
        '[DEFAULT]\n'
        + ('enabled_backends = file:file\n' if which == 'glance' else '')
        + '[keystone_authtoken]\nauth_type = none\n'
        f'[database]\nconnection = sqlite:///{tmp_path}/db\n'
        f'[file]\nfilesystem_store_datadir = {tmp_path}\n'
    )

    done = subprocess.run(
        [sys.executable, '-c', LOAD, which, path, name, conf],
        env={
            **os.environ,
            'OS_NOVA_DISABLE_EVENTLET_PATCHING': '1',
            'PYTHONPATH': str(REPOSITORY),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert module in done.stdout.split()


def test_debian(tmp_path, shell, programs):
    """Debian's init script keeps its options, and starts the link."""
    home = tmp_path / 'opt'
    shutil.copytree(programs, home / 'bin', symlinks=True)
    (home / 'bin' / 'nova-compute').unlink()
    for directory in ('default', 'nova', 'init'):
        (tmp_path / directory).mkdir()
    (tmp_path / 'nova' / 'nova-compute.conf').touch()
    # The part of the script that is nova-compute's own.
    script = (
        'DESC="nova-compute"\nPROJECT_NAME=nova\nNAME=nova-compute\n'
        'DAEMON_ARGS="--config-file=/etc/nova/nova-compute.conf"\n'
        + TEMPLATE.read_text()
    )
    for path, other in {
        '/etc/': f'{tmp_path}/',
        '/usr/bin/${NAME}': f'{programs}/${{NAME}}',
        '. /lib/lsb/init-functions': ':',
        '/var/': f'{tmp_path}/var/',
        '`whoami` = "root"': '"" = "root"',
    }.items():
        script = script.replace(path, other)
    (tmp_path / 'init' / 'nova-compute').write_text(script)

    before = shell('sh init/nova-compute show-args').split()
    for command in (SNIPPETS / 'debian-install.sh').read_text().splitlines():
        if command.startswith(('ln ', 'echo ')):
            shell(
                command,
                **{'/opt/nova-multistore': home, '/etc/': f'{tmp_path}/'},
            )
    after = shell('sh init/nova-compute show-args').split()

    assert before[0] == str(programs / 'nova-compute')
    assert after == [str(home / 'bin' / 'nova-compute'), *before[1:]]
    assert f'--config-file={tmp_path}/nova/nova-compute.conf' in after
    assert f'--log-file={tmp_path}/var/log/nova/nova-compute.log' in after
    assert_is_active(home / 'bin' / 'nova-compute')


@pytest.mark.parametrize('name', ['systemd', 'rdo'])
def test_systemd(tmp_path, programs, name):
    """systemd takes the drop-ins; nothing of the unit's own is left."""
    unit = tmp_path / 'nova-compute.service'
    unit.write_text(
        '[Service]\nType=notify\nExecStart=/usr/bin/nova-compute\n'
    )
    drop_in = tmp_path / f'{unit.name}.d' / 'multistore.conf'
    drop_in.parent.mkdir()
    text = (SNIPPETS / f'{name}-multistore.conf').read_text()
    for directory in ('/usr/bin', '/usr/local/bin'):
        text = text.replace(f'{directory}/nova', f'{programs}/nova')
    drop_in.write_text(text)

    done = subprocess.run(
        ['systemd-analyze', 'verify', '--man=no', unit],
        env={**os.environ, 'SYSTEMD_UNIT_PATH': f'{tmp_path}:'},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 'nova-compute' not in done.stderr
    assert done.returncode == 0, done.stderr
    parser = configparser.RawConfigParser(strict=False)
    parser.read(drop_in)
    program, *arguments = shlex.split(parser['Service']['ExecStart'])
    assert program == str(programs / 'nova-multistore-run')
    assert arguments[0] == 'nova-compute'


DEVSTACK = """
function is_service_enabled { [[ " $ENABLED " == *" $1 "* ]]; }
function setup_develop { echo "setup_develop $*"; }
function iniset { echo "iniset $*"; }
function sudo { "$@"; }
source "$PLUGIN/settings"
source "$PLUGIN/plugin.sh" "$@"
"""


def test_devstack(tmp_path, programs):
    """The phases do what they are for, as often as they are run."""
    for file in ('nova/api-paste.ini', 'glance/glance-api-paste.ini'):
        shutil.copy(ETC / file, tmp_path)

    def run(*phase, enabled='n-cpu n-api g-api', **options):
        done = subprocess.run(
            ['bash', '-euc', DEVSTACK, 'devstack', *phase],
            env={
                'DEST': '/opt/stack',
                'ENABLED': enabled,
                'GLANCE_CONF_DIR': str(tmp_path),
                'KEYSTONE_SERVICE_URI': 'http://keystone',
                'NOVA_BIN_DIR': str(programs),
                'NOVA_CONF': 'nova.conf',
                'NOVA_CONF_DIR': str(tmp_path),
                'PATH': '/usr/bin:/bin',
                'PLUGIN': str(REPOSITORY / 'devstack'),
                'PYTHONPATH': str(REPOSITORY),
                'SERVICE_DOMAIN_NAME': 'Default',
                'SERVICE_PASSWORD': 'secret',
                'SERVICE_PROJECT_NAME': 'service',
                **options,
            },
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    [line] = run('stack', 'install')
    assert line == 'setup_develop /opt/stack/nova-multistore'
    assert run('stack', 'extra') == run('unstack') == []
    for _ in range(2):
        lines = run('stack', 'post-config', NOVA_MULTISTORE_COPY_TO='cheap')
        assert 'iniset nova.conf nova_multistore copy_to cheap' in lines
        assert not any(' glance store' in line for line in lines)
        assert_is_active(programs / 'nova-compute')
        for which, name in (
            ('nova', 'api-paste.ini'),
            ('glance', 'glance-api-paste.ini'),
        ):
            stock = (ETC / which / name).read_text()
            wanted = paste.insert(stock, paste.FILTERS[which])
            assert (tmp_path / name).read_text() == wanted
    run('clean')
    assert not (programs / 'nova-compute').exists()
