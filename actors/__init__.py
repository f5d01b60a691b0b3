"""actors: the running system around the domain in ``meerkat``.

Mailboxes, the journal, runs and time. No rule about inputs or runtimes is in this package.
"""

from actors.control_plane import ControlPlane, Submission
from actors.supervisor import RuntimeSupervisor

__all__ = ["ControlPlane", "RuntimeSupervisor", "Submission"]
