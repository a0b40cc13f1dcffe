"""The modules: what can be asked of WCP360. They do not import each other; the wiring joins them."""
