"""What `make dist` has built: its contents, and that it can be installed."""

from __future__ import annotations

from email import message_from_bytes
import os
from pathlib import Path
import re
import subprocess
import sys
import tarfile
import zipfile

import pytest
import trove_classifiers

REPOSITORY = Path(__file__).parents[2]
NEWEST = REPOSITORY / 'tests' / 'constraints' / 'release-2026.2.txt'
#: What setuptools adds to an sdist.
GENERATED = 'PKG-INFO', 'nova_multistore.egg-info'


def run(*command, **options):
    """Run a command and return what it printed.

    :raises AssertionError: it fails
    """
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope='module')
def sdist():
    [path] = (REPOSITORY / 'dist').glob('*.tar.gz')
    return path


@pytest.fixture(scope='module')
def wheel():
    [path] = (REPOSITORY / 'dist').glob('*.whl')
    return path


@pytest.fixture(scope='module')
def tracked():
    """Return the names of all files of the last commit."""
    names = run('git', 'ls-tree', '-r', '--name-only', 'HEAD', cwd=REPOSITORY)
    return set(names.splitlines())


@pytest.fixture
def install(tmp_path):
    """Install requirements in a fresh virtualenv, and return its programs."""

    def install(*requirements):
        run(sys.executable, '-m', 'venv', tmp_path / 'venv')
        programs = tmp_path / 'venv' / 'bin'
        environment = {**os.environ, 'PYTHONPATH': ''}
        run(
            *(programs / 'python', '-m', 'pip', 'install', '-q'),
            *('--no-compile', *requirements),
            env=environment,
            cwd=tmp_path,
        )
        run(programs / 'python', '-m', 'pip', 'check')
        return lambda name, *arguments: run(
            programs / name, *arguments, env=environment, cwd=tmp_path
        )

    return install


def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [name] = (n for n in archive.namelist() if n.endswith('/METADATA'))
        return message_from_bytes(archive.read(name))


def test_sdist_is_the_commit(sdist, tracked):
    """README's `make demo` and `make test` find all that they need."""
    with tarfile.open(sdist) as archive:
        members = [m for m in archive.getmembers() if not m.isdir()]
    names = {member.name.partition('/')[2] for member in members}
    added = {n for n in names if n.partition('/')[0] in GENERATED}
    assert tracked == names - added
    programs = {m.name.partition('/')[2] for m in members if m.mode & 0o111}
    assert {'.ci/packages', '.ci/run'} <= programs


def test_wheel_is_the_package(wheel, tracked):
    """And nothing else, such as the tests."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {n for n in tracked if n.startswith('nova_multistore/')}
    assert package == {n for n in names if '.dist-info/' not in n}


def test_classifiers(wheel):
    """All of them are known, and none is deprecated."""
    given = set(metadata(wheel).get_all('Classifier'))
    assert given <= trove_classifiers.classifiers
    assert not given & trove_classifiers.deprecated_classifiers.keys()


def test_pythons(wheel):
    """Each Python that tox takes has a classifier, and no other one."""
    text = (REPOSITORY / 'tox.ini').read_text()
    tested = {*re.findall(r'\bpy3(\d+)\b', text)}
    tested |= {*re.findall(r'\bpython3\.(\d+)\b', text)}
    prefix = 'Programming Language :: Python :: 3.'
    minors = [
        given.removeprefix(prefix)
        for given in metadata(wheel).get_all('Classifier')
        if given.startswith(prefix)
    ]
    assert tested == {*minors}
    assert metadata(wheel)['Requires-Python'] == f'>=3.{minors[0]}'


def test_debian_version(wheel):
    """The Debian packages are the same version."""
    changelog = (REPOSITORY / 'debian' / 'changelog').read_text()
    version = metadata(wheel)['Version']
    assert changelog.startswith(f'nova-multistore ({version}) ')


def test_same_elsewhere(sdist, wheel, tmp_path):
    """Another directory, time zone and umask give the same files."""
    clone = tmp_path / 'clone'
    run('git', 'clone', '-q', REPOSITORY, clone)
    (clone / 'nova_multistore' / 'stray.py').touch()
    run(
        clone / '.ci' / 'dist',
        sys.executable,
        env={**os.environ, 'TZ': 'Pacific/Apia', 'LC_ALL': 'C'},
        umask=0o077,
    )
    for path in (sdist, wheel):
        built = clone / 'dist' / path.name
        assert path.read_bytes() == built.read_bytes()


def test_install_alone(wheel, install):
    """It comes without Nova, as that is there already."""
    program = install(wheel)
    names = program('pip', 'list', '--format', 'freeze')
    assert '\nnova-multistore==' in names
    assert '\nnova==' not in names
    assert program('nova-multistore-run', '--help').startswith('usage: ')
    assert 'usage: ' in program('nova-multistore-paste', '--help')


def test_install_commands(wheel, install):
    """The extra has all that they need, OpenStackClient first of all."""
    program = install(f'{wheel}[osc]')
    shown = program('openstack', 'multistore', 'store', 'list', '--help')
    assert shown.startswith('usage: openstack multistore store list')


def test_install_beside_nova(wheel, install):
    """nova-compute of the newest release is found and starts."""
    program = install(wheel, 'nova', '-c', NEWEST)
    shown = program('nova-multistore-run', 'nova-compute', '--version')
    assert shown.strip().splitlines()[-1].startswith('34.')
    assert 'upgrade' in program('nova-multistore-status', '--help')


def test_url(tmp_path):
    """The page of the repository is one of the metadata."""
    clone = tmp_path / 'clone'
    run('git', 'clone', '-q', REPOSITORY, clone)
    url = 'https://git.example.com/nova-multistore'
    run(
        clone / '.ci' / 'dist',
        sys.executable,
        env={**os.environ, 'URL': url},
    )
    [wheel] = (clone / 'dist').glob('*.whl')
    assert metadata(wheel).get_all('Project-URL') == [
        f'Source, {url}',
        f'Issues, {url}/issues',
    ]
