"""How Nova runs its threads in this process: importing this settles it.

They are native, where the release has such for nova-compute, unless the
environment says `OS_NOVA_DISABLE_EVENTLET_PATCHING=0`. Nova has to settle it
before whatever it patches is imported.
"""

from __future__ import annotations

import importlib.metadata
import os

# In earlier releases the databases of Nova's test fixtures are in memory,
# where native threads get in each other's way.
_NATIVE = int(importlib.metadata.version('nova').split('.')[0]) >= 34
os.environ.setdefault(
    'OS_NOVA_DISABLE_EVENTLET_PATCHING', '1' if _NATIVE else '0'
)

from nova import monkey_patch

if hasattr(monkey_patch, 'patch'):
    # Older releases patch when they are imported.
    monkey_patch.patch()
