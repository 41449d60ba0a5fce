"""A program that imports the plugins and prints their answer; a restart or hmr runs it again."""

import importlib
import sys
import time

sys.dont_write_bytecode = True  # as in modules.py
sys.path.insert(0, f"{sys.argv[1]}/plugins")
plugins = [importlib.import_module(f"{name}.plugin") for name in sys.argv[2].split(",")]
lowest = min(plugin.answer() for plugin in plugins)
print(f"answer {lowest} {time.monotonic()}", flush=True)
