"""Use case of the programme: an admin replaces it.

Read next: `../domain/programme.py` for what it may say; `points.py` for what becomes of accounts.
"""

from datetime import datetime

from ledger import ids
from ledger.decision import Decision, View
from ledger.domain import programme


def replace_programme(view: View, command: programme.ReplaceProgramme, _now: datetime) -> Decision:
    """The whole programme anew, answered as it is then. The same as before appends nothing."""
    stream = ids.PROGRAMME_STREAM
    events = programme.decide_replace(command, view.read(stream))
    return Decision(200, command.programme, [(stream, events)])
