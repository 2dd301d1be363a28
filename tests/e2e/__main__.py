"""Start the cloud and leave it running, change it, or take it down."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import shutil
import signal
import sys

import fixtures

from tests.e2e import cloud
from tests.e2e import fixture
from tests.e2e import site as e2e_site

#: Which cloud `down` takes down.
STATE = e2e_site.REPOSITORY / '.cloud.json'


def up(images_type: str, patched: bool) -> int:
    """Start the cloud.

    :returns: 0 once it can be used, otherwise 1
    """
    if _running() is not None:
        print('A cloud is running already: make cloud-down', file=sys.stderr)
        return 1
    # What is left of one that was killed.
    down()
    with fixture.Cloud(images_type, patched) as started:
        site = started.site
        STATE.write_text(json.dumps([started.pid, str(site.root)]))
        started.run_glance(filtered=patched, volumes=True)
        started.detach()
    print(
        f'Ready after {started.ready_after:.0f} s: '
        f'{"patched" if patched else "stock"} nova-compute, {images_type} '
        f'disks, Glance {"with" if patched else "without"} the filter.\n\n'
        f'  . {site.openrc}\n'
        f'  openstack server list\n\n'
        f'The logs are in {site.logs}. The end: make cloud-down'
    )
    return 0


def down() -> int:
    """Take down the cloud that `up` started, if it still runs.

    :returns: 0
    """
    running = _running()
    if running is not None:
        fixture.end(running)
    if STATE.exists():
        shutil.rmtree(json.loads(STATE.read_text())[1], ignore_errors=True)
        STATE.unlink()
    return 0


def compute(images_type: str, patched: bool, options: dict[str, str]) -> int:
    """Restart the nova-compute of the cloud that `up` started.

    :param options: further options, each as "group.name"
    :returns: 0 once it is up, otherwise 1
    """
    if _running() is None:
        print('No cloud is running: make cloud', file=sys.stderr)
        return 1
    try:
        cloud.tell(
            Path(json.loads(STATE.read_text())[1]),
            'restart',
            patched=patched,
            images_type=images_type,
            options=options,
        )
    except e2e_site.CloudFailed as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


def _running() -> int | None:
    """Return the process that holds the running cloud's namespaces."""
    try:
        pid, root = json.loads(STATE.read_text())
        command = Path(f'/proc/{pid}/cmdline').read_bytes()
    except OSError:
        return None
    # Numbers of processes come again.
    return pid if root.encode() in command.split(b'\0') else None


def main() -> int:
    """Do what the command line says.

    :returns: the program's exit status
    """
    parser = argparse.ArgumentParser(prog='cloud', description=__doc__)
    parser.add_argument('what', choices=['up', 'down', 'compute'])
    parser.add_argument(
        '--images-type', choices=['qcow2', 'rbd'], default='qcow2'
    )
    parser.add_argument('--patched', choices=['yes', 'no'], default='yes')
    parser.add_argument(
        '--option',
        action='append',
        default=[],
        metavar='GROUP.NAME=VALUE',
        help="one of nova-compute's, for compute",
    )
    arguments = parser.parse_args()
    if arguments.what == 'down':
        return down()
    if arguments.what == 'compute':
        return compute(
            arguments.images_type,
            arguments.patched == 'yes',
            dict(each.split('=', 1) for each in arguments.option),
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return up(arguments.images_type, arguments.patched == 'yes')
    except fixtures.MultipleExceptions as exc:
        # What a fixture raises where it was not set up.
        print(exc.args[0][1], file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(main())
