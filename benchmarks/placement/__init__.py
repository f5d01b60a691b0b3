"""Placement: who has which runtime, as a model under seeded schedules.

``python benchmarks/hundred_nodes.py`` runs it at full size; ``tests/benchmarks`` at a small one.
What is modelled is the agreement between the processes, and nothing within one: ``database`` has
the words of ``meerkat.store.sharing``, ``member`` those of a plane over it.
"""
