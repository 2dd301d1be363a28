"""Glance, as uWSGI loads it."""

from __future__ import annotations

import os

from glance.common import wsgi_app

from tests.cloud import gunicorn

if os.geteuid() == 0:
    gunicorn.become_ordinary()
gunicorn.stand_side_by_side()
application = wsgi_app.init_app()
