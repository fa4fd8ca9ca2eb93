"""Suites, runs and results: what was run, what came of it and what it means."""
