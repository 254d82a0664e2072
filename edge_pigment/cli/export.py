"""`edge-pigment export`: the weights of a training run -> a bundle: the workshop's own command."""

import importlib

import typer

from edge_pigment import errors as texts
from edge_pigment.cli.console import verb
from edge_pigment.errors import EdgePigmentError

WORKSHOP = "edge_pigment_export.__main__"
_OURS = "edge_pigment"


@verb
def export(context: typer.Context) -> None:
    """Turn a training run into a verified bundle of the prior."""
    try:
        workshop = importlib.import_module(WORKSHOP)
        command = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
        command.command()(workshop.export)
        command(args=context.args, prog_name=context.command_path)
    except ModuleNotFoundError as error:
        if error.name is None or (error.name.startswith(_OURS) and not WORKSHOP.startswith(error.name)):
            raise
        raise EdgePigmentError(texts.WORKSHOP_MISSING.format(why=f"no module {error.name}")) from error
