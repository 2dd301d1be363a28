"""gunicorn's settings for every WSGI service of the cloud."""

import os

wsgi_app = os.environ['E2E_APPLICATION']
bind = os.environ['E2E_BIND']
worker_class = 'gthread'
workers = 1
threads = 16
# A long upload is no hanging worker.
timeout = 0
accesslog = '-'
# Its default place is shared by all gunicorns of a user.
control_socket_disable = True
