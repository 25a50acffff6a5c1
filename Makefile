# make demo    run a saved Keras model over a real record, without TensorFlow; writes co2.png
# make test    everything that must hold: style, the C kernels (natively, and for Arm under qemu), Python against Keras
# Each target makes the virtual environment that it needs. PYTHON=python3.12 picks another interpreter.

PYTHON ?= python3
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
ARM_CC ?= aarch64-linux-gnu-gcc
ARM_RUN ?= qemu-aarch64

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

C_SOURCES := $(sort $(wildcard csrc/isa/*.c csrc/kernels/*.c csrc/core/*.c))
C_HEADERS := $(sort $(wildcard csrc/*/*.h csrc/*/*.inc))
C_FORMATTED = $(C_SOURCES) $(C_HEADERS) $(sort $(wildcard tests/c/*.[ch] tests/c/*.inc))
EXTENSION := setup.py pyproject.toml $(wildcard lstmfast/*.pyx lstmfast/*.pxd) $(C_SOURCES) $(C_HEADERS)
PACKAGE := $(EXTENSION) README.md $(wildcard lstmfast/*.py lstmfast/*/*.py lstmfast/*.pyi)

.PHONY: help
help:
	@echo 'make demo        run a saved Keras model over a real record, without TensorFlow; writes co2.png'
	@echo 'make test        style, C kernels (native, and Arm under qemu where found), Python against Keras'
	@echo 'make check-long  what does not fit into make test: every float32, sanitizers, random models'
	@echo 'make bench       against ONNX Runtime and Keras on this machine'
	@echo 'make format | lint | typecheck | check-c | check-ulp | wheel | sdist | clean'

# ---- virtual environments; a stamp inside each says what was installed last ----------------------------------------
# build/lib* goes first, for setuptools would pack what a deleted file left there.

.venv/.made .venv-demo/.made .venv-bench/.made .venv-build/.made: %/.made:
	@$(PYTHON) -c 'import sys; sys.exit("lstmfast needs Python 3.10 or newer; set PYTHON=...") if sys.version_info < (3, 10) else 0'
	rm -rf $*
	$(PYTHON) -m venv $*
	$*/bin/python -m pip install --quiet --upgrade pip
	touch $@

.venv-demo/.installed: $(PACKAGE) | .venv-demo/.made
	rm -rf build/lib*
	.venv-demo/bin/python -m pip install --quiet . matplotlib
	touch $@

.venv/.required: tests/requirements.txt | .venv/.made
	.venv/bin/python -m pip install --quiet -r $<
	touch $@

.venv/.installed: $(EXTENSION) .venv/.required
	.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.venv-bench/.installed: $(EXTENSION) bench/requirements.txt | .venv-bench/.made
	.venv-bench/bin/python -m pip install --quiet -r bench/requirements.txt
	.venv-bench/bin/python -m pip install --quiet --editable .
	touch $@

.venv-build/.required: | .venv-build/.made
	.venv-build/bin/python -m pip install --quiet build
	touch $@

# ---- what a user runs ----------------------------------------------------------------------------------------------

.PHONY: demo bench
demo: .venv-demo/.installed
	.venv-demo/bin/python examples/co2/demo.py

bench: .venv-bench/.installed
	.venv-bench/bin/python -m bench

# ---- tests ---------------------------------------------------------------------------------------------------------

# pytest comes last: its summary is the last thing printed.
.PHONY: test lint typecheck format
test: .venv/.installed
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory -j$(JOBS) check-c
	.venv/bin/python -m pytest --doctest-modules tests lstmfast

lint: .venv/.required
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/clang-format --dry-run --Werror $(C_FORMATTED)

typecheck: .venv/.required
	.venv/bin/mypy

format: .venv/.required
	.venv/bin/ruff check --fix --exit-zero .
	.venv/bin/ruff format .
	.venv/bin/clang-format -i $(C_FORMATTED)

# ---- the core alone, in C: each tests/c/test_*.c is linked with all of csrc ----------------------------------------
# build/c/native and build/c/arm hold one build each; SANITIZE=address,undefined makes another of its own.
# tests/c/ulp.c measures the activations of each ISA, so it is compiled once for each and once for the program.

SANITIZE ?=
comma := ,
VARIANT := $(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))
NATIVE := build/c/native$(VARIANT)
ARM := build/c/arm
C_FLAGS := -std=gnu11 -O3 -ffp-contract=off -fno-math-errno -fvisibility=hidden -Wall -Wextra -Icsrc/include -Icsrc
NATIVE_FLAGS := $(if $(SANITIZE),-g -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize-recover=all)
OPENMP := -fopenmp
C_TEST_PARTS := $(wildcard tests/c/*.h tests/c/*.inc)
C_TESTS := $(patsubst tests/c/%.c,%,$(wildcard tests/c/test_*.c))
HAS_ARM := $(and $(shell command -v $(ARM_CC)),$(shell command -v $(ARM_RUN)))
X86_RUN ?= qemu-x86_64
HAS_X86_RUN := $(and $(filter x86_64,$(shell uname -m)),$(shell command -v $(X86_RUN)))

$(NATIVE)/%.o: %.c $(C_HEADERS) $(C_TEST_PARTS) Makefile
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) $(NATIVE_FLAGS) $(OPENMP) -c $< -o $@

$(ARM)/%.o: %.c $(C_HEADERS) $(C_TEST_PARTS) Makefile
	@mkdir -p $(@D)
	$(ARM_CC) $(C_FLAGS) $(OPENMP) -c $< -o $@

$(NATIVE)/%: $(NATIVE)/tests/c/%.o $(C_SOURCES:%.c=$(NATIVE)/%.o)
	$(CC) $(NATIVE_FLAGS) $(OPENMP) $^ -o $@ -lm

# Static, so that qemu needs no Arm libraries beside it.
$(ARM)/%: $(ARM)/tests/c/%.o $(C_SOURCES:%.c=$(ARM)/%.o)
	$(ARM_CC) -static $(OPENMP) $^ -o $@ -lm

$(NATIVE)/ulp_%.o: tests/c/ulp.c $(C_HEADERS) $(C_TEST_PARTS) Makefile
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) $(NATIVE_FLAGS) -DULP_ISA=$* -c $< -o $@

$(NATIVE)/ulp: $(NATIVE)/tests/c/ulp.o $(patsubst %,$(NATIVE)/ulp_%.o,generic avx2 avx512 neon)
	$(CC) $(NATIVE_FLAGS) $^ -o $@ -pthread -lm

.SECONDARY:
.PHONY: check-c check-native check-arm check-baseline check-tsan check-ulp check-long check-sanitize coverage-c
check-c: check-native check-arm check-baseline

check-native: $(C_TESTS:%=$(NATIVE)/%)
	for test in $^; do $$test; done

ifneq ($(HAS_ARM),)
check-arm: $(C_TESTS:%=$(ARM)/%)
	for test in $^; do $(ARM_RUN) $$test; done
else
check-arm:
	@echo 'check-arm: not run, for $(ARM_CC) and $(ARM_RUN) are not both installed'
endif

# An x86-64 without AVX may be offered the generic kernels only. The emulator runs AVX even so, hence the second look: no
# object but those of AVX may hold an instruction beyond SSE2, and those may give the linker nothing but their tables.
AVX_OBJECTS := $(NATIVE)/csrc/kernels/avx2.o $(NATIVE)/csrc/kernels/avx512.o
BEYOND_SSE2_NAMES := v[a-z]+|pshufb|pmulld|p?blend[a-z]+|round[sp][sd]|ptest|p(min|max)(s[bd]|u[wd])|dpp[sd]|popcnt|mulx
BEYOND_SSE2 := [[:space:]]($(BEYOND_SSE2_NAMES))[[:space:]]
ifneq ($(HAS_X86_RUN),)
check-baseline: $(NATIVE)/test_core
	$(X86_RUN) -cpu qemu64 $< generic
	! objdump -d --no-show-raw-insn $(filter-out $(AVX_OBJECTS),$(C_SOURCES:%.c=$(NATIVE)/%.o)) | \
	    grep -m 3 -E '$(BEYOND_SSE2)'
	! nm -g --defined-only $(AVX_OBJECTS) | grep -E ' [A-Za-z] ' | grep -v -E ' lf_kernels_avx(2|512)$$'
else
check-baseline:
	@echo 'check-baseline: not run, for $(X86_RUN) is not installed or this is no x86-64'
endif

# libgomp hides from ThreadSanitizer how its threads meet, so pthreads take its place: see tests/c/test_threads.c. The
# second program has no barrier, and the races in it have to be found.
TSAN := build/c/tsan
TSAN_FLAGS := $(filter-out -O3,$(C_FLAGS)) -O2 -g -fsanitize=thread -DLF_NO_AVX512 -DLF_NO_AVX2
$(TSAN)/test_threads: tests/c/test_threads.c $(C_SOURCES) $(C_HEADERS) Makefile
	@mkdir -p $(@D)
	$(CC) $(TSAN_FLAGS) -Wl,--wrap=lf_team_run $(filter %.c,$^) -o $@ -pthread -lm

$(TSAN)/test_no_barrier: tests/c/test_threads.c $(C_SOURCES) $(C_HEADERS) Makefile
	@mkdir -p $(@D)
	$(CC) $(TSAN_FLAGS) -Wl,--wrap=lf_team_run,--wrap=lf_barrier_wait $(filter %.c,$^) -o $@ -pthread -lm

check-tsan: $(TSAN)/test_threads $(TSAN)/test_no_barrier
	$(TSAN)/test_threads --wrapped
	! $(TSAN)/test_no_barrier --wrapped > $(TSAN)/no_barrier.txt 2>&1
	grep -q 'ThreadSanitizer: data race' $(TSAN)/no_barrier.txt

# Lines of csrc that the programs reach, of all instruction sets together. Fewer than COVERAGE_LEAST percent fail.
COVERAGE := build/c/native-coverage
COVERAGE_LEAST ?= 95
COVERAGE_TABLE = /^File / { split($$0, q, "\047"); file = q[2] } \
	/^Lines executed:/ && file ~ /^csrc/ { split($$0, part, "[:% ]+"); hit += part[3] / 100 * part[5]; all += part[5]; \
	    printf "%7.2f %% of %4d  %s\n", part[3], part[5], file; file = "" } \
	END { printf "%7.2f %% of %4d  csrc\n", 100 * hit / all, all; exit 100 * hit / all < $(COVERAGE_LEAST) }
coverage-c:
	find $(COVERAGE) -name '*.gcda' -delete 2> /dev/null || true
	$(MAKE) -j$(JOBS) check-native NATIVE=$(COVERAGE) NATIVE_FLAGS='-O1 --coverage -fprofile-update=atomic'
	gcov -n -r $$(find $(COVERAGE)/csrc -name '*.gcda') 2> /dev/null | awk '$(COVERAGE_TABLE)' | sort -k 5

check-ulp: $(NATIVE)/ulp
	$<

check-sanitize:
	$(MAKE) -j$(JOBS) check-native SANITIZE=address,undefined

check-long: .venv/.installed check-ulp check-sanitize check-tsan
	.venv/bin/python -m pytest -m long -o timeout=0 tests

# ---- packages ------------------------------------------------------------------------------------------------------

.PHONY: wheel sdist clean
wheel: .venv-build/.required
	rm -rf build/lib*
	.venv-build/bin/python -m build --wheel .

sdist: .venv-build/.required
	.venv-build/bin/python -m build --sdist .

clean:
	rm -rf build dist lstmfast.egg-info .venv .venv-demo .venv-bench .venv-build
	rm -f lstmfast/*.so co2.png
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
