"""A short history of snapshots and faults, as the program runs many."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.chaos import faults


@pytest.mark.parametrize('patched', [True, False])
def test_history(patched):
    """Nothing is wrong; of stock Nova, that is not asked."""
    done = subprocess.run(
        [
            *(sys.executable, '-m', 'tests.chaos'),
            *('--seeds', '1', '--steps', '3'),
            *([] if patched else ['--stock']),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert 'seed 1: ' in done.stdout
    assert ' asked, ' in done.stdout
    assert done.returncode == 0 or not patched, done.stdout


def test_same_faults_each_time():
    """They depend on the seed and on what is asked, and on nothing else."""
    requests = [
        (method, f'/v2/images/{number:08}-0000-4000-8000-000000000000{end}')
        for number in range(50)
        for method, end in (('GET', ''), ('PUT', '/file'), ('PATCH', ''))
    ]

    def history(seed, order=requests):
        chaos = faults.Chaos('http://127.0.0.1:1', seed, 0.3)
        chaos.begin(1)
        return [repr(chaos._fault(*each, 'token')) for each in order]

    first = history(1)
    assert first == history(1)
    assert first != history(2)
    assert 30 < sum(fault != 'None' for fault in first) < 60
    # Another image in the same place has the same fault.
    others = [(m, path.replace('0000', 'abcd')) for m, path in requests]
    assert first == history(1, others)


def test_no_faults_at_rest():
    chaos = faults.Chaos('http://127.0.0.1:1', 1, 1.0)
    chaos.begin(1)
    chaos.rest()
    assert chaos._fault('GET', '/v2/images', 'token') is None


def test_expired_token():
    """It is refused from then on, and no other is."""
    chaos = faults.Chaos('http://127.0.0.1:1', 1, 0.0)
    chaos.expire('step7', 2)

    def asked(token):
        return [
            chaos._fault('GET', '/v2/images', token) is not None
            for _ in range(4)
        ]

    assert asked('demo:demo:member,step7') == [False, False, True, True]
    assert asked('demo:demo:member,step8') == [False] * 4
    assert chaos.has_expired('step7')
    assert not chaos.has_expired('step8')
    assert chaos.kinds == {'token expired': 2}
