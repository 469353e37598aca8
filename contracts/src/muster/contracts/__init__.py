"""The language of Muster: every message, call, event and error code, in one place."""
