"""The commands, as an operator calls them."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

from tests.unit import stub

REPOSITORY = pathlib.Path(__file__).parents[2]
BIN = pathlib.Path(sys.executable).parent
MODES = {'threading': '1', 'eventlet': '0'}


def run(program, *args, cwd=None, **environ):
    """Run a command to its end."""
    return subprocess.run(
        [BIN / program, *args],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, **environ},
        check=False,
    )


@pytest.mark.parametrize('mode', MODES)
class TestRun:
    """``nova-multistore-run``, in both of Nova's concurrency modes."""

    def test_version(self, mode):
        """It is Nova's own, from Nova's own option."""
        done = run(
            'nova-multistore-run',
            'nova-compute',
            '--version',
            OS_NOVA_DISABLE_EVENTLET_PATCHING=MODES[mode],
        )

        assert done.returncode == 0
        assert importlib.metadata.version('nova') == done.stdout.strip()

    @pytest.mark.parametrize(
        'args', [['--nosuch'], ['--config-file', 'nosuch.conf']]
    )
    def test_exit_code(self, mode, args):
        """It is Nova's own, and so is what is printed."""
        environ = {'OS_NOVA_DISABLE_EVENTLET_PATCHING': MODES[mode]}

        stock = run('nova-compute', *args, **environ)
        mine = run('nova-multistore-run', 'nova-compute', *args, **environ)

        assert stock.returncode != 0
        assert stock.returncode == mine.returncode
        assert stock.stdout == mine.stdout
        assert stock.stderr.splitlines()[-1] == mine.stderr.splitlines()[-1]

    def test_signal(self, mode, tmp_path):
        """It reaches Nova as if Nova had been started itself."""
        (tmp_path / 'nova.conf').write_text(
            '[DEFAULT]\ntransport_url = fake:\nlog_file = nova.log\n'
            f'state_path = {tmp_path}\n'
        )
        log = tmp_path / 'nova.log'

        def code(*command):
            log.unlink(missing_ok=True)
            with subprocess.Popen(
                [BIN / command[0], *command[1:], '--config-file', 'nova.conf'],
                cwd=tmp_path,
                env={
                    **os.environ,
                    'OS_NOVA_DISABLE_EVENTLET_PATCHING': MODES[mode],
                },
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as process:
                try:
                    while not (log.exists() and log.stat().st_size):
                        assert process.poll() is None
                        time.sleep(0.1)
                    time.sleep(1)
                    process.terminate()
                    return process.wait(30)
                finally:
                    process.kill()

        assert code('nova-compute') == code(
            'nova-multistore-run', 'nova-compute'
        )


WITNESS = """
import os
import pathlib
import syslog
import types
import sys

def say(what, name):
    with open(os.environ['WITNESS'], 'a') as file:
        print(what, name, file=file)

syslog.openlog = lambda ident, *args: say('syslog', ident)
syslog.syslog = lambda *args: None
journal = types.ModuleType('systemd.journal')
journal.send = lambda *args, **fields: say(
    'journal', fields['SYSLOG_IDENTIFIER']
)
sys.modules['systemd'] = systemd = types.ModuleType('systemd')
sys.modules['systemd.journal'] = systemd.journal = journal
"""


@pytest.mark.parametrize('mode', MODES)
def test_names(mode, tmp_path):
    """Log file, process, syslog and journal know it as nova-compute."""
    (tmp_path / 'sitecustomize.py').write_text(WITNESS)
    (tmp_path / 'nova-compute').symlink_to(BIN / 'nova-multistore-run')

    def names(number, *command):
        logs = tmp_path / f'logs{number}'
        logs.mkdir()
        witness = tmp_path / f'witness{number}'
        (tmp_path / 'nova.conf').write_text(
            f'[DEFAULT]\ntransport_url = fake:\nlog_dir = {logs}\n'
            f'use_syslog = True\nuse_journal = True\n'
            f'state_path = {tmp_path}\n'
        )
        with subprocess.Popen(
            [*command, '--config-file', tmp_path / 'nova.conf'],
            env={
                **os.environ,
                'OS_NOVA_DISABLE_EVENTLET_PATCHING': MODES[mode],
                'PYTHONPATH': f'{tmp_path}{os.pathsep}{REPOSITORY}',
                'WITNESS': str(witness),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                while not (
                    witness.exists() and 'journal' in witness.read_text()
                ):
                    assert process.poll() is None
                    time.sleep(0.1)
                comm = pathlib.Path(f'/proc/{process.pid}/comm').read_text()
            finally:
                process.kill()
        return (
            [log.name for log in logs.iterdir()],
            set(witness.read_text().splitlines()),
            comm,
        )

    stock = names(0, BIN / 'nova-compute')
    by_runner = names(1, BIN / 'nova-multistore-run', 'nova-compute')
    by_link = names(2, tmp_path / 'nova-compute')

    assert stock == (
        ['nova-compute.log'],
        {'syslog nova-compute', 'journal nova-compute'},
        'nova-compute\n',
    )
    assert by_runner == stock
    assert by_link == stock


def test_help():
    """It says what to call."""
    done = run('nova-multistore-run', '--help')

    assert done.returncode == 0
    assert done.stdout.startswith('usage: nova-multistore-run nova-compute')


@pytest.mark.parametrize(
    ('args', 'code', 'words'),
    [
        ([], 2, 'usage: nova-multistore-run nova-compute'),
        (['nova-nosuch'], 2, "unknown program 'nova-nosuch'"),
    ],
)
def test_usage(args, code, words):
    """Anything else is an error that names what is valid."""
    done = run('nova-multistore-run', *args)

    assert code == done.returncode
    assert words in done.stderr
    assert 'nova-compute' in done.stderr


def python(code):
    """Run Python code to its end."""
    return subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        check=False,
    )


def test_nova_is_missing():
    """One clear line."""
    done = python("""
import importlib.metadata
import sys

def distribution(name):
    raise importlib.metadata.PackageNotFoundError(name)

importlib.metadata.distribution = distribution
from nova_multistore.cmd import run
sys.argv = ['nova-compute']
sys.exit(run.main())
""")

    assert done.returncode == 1
    assert done.stderr.startswith('nova-multistore-run: Nova is not installed')
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ('breakage', 'words'),
    [
        (
            'import nova.version\n'
            "nova.version.version_string = lambda: '26.3.0'",
            'Nova 26.3.0 is not supported: it is older than 27',
        ),
        (
            "sys.modules['nova_multistore.compute.upload'] = None",
            'Nova is not as expected: import of',
        ),
    ],
)
def test_nova_is_unsupported(breakage, words):
    """One clear line, the last one."""
    done = python(f"""
import sys
{breakage}
from nova_multistore.cmd import run
sys.argv = ['nova-compute']
sys.exit(run.main())
""")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        f'nova-multistore-run: {words}'
    )


