"""What a cloud may have configured, and what a seed takes of it."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import random
from typing import Any

#: Options by name, as "group.name" or, in `[DEFAULT]`, "name".
Options = Mapping[str, object]

FILES, CEPH = 'files', 'ceph'
#: What Nova's users may do with the data in Ceph, as its caps have it.
CAPS = {
    'nova': 'profile rbd pool=vms, profile rbd pool=images',
    'reader': 'profile rbd pool=vms, profile rbd-read-only pool=images',
}


@dataclasses.dataclass(frozen=True)
class Value:
    """One value of a knob."""

    #: Options of glance-api.conf.
    glance: Options = dataclasses.field(default_factory=dict)
    #: Options of nova.conf.
    nova: Options = dataclasses.field(default_factory=dict)
    #: Options of nova.conf that only the package has.
    package: Options = dataclasses.field(default_factory=dict)
    #: What :class:`.world.World` does by itself, by name.
    world: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Knob:
    """Something that is configured; the first value is the default.

    :param where: where disks are for which it counts
    """

    values: Mapping[str, Value]
    where: tuple[str, ...] = (FILES, CEPH)

    @property
    def default(self) -> str:
        return next(iter(self.values))


DEFAULT = Value()


def _glance(**options: object) -> Value:
    return Value(glance={k.replace('__', '.'): v for k, v in options.items()})


def _nova(**options: object) -> Value:
    return Value(nova={k.replace('__', '.'): v for k, v in options.items()})


def _package(**options: object) -> Value:
    return Value(package={k.replace('__', '.'): v for k, v in options.items()})


def _world(**what: object) -> Value:
    return Value(world=what)


def _rbd_user(name: str) -> Value:
    # Nova starts no guest of a user without a secret; which one is no matter
    # where there is no hypervisor.
    return _nova(
        libvirt__rbd_user=name,
        libvirt__rbd_secret_uuid='457eb676-33da-42ec-9a8c-9293d545c337',
    )


def _switch(option: str, kind: str, default: bool) -> dict[str, Value]:
    values = {'false': False, 'true': True}
    order = sorted(values, key=lambda name: values[name] != default)
    return {
        name: DEFAULT
        if values[name] == default
        else Value(**{kind: {option: values[name]}})
        for name in order
    }


KNOBS: dict[str, Knob] = {
    # Glance
    'stores': Knob(
        {
            'several': DEFAULT,
            'one': _world(multi_store=False),
            'one in enabled_backends': _world(single=True),
            'several, http first': _world(http=True),
            'several, was one': _world(upgraded=True),
        }
    ),
    'default store': Knob(
        {
            'cheap': DEFAULT,
            'fast': _world(default='fast'),
            'reliable': _world(default='reliable'),
        }
    ),
    'api_servers': Knob(
        {
            'one': DEFAULT,
            'dead, live': _world(servers=('dead', 'live')),
            'live, dead': _world(servers=('live', 'dead')),
            'dead, live, dead, live': _world(
                servers=('dead', 'live', 'dead', 'live')
            ),
            'hanging, live': Value(
                nova={'glance.timeout': 1},
                world={'servers': ('hanging', 'live')},
            ),
            'not a Glance, live': _world(servers=('odd', 'live')),
            'two': _world(servers=('live', 'second')),
            'balancer': _world(servers=('balancer',)),
            'balancer, one with one store': _world(servers=('uneven',)),
            'HAProxy': _world(servers=('haproxy',)),
            'TLS, private CA': Value(
                glance={'oslo_middleware.enable_proxy_headers_parsing': True},
                world={'servers': ('tls',), 'cafile': True},
            ),
            'TLS, insecure': Value(
                glance={'oslo_middleware.enable_proxy_headers_parsing': True},
                nova={'glance.insecure': True},
                world={'servers': ('tls',)},
            ),
            'under a path': _world(servers=('path',)),
            'none, endpoint_override': _world(endpoint=True),
        }
    ),
    'web server': Knob({'gunicorn': DEFAULT, 'uWSGI': _world(uwsgi=True)}),
    'store cheap': Knob(
        {'files': DEFAULT, 'S3': _world(cheap='s3')}, where=(CEPH,)
    ),
    'store reliable': Knob(
        {'files': DEFAULT, 'Swift': _world(reliable='swift')}
    ),
    'workers': Knob({'1': DEFAULT, '3': _world(workers=3)}),
    'user_storage_quota': Knob(
        {
            '0': DEFAULT,
            '100 MiB': _glance(user_storage_quota='100MB'),
            '9 MiB': _glance(user_storage_quota='9MB'),
        }
    ),
    'limits of Keystone': Knob(
        {
            'none': DEFAULT,
            '40 MiB': _world(limits=40),
            '4 MiB': _world(limits=4),
        }
    ),
    'image_size_cap': Knob(
        {
            '1 TiB': DEFAULT,
            '8 MiB': _glance(image_size_cap=8 << 20),
            '2 MiB': _glance(image_size_cap=2 << 20),
        }
    ),
    'image_location_quota': Knob(
        {'10': DEFAULT, '1': _glance(image_location_quota=1)}
    ),
    'image_property_quota': Knob(
        {
            '128': DEFAULT,
            '20': _glance(image_property_quota=20),
            '16': _glance(image_property_quota=16),
            '14': _glance(image_property_quota=14),
        }
    ),
    'hash': Knob(
        {
            'sha512': DEFAULT,
            'sha256': _glance(hashing_algorithm='sha256'),
            'none': _glance(do_secure_hash=False),
        }
    ),
    'flavor': Knob(
        {
            'keystone': DEFAULT,
            'keystone+caching': _world(flavor='keystone+caching'),
            'keystone+cachemanagement': _world(
                flavor='keystone+cachemanagement'
            ),
        }
    ),
    'property protection': Knob(
        {
            'none': DEFAULT,
            'others by admin': _world(protection='strict'),
            'ours by admin': _world(protection='ours'),
            'ours by nobody': _world(protection='nobody'),
        }
    ),
    'glance policy': Knob(
        {
            'default': DEFAULT,
            'copy_image open': _world(policy={'copy_image': '@'}),
            'no get_image_location, stores_info_detail': _world(
                policy={
                    'get_image_location': '!',
                    'stores_info_detail': '!',
                    'get_task': '!',
                    'get_tasks': '!',
                }
            ),
            'locations for everybody': _world(
                policy=dict.fromkeys(
                    (
                        'get_image_location',
                        'set_image_location',
                        'delete_image_location',
                    ),
                    '',
                )
            ),
            'old defaults': _glance(
                oslo_policy__enforce_new_defaults=False,
                oslo_policy__enforce_scope=False,
            ),
            'delete by admin': _world(policy={'delete_image': 'role:admin'}),
            'open': _world(
                policy=dict.fromkeys(
                    (
                        'copy_image',
                        'stores_info_detail',
                        'tasks_api_access',
                        'publicize_image',
                        'set_image_location',
                        'get_image_location',
                    ),
                    '@',
                )
            ),
        }
    ),
    'import methods': Knob(
        {
            'all': DEFAULT,
            'web-download,glance-direct': _glance(
                enabled_import_methods='[web-download,glance-direct]'
            ),
            'web-download': _glance(enabled_import_methods='[web-download]'),
            'none': _glance(enabled_import_methods='[]'),
        }
    ),
    'import plugins': Knob(
        {
            'none': DEFAULT,
            'image_conversion': _glance(
                image_import_opts__image_import_plugins='[image_conversion]',
                image_conversion__output_format='raw',
            ),
            'inject_image_metadata': _glance(
                image_import_opts__image_import_plugins=(
                    '[inject_image_metadata]'
                ),
                inject_metadata_properties__ignore_user_roles='admin',
                inject_metadata_properties__inject='hw_injected:yes',
            ),
        }
    ),
    'show_multiple_locations': Knob(
        {'false': DEFAULT, 'true': _world(show_locations=True)}
    ),
    'show_image_direct_url': Knob(
        _switch('show_image_direct_url', 'glance', False)
    ),
    'thin provisioning': Knob({'false': DEFAULT, 'true': _world(thin=True)}),
    'delayed_delete': Knob(_switch('delayed_delete', 'glance', False)),
    'require_image_format_match': Knob(
        _switch('image_format.require_image_format_match', 'glance', True)
    ),
    'container formats': Knob(
        {
            'all': DEFAULT,
            'bare, raw and qcow2': _glance(
                image_format__container_formats='bare',
                image_format__disk_formats='raw,qcow2',
            ),
            'with root-tar': _glance(
                image_format__disk_formats=(
                    'ami,ari,aki,vhd,vmdk,raw,qcow2,vdi,iso,root-tar'
                ),
            ),
        }
    ),
    # Nova
    'images_type': Knob(
        {
            'qcow2': DEFAULT,
            'raw': _nova(libvirt__images_type='raw'),
            'flat': _nova(libvirt__images_type='flat'),
        },
        where=(FILES,),
    ),
    'snapshot_image_format': Knob(
        {
            'none': DEFAULT,
            'raw': _nova(libvirt__snapshot_image_format='raw'),
            'qcow2': _nova(libvirt__snapshot_image_format='qcow2'),
        }
    ),
    'force_raw_images': Knob(
        _switch('force_raw_images', 'nova', True), where=(FILES,)
    ),
    'use_cow_images': Knob(
        _switch('use_cow_images', 'nova', True), where=(FILES,)
    ),
    'num_retries': Knob(
        {
            '3': DEFAULT,
            '0': _nova(glance__num_retries=0),
            '10': _nova(glance__num_retries=10),
        }
    ),
    'timeout': Knob({'none': DEFAULT, '30': _nova(glance__timeout=30)}),
    'send_service_user_token': Knob(
        {
            'true': _world(service_token=True),
            'false': DEFAULT,
            'true, without its role': _world(service_token='no role'),
        }
    ),
    'non_inheritable_image_properties': Knob(
        {
            'default': DEFAULT,
            'none': _nova(non_inheritable_image_properties=[]),
        }
    ),
    'cached base images': Knob(
        {
            'kept': DEFAULT,
            'removed': _nova(
                image_cache__remove_unused_base_images=True,
                image_cache__remove_unused_original_minimum_age_seconds=0,
            ),
        },
        where=(FILES,),
    ),
    # Ceph
    'clone format': Knob(
        {'1': DEFAULT, '2': _world(clone_format=2)}, where=(CEPH,)
    ),
    'rbd_user': Knob(
        {
            'admin': DEFAULT,
            CAPS['nova']: _rbd_user('nova'),
            CAPS['reader']: _rbd_user('reader'),
        },
        where=(CEPH,),
    ),
    'images_rbd_glance_store_name': Knob(
        {
            'none': DEFAULT,
            'fast': _nova(libvirt__images_rbd_glance_store_name='fast'),
        },
        where=(CEPH,),
    ),
    'enable_rbd_download': Knob(
        {'false': DEFAULT, 'true': _world(rbd_download=True)}, where=(CEPH,)
    ),
    'disable_libvirt_livesnapshot': Knob(
        _switch('workarounds.disable_libvirt_livesnapshot', 'nova', False),
        where=(CEPH,),
    ),
    'never_download_image_if_on_rbd': Knob(
        _switch('workarounds.never_download_image_if_on_rbd', 'nova', False),
        where=(CEPH,),
    ),
    # The package
    'Glance filter': Knob({'no': DEFAULT, 'yes': _world(glance_filter=True)}),
    '[glance] store': Knob(
        {
            'none': DEFAULT,
            'fast': _package(glance__store='fast'),
            'cheap': _package(glance__store='cheap'),
        }
    ),
    'copy_to': Knob(
        {
            'none': DEFAULT,
            'cheap': _package(nova_multistore__copy_to=['cheap']),
        }
    ),
    'move_to': Knob(
        {
            'none': DEFAULT,
            'cheap': _package(nova_multistore__move_to='cheap'),
        }
    ),
    'credentials of the package': Knob(
        {'no': DEFAULT, 'yes': _world(credentials=True)}
    ),
}
#: How many knobs are not at their default, at most.
MOST = 6

#: What the base image is; one of each is made in each cloud.
BASES = (
    'private',
    'public',
    'shared',
    'community',
    'two stores',
    'raw',
    'properties',
    'hidden',
    'protected',
)


def draw(seed: int, where: str) -> dict[str, str]:
    """Return a configuration: its knobs that are not at their default.

    :param seed: decides
    :param where: where disks are
    """
    choose = random.Random(f'{where} {seed}')
    names = [name for name, knob in KNOBS.items() if where in knob.where]
    chosen = choose.sample(names, choose.randint(1, MOST))
    return {
        name: choose.choice([*KNOBS[name].values][1:])
        for name in sorted(chosen)
    }


def check(configuration: Mapping[str, str], where: str) -> None:
    """See that a configuration is one.

    :param where: where disks are
    :raises ValueError: it is not; the error names what is valid
    """
    known = [name for name, knob in KNOBS.items() if where in knob.where]
    for name, value in configuration.items():
        if name not in known:
            raise ValueError(f'no knob {name!r}: {", ".join(known)}')
        if value not in KNOBS[name].values:
            raise ValueError(
                f'no value {value!r} of {name}: '
                f'{", ".join(KNOBS[name].values)}'
            )


def merged(configuration: Mapping[str, str]) -> Value:
    """Return all that a configuration sets."""
    values = [
        knob.values[configuration.get(name, knob.default)]
        for name, knob in KNOBS.items()
    ]
    fields = [field.name for field in dataclasses.fields(Value)]
    return Value(
        **{
            field: {
                key: what
                for value in values
                for key, what in getattr(value, field).items()
            }
            for field in fields
        }
    )
