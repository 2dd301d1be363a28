"""The option, and the entry points by which others find the package."""

from __future__ import annotations

import importlib.metadata
import inspect

from oslo_config import cfg
import pytest

from nova_multistore import opts
from nova_multistore.compute import patch
from nova_multistore.tests.tempest import config as tempest_config

DISTRIBUTION = importlib.metadata.distribution('nova-multistore')
# Tempest is not installed here; the end-to-end tests run its plugin. Glance is
# not made to share a process with Nova; the test of the filter imports it.
ENTRY_POINTS = [
    entry_point
    for entry_point in DISTRIBUTION.entry_points
    if entry_point.group != 'tempest.test_plugins'
    and entry_point.name != 'glance_api'
]


@pytest.mark.parametrize('entry_point', ENTRY_POINTS, ids=lambda e: e.name)
def test_entry_point(entry_point):
    """Each leads to something that can be called."""
    loaded = entry_point.load()

    assert callable(loaded) or inspect.ismodule(loaded)


def test_every_option_has_help():
    """And is listed for the generators."""
    listed = dict(opts.list_opts())
    own = [*listed['glance'], *listed['nova_multistore'][:2]]

    assert set(listed) == {'glance', 'nova_multistore'}
    assert [opt.name for opt in own] == ['store', 'copy_to', 'move_to']
    assert all('Possible values:' in opt.help for opt in own)
    assert all(opt.help for opt in listed['nova_multistore'])
    assert 'auth_type' in [opt.name for opt in listed['nova_multistore']]


def test_every_option_of_the_tempest_plugin_has_help():
    """Without tempest, too."""
    assert [opt.name for opt in tempest_config.OPTS] == [
        'stores',
        'ordered_store',
    ]
    assert all('Possible values:' in opt.help for opt in tempest_config.OPTS)


def test_option_is_unset_by_default():
    """Snapshots follow the base image then."""
    conf = cfg.ConfigOpts()
    opts.register_opts(conf)
    conf([])

    assert conf.glance.store is None


def test_option_of_another_origin(conf, monkeypatch):
    """Nova may have one day what the package brings: it says so then."""
    monkeypatch.setattr(
        opts, 'GLANCE_OPTS', [cfg.StrOpt('store', help='Another one.')]
    )

    [problem] = patch.problems()

    assert 'an option of that name' in problem
