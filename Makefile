# Every target first makes or completes .venv from the lock file; all of them are safe to interrupt and to repeat.

PYTHON ?= $(shell for p in python3.11 python3.12 python3; do command -v $$p && break; done)
# cpu, gpu, or auto (looks for an NVIDIA GPU)
KIND ?= auto
BIN := .venv/bin
comma := ,

.DEFAULT_GOAL := help
.PHONY: help environment prepare chat test lint bench bench-ranking dialogues adapter clean

help: ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

environment: ## Make .venv and install the lock file
	@[ -n "$(PYTHON)" ] || { echo "shoptalk: no python3 found. Debian 12: sudo apt-get install python3 python3-pip python3-venv" >&2; exit 1; }
	@"$(PYTHON)" -I ui/setup_environment.py --kind $(KIND)

prepare: environment ## Prepare the default shop and the default model
	@$(BIN)/shoptalk prepare

chat: prepare ## Open the page on http://127.0.0.1:7860
	@$(BIN)/shoptalk chat

lint: environment ## Lint, format check, types, import direction
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## The whole suite (the page's tests need Debian's chromium)
	@command -v chromium >/dev/null || echo "shoptalk: chromium is missing, so the tests of the page are skipped. Debian 12: sudo apt-get install chromium" >&2
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

bench: prepare ## Measure the figures of the README
	@$(BIN)/shoptalk bench

bench-ranking: prepare ## Set the ranking beside its peers and public libraries (OFFICE=DIR adds that data set)
	@$(BIN)/python -m eval.ranking_bench --output $(or $(OUTPUT),.shoptalk/ranking) --data default,movielens,movielens-random$(if $(OFFICE),$(comma)office --office $(OFFICE)) $(ARGUMENTS)

dialogues: prepare ## Make the training conversations from the histories
	@$(BIN)/shoptalk dialogues $(foreach set,$(wildcard eval/sets/*.jsonl),--apart $(set))

adapter: dialogues ## Train the LoRA adapter on them
	@$(BIN)/shoptalk train

clean: ## Remove caches, the environment and what was prepared (memory and carts stay)
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf .shoptalk/models .shoptalk/shop .shoptalk/tests .shoptalk/peers .shoptalk/peers-data
	find agent eval finetune retrieval tests ui -name __pycache__ -type d -prune -exec rm -rf {} +
