"""Make a bundle of an encoder, so that the service can take pictures as probes."""

import argparse
from pathlib import Path

from training.commands.arguments import add_encoder_arguments
from training.commands.terminal import out
from training.data.encoders import find_encoder
from training.export.bundles import check_bundle_path, write_encoder_bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_encoder_arguments(parser)
    parser.add_argument(
        "--out", required=True, type=Path, metavar="BUNDLE", help="new folder; its name is the bundle's"
    )


def run(options: argparse.Namespace) -> None:
    """Package and write."""
    check_bundle_path(options.out)
    encoder = find_encoder(options.encoder, options.encoders)
    manifest = write_encoder_bundle(options.out, encoder)
    out().print(
        f"{options.out}: encoder of the space {manifest.target.name} ({manifest.target.fingerprint})", soft_wrap=True
    )
