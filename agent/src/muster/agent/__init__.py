"""The agent: runs on every host and obeys signed commands."""
