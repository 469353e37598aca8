"""An agent in two parts: one on the network without rights, and a helper with them.

The part on the network parses what strangers send. The helper listens on a Unix socket, knows its
caller by the kernel's word (``SO_PEERCRED``), verifies every order again by keys of its own, keeps
its own journal, and obeys its own policy. Who has taken the first part over can deny service and
tell lies about outputs; it cannot have anything executed that the authority has not signed for
this node, and nothing twice.
"""
