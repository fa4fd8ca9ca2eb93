"""Isolated environments of services: provisioned, probed, watched and removed. Never imports `runs`."""
