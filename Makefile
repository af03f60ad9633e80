PYTHON ?= python3.11
VENV := .venv
STAMP := $(VENV)/.installed
PYTEST = $(VENV)/bin/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder \
	--ignore tests/faults

.PHONY: search test slow-tests faults quick-faults
search: $(STAMP)
	$(VENV)/bin/tlc run default $(ARGS)

# Processes share the compiled sources: many start while the tests run.
test: export PYTHONDONTWRITEBYTECODE =
# mypy runs beside the tests, and its output follows theirs. Three processes keep two cores busy: the
# tests often wait for processes that they start.
test: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy > $(VENV)/mypy.txt & types=$$!; \
	$(PYTEST) -m "not slow" $(ARGS); tests=$$?; \
	wait $$types; types=$$?; cat $(VENV)/mypy.txt; \
	exit $$((tests || types))

# The rest: further families of models, statistics over many studies, and long searches.
slow-tests: export PYTHONDONTWRITEBYTECODE =
slow-tests: $(STAMP)
	$(PYTEST) -m slow $(ARGS)

faults: $(STAMP)
	$(VENV)/bin/python benchmarks/faults.py --seeds 1 --processes 2 $(ARGS)

# Killed driver, NaN loss, full disk, lost replies, damaged store, hostile input; and the checker.
quick-faults: $(STAMP)
	$(VENV)/bin/python benchmarks/faults.py --seeds 1 --processes 2 --only 0,1,8,12,14,17,20 $(ARGS)

# A changed requirement installs again; otherwise the stamp is newer and nothing happens.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@
