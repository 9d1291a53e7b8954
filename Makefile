PYTHON ?= python
# Tests at once, each on one thread and in 2 GiB.
WORKERS ?= 2

.PHONY: help check test test-fast campaigns demo experiments docs \
	release-check clean

help:
	@echo 'make check      lint, format and types'
	@echo 'make test       all tests but campaigns (GPU tests where there is one)'
	@echo 'make test-fast  tests that take seconds'
	@echo 'make campaigns  fuzz, kills, faults, signals, a browser, long trainings'
	@echo 'make demo       train on the digits that scikit-learn brings along'
	@echo 'make experiments  pending rows of the experiments, for an hour (BUDGET=8h)'
	@echo 'make docs       the site, docs/_build/html/index.html (extra docs)'
	@echo 'make release-check  the wheel on every Python, an hour and 6 GB of disk'
	@echo 'make clean      remove caches and build products'

check:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy -p ahpcl.core

test:
	$(PYTHON) -m pytest -n $(WORKERS) --dist loadfile --durations 15 \
		-m 'not campaign'

test-fast:
	$(PYTHON) -m pytest -m 'not slow and not campaign'

campaigns:
	$(PYTHON) -m pytest -n $(WORKERS) --dist worksteal -m campaign

demo:
	$(PYTHON) tools/train.py configs/ahpcl_digits.py

experiments:
	$(PYTHON) tools/experiments/run.py --budget $(or $(BUDGET),1h)
	$(PYTHON) tools/experiments/table.py

docs:
	$(PYTHON) -m sphinx -q -W --keep-going -b html docs docs/_build/html

release-check:
	$(PYTHON) tools/release/check.py

clean:
	rm -rf docs/_build
	rm -rf build dist projects/*.egg-info projects/ahpcl/.mim
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find configs projects tests tools -name __pycache__ -type d -prune \
		-exec rm -rf {} +
