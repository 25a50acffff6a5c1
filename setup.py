"""Builds lstmfast._core: one extension of lstmfast/_core.pyx and every C file below csrc/.

No flag here depends on the CPU of the machine that builds: the kernels carry their own target attributes, and the
right ones are chosen at run time. What each flag is for stands beside it.
Environment: LSTMFAST_SANITIZE=address,undefined builds with those sanitizers; with SOURCE_DATE_EPOCH the sdist has that
time all over, and so the same bytes each time.
"""

from __future__ import annotations

import gzip
import os
import shutil
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist
from setuptools.errors import CompileError, LinkError
from setuptools.modified import newer_group

SOURCES = sorted(glob("csrc/isa/*.c") + glob("csrc/kernels/*.c") + glob("csrc/core/*.c"))
HEADERS = sorted(glob("csrc/**/*.h", recursive=True) + glob("csrc/**/*.inc", recursive=True))
SANITIZE = os.environ.get("LSTMFAST_SANITIZE", "")

GNU_FLAGS = [
    "-std=gnu11",
    "-O3",
    "-ffp-contract=off",  # every fused multiply-add is written out: the same bits from any compiler
    "-fno-math-errno",
    "-falign-loops=64",  # 10 % of the large layers where another program runs on the same core (AVX2, Zen 3)
    "-fvisibility=hidden",
    "-g0",
    f"-ffile-prefix-map={os.getcwd()}=.",  # the same bytes wherever it is built
]
CLANG_CL_FLAGS = ["/O2", "/clang:-std=gnu11", "/clang:-O3", "/clang:-ffp-contract=off", "/clang:-fno-math-errno"]

# (compile flags, link flags) that switch OpenMP on, by compiler; the first pair that builds a program is taken.
GNU_OPENMP = [(["-fopenmp"], ["-fopenmp"]), (["-Xpreprocessor", "-fopenmp"], ["-lomp"])]
CLANG_CL_OPENMP = [(["/clang:-fopenmp"], ["libomp.lib"])]
OPENMP_PROBE = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"


class BuildCore(build_ext):
    """build_ext that settles the flags once a compiler is known, and compiles what changed, on every core."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if SANITIZE:
            self.build_temp += "-" + SANITIZE.replace(",", "-")  # its objects must not mix with ordinary ones

    def build_extensions(self) -> None:
        import numpy
        from Cython.Build import cythonize

        flags, openmp = GNU_FLAGS, GNU_OPENMP
        if self.compiler.compiler_type == "msvc":
            self.use_clang_cl()
            flags, openmp = CLANG_CL_FLAGS, CLANG_CL_OPENMP
        compile_openmp, link_openmp = self.find_openmp(openmp)
        sanitize = [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-g"] if SANITIZE else []
        for extension in self.extensions:
            extension.include_dirs.append(numpy.get_include())
            extension.extra_compile_args = flags + compile_openmp + sanitize
            extension.extra_link_args = link_openmp + sanitize[:1]
            (translated,) = cythonize(
                Extension(extension.name, extension.sources),
                build_dir=self.build_temp,
                compiler_directives={"language_level": 3, "embedsignature": True, "freethreading_compatible": True},
            )
            extension.sources = translated.sources  # the .pyx as C below build_temp
        compile_all = self.compiler.compile

        def compile_changed(sources: list[str], output_dir: str | None = None, **options: object) -> list[str]:
            def compile_one(source: str) -> str:
                (target,) = self.compiler.object_filenames([source], output_dir=output_dir or "")
                if self.force or newer_group([source, *HEADERS, "setup.py"], target):
                    compile_all([source], output_dir=output_dir, **options)
                return target

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                return list(pool.map(compile_one, sources))

        self.compiler.compile = compile_changed
        super().build_extensions()

    def use_clang_cl(self) -> None:
        compiler = shutil.which("clang-cl")
        if compiler is None:
            sys.exit("lstmfast needs clang-cl on Windows: its kernels use vector types that cl does not have")
        self.compiler.initialize()
        self.compiler.cc = compiler

    def find_openmp(self, candidates: list[tuple[list[str], list[str]]]) -> tuple[list[str], list[str]]:
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder, "probe.c")
            probe.write_text(OPENMP_PROBE)
            for compile_flags, link_flags in candidates:
                try:
                    objects = self.compiler.compile([str(probe)], output_dir=folder, extra_postargs=compile_flags)
                    self.compiler.link_executable(objects, "probe", output_dir=folder, extra_postargs=link_flags)
                except (CompileError, LinkError):
                    continue
                return compile_flags, link_flags
        print("lstmfast: this compiler has no OpenMP; the library will run on one thread", file=sys.stderr)
        return [], []


class Sdist(sdist):
    """sdist that writes its archive anew, without times, owners and order of this machine, where an epoch is set."""

    def make_archive(self, *arguments: object, **options: object) -> str:
        archive = str(super().make_archive(*arguments, **options))
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        if epoch is not None and archive.endswith(".tar.gz"):
            self.rewrite(archive, int(epoch))
        return archive

    @staticmethod
    def rewrite(archive: str, epoch: int) -> None:
        with tarfile.open(archive) as old:
            entries = [(entry, old.extractfile(entry)) for entry in sorted(old, key=lambda entry: entry.name)]
            with (
                open(f"{archive}.part", "wb") as file,
                gzip.GzipFile("", "wb", 9, file, mtime=epoch) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
            ):
                for entry, content in entries:
                    plain = tarfile.TarInfo(entry.name)
                    plain.size, plain.type, plain.mtime = entry.size, entry.type, epoch
                    plain.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
                    new.addfile(plain, content)
        os.replace(f"{archive}.part", archive)


setup(
    cmdclass={"build_ext": BuildCore, "sdist": Sdist},
    ext_modules=[
        Extension(
            "lstmfast._core",
            ["lstmfast/_core.pyx", *SOURCES],
            include_dirs=["csrc/include", "csrc"],
            depends=[*HEADERS, *glob("lstmfast/*.px[di]")],
            define_macros=[
                ("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"),
                ("NPY_TARGET_VERSION", "NPY_1_22_API_VERSION"),  # the first with memory handlers
            ],
        )
    ],
)
