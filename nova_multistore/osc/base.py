"""What the commands have in common."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING
from typing import Any

from osc_lib.command import command

if TYPE_CHECKING:
    from nova_multistore.osc.cloud import Cloud


class ServerCommand(command.ShowOne):
    """A command that concerns one server."""

    @property
    def cloud(self) -> Cloud:
        """What may be asked."""
        clients: Any = self.app.client_manager
        cloud: Cloud = clients.multistore
        return cloud

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'server', metavar='<server>', help='Server (name or ID)'
        )
        return parser
