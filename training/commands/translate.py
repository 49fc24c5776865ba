"""Translate a feature set with a translator bundle."""

import argparse
from pathlib import Path

from models.bundle import read_bundle
from training.commands.terminal import out
from training.data.feature_set_files import check_feature_set_path, load_feature_set, save_feature_set
from training.export.loaded import LoadedTranslator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--bundle", required=True, type=Path, help="the translator")
    parser.add_argument("--in", dest="source", required=True, type=Path, metavar="SET", help="features to translate")
    parser.add_argument("--out", required=True, type=Path, metavar="SET", help="feature set to write")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")


def run(options: argparse.Namespace) -> None:
    """Translate and write."""
    check_feature_set_path(options.out, read_from=options.source)
    translator = LoadedTranslator(read_bundle(options.bundle), options.device)
    translated = translator.translate_set(load_feature_set(options.source), what=str(options.source))
    save_feature_set(translated, options.out)
    out().print(f"{options.out}: {len(translated)} features in the space {translated.space.name}", soft_wrap=True)
