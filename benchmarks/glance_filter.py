"""What the filter in Glance's pipeline costs a request."""

from __future__ import annotations

import pathlib
import statistics
import time
import timeit

from tests.cloud import glance as cloud_glance

PAIRS = 300


class Requests:
    """Requests to one Glance."""

    def __init__(self, glance: cloud_glance.Glance) -> None:
        self._glance = glance
        self._base = glance.create_image(
            b'a base image', stores=['fast'], disk_format='raw'
        )

    def get(self) -> float:
        """Show an image.

        :returns: what it took, in seconds
        """
        return self._time(200, 'GET', f'/v2/images/{self._base}')

    def upload(self) -> float:
        """Upload 64 KiB, with a base image.

        :returns: what it took, in seconds
        """
        image_id = self._glance.create_queued_image()
        return self._time(
            204,
            'PUT',
            f'/v2/images/{image_id}/file',
            bytes(1 << 16),
            headers={
                'Content-Type': 'application/octet-stream',
                'X-OpenStack-Base-Image-Ref': self._base,
            },
        )

    def _time(self, expected: int, *args: object, **kwargs: object) -> float:
        begin = time.perf_counter()
        status, _ = self._glance.request(*args, **kwargs)
        seconds = time.perf_counter() - begin
        assert status == expected
        return seconds


def compare(root: pathlib.Path) -> list[tuple[str, ...]]:
    """Send the same requests to a Glance without and to one with the filter.

    :param root: an existing directory for all that is written
    :returns: rows of name, without, with and ratio
    """
    for name in ('without', 'with'):
        (root / name).mkdir()
    with (
        cloud_glance.Glance(root / 'without') as stock,
        cloud_glance.Glance(
            root / 'with', filters=cloud_glance.FILTER
        ) as filtered,
    ):
        pair = Requests(stock), Requests(filtered)
        rows = []
        for name, request in (
            ('Glance, GET of an image', Requests.get),
            ('Glance, upload with a base image', Requests.upload),
        ):
            found = [[request(each) for each in pair] for _ in range(PAIRS)]
            without, within = (statistics.median(each) for each in zip(*found))
            rows.append(
                (
                    name,
                    f'{without * 1e3:.2f} ms',
                    f'{within * 1e3:.2f} ms',
                    f'{within / without:.3f}',
                )
            )
    return rows


def main() -> None:
    """Print what the filter alone adds to a GET, in seconds.

    A request over HTTP varies by a thousand times as much.
    """
    # They are Glance's, and nothing for a process in which Nova runs.
    from glance.common import config  # noqa: F401
    from oslo_config import cfg

    from nova_multistore.glance import base_image

    cfg.CONF([], project='glance', default_config_files=[])

    def application(environ: object, start_response: object) -> tuple:
        return ()

    environ = {
        'REQUEST_METHOD': 'GET',
        'PATH_INFO': '/v2/images/7f4d0c5e-30c5-44a2-9fb9-1c2d8a0c9e61',
    }
    passing = base_image.BaseImageFilter(application)
    count = 100_000
    without, within = (
        min(timeit.repeat(lambda f=f: f(environ, None), number=count))
        for f in (application, passing)
    )
    print((within - without) / count)


if __name__ == '__main__':
    main()
