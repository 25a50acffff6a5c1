# make demo    run a saved Keras model over a real record, without TensorFlow; writes co2.png
# make test    everything that must hold: style, the C kernels (natively, and for Arm under qemu), Python against Keras
# Each target makes the virtual environment that it needs. PYTHON=python3.12 picks another interpreter.

PYTHON ?= python3
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
ARM_CC ?= aarch64-linux-gnu-gcc
ARM_RUN ?= qemu-aarch64

# A make within a make: on JOBS processors, or on those that the one around it shares out.
PARALLEL_MAKE = $(MAKE) $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

C_SOURCES := $(sort $(wildcard csrc/isa/*.c csrc/kernels/*.c csrc/core/*.c))
C_HEADERS := $(sort $(wildcard csrc/*/*.h csrc/*/*.inc))
C_FORMATTED = $(C_SOURCES) $(C_HEADERS) $(sort $(wildcard tests/c/*.[ch] tests/c/*.inc))
EXTENSION := setup.py pyproject.toml $(wildcard lstmfast/*.pyx lstmfast/*.px[di]) $(C_SOURCES) $(C_HEADERS)
PACKAGE := $(EXTENSION) README.md $(wildcard lstmfast/*.py lstmfast/*/*.py lstmfast/*.pyi)

.PHONY: help
help:
	@echo 'make demo        run a saved Keras model over a real record, without TensorFlow; writes co2.png'
	@echo 'make test        style, C kernels (native, and Arm under qemu where found), Python against Keras'
	@echo 'make check-long  what does not fit into make test: every float32, sanitizers, leaks, a soak, random models'
	@echo 'make fuzz        hostile model files for SECONDS=600, guided by the code of the loader that they reach'
	@echo 'make bench       beside ONNX Runtime, OpenVINO, PyTorch, XLA, JAX, Keras and NumPy on this machine'
	@echo 'make format | lint | typecheck | tidy | check-c | check-ulp | check-sanitize | soak | clean | distclean'
	@echo 'make docs        the documentation as a site, in build/site'
	@echo 'make wheel | check-wheel | sdist | check-sdist | check-reproducible'

# ---- virtual environments; a stamp inside each says what was installed last ----------------------------------------
# build/lib* goes first, for setuptools would pack what a deleted file left there. The package runs on Python 3.10; what
# the tests, the benchmark and the documentation install does not.

OLDEST := 11
.venv-demo/.made .venv-build/.made: OLDEST := 10
.venv/.made .venv-demo/.made .venv-bench/.made .venv-build/.made .venv-docs/.made: %/.made:
	@$(PYTHON) -c 'import sys; sys.exit("$* needs Python 3.$(OLDEST) or newer; set PYTHON=...") if sys.version_info < (3, $(OLDEST)) else 0'
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

.venv/.recipes: tests/requirements-recipes.txt .venv/.required
	.venv/bin/python -m pip install --quiet -r $<
	touch $@

.venv/.installed: $(EXTENSION) .venv/.required
	.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.venv-bench/.installed: $(EXTENSION) bench/requirements.txt | .venv-bench/.made
	.venv-bench/bin/python -m pip install --quiet -r bench/requirements.txt
	.venv-bench/bin/python -m pip install --quiet --editable .
	touch $@

.venv-build/.required: packaging/build-requirements.txt | .venv-build/.made
	.venv-build/bin/python -m pip install --quiet -r $<
	touch $@

.venv-docs/.required: docs/requirements.txt | .venv-docs/.made
	.venv-docs/bin/python -m pip install --quiet -r $<
	touch $@

# ---- what a user runs ----------------------------------------------------------------------------------------------

.PHONY: demo bench
demo: .venv-demo/.installed
	.venv-demo/bin/python examples/co2/demo.py

bench: .venv-bench/.installed
	.venv-bench/bin/python -m bench

# What is not in the table: sequences that decay through the subnormal numbers; more threads than cores; stacked layers;
# rows of different lengths.
.PHONY: bench-decaying bench-oversubscribed bench-stacks bench-padded bench-calls
bench-decaying: .venv-bench/.installed
	.venv-bench/bin/python -m bench.decaying

bench-oversubscribed: .venv-bench/.installed
	.venv-bench/bin/python -m bench.oversubscribed

bench-stacks: .venv-bench/.installed
	.venv-bench/bin/python -m bench.stacks

bench-padded: .venv-bench/.installed
	.venv-bench/bin/python -m bench.padded

bench-calls: .venv-bench/.installed
	.venv-bench/bin/python -m bench.calls

# ---- tests ---------------------------------------------------------------------------------------------------------

# Two at a time: most of a test is TensorFlow, on one thread. More would take 1.5 GB of memory each. Where a library that
# they compare with cannot be imported they fail.
PYTEST := mkdir -p build && LSTMFAST_REQUIRE_TENSORFLOW=1 .venv/bin/python -m pytest -n 2 --dist worksteal \
	--doctest-modules --cov --cov-report=term tests lstmfast

# The emulator takes longest, so it comes first; pytest comes last: its summary is the last thing printed.
.PHONY: test coverage fuzz lint lint-workflows typecheck tidy format
test:
	@$(MAKE) --no-print-directory -j$(JOBS) .venv/.installed .venv/.recipes .venv-docs/.required
	@$(MAKE) --no-print-directory -j$(JOBS) -Otarget check-arm check-c coverage-c tidy lint typecheck docs
	$(PYTEST)

# Lines of lstmfast that the Python tests reach: `make test` lists those of lstmfast/saving and fails below 95 percent of
# them (pyproject.toml says so); this lists the whole package.
coverage: .venv/.installed
	$(PYTEST)
	.venv/bin/python -m coverage report --include='lstmfast/*' --fail-under=0

# Files that are changed at random, guided by the code they reach: tests/fuzz.py.
SECONDS ?= 600
fuzz: .venv/.installed
	.venv/bin/python -m pip install --quiet atheris
	.venv/bin/python tests/fuzz.py --seconds $(SECONDS)

lint: .venv/.required
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/clang-format --dry-run --Werror $(C_FORMATTED)

# zizmor and the schema know GitHub's workflows; nothing here runs them.
lint: lint-workflows
lint-workflows: .venv/.required
	.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows $(wildcard .github/workflows/*.yml)
	.venv/bin/zizmor --offline --quiet --config .github/zizmor.yml .github/workflows

typecheck: .venv/.required
	.venv/bin/mypy

# The site, in build/site; whatever is odd about a page, a link or a docstring is an error.
.PHONY: docs
docs: .venv-docs/.required
	NO_MKDOCS_2_WARNING=true .venv-docs/bin/mkdocs build --quiet --strict

# .clang-tidy says what is looked for. A stamp for each file, so that they run side by side.
tidy: $(C_SOURCES:%=build/tidy/%)
build/tidy/%.c: %.c $(C_HEADERS) .clang-tidy .venv/.required
	@mkdir -p $(@D)
	.venv/bin/clang-tidy --quiet $< -- $(filter-out -W% -O3,$(C_FLAGS))
	@touch $@

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
C_FLAGS := -std=gnu11 -O3 -ffp-contract=off -fno-math-errno -falign-loops=64 -fvisibility=hidden -Wall -Wextra -Icsrc/include -Icsrc
# At -O3, or where it keeps track of every variable, gcc takes a quarter of an hour for the sanitized kernels.
NATIVE_FLAGS := $(if $(SANITIZE),-O1 -g -fno-var-tracking -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize-recover=all)
OPENMP := -fopenmp
C_TEST_PARTS := $(wildcard tests/c/*.h tests/c/*.inc)
C_TESTS := $(patsubst tests/c/%.c,%,$(wildcard tests/c/test_*.c))
HAS_ARM := $(and $(shell command -v $(ARM_CC)),$(shell command -v $(ARM_RUN)))
X86_RUN ?= qemu-x86_64
HAS_X86_RUN := $(and $(filter x86_64,$(shell uname -m)),$(shell command -v $(X86_RUN)))

$(NATIVE)/%.o: %.c $(C_HEADERS) $(C_TEST_PARTS) Makefile
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) $(NATIVE_FLAGS) $(MODEL_FLAGS) $(OPENMP) -c $< -o $@

$(ARM)/%.o: %.c $(C_HEADERS) $(C_TEST_PARTS) Makefile
	@mkdir -p $(@D)
	$(ARM_CC) $(C_FLAGS) $(OPENMP) -c $< -o $@

$(NATIVE)/%: $(NATIVE)/tests/c/%.o $(C_SOURCES:%.c=$(NATIVE)/%.o)
	$(CC) $(NATIVE_FLAGS) $(OPENMP) $(WRAPPED) $^ -o $@ -lm

# What a test puts its own functions in place of.
$(NATIVE)/test_quota $(ARM)/test_quota: WRAPPED := -Wl,--wrap=fopen -Wl,--wrap=sched_getaffinity
$(NATIVE)/test_crowd $(ARM)/test_crowd: WRAPPED := -Wl,--wrap=clock_gettime
$(NATIVE)/test_threads $(ARM)/test_threads: WRAPPED := -Wl,--wrap=lf_barrier_wait,--wrap=lf_barrier_await,--wrap=lf_barrier_await_round,--wrap=lf_barrier_goes_on

# Static, so that qemu needs no Arm libraries beside it.
$(ARM)/%: $(ARM)/tests/c/%.o $(C_SOURCES:%.c=$(ARM)/%.o)
	$(ARM_CC) -static $(OPENMP) $(WRAPPED) $^ -o $@ -lm

$(NATIVE)/ulp_%.o: tests/c/ulp.c $(C_HEADERS) $(C_TEST_PARTS) Makefile
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) $(NATIVE_FLAGS) $(MODEL_FLAGS) -DULP_ISA=$* -c $< -o $@

$(NATIVE)/ulp: $(NATIVE)/tests/c/ulp.o $(patsubst %,$(NATIVE)/ulp_%.o,generic avx2 avx512 neon)
	$(CC) $(NATIVE_FLAGS) $^ -o $@ -pthread -lm

.SECONDARY:
.PHONY: check-c check-native check-arm check-baseline check-avx512-model check-tsan check-ulp check-ulp-sample
.PHONY: check-leaks coverage-c
check-c: check-native check-arm check-baseline check-ulp-sample

# They run teams larger than the machine, whose threads must not wait for work on a processor that others need.
RUN_NATIVE := $(C_TESTS:%=run-native-%)
RUN_ARM := $(C_TESTS:%=run-arm-%)
.PHONY: $(RUN_NATIVE) $(RUN_ARM)
$(RUN_NATIVE): run-native-%: $(NATIVE)/%
	OMP_WAIT_POLICY=passive $<
$(RUN_ARM): run-arm-%: $(ARM)/%
	OMP_WAIT_POLICY=passive $(ARM_RUN) $<

check-native: $(RUN_NATIVE)

ifneq ($(HAS_ARM),)
check-arm: $(RUN_ARM)
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

# The AVX-512 kernels on a processor that has AVX2 only: a model takes the place of their intrinsics, and all else is as
# it is. Every float32 of an activation: build/c/avx512-model/ulp --isa avx512 --only NAME.
AVX512_MODEL ?=
ifneq ($(AVX512_MODEL),)
$(NATIVE)/csrc/kernels/avx512.o $(NATIVE)/ulp_avx512.o: MODEL_FLAGS := -include tests/c/avx512_model.h
$(NATIVE)/tests/c/ulp.o: MODEL_FLAGS := -DLF_AVX512_MODEL
$(C_TESTS:%=$(NATIVE)/%): WRAPPED += -Wl,--wrap=lf_cpu_probe
$(C_TESTS:%=$(NATIVE)/%): $(NATIVE)/tests/c/avx512_model.o
endif
ifeq ($(shell uname -m),x86_64)
check-avx512-model:
	$(PARALLEL_MAKE) check-native check-ulp-sample AVX512_MODEL=1 NATIVE=build/c/avx512-model
else
check-avx512-model:
	@echo 'check-avx512-model: not run, for this is no x86-64'
endif

# libgomp hides from ThreadSanitizer how its threads meet, so pthreads take its place: see tests/c/test_threads.c. Without
# the barrier the races have to be found.
TSAN := build/c/tsan
TSAN_FLAGS := $(filter-out -O3,$(C_FLAGS)) -O2 -g -fsanitize=thread -DLF_NO_AVX512 -DLF_NO_AVX2
$(TSAN)/test_threads: tests/c/test_threads.c $(C_SOURCES) $(C_HEADERS) Makefile
	@mkdir -p $(@D)
	$(CC) $(TSAN_FLAGS) -Wl,--wrap=lf_team_run,--wrap=lf_barrier_wait,--wrap=lf_barrier_await,--wrap=lf_barrier_await_round,--wrap=lf_barrier_goes_on $(filter %.c,$^) -o $@ -pthread -lm

check-tsan: $(TSAN)/test_threads
	$< --wrapped
	! TSAN_OPTIONS=halt_on_error=1 $< --wrapped --without-barrier > $(TSAN)/no_barrier.txt 2>&1
	grep -q 'ThreadSanitizer: data race' $(TSAN)/no_barrier.txt

# Lines of csrc that the programs reach, of all instruction sets together. Fewer than COVERAGE_LEAST percent fail. Threads
# that count the same line lose some counts, but none to zero, and waiting for each other takes them three times as long.
COVERAGE := build/c/native-coverage
COVERAGE_LEAST ?= 95
COVERAGE_TABLE = /^File / { split($$0, q, "\047"); file = q[2] } \
	/^Lines executed:/ && file ~ /^csrc/ { split($$0, part, "[:% ]+"); hit += part[3] / 100 * part[5]; all += part[5]; \
	    printf "%7.2f %% of %4d  %s\n", part[3], part[5], file; file = "" } \
	END { printf "%7.2f %% of %4d  csrc\n", 100 * hit / all, all; exit 100 * hit / all < $(COVERAGE_LEAST) }
coverage-c:
	find $(COVERAGE) -name '*.gcda' -delete 2> /dev/null || true
	$(PARALLEL_MAKE) check-native NATIVE=$(COVERAGE) NATIVE_FLAGS='-Og --coverage -fprofile-update=single'
	gcov -n -r $$(find $(COVERAGE)/csrc -name '*.gcda') 2> /dev/null | awk '$(COVERAGE_TABLE)' | sort -k 5

# Every float32 takes an hour or two; the sample a second or two.
check-ulp: $(NATIVE)/ulp
	$<

check-ulp-sample: $(NATIVE)/ulp
	$< --stride 9973 --samples 65536 > $(NATIVE)/ulp.md || { cat $(NATIVE)/ulp.md; false; }
	@tail -1 $(NATIVE)/ulp.md

# LeakSanitizer looks at the end of each program, and has to find the leak of the last one.
LEAKS := build/c/native-address-undefined
check-leaks:
	ASAN_OPTIONS=detect_leaks=1 $(PARALLEL_MAKE) check-native SANITIZE=address,undefined
	$(MAKE) $(LEAKS)/planted_leak SANITIZE=address,undefined
	! ASAN_OPTIONS=detect_leaks=1 $(LEAKS)/planted_leak > $(LEAKS)/planted_leak.txt 2>&1
	grep -q 'LeakSanitizer: detected memory leaks' $(LEAKS)/planted_leak.txt

# ---- long checks of the whole, in Python ---------------------------------------------------------------------------

# How soon Ctrl-C ends long calls: a table.
.PHONY: check-interrupts check-freethreaded
check-interrupts: .venv/.installed
	PYTHONPATH=. .venv/bin/python tests/interrupts.py

# A Python without the GIL (`FREE_PYTHON=python3.14t`), in an environment of its own: importing lstmfast must not switch
# the GIL on, and threads must get along. h5py is not asked for: only loading files needs it.
FREE_PYTHON ?= $(firstword $(foreach name,python3.14t python3.13t,$(shell command -v $(name))))
FREE_TESTS := tests/test_processes.py tests/test_streams.py tests/test_errors.py
ifneq ($(FREE_PYTHON),)
check-freethreaded:
	test -x .venv-free/bin/python || $(FREE_PYTHON) -m venv .venv-free
	.venv-free/bin/python -m pip install --quiet --only-binary :all: \
	    numpy cython setuptools pytest pytest-timeout hypothesis threadpoolctl
	.venv-free/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	.venv-free/bin/python -c 'import sys, lstmfast; assert not sys._is_gil_enabled()'
	.venv-free/bin/python -m pytest $(FREE_TESTS)
else
check-freethreaded:
	@echo 'check-freethreaded: not run, for there is no python3.14t or python3.13t; FREE_PYTHON=... names one'
endif

MINUTES ?= 30
.PHONY: soak check-memory check-accuracy check-same-bits check-sanitize check-sanitize-python check-long
soak: .venv/.installed
	.venv/bin/python tests/soak.py --minutes $(MINUTES)

check-memory: .venv/.installed
	.venv/bin/python tests/leaks.py

check-accuracy: .venv-bench/.installed
	.venv-bench/bin/python tests/accuracy.py

# Property tests of the bits, with 1500 examples each.
check-same-bits: .venv/.installed
	.venv/bin/python -m pytest -m long -o timeout=0 tests/test_same_bits.py tests/test_streams.py

check-sanitize: check-leaks check-sanitize-python

# A copy of the tree, so that the ordinary extension stays where it is. Python itself never frees everything: no leak
# check. The first program writes behind its memory, and has to be stopped. What bounds memory or time is left out.
# TESTS='tests/test_streams.py tests/test_errors.py' runs a part.
TESTS ?= tests
SANITIZED := build/sanitized
SANITIZED_LIBRARIES = $(shell $(CC) -print-file-name=libasan.so) $(shell $(CC) -print-file-name=libubsan.so)
SANITIZED_RUN = cd $(SANITIZED) && LD_PRELOAD='$(SANITIZED_LIBRARIES)' PYTHONPATH=. UBSAN_OPTIONS=halt_on_error=1 \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 $(CURDIR)/.venv/bin/python
BEHIND_THE_END = import ctypes, lstmfast; c = ctypes.CDLL(None); c.malloc.restype = ctypes.c_void_p; \
	assert "sanitized" in lstmfast.__file__; ctypes.memset(c.malloc(ctypes.c_size_t(8)), 0, 9)
check-sanitize-python: .venv/.installed
	mkdir -p $(SANITIZED)
	find $(SANITIZED) -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
	tar -c --exclude=./build --exclude='./.venv*' --exclude=./.git --exclude='*.so' . | tar -x -C $(SANITIZED)
	cd $(SANITIZED) && LSTMFAST_SANITIZE=address,undefined $(CURDIR)/.venv/bin/python setup.py -q build_ext --inplace
	! ($(SANITIZED_RUN) -c '$(BEHIND_THE_END)') > $(SANITIZED)/behind_the_end.txt 2>&1
	grep -q 'AddressSanitizer: heap-buffer-overflow' $(SANITIZED)/behind_the_end.txt
	$(SANITIZED_RUN) -m pytest -n $(JOBS) --dist worksteal -p no:cacheprovider -o timeout=0 $(TESTS) \
	    --deselect tests/test_processes.py::test_import_takes_little_time \
	    --deselect tests/test_cli_predict.py::test_memory_is_bounded --deselect tests/test_recipes.py::test_ray \
	    --deselect tests/test_long_runs.py::test_nothing_leaks --deselect tests/test_long_runs.py::test_a_leak_is_noticed \
	    --deselect tests/test_long_runs.py::test_the_soak_notices_growth

check-long: .venv/.installed check-ulp check-avx512-model check-sanitize check-tsan check-memory soak
	.venv/bin/python -m pytest -m long -o timeout=0 tests

# ---- packages ------------------------------------------------------------------------------------------------------

# docs/packaging.md says what these do and why. The wheels are built from the sdist, for each Python that is found.
.PHONY: wheel sdist check-wheel check-sdist check-reproducible clean distclean
wheel: .venv-build/.required
	rm -f dist/*.whl dist/*.tar.gz
	.venv-build/bin/python packaging/make_wheel.py

sdist: .venv-build/.required
	.venv-build/bin/python packaging/make_wheel.py --python

check-wheel: wheel
	.venv-build/bin/python packaging/check_wheel.py

check-sdist: .venv-build/.required
	.venv-build/bin/check-sdist

check-reproducible: .venv-build/.required
	.venv-build/bin/python packaging/check_reproducible.py

clean:
	rm -rf build dist lstmfast.egg-info
	rm -f lstmfast/*.so co2.png
	find lstmfast tests bench docs examples -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .venv-demo .venv-bench .venv-build .venv-docs .venv-free
