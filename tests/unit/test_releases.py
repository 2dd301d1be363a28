"""The releases that are tested: the same ones wherever they are listed."""

from __future__ import annotations

import configparser
import csv
from pathlib import Path
import re
from xml.etree import ElementTree

import yaml

from nova_multistore.compute import patch
from tests import releases

ROOT = releases.TESTS.parent
CONSTRAINTS = ROOT / 'tests' / 'constraints'
RELEASES = [
    path.stem.removeprefix('release-')
    for path in sorted(CONSTRAINTS.glob('release-*.txt'))
]


def tox():
    """Return the section of the releases, and their names there."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / 'tox.ini')
    (name,) = (
        n for n in parser.sections() if n.startswith('testenv:release-')
    )
    return parser[name], re.findall(r'\d{4}\.\d', name)


def test_each_has_constraints():
    """And pins what the table is about."""
    for release in RELEASES:
        text = (CONSTRAINTS / f'release-{release}.txt').read_text()
        year, half = release.split('.')
        nova = 27 + (int(year) - 2023) * 2 + int(half) - 1
        assert f'\nnova=={nova}.' in text
        assert f'\nglance=={nova - 1}.' in text


def test_newest():
    """A Nova that is newer than any that was tested is logged."""
    pinned = [
        int(re.findall(r'^nova==(\d+)', path.read_text(), re.M)[0])
        for path in CONSTRAINTS.glob('release-*.txt')
    ]

    assert (min(pinned), max(pinned)) == (patch.OLDEST, patch.NEWEST)


def test_none_is_left_out():
    section, names = tox()
    workflow = yaml.safe_load(
        (ROOT / '.github' / 'workflows' / 'tests.yaml').read_text()
    )
    matrix = workflow['jobs']['release']['strategy']['matrix']['include']
    pythons = {}
    for line in section['base_python'].split('\n'):
        releases_of_it, _, python = line.rpartition(': ')
        for release in filter(None, releases_of_it.split(',')):
            pythons[release] = python.removeprefix('python')

    assert names == RELEASES
    assert [row['release'] for row in matrix] == RELEASES
    assert {row['release']: row['python'] for row in matrix[:-1]} == pythons


def test_table_has_them():
    """In the documentation; and what failed there is said why."""
    path = ROOT / 'doc' / 'source' / 'releases.csv'
    with path.open() as lines:
        rows = list(csv.DictReader(lines))

    assert sorted({row['Release'] for row in rows}) == RELEASES
    assert set(rows[0]) == set(releases.COLUMNS)


def test_names_of_functional_tests():
    """A file's report is named by the file alone."""
    paths = [*(releases.TESTS / 'functional').rglob('test_*.py')]

    assert len({path.stem for path in paths}) == len(paths)


def test_outcomes():
    suite = ElementTree.fromstring(
        '<testsuites><testsuite>'
        '<testcase name="a"/>'
        '<testcase name="b"><failure message="x is 1&#10;not 2"/></testcase>'
        '<testcase name="c"><skipped message="too old"/></testcase>'
        '<testcase name="d"><skipped message="too old"/></testcase>'
        '<testcase name="e"><error message="no set-up"/></testcase>'
        '</testsuite></testsuites>'
    )

    found = releases.judge(
        {
            Path('functional/glance_filter/test_filter_uploads.py'): suite,
            Path('unit'): ElementTree.fromstring('<testsuites/>'),
        }
    )

    assert found == (
        {'Tests of the filters': '1 of 3'},
        [
            'b failed: x is 1',
            'e failed: no set-up',
            '2 not run: too old',
        ],
        True,
    )
