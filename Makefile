# Everything a fresh machine needs: `make demo`, `make test`, `make lint`. On a machine with a GPU: `make gpu`.
# torch comes from PyTorch's own index if that can be reached: PyPI's for Linux pulls gigabytes of CUDA libraries.
PYTHON ?= python3
TORCH ?= torch==2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
VENV := .venv
BIN := $(VENV)/bin
TRITON := .venv-triton
READY := $(VENV)/.ready
TRACER = $$($(BIN)/python -c "import sys; print('sysmon' if sys.version_info >= (3, 12) else 'ctrace')")
PYTEST = COVERAGE_CORE=$(TRACER) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal
COVERAGE := --cov --cov-report=term:skip-covered
CHEAP_COVERAGE = $$($(BIN)/python -c "import sys; print('$(COVERAGE)' if sys.version_info >= (3, 12) else '')")
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test coverage matrix lint gpu fuzz env clean

env: $(READY)

$(READY): pyproject.toml setup.py Makefile
	@command -v $(PYTHON) > /dev/null || { echo "error: there is no $(PYTHON): apt-get install python3-venv" >&2; exit 2; }
	@$(PYTHON) -m tools.needs
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --no-deps --retries 0 --extra-index-url $(TORCH_INDEX) "$(TORCH)"
	$(BIN)/python -m pip install -q -e ".[export,cpu,report,test]"
	$(BIN)/python -m pip install -q -e ".[rtx]" || echo "tensorrt-rtx is not available here; engine builds are skipped"
	$(TRITON)/bin/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv $(TRITON)
	$(TRITON)/bin/python -m pip install -q -e ".[cpu,triton]" || echo "no tritonserver here; its tests are skipped"
	$(BIN)/python -m tests.doubles.standin
	touch $@

demo: env
	$(BIN)/python -m tools.demo --out build/demo

test: env
	@$(BIN)/python -m tools.needs --tests
	$(PYTEST) $(CHEAP_COVERAGE)

# `make test` prints it where tracing is cheap; on Pythons before 3.12 it takes half as much time again.
coverage: env
	$(PYTEST) $(COVERAGE)

# The runtime's tests on every Python from 3.10 to 3.13 that is found; each gets an environment of its own.
matrix: env
	$(BIN)/python -m tools.matrix

# With the environment's packages if there is one, else with those of PYTHON: a GPU machine may have no network.
gpu:
	if test -x $(BIN)/python; then $(BIN)/python -m selftest $(GPU); else $(PYTHON) -m selftest $(GPU); fi

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/shellcheck .ci/run examples/scale/slurm-array.sh tools/gpu/unpack.sh tools/jetson/setup.sh
	$(BIN)/python -m tools.link_rooms
	$(BIN)/pyright --pythonpath $(BIN)/python
	cd build/lint && ../../$(BIN)/lint-imports

# Ten minutes of mutated checkpoints, manifests and pictures; what breaks a reader is left in build/fuzz.
fuzz: env
	$(BIN)/python -m pip install -q atheris
	$(BIN)/python -m tools.fuzz checkpoint --seconds 300
	$(BIN)/python -m tools.fuzz manifest --seconds 100
	$(BIN)/python -m tools.fuzz picture --seconds 200

clean:
	rm -rf build dist *.egg-info .cache
