"""Running notebooks: plan, key, cache, worker, runner."""
