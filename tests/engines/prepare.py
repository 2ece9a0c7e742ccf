"""Fetches and builds what is compared, each thing once."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BINDING, VERSION = "llama-cpp-python", "0.3.36"  # whose sdist holds llama.cpp's sources


def say(what):
    print(what, file=sys.stderr, flush=True)


def call(*command, **options):
    """Runs a command; what it prints goes where progress goes, since standard output is for the table."""
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr, **options)


def worker():
    """Path of the engine's binary."""
    say("building the worker")
    command = ["cargo", "build", "--locked", "--release", "-p", "assay-worker"]
    command += ["--message-format", "json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    messages = map(json.loads, built.stdout.splitlines())
    [binary] = (m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "assay-worker")
    return binary


class Work:
    """The folder that everything else is in."""

    def __init__(self, folder):
        self.folder = folder.resolve()
        self.bin = self.folder / "venv/bin"
        self.python = self.bin / "python"
        self.model = self.folder / "exaone-4.0-1.2b.gguf"
        self.llama = self.folder / f"{BINDING}-{VERSION}"

    def tool(self, name):
        return self.llama / "build/bin" / name

    def pip(self, *words):
        # A build that pip starts finds the tools of the virtual environment first.
        path = f"{self.bin}:{os.environ['PATH']}"
        call(self.python, "-m", "pip", "-q", "--disable-pip-version-check", *words, env={**os.environ, "PATH": path})

    def venv(self):
        if not self.python.exists():
            call(sys.executable, "-m", "venv", self.folder / "venv")
        self.pip("install", "-r", HERE / "requirements.txt")

    def llama_cpp(self):
        """Leaves llama.cpp's two measuring tools and a model for them."""
        tools = ["llama-bench", "llama-batched-bench"]
        sources = self.llama / "src/vendor/llama.cpp"
        if not all(self.tool(name).exists() for name in tools):
            self.unpack()
            say(f"building llama.cpp of {BINDING} {VERSION}")
            off = ["CURL", "OPENSSL", "BUILD_TESTS", "BUILD_SERVER", "BUILD_EXAMPLES", "BUILD_APP"]
            flags = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", *(f"-DLLAMA_{option}=OFF" for option in off)]
            ninja, build = self.bin / "ninja", self.llama / "build"
            call(self.bin / "cmake", "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", "-S", sources, "-B", build, *flags)
            call(ninja, "-C", build, *tools)
        if not self.model.exists():
            say("writing a model for llama.cpp")
            part = self.model.with_suffix(".part")
            writer = {**os.environ, "PYTHONPATH": str(sources / "gguf-py")}
            call(self.python, HERE / "write_gguf.py", part, env=writer)
            part.rename(self.model)

    def unpack(self):
        """Leaves the sdist's content in llama/src, whole or not at all."""
        if (self.llama / "src").exists():
            return
        say(f"fetching {BINDING} {VERSION}")
        fetched = self.llama / "fetched"
        shutil.rmtree(fetched, ignore_errors=True)
        source_only = ["--no-binary", BINDING, "--no-deps", "--no-build-isolation"]
        self.pip("download", f"{BINDING}=={VERSION}", *source_only, "--dest", fetched)
        [archive] = fetched.glob("*.tar.gz")
        unpacked = fetched / "src"
        unpacked.mkdir()
        call("tar", "-xzf", archive, "-C", unpacked, "--strip-components=1")
        unpacked.rename(self.llama / "src")
        shutil.rmtree(fetched)

    def torch(self):
        """Names and versions of PyTorch and transformers, which are installed unless they are there."""
        ask = "import torch, transformers as t; print(f'PyTorch {torch.__version__}, transformers {t.__version__}')"
        found = subprocess.run([self.python, "-c", ask], capture_output=True, text=True)
        if found.returncode != 0:
            say("installing PyTorch and transformers")
            self.pip("install", "-r", HERE / "torch.txt")
            found = subprocess.run([self.python, "-c", ask], check=True, stdout=subprocess.PIPE, text=True)
        return found.stdout.strip()
