# The two commands of the README are `make demo` and `make test`.
# Debian's own Python where it can make virtual environments: it is built with profile guidance, and every user may run it.
PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2> /dev/null \
                  && echo /usr/bin/python3 || echo python3)
VENV   := .venv
BIN    := $(VENV)/bin
.PHONY: demo test check bench clean

$(VENV)/.run: pyproject.toml
	$(PYTHON) -m venv $(VENV) || { echo 'posthouse: python3 -m venv failed; on Debian: apt-get install python3-venv' >&2; exit 1; }
	$(BIN)/pip install --quiet --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.test: pyproject.toml tests/setup/debian-packages
	tests/setup/debian-packages
	$(MAKE) --no-print-directory $(VENV)/.run
	$(BIN)/pip install --quiet --quiet --disable-pip-version-check -e '.[test,ldap]'
	touch $@

demo: $(VENV)/.run
	$(BIN)/posthouse demo

test: $(VENV)/.test
	$(BIN)/pytest -n 4 --dist worksteal --reruns 1

check: $(VENV)/.test
	$(BIN)/ruff check src tests bench examples
	$(BIN)/mypy
	$(BIN)/mypy tests examples
	$(BIN)/lint-imports

bench: $(VENV)/.test
	$(BIN)/python bench/run.py $(BENCH)

docs/scale.svg: $(VENV)/.test $(wildcard bench/simulate.py bench/simulation/*.py)
	$(BIN)/python bench/simulate.py --write

docs/status-codes.md: $(VENV)/.run src/posthouse/store/lmtp_server/status_page.py src/posthouse/store/lmtp_server/status_table.py
	$(BIN)/python -m posthouse.store.lmtp_server.status_page > $@

clean:
	rm -rf $(VENV)
