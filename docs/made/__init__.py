"""Pages that are made from the code, a module each; ``make_reference.py`` writes them."""
