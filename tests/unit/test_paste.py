"""The commands of the documentation that put the filters into pipelines."""

from __future__ import annotations

import configparser
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.cloud import paste

ROOT = pathlib.Path(__file__).parents[2]
ETC = pathlib.Path(sys.prefix, 'etc')


@pytest.fixture
def run(tmp_path):
    """Run a snippet beside a stock file, and return what became of that."""

    def run(snippet, stock, times):
        file = tmp_path / stock.name
        shutil.copy(stock, file)

        def put():
            subprocess.run(
                ['sh', '-e', ROOT / 'doc' / 'source' / snippet],
                cwd=tmp_path,
                check=True,
            )
            return file.read_text()

        for _ in range(times):
            # It may have been switched off meanwhile.
            file.write_text(file.read_text().replace(' multistore', ''))
            once = put()
        assert put() == once
        return once

    return run


def pipelines(text):
    """Return the steps of each pipeline, by section and name."""
    parser = configparser.RawConfigParser(default_section='')
    parser.read_string(text)
    return {
        (section, name): value.split()
        for section in parser.sections()
        for name, value in parser[section].items()
        if len(value.split()) > 2
    }


@pytest.mark.parametrize('times', [1, 2, 3])
def test_nova(run, times):
    """As the tests of the filter have it, however often they are run."""
    stock = ETC / 'nova' / 'api-paste.ini'

    text = run('nova-paste.sh', stock, times)

    assert text == paste.with_filter(stock.read_text())
    found = [
        steps for steps in pipelines(text).values() if 'multistore' in steps
    ]
    assert len(found) == 2
    for steps in found:
        assert steps[-2:] == ['multistore', 'osapi_compute_app_v21']


@pytest.mark.parametrize('times', [1, 2, 3])
def test_glance(run, times):
    """In every flavor, once, behind the context."""
    stock = ETC / 'glance' / 'glance-api-paste.ini'

    text = run('glance-paste.sh', stock, times)

    assert text.count('[filter:multistore]') == 1
    changed = pipelines(text)
    before = pipelines(stock.read_text())
    assert changed.keys() == before.keys()
    found = 0
    for where, steps in before.items():
        wanted = []
        for step in steps:
            wanted.append(step)
            if step.endswith('context'):
                wanted.append('multistore')
                found += 1
        assert changed[where] == wanted
    assert found >= 6
