"""Put Nova's snapshots and backups into the right store of Glance."""

__version__ = '0.1.0'