BROKEN_BACKEND = """
import importlib.metadata
import sys

load = importlib.metadata.EntryPoint.load

def loaded(self):
    found = load(self)
    # There is no conductor to be waited for.
    from nova.conductor import api
    api.API.wait_until_ready = lambda *args, **kwargs: None
    from nova.virt import fake
    start = fake.FakeDriver.__init__

    def late(self, *args, **kwargs):
        from nova.virt.libvirt import imagebackend
        imagebackend.Rbd._get_parent_pool = lambda self, context: None
        start(self, *args, **kwargs)

    fake.FakeDriver.__init__ = late
    return found

importlib.metadata.EntryPoint.load = loaded
from nova_multistore.cmd import run
sys.argv = ['nova-compute', *sys.argv[1:]]
sys.exit(run.main())
"""


@pytest.fixture
def placement():
    """What Nova asks for its version before it loads a driver."""
    version = {
        'id': 'v1.0',
        'min_version': '1.0',
        'max_version': '1.39',
        'status': 'CURRENT',
        'links': [{'rel': 'self', 'href': ''}],
    }
    with stub.Glance() as server:
        answer = stub.Answer(200, {'versions': [version]})
        server.answers['GET', '/'] = answer
        server.answers['GET', ''] = answer
        yield server.url


@pytest.mark.parametrize('mode', MODES)
def test_image_backend_is_unsupported(mode, tmp_path, placement):
    """It shows once Nova has loaded its driver, and stops nova-compute."""
    log = tmp_path / 'nova-compute.log'
    conf = tmp_path / 'nova.conf'
    conf.write_text(
        '[DEFAULT]\ncompute_driver = fake.FakeDriver\n'
        f'transport_url = fake:/\nstate_path = {tmp_path}\n'
        f'log_file = {log}\n'
        f'[oslo_concurrency]\nlock_path = {tmp_path}\n'
        f'[placement]\nauth_type = none\nendpoint = {placement}\n'
    )

    done = subprocess.run(
        [sys.executable, '-c', BROKEN_BACKEND, '--config-file', conf],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, 'OS_NOVA_DISABLE_EVENTLET_PATCHING': MODES[mode]},
    )

    assert done.returncode == 1, done.stderr
    [line] = [
        line
        for line in done.stderr.splitlines()
        if line.startswith('nova-multistore-run: Nova ')
    ]
    assert '_get_parent_pool' in line
    assert ' CRITICAL ' in log.read_text()


