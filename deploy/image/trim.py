"""Take away what packages bring and a service never reads: `python deploy/image/trim.py FOLDER [--gpu]`, where pip put them.

Needs nothing but Python, as it runs where the image is built.
"""

import shutil
import sys
from pathlib import Path

NEEDLESS = (
    # Trained elsewhere, with torch.
    "training",
    "facebridge_train*",
    # Arrow over networks and from clouds, and what is compiled against it; Parquet bodies need none of it.
    "pyarrow/include",
    "pyarrow/src",
    "pyarrow/tests",
    "pyarrow/includes",
    "pyarrow/*.pxi",
    # The same under three names, of which modules ask for the second, such as libarrow_python.so.2600.
    "pyarrow/libarrow_python*.so",
    "pyarrow/libarrow_python*.so.*.*.*",
    "pyarrow/*flight*",
    "pyarrow/_substrait*",
    "pyarrow/*_s3*",
    "pyarrow/*gcsfs*",
    "pyarrow/*azurefs*",
    "pyarrow/*_hdfs*",
    "pyarrow/*orc*",
    "pyarrow/_pyarrow_cpp_tests*",
    # Pictures of a kind that is not read, and text that is drawn.
    "PIL/_avif*",
    "PIL/_imagingft*",
    "pillow.libs/libavif*",
    "pillow.libs/libharfbuzz*",
    "pillow.libs/libfreetype*",
    "pillow.libs/libbrotli*",
    # Every operator's test, and an interpreter in Python.
    "onnx/backend",
    "onnx/reference",
    "onnx/test",
    "onnx/bin",
    "numpy/f2py",
    "numpy/distutils",
    "numpy/**/tests",
    "faiss/**/tests",
    "onnxruntime/quantization",
    "onnxruntime/transformers",
    "onnxruntime/tools",
    "onnxruntime/datasets",
    "**/__pycache__",
    "**/*.pyi",
    "**/*.pyx",
    "**/*.pxd",
    "**/*.c",
    "**/*.h",
    "bin",
    "share",
)
"""Patterns of paths."""
NEEDLESS_ON_CPU = (
    # For programs in C; what Python loads has it within itself.
    "onnxruntime/capi/libonnxruntime.so*",
)


def trim(folder: Path, *, is_gpu: bool = False) -> int:
    """How many bytes that was."""
    num = 0
    for pattern in NEEDLESS if is_gpu else (*NEEDLESS, *NEEDLESS_ON_CPU):
        for path in sorted(folder.glob(pattern)):
            if path.is_symlink() or path.is_file():
                num += path.lstat().st_size
                path.unlink()
            elif path.is_dir():
                num += size_of(path)
                shutil.rmtree(path)
    return num


def size_of(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Trim, and say what is left."""
    folder = Path(sys.argv[1])
    gone = trim(folder, is_gpu="--gpu" in sys.argv)
    sys.stdout.write(f"{gone >> 20} MiB are gone, {size_of(folder) >> 20} MiB are left\n")


if __name__ == "__main__":
    main()
