"""Nova: the API, conductor, scheduler and nova-compute on libvirt."""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
import datetime
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
from typing import Any

from nova_multistore.cmd import paste
from tests.e2e import ceph
from tests.e2e import keystone
from tests.e2e import mariadb
from tests.e2e import site as e2e_site

#: How long nova-compute may take to stop before it is killed, in seconds.
STOP = 20
#: What nova-compute runs as privileged helpers; each starts one without sudo.
_PRIVSEP = (
    'nova_sys_admin',
    'privsep_osbrick',
    'vif_plug_linux_bridge_privileged',
    'vif_plug_ovs_privileged',
)


# Anybody may have a disk as large as its image.
_POLICY = '"os_compute_api:servers:create:zero_disk_flavor": "@"\n'


def prepare(site: e2e_site.Site) -> None:
    """Write the configuration and fill the databases."""
    directory = site.directory('nova')
    (directory / 'policy.yaml').write_text(_POLICY)
    # The API looks for this one beside its first configuration file.
    stock = Path(sys.prefix) / 'etc' / 'nova' / 'api-paste.ini'
    (directory / 'api-paste.ini').write_text(
        paste.insert(stock.read_text(), paste.FILTERS['nova'])
    )
    path = directory / 'nova.conf'
    sections = _sections(site, path)
    site.write(path, sections)
    # nova-compute must not know of a database.
    _configure_compute(site, {})
    cell0 = site.database('nova_cell0')
    cell0_path = site.write(
        directory / 'nova-cell0.conf',
        {**sections, 'database': {'connection': cell0}},
    )

    def manage(name: str, path: Path, *arguments: object) -> None:
        command = site.bin / 'nova-manage'
        site.run(name, command, '--config-file', path, *arguments)

    sync = ('db', 'sync', '--local_cell')
    e2e_site.in_parallel(
        lambda: manage('nova-manage-api', path, 'api_db', 'sync'),
        lambda: manage('nova-manage-cell0', cell0_path, *sync),
        lambda: manage('nova-manage-cell1', path, *sync),
    )
    cells = ('nova-manage', path, 'cell_v2')
    manage(*cells, 'map_cell0', '--database_connection', cell0)
    manage(*cells, 'create_cell', '--name', 'cell1')


def _sections(site: e2e_site.Site, path: Path) -> dict[str, dict[str, Any]]:
    directory = path.parent
    credentials = site.credentials('nova')
    libvirt: dict[str, object] = {
        'cpu_mode': 'none',
        'images_type': site.images_type,
        'virt_type': 'qemu',
    }
    if site.images_type == 'rbd':
        libvirt.update(
            images_rbd_ceph_conf=ceph.configuration(site),
            images_rbd_glance_store_name='fast',
            images_rbd_pool=ceph.DISKS,
        )
    return {
        'DEFAULT': {
            'compute_driver': 'libvirt.LibvirtDriver',
            # Guests sleep; there are more of them than processors.
            'cpu_allocation_ratio': 16,
            'instances_path': site.directory('nova', 'instances'),
            'my_ip': e2e_site.LOCALHOST,
            # No guest heeds ACPI here.
            'shutdown_timeout': 1,
            'state_path': directory,
            'transport_url': site.transport,
        },
        'quota': {'cores': -1, 'instances': -1},
        'api_database': {'connection': site.database('nova_api')},
        'database': {'connection': site.database('nova')},
        'cinder': {
            'catalog_info': 'block-storage::publicURL',
            'os_region_name': e2e_site.REGION,
        },
        'glance': {'region_name': e2e_site.REGION},
        'keystone_authtoken': site.authtoken('nova'),
        'libvirt': libvirt,
        'neutron': credentials,
        'oslo_concurrency': {'lock_path': directory / 'locks'},
        'placement': credentials,
        'service_user': {'send_service_user_token': True, **credentials},
        'vnc': {'enabled': False},
        **site.privsep(directory / 'nova-compute.conf', *_PRIVSEP),
    }


