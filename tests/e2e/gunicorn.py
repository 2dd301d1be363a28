"""gunicorn's settings for every WSGI service of the cloud."""

import os

wsgi_app = os.environ['E2E_APPLICATION']
bind = os.environ['E2E_BIND']
worker_class = 'gthread'
workers = 1
threads = 16
# Each request on a connection of its own: a client that asks now and then may
# find that the last one is being closed.
keepalive = 0
# A long upload is no hanging worker.
timeout = 0
accesslog = '-'
# Its default place is shared by all gunicorns of a user.
control_socket_disable = True