def test_nothing_of_nova_is_imported_too_early():
    """Nova monkey-patches first: only the standard library may come before."""
    done = python("""
import sys
import sysconfig
before = set(sys.modules)
import nova_multistore.cmd.run
library = sysconfig.get_path('stdlib')
files = {
    name.partition('.')[0]: getattr(sys.modules[name], '__file__', None)
    for name in set(sys.modules) - before
}
print(*(name for name, file in files.items() if file and library not in file))
""")

    assert done.stdout.split() == ['nova_multistore']


class TestStatus:
    """``nova-multistore-status upgrade check``."""

    def test_no_such_file(self):
        """It is said in one line."""
        done = run(
            *('nova-multistore-status', '--config-file', '/nonexistent'),
            *('upgrade', 'check'),
        )

        assert done.returncode == 255
        assert 'Traceback' not in done.stderr
        line = done.stderr.splitlines()[-1]
        assert line.startswith('nova-multistore-status: ')
        assert '/nonexistent' in line

    def test_binary_file(self, tmp_path):
        path = tmp_path / 'nova.conf'
        path.write_bytes(b'\x7fELF\xff')

        done = run(
            *('nova-multistore-status', '--config-file', path),
            *('upgrade', 'check'),
        )

        assert done.returncode == 255
        assert 'Traceback' not in done.stderr
        assert 'a configuration file is no text file' in done.stderr

    @pytest.fixture
    def check(self, tmp_path):
        """Run it with a ``nova.conf`` for a server in Glance's place."""
        with stub.Glance() as glance:

            def check(text='', endpoint=None):
                path = tmp_path / 'nova.conf'
                path.write_text(
                    '[service_user]\nauth_type = admin_token\n'
                    f'token = x\nendpoint = {endpoint or glance.url}\n'
                    f'[glance]\nendpoint_override = '
                    f'{endpoint or glance.url}\n{text}'
                )
                done = run(
                    'nova-multistore-status',
                    '--config-file',
                    str(path),
                    'upgrade',
                    'check',
                )
                # Each check says what it found.
                assert 'Details: None' not in done.stdout
                return done.returncode, ' '.join(
                    line.strip('|+-').strip()
                    for line in done.stdout.splitlines()
                )

            self.glance = glance
            yield check

    def test_all_is_well(self, check):
        """Exit code 0."""
        code, text = check('store = fast')

        assert code == 0, text
        assert 'Stores that can be written to: cheap, fast.' in ' '.join(
            text.split()
        )
        assert text.count('Result: Success') == 11

    @pytest.mark.parametrize('store', ['nosuch', 'web'])
    def test_bad_store(self, check, store):
        """Exit code 2, with the valid stores."""
        code, text = check(f'store = {store}')

        assert code == 2, text
        assert text.count('Result: Failure') == 1
        assert 'cheap, fast' in ' '.join(text.split())

    def test_one_store(self, check):
        """Exit code 1."""
        self.glance.answers['GET', '/v2/info/stores'] = stub.Answer(404)

        code, text = check()

        assert code == 1, text
        assert text.count('Result: Warning') == 1

    @pytest.mark.parametrize('auth_type', ['nosuch', 'v3password'])
    def test_credentials_that_are_wrong(self, check, auth_type, tmp_path):
        """Exit code 1: the rest is checked all the same."""
        code, text = check(f'[service_user]\nauth_type = {auth_type}\n')

        assert code == 1, text
        assert text.count('Result: Warning') == 2
        assert text.count('Result: Success') == 9

    def test_no_arguments(self):
        """They are listed."""
        done = run('nova-multistore-status')

        assert done.returncode == 0
        assert '{upgrade,explain,computes}' in done.stdout

    def test_glance_is_away(self, check):
        """Exit code 1: it cannot be told."""
        code, text = check('store = fast', endpoint='http://127.0.0.1:9')

        assert code == 1, text
        assert text.count('Result: Warning') == 3

    def test_another_store_than_that_of_the_disks(self, check):
        """Exit code 1, for what it costs."""
        self.glance.answers['GET', '/v2/info/stores/detail'] = stub.Answer(
            200,
            {
                'stores': [
                    {'id': 'cheap', 'default': 'true', 'type': 'rbd'},
                    {'id': 'fast', 'type': 'file'},
                ]
            },
        )

        code, text = check(
            'store = fast\n[libvirt]\nimages_type = rbd\n'
            'images_rbd_glance_store_name = cheap\n'
        )

        assert code == 1, text
        assert text.count('Result: Warning') == 2
        assert "'fast' is elsewhere" in ' '.join(text.split())
        assert 'copy_image' in text

    @pytest.mark.parametrize('store', ['', 'store = cheap\n'])
    def test_copies_for_members(self, check, store):
        """Exit code 1: a member's server ends in ERROR."""
        options = (
            f'{store}[libvirt]\nimages_type = rbd\n'
            'images_rbd_glance_store_name = cheap\n'
        )

        code, text = check(options)

        words = 'A member cannot start a server from an image that is not in'
        assert code == 1, text
        assert words in ' '.join(text.split())

        # All images are there, or all may be copied there.
        alone = {'stores': [{'id': 'cheap', 'default': 'true'}]}
        self.glance.answers['GET', '/v2/info/stores'] = stub.Answer(200, alone)
        assert 'A member cannot' not in check(options)[1]

    def test_copies_for_members_are_not_known(self, check):
        """Exit code 1: a Glance that is away does not make it good."""
        _code, text = check(
            '[libvirt]\nimages_type = rbd\n'
            'images_rbd_glance_store_name = cheap\n',
            endpoint='http://127.0.0.1:9',
        )

        [line] = re.findall(r'Check: Policy copy_image\s+Result: (\w+)', text)
        assert line == 'Warning'

    def test_glance_does_not_tell_where_its_stores_are(self, check):
        """Exit code 1: Nova finds a pool, or does not."""
        code, text = check(
            'store = cheap\n[libvirt]\nimages_type = rbd\n'
            'images_rbd_glance_store_name = cheap\n'
        )

        assert code == 1, text
        assert text.count('Result: Warning') == 3
        assert 'Nova itself finds a pool' in ' '.join(text.split())
