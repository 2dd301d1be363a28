"""Nova's API, as uWSGI loads it."""

from __future__ import annotations

import os

from tests.cloud import gunicorn

if os.geteuid() == 0:
    gunicorn.become_ordinary()

from nova.wsgi import osapi_compute

from tests.cloud import sqlite

sqlite.keep_connections()
application = osapi_compute.application
