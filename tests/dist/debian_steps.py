"""The steps that the docs show for Debian, on Debian's own OpenStack.

It is for a root that "make on" has made, after "make deb" in it. It prints
what lands where: with stock Nova and Glance, with the Debian packages, with
the virtualenv, and after each of these was undone.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

from tests.dist import debian_services
from tests.e2e import guest
from tests.e2e import nova
from tests.e2e import site as e2e_site
from tests.e2e import tenant

#: Where the page has its steps from.
SNIPPETS = e2e_site.REPOSITORY / 'doc' / 'source' / 'deploy'
#: Where "make deb" has left the packages.
DIST = e2e_site.REPOSITORY / 'dist'

DEFAULT, OTHER, BASE = debian_services.STORES
# The id of a new image is in the answer.
_VERSION = {'OpenStack-API-Version': 'compute 2.50'}
_SIZE = 4 << 20


@dataclasses.dataclass
class Walk:
    """The steps, and what came of each.

    :param site: where Debian's services run
    :param wheels: where pip finds the package
    :param rows: the step, what was done, what was expected and what was seen
    """

    site: debian_services.Debian
    wheels: Path
    rows: list[tuple[str, str, str, str]] = dataclasses.field(
        default_factory=list
    )
    step: str = ''

    def begin(self) -> None:
        """Make an image in one store, and a server from it."""
        self.admin = tenant.Tenant(self.site, 'admin')
        path = self.site.root / 'base.raw'
        guest.write_image(path, _SIZE)
        self.base = self.admin.upload('base', BASE, path)
        flavor = {'name': 'tiny', 'ram': 64, 'vcpus': 1, 'disk': 1}
        flavor = self._nova('POST', 'flavors', {'flavor': flavor})['flavor']
        server = {
            'name': 'web',
            'imageRef': self.base,
            'flavorRef': flavor['id'],
            'networks': 'none',
        }
        self.server = self._nova('POST', 'servers', {'server': server})[
            'server'
        ]['id']
        self._settle()

    def run(self, snippet: str, directory: Path = Path('/')) -> None:
        """Do what a file of the docs says, as root's shell would."""
        print(f'-- {snippet}', flush=True)
        done = subprocess.run(
            ['sh', '-ex', SNIPPETS / snippet],
            cwd=directory,
            env=self.site.environment(
                PIP_FIND_LINKS=self.wheels, PIP_NO_INDEX=1
            ),
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise e2e_site.CloudFailed(f'{snippet} ended: {done.returncode}')
        self.wait()

    def wait(self) -> None:
        """Wait until all that was restarted is there."""
        begin = datetime.datetime.now(datetime.timezone.utc)
        for api in ('nova', 'glance'):
            self.site.wait_for_http(api)
        self.site.wait(
            'nova-compute', lambda: nova.reported_since(self.site, begin)
        )

    def order(self, store: str | None) -> None:
        """Set `[glance] store` in Nova's configuration, or remove it."""
        path = Path('/etc/nova/nova-compute.conf')
        lines = path.read_text().split('\n# The order\n')[0]
        if store is not None:
            lines += f'\n# The order\n[glance]\nstore = {store}\n'
        path.write_text(lines)
        self.site.service('nova-compute', 'restart')
        self.wait()

    def expect(self, what: str, expected: object, seen: object) -> None:
        """Note what came of something."""
        row = self.step, what, str(expected), str(seen)
        self.rows.append(row)
        print(*row, sep=' | ', flush=True)

    def expect_stock(self) -> None:
        """Nothing acts on the base image, nor knows of a store to name."""
        self.expect('snapshot', DEFAULT, self.snapshot())
        self.expect('upload that names the base', DEFAULT, self.upload())
        self.expect('snapshot, store: ' + OTHER, 400, self.snapshot(OTHER))

    def expect_filters(self) -> None:
        """Both filters do what they are for."""
        self.expect('upload that names the base', BASE, self.upload())
        self.expect('snapshot, store: ' + OTHER, OTHER, self.snapshot(OTHER))
        self.expect('snapshot, store: no', 404, self.snapshot('no'))

    def expect_compute(self, programs: str = '/usr/bin') -> None:
        """nova-compute obeys the base image and `[glance] store`.

        :param programs: where the package's programs are
        """
        self.expect('snapshot', BASE, self.snapshot())
        self.order(OTHER)
        self.expect(f'snapshot, [glance] {OTHER}', OTHER, self.snapshot())
        self.order(None)
        path = f'{programs}:{os.environ["PATH"]}'
        ask = 'nova-multistore-status --config-file /etc/nova/nova.conf'
        for what, command in {
            'upgrade check': f'. {SNIPPETS}/debian-check.sh',
            'computes': f'{ask} computes',
        }.items():
            done = subprocess.run(
                ['sh', '-exc', command],
                env=self.site.environment() | {'PATH': path},
            )
            self.expect(what, 0, done.returncode)

    def snapshot(self, store: str | None = None) -> str:
        """Make a snapshot of the server.

        :param store: that the request names
        :returns: the stores of the image, or the status of the refusal
        """
        order = {} if store is None else {'store': store}
        status, _, body = self.site.request(
            'nova',
            'POST',
            f'/v2.1/servers/{self.server}/action',
            {'createImage': {'name': 'snapshot', **order}},
            self.admin.token,
            _VERSION,
        )
        if status != 202:
            return str(status)
        return self._stores(body['image_id'])

    def upload(self) -> str:
        """Upload an image that was made from the base image.

        :returns: the stores of the image
        """
        image = {
            'name': 'upload',
            'disk_format': 'raw',
            'container_format': 'bare',
        }
        image_id = self.admin.ask('glance', 'POST', '/v2/images', image)['id']
        self.admin.ask(
            'glance',
            'PUT',
            f'/v2/images/{image_id}/file',
            (self.site.root / 'base.raw').read_bytes(),
            {'X-OpenStack-Base-Image-Ref': self.base},
        )
        return self._stores(image_id)

    def _stores(self, image_id: str) -> str:
        image = self.admin.wait_for_image(
            'the image',
            image_id,
            lambda image: image is None or image['status'] == 'active',
        )
        self._settle()
        if image is None:
            return 'no image'
        # Where its data are, whatever Glance says.
        there = [
            store
            for store in debian_services.STORES
            if Path('/var/lib/glance', store, image_id).exists()
        ]
        if there != image['stores'].split(','):
            return f'{there}, but Glance says {image["stores"]}'
        return image['stores']

    def _settle(self) -> None:
        """Wait until nothing is done to the server."""
        server = self.admin.wait_for_server(
            'the server',
            self.server,
            lambda server: (
                server['OS-EXT-STS:task_state'] is None
                and server['status'] in ('ACTIVE', 'ERROR')
            ),
        )
        if server['status'] != 'ACTIVE':
            raise e2e_site.CloudFailed(f'the server: {server}')

    def _nova(self, method: str, path: str, body: object) -> Any:
        return self.admin.ask('nova', method, f'/v2.1/{path}', body, _VERSION)


def walk(here: Walk) -> None:
    """Take all steps."""
    here.step = 'stock'
    here.expect_stock()

    here.step = 'packages'
    here.run('debian-packages.sh', DIST)
    here.expect_compute()
    here.run('debian-packages-apis.sh')
    here.expect_filters()

    here.step = 'packages, undone'
    here.run('debian-packages-undo.sh')
    here.expect_stock()

    here.step = 'virtualenv'
    here.run('debian-install.sh')
    here.expect_compute('/opt/nova-multistore/bin')
    here.run('debian-apis.sh')
    here.expect_filters()

    here.step = 'virtualenv, undone'
    here.run('debian-undo.sh')
    here.expect_stock()


def report(rows: list[tuple[str, str, str, str]]) -> bool:
    """Print what came of each step, and tell whether all is well."""
    wrong = [row for row in rows if row[2] != row[3]]
    table = [
        ('step', 'what', 'expected', 'seen', ''),
        *((*row, 'WRONG' if row in wrong else '') for row in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print()
    for line in table:
        cells = (cell.ljust(n) for cell, n in zip(line, widths, strict=True))
        print('  '.join(cells).rstrip())
    return not wrong


def main() -> int:
    """Take the steps in this root.

    :returns: 0, or 1 if something is not as the docs say
    """
    begin = time.monotonic()
    # In this directory, "wheels" has the package for pip.
    work = Path(sys.argv[1])
    here = Walk(debian_services.Debian(work), work / 'wheels')
    here.site.logs.mkdir()
    failure = ''
    try:
        debian_services.start(here.site)
        here.begin()
        print(f'Started in {time.monotonic() - begin:.0f} s.', flush=True)
        walk(here)
    except e2e_site.CloudFailed as exc:
        failure = str(exc)
    is_well = report(here.rows)
    print(f'{time.monotonic() - begin:.0f} s with the start.')
    if failure:
        print(failure, file=sys.stderr)
    return 0 if is_well and not failure else 1


if __name__ == '__main__':
    sys.exit(main())
