"""``nova-multistore-paste``: the filters in pipelines of any kind."""

from __future__ import annotations

import pathlib
import re
import sys

import pytest

from nova_multistore.cmd import paste
from tests.unit import pipelines

ETC = pathlib.Path(sys.prefix, 'etc')
NOVA = ETC / 'nova' / 'api-paste.ini'
GLANCE = ETC / 'glance' / 'glance-api-paste.ini'

#: As in deployments whose pipelines are not Nova's own.
AUDITED = """\
[composite:openstack_compute_api_v21]
use = call:nova.api.auth:pipeline_factory_v21
keystone = cors sizelimit authtoken audit keystonecontext app
[app:app]
paste.app_factory = nova.api.openstack.compute:APIRouterV21.factory
"""
#: As in Glance before 2023.2, and with a step a line.
SEVERAL = """\
[pipeline:glance-api-keystone]
pipeline =
    cors   healthcheck
    # authtoken whose
    authtoken
    whose
    rootapp

[pipeline:glance-api]
pipeline : cors anybody  rootapp
[filter:whose]
paste.filter_factory = glance.api.middleware.context:ContextMiddleware.factory
[filter:anybody]
paste.filter_factory = glance.api.middleware.context:Unauthenticated.factory"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command; return its exit code and its two outputs."""

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['nova-multistore-paste', *arguments])
        return paste.main(), *capsys.readouterr()

    return run


def assert_inserted(before, after, beside, behind, name='multistore'):
    """All pipelines with a step have the filter there, and all else is so.

    :param beside: the names of the step
    :returns: how many they are
    """
    old, new = pipelines(before), pipelines(after)
    assert (f'filter:{name}', 'use') in new
    count = 0
    for where, words in old.items():
        wanted = list(words)
        for step in beside:
            if step in words:
                count += 1
                wanted.insert(words.index(step) + behind, name)
        assert new[where] == wanted
    return count


def test_nova():
    """Right before the API itself, in each of its pipelines."""
    stock = NOVA.read_text()

    after = paste.insert(stock, paste.FILTERS['nova'])

    apps = ['osapi_compute_app_v21']
    ends = re.findall('[ ]osapi_compute_app_v21$', stock, re.MULTILINE)
    assert len(ends) >= 2
    assert assert_inserted(stock, after, apps, behind=False) == len(ends)


def test_glance():
    """In every flavor, behind the context."""
    stock = GLANCE.read_text()

    after = paste.insert(stock, paste.FILTERS['glance'])

    contexts = ['context', 'unauthenticated-context']
    assert assert_inserted(stock, after, contexts, behind=True) >= 6


def test_no_pipeline():
    """What has a step for another purpose stays as it is."""
    urls = '[composite:urls]\nuse = egg:Paste#urlmap\n/v2.1: app\n'

    after = paste.insert(AUDITED + urls, paste.FILTERS['nova'])

    assert urls in after
    assert assert_inserted(AUDITED, after, ['app'], behind=False) == 1


def test_other_pipelines():
    """What the steps are called, and where the lines break, is no matter."""
    after = paste.insert(AUDITED, paste.FILTERS['nova'])
    assert assert_inserted(AUDITED, after, ['app'], behind=False) == 1

    after = paste.insert(SEVERAL, paste.FILTERS['glance'])
    assert (
        assert_inserted(SEVERAL, after, ['whose', 'anybody'], behind=True) == 2
    )


@pytest.mark.parametrize(
    ('text', 'which'),
    [(AUDITED, 'nova'), (SEVERAL, 'glance')],
    ids=['nova', 'glance'],
)
def test_again(text, which):
    """It changes nothing; and switched off, the filter is put in again."""
    once = paste.insert(text, paste.FILTERS[which])
    head, _, section = once.rpartition('[filter:multistore]')
    renamed = f'{head}[filter:own]{section}'.replace(' multistore', ' own')

    assert paste.insert(once, paste.FILTERS[which]) == once
    off = head.replace(' multistore', '') + '[filter:multistore]' + section
    assert pipelines(paste.insert(off, paste.FILTERS[which])) == pipelines(
        once
    )
    assert paste.insert(renamed, paste.FILTERS[which]) == renamed


