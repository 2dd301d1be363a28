"""Which computes run with the package, asked over Nova's own message bus."""

from __future__ import annotations

import json

from nova import objects
from nova import version as nova_version
import pytest

import nova_multistore
from nova_multistore.cmd import computes
from nova_multistore.cmd import conductor
from nova_multistore.compute import patch

pytestmark = pytest.mark.eventlet


@pytest.fixture
def run(nova, monkeypatch, capsys):
    """Run the command; return its exit code, and its lines by their host."""
    # Nova's objects come from the databases of this process.
    monkeypatch.setattr(conductor, 'connect', lambda: None)

    def run():
        with nova.cell() as context:
            monkeypatch.setattr(
                computes.nova_context, 'get_admin_context', lambda: context
            )
            code = computes.main()
        lines = capsys.readouterr().out.splitlines()
        rows = [
            [cell.strip() for cell in line.strip('|').split('|')]
            for line in lines
            if line.startswith('|')
        ]
        summary = [line for line in lines if line[0] not in '|+']
        return code, {row[0]: row[1:] for row in rows[1:]}, summary

    yield run
    nova.conf(
        **{
            'glance.store': None,
            'nova_multistore.move_to': None,
            'nova_multistore.copy_to': [],
        }
    )


VERSIONS = [nova_multistore.__version__, nova_version.version_string()]


def test_active(run):
    """The running process says what it runs and what it orders."""
    code, rows, summary = run()

    assert list(rows.values()) == [[*VERSIONS, '', '', 'yes']]
    assert code == 0
    assert summary == ['1 with the package, 0 without, 0 did not answer']


def test_orders(run, nova):
    """Nothing of it is read from a log."""
    nova.conf(
        **{
            'glance.store': 'reliable',
            'nova_multistore.copy_to': ['cheap', 'fast'],
        }
    )

    _code, rows, _summary = run()

    [row] = rows.values()
    assert row[3] == 'store reliable; copy to cheap, fast'


def test_stock(run):
    """A compute without the package is one of them, and is told apart."""
    patch.remove()
    try:
        code, rows, summary = run()
    finally:
        patch.apply()

    assert list(rows.values()) == [['no', '', '', '', 'yes']]
    assert code == 1
    assert summary == [
        '0 with the package, 1 without, 0 did not answer',
        f'without: {", ".join(rows)}',
    ]


def test_silent(run, nova, monkeypatch):
    """It is said of which nothing is known."""
    monkeypatch.setattr(computes, 'TIMEOUT', 1)
    with nova.cell() as context:
        service = objects.Service(
            context, host='away', binary='nova-compute', topic='compute'
        )
        service.create()
    try:
        code, rows, summary = run()
    finally:
        with nova.cell() as context:
            objects.Service.get_by_id(context, service.id).destroy()

    assert rows.pop('away') == ['?', '', '', '', 'no, not within 1 s']
    assert [row[0] for row in rows.values()] == [VERSIONS[0]]
    assert code == 1
    assert summary == [
        '1 with the package, 0 without, 1 did not answer',
        'no answer: away',
    ]


def test_json(nova, monkeypatch, capsys):
    """A program gets all of it."""
    monkeypatch.setattr(
        computes,
        'find',
        lambda context: [
            computes.Compute('a', {'version': '1.0', 'store': 'fast'}),
            computes.Compute('b', problem='no'),
            computes.Compute('c'),
        ],
    )
    monkeypatch.setattr(conductor, 'connect', lambda: None)

    assert computes.main(as_json=True) == 1

    told = json.loads(capsys.readouterr().out)
    nothing = dict.fromkeys(('nova', 'ceph_store', 'move_to'))
    unknown = {'package': None, 'store': None, 'copy_to': [], **nothing}
    assert told == [
        {
            **unknown,
            'host': 'a',
            'answered': True,
            'package': '1.0',
            'store': 'fast',
            'problem': None,
        },
        {**unknown, 'host': 'b', 'answered': False, 'problem': 'no'},
        {**unknown, 'host': 'c', 'answered': True, 'problem': None},
    ]


def test_no_conductor(monkeypatch, capsys):
    """One clear line."""
    monkeypatch.setattr(conductor, 'connect', lambda: None)

    def fail(*_args, **_kwargs):
        raise OSError('no route')

    monkeypatch.setattr(objects.ServiceList, 'get_by_binary', fail)

    assert computes.main() == 255
    assert capsys.readouterr().err.splitlines() == [
        'nova-multistore-status: nova-conductor did not say which computes '
        'there are: no route'
    ]
