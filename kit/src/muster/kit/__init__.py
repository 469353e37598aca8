"""The wiring of Muster: bus, identity, storage, settings and lifecycle."""
