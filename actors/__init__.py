"""actors: the running system around the domain in ``meerkat``.

Mailboxes, the journal, runs and time. No rule about inputs or runtimes is in this package.
"""

from actors.children import ChildInfo, ChildSpec, ChildState
from actors.control_plane import ControlPlane
from actors.dead_letters import DeadLetter, DeadLetters
from actors.door import Submission
from actors.figures import Figures, Histogram
from actors.linked import Ended, watch_actor
from actors.restarts import Restart, RestartPolicy, Restarts, Strategy
from actors.run_watch import RunNow
from actors.stopping import ShutdownReport
from actors.supervised import PartState, Supervised
from actors.supervisor import RuntimeSupervisor
from actors.threaded import DriverThreads
from actors.tree import Supervisor, SupervisorRef
from actors.watching import NoticeKind, RuntimeNotice, RuntimeWatch

__all__ = [
    "ChildInfo",
    "ChildSpec",
    "ChildState",
    "ControlPlane",
    "DeadLetter",
    "DeadLetters",
    "DriverThreads",
    "Ended",
    "Figures",
    "Histogram",
    "NoticeKind",
    "PartState",
    "Restart",
    "RestartPolicy",
    "Restarts",
    "RunNow",
    "RuntimeNotice",
    "RuntimeSupervisor",
    "RuntimeWatch",
    "ShutdownReport",
    "Strategy",
    "Submission",
    "Supervised",
    "Supervisor",
    "SupervisorRef",
    "watch_actor",
]
