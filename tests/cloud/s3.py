"""A real S3: the gateway of a Ceph of the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fixtures

from tests.cloud import ceph as cloud_ceph
from tests.cloud import daemon
from tests.cloud import glance as cloud_glance

#: Where its program comes from.
PACKAGE = 'Debian package radosgw'
BUCKET = 'glance'
_KEY, _SECRET = 'access', 'secret'
_KEYS = (f'--access-key={_KEY}', f'--secret-key={_SECRET}')
# A Ceph without cephx is found by those who do not ask for encryption.
_OPTIONS = (
    '--ms_mon_client_mode=crc',
    '--log_file=',
    '--log_to_stderr=true',
)


class S3(fixtures.Fixture):
    """An S3 with one user.

    :param root: an existing directory for all that it writes
    :param ceph: what keeps the data, already set up
    """

    def __init__(self, root: Path, ceph: cloud_ceph.Ceph) -> None:
        self.root = Path(root).resolve()
        self.ceph = ceph
        [self.port] = cloud_glance.free_ports(1)

    @property
    def url(self) -> str:
        return f'http://{cloud_glance.LOCALHOST}:{self.port}'

    def _setUp(self) -> None:
        frontend = f'beast endpoint={cloud_glance.LOCALHOST}:{self.port}'
        conf = ('--conf', str(self.ceph.configuration))
        self.useFixture(
            daemon.Daemon(
                (
                    *('radosgw', '-f', *conf, '--id', 'admin', *_OPTIONS),
                    f'--rgw_data={self.root}',
                    f'--rgw_frontends={frontend}',
                ),
                self.root / 'radosgw.log',
                lambda: daemon.status(self.port) == 200,
            )
        )
        self.admin('user', 'create', '--display-name=Glance', *_KEYS)

    def admin(self, *arguments: str) -> str:
        """Run radosgw-admin for its user, and return what it printed."""
        return self.ceph.run(
            *('radosgw-admin', '--conf', str(self.ceph.configuration)),
            *(*_OPTIONS, '--uid=glance', *arguments),
        )

    def change_secret(self, secret: str = _SECRET) -> None:
        """Have it take another secret key from now on, or that of Glance."""
        key = f'--access-key={_KEY}', f'--secret-key={secret}'
        self.admin('key', 'create', '--key-type=s3', *key)

    def client(self) -> Any:
        """Return a client of boto3, with the keys of Glance."""
        # Who only starts it need not have them.
        import boto3
        from botocore import config as boto_config

        return boto3.client(
            's3',
            endpoint_url=self.url,
            region_name='default',
            aws_access_key_id=_KEY,
            aws_secret_access_key=_SECRET,
            config=boto_config.Config(s3={'addressing_style': 'path'}),
        )

    def read(self, image_id: str) -> bytes:
        """Return what the bucket of Glance has of an image."""
        found = self.client().get_object(Bucket=BUCKET, Key=image_id)
        data: bytes = found['Body'].read()
        return data

    def store(
        self,
        name: str,
        large: int = 1,
        chunk: int = 5,
        bucket: str = BUCKET,
        **options: object,
    ) -> dict[str, object]:
        """Return the options of a Glance store that is in it.

        :param name: the store's id; "glance_store" where Glance has no others
        :param large: from which size on an image is uploaded in parts, in MiB
        :param chunk: the size of the parts, in MiB; S3 has no smaller ones
        :param options: further options of the store
        """
        options = {
            's3_store_host': self.url,
            's3_store_region_name': 'default',
            's3_store_access_key': _KEY,
            's3_store_secret_key': _SECRET,
            's3_store_bucket': bucket,
            's3_store_create_bucket_on_put': True,
            's3_store_bucket_url_format': 'path',
            's3_store_large_object_size': large,
            's3_store_large_object_chunk_size': chunk,
            **options,
        }
        return {f'{name}.{key}': value for key, value in options.items()}
