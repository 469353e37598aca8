"""The REST routes; each handler turns a request into one question on the bus."""
