"""A cloud for the tests and the demo: a real Glance and a real Nova.

Import `tests.cloud.nova` only where Nova is wanted: the first import of Nova
decides between native threads and eventlet, once for the whole process.
"""
