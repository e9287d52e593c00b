"""Parse, check and review the proposals of a language model."""

from optuna_metallmix.judge.dialogue import Dialogue
from optuna_metallmix.judge.dialogue import hold_dialogue
from optuna_metallmix.judge.dialogue import read_answer
from optuna_metallmix.judge.judge import Verdict
from optuna_metallmix.judge.llm_judge import Review
from optuna_metallmix.judge.proposal import Proposal


__all__ = [
    "Dialogue",
    "Proposal",
    "Review",
    "Verdict",
    "hold_dialogue",
    "read_answer",
]
