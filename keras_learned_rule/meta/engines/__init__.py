"""Engines: what runs meta-training on a framework and a set of devices."""
