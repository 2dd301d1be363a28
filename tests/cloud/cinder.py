"""Cinder's own code for "upload a volume to an image", as a program.

In a process of its own: what Cinder imports and monkey-patches is nothing for
one in which Nova runs. There is no volume service: the volume is a file.
"""

from __future__ import annotations

import argparse
import pathlib

# The other way round Cinder's modules import each other in a circle.
from cinder.volume import volume_utils

# isort: split

from cinder import context
from cinder import objects
from cinder.common import config
from cinder.image import glance


def main() -> None:
    """Upload a file, as Cinder's volume drivers do."""
    parser = argparse.ArgumentParser(prog='cinder', description=__doc__)
    parser.add_argument('--glance', required=True, help='its URL')
    parser.add_argument('--token', required=True)
    parser.add_argument('--image', required=True, help='the queued image')
    parser.add_argument('--volume', type=pathlib.Path, required=True)
    parser.add_argument('--base', help='the image the volume was made from')
    parser.add_argument('--store', help='what the volume type names')
    arguments = parser.parse_args()

    config.CONF([], project='cinder', default_config_files=[])
    config.CONF.set_override('glance_api_servers', [arguments.glance])
    objects.register_all()
    extra_specs = {}
    if arguments.store:
        extra_specs['image_service:store_id'] = arguments.store
    metadata = {}
    if arguments.base:
        metadata['image_id'] = arguments.base
    volume = objects.Volume(
        volume_type=objects.VolumeType(extra_specs=extra_specs),
        glance_metadata=metadata,
    )
    volume_utils.upload_volume(
        context.RequestContext('user', 'demo', auth_token=arguments.token),
        glance.get_default_image_service(),
        {'id': arguments.image, 'disk_format': 'raw'},
        str(arguments.volume),
        volume,
    )


if __name__ == '__main__':
    main()
