"""All words people see in the CRM, in German and English."""

from plugin.texts.explanation import explain
from plugin.texts.formats import safe
from plugin.texts.tasks import TaskText, erased_text, task_text, withdrawal_note

__all__ = ["TaskText", "erased_text", "explain", "safe", "task_text", "withdrawal_note"]
