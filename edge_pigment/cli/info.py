"""`edge-pigment info`: what is in a bundle of the prior."""

from pathlib import Path
from typing import Annotated

import typer

from edge_pigment.cli.console import path_option, print_json, tell, verb


@verb
def info(
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE", help="Bundle folder; default: the shipped one.", readable=False),
    ] = None,
    public_key: Annotated[
        Path | None, path_option(help="Ed25519 key (PEM) that must have signed the bundle; default: not checked.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Show what the prior was learned from, its accuracy and limits.

    Every file of the bundle is checked against its hash.
    """
    from edge_pigment.prior.bundle import load_bundle

    opened = load_bundle(bundle, public_key)
    if as_json:
        print_json({"bundle": opened.folder, "sha256": opened.hash, **opened.manifest.model_dump(mode="json")})
    else:
        tell(*opened.summary().splitlines())
        if public_key:
            tell("", f"Signed by {public_key}")