def _configure_compute(
    site: e2e_site.Site, options: Mapping[str, str]
) -> None:
    path = site.root / 'nova' / 'nova.conf'
    sections = _sections(site, path)
    del sections['api_database']
    del sections['database']
    for name, value in options.items():
        section, _, option = name.rpartition('.')
        sections.setdefault(section or 'DEFAULT', {})[option] = value
    site.write(path.with_name('nova-compute.conf'), sections)


def copy_credentials(site: e2e_site.Site) -> dict[str, str]:
    """Return the options with which nova-compute may copy any image."""
    return {
        f'nova_multistore.{name}': str(value)
        for name, value in site.credentials('nova').items()
        if name != 'region_name'
    }


def start(site: e2e_site.Site) -> None:
    """Start all of Nova and wait until nova-compute can be scheduled to."""
    path = site.root / 'nova' / 'nova.conf'
    site.serve(
        'nova',
        'nova.wsgi.osapi_compute:application',
        OS_NOVA_CONFIG_DIR=path.parent,
    )
    for name in ('nova-conductor', 'nova-scheduler'):
        site.start(name, site.bin / name, '--config-file', path)
    start_compute(site)
    site.wait_for_http('nova')
    site.wait('nova-compute', lambda: provides(site))
    site.run(
        'nova-manage',
        site.bin / 'nova-manage',
        '--config-file',
        path,
        'cell_v2',
        'discover_hosts',
    )
    _create_flavors(site)


def start_compute(site: e2e_site.Site) -> None:
    """Start nova-compute, stock or with the package."""
    program = site.bin / 'nova-compute'
    if site.patched:
        # A link in the place of Nova's own, as in an image for containers.
        program = site.directory('bin') / 'nova-compute'
        if not program.is_symlink():
            program.symlink_to(site.bin / 'nova-multistore-run')
    path = site.root / 'nova' / 'nova-compute.conf'
    site.start('nova-compute', program, '--config-file', path)


def stop_compute(site: e2e_site.Site, kill: bool = False) -> None:
    """Stop nova-compute as systemd would, or kill it at once."""
    process = site.processes['nova-compute']
    if not kill:
        process.terminate()
        # On native threads Nova 34 ends its work, and then stays.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP)
    # On eventlet what works is a child of it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def restart_compute(
    site: e2e_site.Site,
    patched: bool,
    images_type: str,
    options: Mapping[str, str],
) -> None:
    """Start nova-compute in another way; kill it first if it runs.

    :param patched: whether it is started with the package
    :param images_type: its `[libvirt] images_type`
    :param options: of its configuration beside the cloud's own, each as
        "group.name"
    """
    stop_compute(site, kill=True)
    if images_type != site.images_type:
        # Base images that were downloaded for the other type of disks: with
        # them a disk in Ceph would not be a clone.
        shutil.rmtree(
            site.directory('nova', 'instances', '_base'), ignore_errors=True
        )
    site.patched = patched
    site.images_type = images_type
    site.save()
    _configure_compute(site, options)
    begin = datetime.datetime.now(datetime.timezone.utc)
    start_compute(site)
    site.wait('nova-compute', lambda: reported_since(site, begin))


def reported_since(site: e2e_site.Site, begin: datetime.datetime) -> bool:
    """Tell whether nova-compute has said that it is up."""
    # The time is in UTC.
    return bool(
        mariadb.rows(
            site,
            "SELECT 1 FROM nova.services WHERE `binary` = 'nova-compute' "
            'AND updated_at > %s',
            begin.replace(tzinfo=None),
        )
    )


def provides(site: e2e_site.Site) -> bool:
    """Tell whether Placement knows of this machine."""
    return bool(
        mariadb.rows(site, 'SELECT 1 FROM placement.resource_providers')
    )


def _create_flavors(site: e2e_site.Site) -> None:
    token = keystone.token(site)
    flavors = ('tiny', 64, 0), ('small', 128, 1)
    for number, (name, ram, disk) in enumerate(flavors, 1):
        flavor = {
            'id': str(number),
            'name': name,
            'ram': ram,
            'vcpus': 1,
            'disk': disk,
        }
        status, _, body = site.request(
            'nova', 'POST', '/v2.1/flavors', {'flavor': flavor}, token
        )
        if status != 200:
            raise e2e_site.CloudFailed(f'no flavor {name}: {status} {body}')
