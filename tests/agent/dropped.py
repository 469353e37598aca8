"""Be an agent as another user, though only root can read this Python: ``dropped.py USER WORDS``.

Everything is imported first, then the rights are given up for good.
"""

import codecs
import os
import pwd
import sys

from muster.agent import __main__, commands, living
from muster.kit import logs, run

assert all((commands, living, logs, run))
for name in ("unicode_escape", "idna", "ascii", "latin-1"):
    codecs.lookup(name)

user = pwd.getpwnam(sys.argv[1])
os.setgroups([])
os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
del sys.argv[1]
sys.exit(__main__.main())
