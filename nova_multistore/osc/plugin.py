"""The plugin of OpenStackClient: what it looks for in a plugin."""

from __future__ import annotations

from typing import Any

from nova_multistore.osc import cloud

API_NAME = 'multistore'
API_VERSION_OPTION = 'os_multistore_api_version'
API_VERSIONS = {'1': 'nova_multistore.osc.cloud.Cloud'}
DEFAULT_API_VERSION = '1'


def make_client(instance: Any) -> cloud.Cloud:
    """Return the cloud that the commands talk to.

    :param instance: OpenStackClient's client manager
    """
    return cloud.Cloud(instance.sdk_connection)


def build_option_parser(parser: Any) -> Any:
    """Return the parser of global options. The plugin adds none."""
    return parser
