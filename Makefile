# Needs make, git and Python 3.11 or later; everything else goes into the folder .venv.

PYTHON ?= python3
WORKERS ?= 2
ARGS ?=
PROGRAMS ?= 500
CAMPAIGNS := NPNN_HOSTILE=20000 NPNN_KILLS=1000 NPNN_RESUMES=200 NPNN_RANDOM=2000 NPNN_THREADS=30 \
	NPNN_SIGNALS=2000
CAMPAIGN_FILES := hostile_files saving resuming random_models model_threads interrupts
MODELS ?= 200

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
EMULATED := .venv-cupy/emulated/run
# The second device is the one that is used, work is done at any time, and a fault fails the test.
ON_TWO := EMU_NDEV=2 EMU_MODE=random EMU_STRICT=1 $(EMULATED)
# Each access to memory is looked at; what the first has had compiled by NVIDIA's compiler is not.
FOR_RACES := EMU_RACE=1 EMU_POOL=0 EMU_SHUFFLE=1 EMU_NVRTC=0 EMU_STRICT=1 $(EMULATED)

# Tests start Python a hundred times, which would compile npnn each time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help train playground test test-all campaigns test-cupy test-cupy-long cupy versions lint format types bench docs wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  make test ARGS='-k digits'    hands arguments on to pytest"
	@echo "  make cupy ARGS='-m npnn train digits --backend cupy'"
	@echo "  make train PYTHON=python3.13  chooses the Python of a new .venv"

train: .venv/plot.stamp ## train on the digits and draw what came of it
	$(BIN)/npnn train digits --output npnn-output
	@echo
	@echo "Pictures: $(CURDIR)/npnn-output/curves.png and $(CURDIR)/npnn-output/confusion.png"

playground: .venv/base.stamp .venv/plot.stamp ## watch a network learn, in the browser
	$(BIN)/npnn playground $(ARGS)

test: .venv/test.stamp ## run the tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-all: .venv/test.stamp ## run the tests, also those cases that are slow and seldom tell more
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cases all $(ARGS)

campaigns: .venv/test.stamp ## files, kills, threads, signals and random models by the thousand: 40 minutes
	$(CAMPAIGNS) $(BIN)/python -m pytest -n $(WORKERS) --cases all -rfEP $(patsubst %,tests/test_%.py,$(CAMPAIGN_FILES)) $(ARGS)

test-cupy: .venv-cupy/test.stamp ## run the tests of CuPy on an emulated GPU; those of steps also for races
	$(ON_TWO) -m pytest -n $(WORKERS) --cases all -m gpu $(ARGS)
	$(if $(ARGS),,$(FOR_RACES) -m pytest -n $(WORKERS) $(addprefix tests/test_cupy_,plan.py models.py))

test-cupy-long: .venv-cupy/test.stamp ## look for races in PROGRAMS=500 and MODELS=200 new random ones
	NPNN_PROGRAMS=$(PROGRAMS) NPNN_MODELS=$(MODELS) EMU_NDEV=2 $(FOR_RACES) -m pytest \
		-n $(WORKERS) -k random $(addprefix tests/test_cupy_,plan.py models.py) $(ARGS)

cupy: .venv-cupy/test.stamp ## run a program on the emulated GPU, named by ARGS
	$(EMULATED) $(ARGS)

versions: .venv/base.stamp ## look for what cupy needs in the versions of its libraries; needs no GPU
	$(BIN)/python tests/versions.py

lint: .venv/lint.stamp ## look for mistakes and for unformatted code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/lint.stamp ## format the code, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The folder backends/ is the package npnn.backends; links show mypy the tree that is installed.
types: .venv/lint.stamp ## check the types
	rm -rf build/types
	mkdir -p build/types/npnn
	@ln -s $(patsubst %,$(CURDIR)/%,$(filter-out %/__pycache__,$(wildcard npnn/*))) build/types/npnn/
	ln -s $(CURDIR)/backends build/types/npnn/backends
	ln -s $(CURDIR)/npnn_command.py build/types/
	cd build/types && MYPYPATH=. $(CURDIR)/$(BIN)/mypy --strict \
		--config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache -p npnn

bench: .venv/bench.stamp ## measure the speed, beside other libraries where they are installed
	$(BIN)/python -m pytest benchmarks $(ARGS)
	cd benchmarks && ../$(BIN)/python side_by_side.py
	cd benchmarks && ../$(BIN)/python prediction.py
	cd benchmarks && ../$(BIN)/python growth.py

# Without a network, and a warning is an error. What it makes on the way lies in docs/, and is ignored.
docs: .venv/docs.stamp ## build the site into build/site, and look at each page in Chromium
	rm -rf build/site build/doctrees docs/reference/generated
	$(BIN)/python -m sphinx -W --keep-going -q -d build/doctrees docs build/site
	$(BIN)/python -m pytest -q -n $(WORKERS) docs/check.py $(ARGS)
	@echo "Open $(CURDIR)/build/site/index.html"

wheel: .venv/base.stamp ## build the wheel into dist/
	rm -rf build/lib build/bdist.* dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/*.whl

clean: ## remove what was built and cached, but not .venv
	rm -rf docs/learn docs/gallery docs/pictures docs/examples docs/reference/generated
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -not -path './.venv*/*' -prune -exec rm -rf {} +

.venv/base.stamp:
	$(PYTHON) -m venv .venv
	touch $@

.venv/%.stamp: .venv/base.stamp pyproject.toml
	$(PIP) --editable '.[$*]'
	touch $@

.venv-cupy/test.stamp: pyproject.toml $(shell find tests/emulated_cuda -type f -not -name '*.pyc')
	PYTHON=$(PYTHON) tests/emulated_cuda/setup.sh .venv-cupy
	.venv-cupy/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test-cupy]'
	touch $@