@pytest.mark.parametrize(
    ('text', 'right', 'wrong'),
    [
        (GLANCE.read_text(), ' context multistore', ' multistore context'),
        (
            GLANCE.read_text(),
            'authtoken context multistore',
            'multistore authtoken context',
        ),
        (SEVERAL, '    whose multistore\n', '    multistore\n    whose\n'),
        (SEVERAL, '    whose multistore\n', '    multistore whose\n'),
        (SEVERAL, ': cors anybody multistore', ':multistore cors anybody'),
        # It is there twice, and only once in the right place.
        (
            SEVERAL,
            'authtoken\n    whose multistore\n',
            'multistore authtoken\n    whose multistore\n',
        ),
        (SEVERAL, 'healthcheck\n', 'healthcheck multistore\n'),
    ],
    ids=range(7),
)
def test_wrong_place(text, right, wrong):
    """Before Glance's context, the filter is put behind it."""
    once = paste.insert(text, paste.FILTERS['glance'])
    misplaced = once.replace(right, wrong)
    assert misplaced != once

    mended = paste.insert(misplaced, paste.FILTERS['glance'])

    assert pipelines(mended) == pipelines(once)
    assert mended.count('\n') == once.count('\n')


def test_place_that_is_right(run, tmp_path):
    """Others may stand between; and for Nova, any place is right."""
    once = paste.insert(SEVERAL, paste.FILTERS['glance'])
    later = once.replace('anybody multistore', 'anybody other multistore')
    assert paste.insert(later, paste.FILTERS['glance']) == later

    once = paste.insert(AUDITED, paste.FILTERS['nova'])
    early = once.replace(' multistore', '').replace('cors', 'multistore cors')
    assert paste.insert(early, paste.FILTERS['nova']) == early


def test_wrong_place_is_checked(run, tmp_path):
    path = tmp_path / 'glance-api-paste.ini'
    once = paste.insert(SEVERAL, paste.FILTERS['glance'])
    path.write_text(once.replace('whose multistore', 'multistore whose'))
    before = path.read_text()

    code, shown, _ = run('--glance', str(path), '--check')

    assert (code, path.read_text()) == (1, before)
    assert '-    multistore whose' in shown
    assert '+    whose multistore' in shown


def test_command(run, tmp_path):
    """It shows what it changes, and checks without a change."""
    path = tmp_path / 'api-paste.ini'
    path.write_text(AUDITED)

    code, shown, _ = run('--nova', str(path), '--check')
    assert (code, path.read_text()) == (1, AUDITED)
    assert f'+{AUDITED.splitlines()[2][:-3]}multistore app\n' in shown

    assert run('--nova', str(path)) == (0, shown, '')
    assert path.read_text() == paste.insert(AUDITED, paste.FILTERS['nova'])
    assert run('--nova', str(path)) == (0, '', '')
    assert run('--nova', str(path), '--check') == (0, '', '')


@pytest.mark.parametrize('end', ['\n', '\r\n'])
def test_ends_of_lines(run, tmp_path, end):
    """They stay, and new lines have the same."""
    path = tmp_path / 'api-paste.ini'
    path.write_bytes(AUDITED.replace('\n', end).encode())

    assert run('--nova', str(path))[0] == 0

    wanted = paste.insert(AUDITED, paste.FILTERS['nova'])
    assert path.read_bytes() == wanted.replace('\n', end).encode()
    assert run('--nova', str(path), '--check') == (0, '', '')


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (None, 'No such file'),
        (AUDITED, 'no pipeline has a step of glance.api.middleware.context'),
        ('nothing', 'no section headers'),
        (
            SEVERAL + '\n[filter:multistore]\nuse = egg:other#one\n',
            'it has another filter of the name multistore',
        ),
    ],
)
def test_errors(run, tmp_path, text, words):
    """They name the file, and nothing is written."""
    path = tmp_path / 'glance-api-paste.ini'
    if text is not None:
        path.write_text(text)

    code, shown, said = run('--glance', str(path))

    assert (code, shown) == (2, '')
    assert said.startswith(f'nova-multistore-paste: {path}: ')
    assert words in said
    assert text is None or path.read_text() == text
