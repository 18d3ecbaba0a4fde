# every target is a task of tasks.py, which says what it does: make, or python tasks.py, lists them
TASKS := book test claims lab student lecturer slides pdf lint bench references scoreboard tables lock clean setup
.DEFAULT_GOAL := help
.PHONY: help $(TASKS)
export PYTHON SEEDS NAME QUICK ONLY

help $(TASKS):
	@sh tools/setup.sh $@
