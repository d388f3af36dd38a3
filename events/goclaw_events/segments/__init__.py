"""Archived prefixes of partitions: files that never change, read as the tables' rows were."""
