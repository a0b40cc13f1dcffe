"""The HTTP side: routes derived from the registry, one error shape, the event stream, health and metrics."""
