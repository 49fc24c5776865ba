"""Make a bundle of an encoder, so that the service can take pictures as probes."""

import argparse
import os
from pathlib import Path

from training.commands.terminal import out
from training.data.encoders import find_encoder
from training.export.bundles import check_bundle_path, write_encoder_bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--encoder", required=True, metavar="NAME|FILE", help="as for extract")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="BUNDLE", help="new folder; its name is the bundle's"
    )
    parser.add_argument(
        "--encoders",
        type=Path,
        metavar="FILE",
        default=os.environ.get("FACEBRIDGE_ENCODERS"),
        help="JSON file in which a NAME is looked up (default: $FACEBRIDGE_ENCODERS)",
    )


def run(options: argparse.Namespace) -> None:
    """Package and write."""
    check_bundle_path(options.out)
    encoder = find_encoder(options.encoder, Path(options.encoders) if options.encoders else None)
    manifest = write_encoder_bundle(options.out, encoder)
    out().print(
        f"{options.out}: encoder of the space {manifest.target.name} ({manifest.target.fingerprint})", soft_wrap=True
    )
