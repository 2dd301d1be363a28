"""Tests on servers that stand beside Glance, or before it."""

from __future__ import annotations

from tests.cloud import glance as cloud_glance

#: How long Swift waits for more of a body here, in seconds.
WAIT = 1
#: The pools of Ceph for the disks of servers, and for images.
DISKS, POOL = 'vms', 'images'
#: Nova's own token.
SERVICE = cloud_glance.token('service', ('member', 'reader', 'service'))
