import subprocess
import sys


def test_the_service_imports_nothing_of_training() -> None:
    program = (
        "import sys, service.app, service.cli, service.__main__\n"
        "print(sorted({'torch', 'pyarrow', 'training', 'onnxscript', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_without_an_extra_the_command_names_it_in_one_line() -> None:
    program = "import sys, runpy; sys.modules['onnxruntime'] = None; runpy.run_module('service', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "facebridge: onnxruntime is not installed; it comes with an extra: pip install 'facebridge[cpu]'\n"
    )
