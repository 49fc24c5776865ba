import subprocess
import sys


def test_the_service_imports_nothing_of_training() -> None:
    program = (
        "import sys, service.app, service.cli, service.__main__\n"
        "print(sorted({'torch', 'pyarrow', 'training', 'onnxscript', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
