# Needs python3 >= 3.11 with its headers, and a C++17 compiler. Everything else is installed into $(VENV).
PYTHON ?= python3
VENV   ?= .venv
# Named on its own line, so that a machine can choose its build of torch: make setup TORCH='torch==2.13.0 --index-url ...'
TORCH  ?= torch==2.13.0
CLANG  ?= clang++
FUZZ_SECONDS ?= 600
SOAK_SECONDS ?= 600
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
CSRC   := 'csrc/*.c' 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.hpp' 'csrc/*.cu'

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow check format docs golden parity certificates bench native stubs sanitize fuzz soak nightly cuda-check clean

help:  ## Show these lines
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(STAMP): pyproject.toml setup.py CMakeLists.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python >= 3.11 is needed; choose one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable '.[train,dev]'
	@touch $@

setup: $(STAMP)  ## Create the environment and build the extension

demo: setup  ## Compile a detector and run it, results in demo/
	$(BIN)/graphdet demo --out demo

test: setup  ## Run the tests, without the slow ones
	$(BIN)/python -m pytest

test-slow: setup  ## Run the slow tests, with photos and weights where GRAPHDET_SHARED has them
	$(BIN)/python -m pytest -m 'slow and not nightly and not gpu and not trt'

check: setup  ## Lint, format check, types, generated pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git ls-files $(CSRC) | xargs $(BIN)/clang-format --dry-run --Werror
	$(BIN)/mypy
	$(BIN)/graphdet docs --check
	$(BIN)/python .ci/stubs.py --check

format: setup  ## Rewrite all files in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	git ls-files $(CSRC) | xargs $(BIN)/clang-format -i

docs: setup  ## Generate the reference pages
	$(BIN)/graphdet docs

golden: setup  ## Rewrite the golden files; review the diff
	GRAPHDET_GOLDEN=write $(BIN)/python -m pytest

parity: setup  ## Run the reference cases and record in zoo/parity.json which pass; review the diff
	GRAPHDET_PARITY=write $(BIN)/python -m pytest tests/parity -m 'not nightly'

certificates: setup  ## Certify each detector on each target and record it in zoo/certificates.json; takes an hour or two
	GRAPHDET_CERTIFY=write $(BIN)/python -m pytest tests/compiler/test_certify.py -k every_detector -m 'slow or nightly'

bench: setup  ## Run the benchmarks that need no data; torchvision, a peer, is put into build/torchvision
	@for name in import_time compile_time engine_speed; do echo "== $$name" && $(BIN)/python benchmarks/$$name.py || exit 1; done
	@for name in ops train_step end_to_end; do \
		echo "== $$name" && $(BIN)/python benchmarks/$$name.py --torchvision build/torchvision || exit 1; done

native: setup  ## Rebuild only the extension, in place
	PATH="$(abspath $(BIN)):$$PATH" cmake -S . -B build/native -G Ninja -DPython_EXECUTABLE="$(abspath $(BIN)/python)"
	PATH="$(abspath $(BIN)):$$PATH" cmake --build build/native --parallel 2

stubs: native  ## Write runtime/_C.pyi from the extension
	$(BIN)/python .ci/stubs.py

sanitize: setup  ## Run the C++ tests and the emulated CUDA kernels under the sanitizers
	export PATH="$(abspath $(BIN)):$$PATH"; for preset in asan tsan; do \
		cmake --preset $$preset && cmake --build --preset $$preset --parallel 2 && ctest --preset $$preset || exit 1; done
	export CXX="$${CXX:-c++}"; GRAPHDET_EMULATE=emulate-asan ASAN_OPTIONS=detect_leaks=0 \
		LD_PRELOAD="$$($$CXX -print-file-name=libasan.so) $$($$CXX -print-file-name=libstdc++.so)" \
		$(BIN)/python -m pytest tests/runtime -m slow -k emulat

cuda-check: setup  ## Test the CUDA kernels: run by the CPU, compiled by nvcc where it is found, run on a GPU where there is one
	$(BIN)/python -m pytest tests/runtime -m slow -k 'emulat'
	@if command -v nvcc >/dev/null; then $(BIN)/python -m pytest tests/runtime -m gpu -rs; \
	else echo 'nvcc is not found: the kernels were not compiled for GPUs'; fi

fuzz: setup  ## Fuzz the reader of engine files, the plan executor and run-length codes, each for FUZZ_SECONDS; needs clang
	export PATH="$(abspath $(BIN)):$$PATH"; CXX=$(CLANG) cmake --preset fuzz && cmake --build --preset fuzz --parallel 2
	for name in artefact plan rle; do mkdir -p build/fuzz/corpus/$$name; build/fuzz/fuzz_$$name -max_total_time=$(FUZZ_SECONDS) \
		-max_len=8192 -timeout=20 -artifact_prefix=build/fuzz/ build/fuzz/corpus/$$name csrc/tests/seeds/$$name || exit 1; done

soak: setup  ## Share one engine among 8 threads, in Python and in C++, each for SOAK_SECONDS
	export PATH="$(abspath $(BIN)):$$PATH"; cmake --preset tests && cmake --build --preset tests --parallel 2 && \
		ctest --preset tests && python benchmarks/soak.py --seconds $(SOAK_SECONDS) --program build/tests/soak

nightly: sanitize soak fuzz  ## Everything that takes long: sanitizers, soak, fuzzing, every detector on every target
	$(BIN)/python -m pytest -m 'nightly and not gpu and not trt'

clean:  ## Remove what builds made; the environment stays
	rm -rf build dist demo *.egg-info runtime/_C*.so .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	rm -f $(STAMP)
