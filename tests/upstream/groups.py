"""Nova's own tests that meet what the package changes."""

from __future__ import annotations

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Group:
    """Tests that run in one process."""

    title: str
    modules: tuple[str, ...]
    #: How many there are at least, in every release from 2023.1 on.
    minimum: int
    #: What of the modules' tests; matched against class and method.
    only: str = ''

    def takes(self, test_id: str) -> bool:
        """Tell whether a test of the group's modules is of the group."""
        for module in self.modules:
            if test_id.startswith(f'{module}.'):
                name = test_id[len(module) :]
                return bool(re.search(self.only, name, re.IGNORECASE))
        return False


_STORED = 'snapshot|backup|shelve'

# The slowest first, so that the last to end is a short one.
GROUPS = (
    Group(
        'compute manager: shelve',
        ('nova.tests.unit.compute.test_shelve',),
        50,
    ),
    Group(
        'compute manager: snapshot, backup',
        ('nova.tests.unit.compute.test_compute',),
        25,
        _STORED,
    ),
    Group(
        'compute manager, mocked',
        ('nova.tests.unit.compute.test_compute_mgr',),
        30,
        _STORED,
    ),
    Group(
        'libvirt driver: snapshot',
        ('nova.tests.unit.virt.libvirt.test_driver',),
        70,
        'snapshot',
    ),
    Group(
        'RBD image backend',
        (
            'nova.tests.unit.storage.test_rbd',
            'nova.tests.unit.virt.libvirt.test_imagebackend',
        ),
        90,
        'Rbd',
    ),
    Group('image API', ('nova.tests.unit.image.test_glance',), 95),
    Group('functional', ('nova.tests.functional.test_images',), 2),
)
