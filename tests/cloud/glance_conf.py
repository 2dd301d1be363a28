"""What the configuration files of the tests' Glance have."""

from __future__ import annotations

import configparser
from pathlib import Path
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cloud.glance import Glance


def options(glance: Glance) -> dict[str, dict[str, object]]:
    """Return what glance-api.conf has, by section."""
    file_stores = {
        store: {'filesystem_store_datadir': glance.directory(store)}
        for store, kind in glance.stores.items()
        if kind == 'file'
    }
    reserved = {
        store: {'filesystem_store_datadir': glance.directory(store)}
        for store in ('os_glance_staging_store', 'os_glance_tasks_store')
    }
    sections: dict[str, dict[str, object]] = {
        'DEFAULT': {
            'enabled_import_methods': (
                '[copy-image,glance-direct,web-download]'
            ),
            'show_multiple_locations': glance.show_locations,
            'image_cache_dir': glance.root / 'cache',
            # Its cache is one for all of its processes.
            'worker_self_reference_url': glance.url,
            'node_staging_uri': (
                f'file://{glance.directory("os_glance_staging_store")}'
            ),
        },
        'database': {
            'connection': (
                f'sqlite:///{glance.root / "glance.sqlite"}?timeout=30'
            ),
            # A test's database need not survive a power cut.
            'sqlite_synchronous': False,
        },
        'paste_deploy': {
            'flavor': glance.flavor,
            'config_file': glance.paste,
        },
        'oslo_concurrency': {'lock_path': glance.root / 'locks'},
        'import_filtering_opts': {
            'allowed_hosts': '[127.0.0.1]',
            'allowed_ports': f'[{glance.web_port}]',
        },
        'task': {'work_dir': glance.root / 'work'},
    }
    if glance.multi_store:
        sections['DEFAULT']['enabled_backends'] = ','.join(
            f'{store}:{kind}' for store, kind in glance.stores.items()
        )
        sections['glance_store'] = {'default_backend': glance.default}
        sections.update(file_stores)
        sections.update(reserved)
    else:
        sections['glance_store'] = {
            'stores': glance.stores[glance.default],
            'default_store': glance.stores[glance.default],
            **file_stores.get(glance.default, {}),
        }
    for name, value in glance.options.items():
        group, _, option = name.rpartition('.')
        sections.setdefault(group or 'DEFAULT', {})[option] = value
    return sections


def pipelines(glance: Glance) -> dict[str, dict[str, object]]:
    """Return what glance-api-paste.ini has, by section.

    It is the one that Glance ships, with the tests' identity and the filters
    of this Glance.
    """
    shipped = Path(sys.prefix, 'etc', 'glance', 'glance-api-paste.ini')
    paste = configparser.RawConfigParser(default_section='')
    paste.read_string(shipped.read_text())
    sections: dict[str, dict[str, object]] = {
        name: dict(paste[name]) for name in paste.sections()
    }
    sections['filter:authtoken'] = {
        'paste.filter_factory': 'tests.cloud.identity:filter_factory',
        'log': str(glance.request_log),
    }
    if 'composite:api' in sections:
        options = sections['composite:api']
        pipeline = glance.flavor or 'default'
    else:
        # Before Glance kept all its pipelines in one section.
        name = '-'.join(filter(None, ['glance-api', glance.flavor]))
        options = sections[f'pipeline:{name}']
        pipeline = 'pipeline'
    steps = options[pipeline].split()
    [context] = (i for i, s in enumerate(steps) if s.endswith('context'))
    steps[context + 1 : context + 1] = glance.filters
    options[pipeline] = ' '.join(steps)
    for name, what in glance.filters.items():
        if isinstance(what, str):
            key = 'use' if '#' in what else 'paste.filter_factory'
            what = {key: what}
        sections[f'filter:{name}'] = dict(what)
    return sections
