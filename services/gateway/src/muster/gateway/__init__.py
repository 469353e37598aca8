"""The HTTP and WebSocket edge: it holds no keys and no data, it asks the bus as the visitor."""

__version__ = "0.1.0"
