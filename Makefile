# Each target sets up .venv by itself. PYTHON=python3.12 chooses another interpreter, PYTEST_ARGS adds to pytest's.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Not kept between runs of the demo: each is a run folder of its own.
DEMO := runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: setup demo test lint format bench lock clean

setup: $(READY)

$(READY): requirements/cpu.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "error: Python 3.11 to 3.13 is needed, $(PYTHON) is another. Name one: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --compile --require-hashes -r requirements/cpu.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: setup
	$(BIN)/python -m lungseg_train.phantom --out_dir $(DEMO)/cases --num_cases 30 --size 32 --spacing_mm 10
	$(BIN)/python tune/search.py --data_dir $(DEMO)/cases --run_dir $(DEMO)/run --num_trials 12 --max_epochs 27 --num_phantoms 0

test: setup
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python tests/benchmarks/augmentation_speed.py
	$(BIN)/python tests/benchmarks/search_speed.py

# Needs uv. No index address goes into the lock: everyone installs from their own.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--extra cpu --extra dev --extra export pyproject.toml --output-file requirements/cpu.txt

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
