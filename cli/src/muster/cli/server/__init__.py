"""The whole platform in one command: `muster up`, and the commands that look after it."""
