"""How tempest finds the tests and their options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tempest.test_discover import plugins

import nova_multistore
from nova_multistore.tests.tempest import config

if TYPE_CHECKING:
    from oslo_config import cfg


class Plugin(plugins.TempestPlugin):
    """nova-multistore's tests, for tempest."""

    def load_tests(self) -> tuple[str, str]:
        """Return the directory of the tests, and that of the package."""
        top = Path(nova_multistore.__file__).parents[1]
        return str(Path(__file__).parent), str(top)

    def register_opts(self, conf: cfg.ConfigOpts) -> None:
        """Add the options to tempest's.

        :param conf: the configuration that reads ``tempest.conf``
        """
        conf.register_group(config.GROUP)
        conf.register_opts(config.OPTS, config.GROUP)

    def get_opt_lists(self) -> list[tuple[str, list[cfg.Opt]]]:
        """List the options, for tempest's sample configuration.

        :returns: list of (group name, list of options)
        """
        return [(config.GROUP.name, list(config.OPTS))]
