"""What ``nova-multistore-status explain`` prints on a compute host."""

from __future__ import annotations

import re
import time
import types

import pytest

from nova_multistore import lookup
from nova_multistore.cmd import explain
from nova_multistore.compute import ceph
from tests.unit import stub

SERVER = '33333333-3333-4333-8333-333333333333'


@pytest.fixture
def here(monkeypatch):
    """The servers of this host, as nova-conductor has them."""
    found = []

    def get_by_host(context, host):
        if isinstance(found[0], Exception):
            raise found[0]
        return found

    monkeypatch.setattr(explain.conductor, 'connect', lambda: None)
    monkeypatch.setattr(
        explain.objects,
        'InstanceList',
        types.SimpleNamespace(get_by_host=get_by_host),
        raising=False,
    )
    return found


@pytest.fixture
def run(here, conf, glance, monkeypatch, context, capsys):
    """Explain a server, asking Glance as a member."""
    conf.config(host='compute-1')
    lookup.forget()
    monkeypatch.setattr(explain.lookup, 'service_context', lambda: context)

    def run(name, *servers):
        here[:] = servers
        code = explain.main(name)
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err

    return run


def server(image_ref, name='web-1', uuid=SERVER):
    return types.SimpleNamespace(
        uuid=uuid, display_name=name, image_ref=image_ref
    )


@pytest.mark.parametrize('name', ['web-1', SERVER])
def test_store_of_the_base_image(run, base, name):
    """That of nova.conf is for what the user keeps."""
    code, lines, _err = run(name, server(base['id']))

    assert code == 0
    assert lines == [
        f'server: {SERVER} (web-1)',
        'snapshot, backup:',
        '    goes to: store fast',
        '    rule:    base-image',
        '    reason:  the base image is in it',
        '    copies:  none',
        'shelve:',
        '    goes to: store fast',
        '    rule:    base-image',
        '    reason:  the base image is in it',
        '    copies:  none',
    ]


def test_nova_conf(run, base, conf):
    """It is for what the user keeps."""
    conf.config(group='glance', store='cheap')
    conf.config(group='nova_multistore', copy_to=['fast'])

    _code, lines, _err = run('web-1', server(base['id']))

    assert lines[2:4] == ['    goes to: store cheap', '    rule:    config']
    assert lines[5] == '    copies:  fast'
    assert lines[7:9] == ['    goes to: store fast', '    rule:    base-image']
    assert lines[10] == '    copies:  none'


def test_own_ceph(run, glance, conf, monkeypatch):
    """The base image is in no store: the Ceph of the disks is known here."""
    conf.config(group='libvirt', images_type='rbd')
    monkeypatch.setattr(ceph, '_fsid', lambda: 'one')
    glance.answers['GET', '/v2/info/stores/detail'] = stub.Answer(
        200,
        {
            'stores': [
                {'id': 'cheap', 'default': 'true', 'type': 'file'},
                {
                    'id': 'fast',
                    'type': 'rbd',
                    'properties': {'fsid': 'one', 'pool': 'images'},
                },
            ]
        },
    )

    _code, lines, _err = run('web-1', server(SERVER))

    assert lines[2:4] == [
        '    goes to: store fast (Ceph pool images)',
        '    rule:    ceph-store',
    ]


def test_store_that_is_refused(run, base, conf):
    """Exit code 2, as for the check; the option is named."""
    conf.config(group='glance', store='nosuch')

    code, lines, _err = run('web-1', server(base['id']))

    assert code == 2
    assert lines[2] == (
        "    refused: [glance] store: store 'nosuch' is not one of Glance's "
        'stores; the stores that can be written are cheap, fast'
    )


@pytest.mark.parametrize(
    ('servers', 'words'),
    [
        (
            [server('x', name='web-2')],
            "no server 'web-1' is on host compute-1",
        ),
        ([server('x', uuid='a'), server('x', uuid='b')], 'is here: a, b'),
        ([RuntimeError('no queue')], 'did not say which.*: no queue'),
    ],
)
def test_server_that_is_not_clear(run, servers, words):
    """One line that says what to do."""
    code, lines, err = run('web-1', *servers)

    assert code == 255
    assert lines == []
    [line] = err.splitlines()
    assert line.startswith('nova-multistore-status: ')
    assert re.search(words, line)


def test_conductor_is_silent(run, here, monkeypatch):
    """It is not waited for for ever."""
    monkeypatch.setattr(explain.conductor, 'TIMEOUT', 0.05)
    monkeypatch.setattr(
        explain.objects.InstanceList,
        'get_by_host',
        lambda context, host: time.sleep(0.5),
    )

    code, _lines, err = run('web-1', server('x'))

    assert code == 255
    assert 'no answer came in time' in err
