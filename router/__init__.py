"""Which target answers a query: a small, fast, calibrated classifier and the rules around it."""

from router.conversation import query_text, user_turns
from router.decision import GENERAL, Decision, Reason
from router.errors import RouterError
from router.router import Router, current_folder
from router.second.stage import Cascade, SecondStage

__all__ = [
    "GENERAL",
    "Cascade",
    "Decision",
    "Reason",
    "Router",
    "RouterError",
    "SecondStage",
    "current_folder",
    "query_text",
    "user_turns",
]
