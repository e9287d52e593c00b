"""a name -> the variant of the prompt: whether a model reasons first, and on what.

The two controls tell what each part is worth: `plain` and `cot` see all but the SHAP evidence.
Without evidence no change can be given a reason that code could check, so none is offered.
"""

from __future__ import annotations

from dataclasses import dataclass


PROMPT_VERSION = "2"
"""Counts up with every change of the wording, so that recorded answers can be told apart."""


@dataclass(frozen=True)
class Variant:
    """One way of asking.

    Attributes:
        name: What a person calls it.
        reasons: Whether the answer has a reasoning before its choice (chain of thought).
        evidence: Whether SHAP evidence is shown, to be cited.
    """

    name: str
    reasons: bool
    evidence: bool

    @property
    def version(self) -> str:
        """What is recorded of a prompt: version and variant."""
        return f"{PROMPT_VERSION} {self.name}"


DEFAULT_VARIANT = Variant("cot+shap", reasons=True, evidence=True)
VARIANTS = (Variant("plain", False, False), Variant("cot", True, False), DEFAULT_VARIANT)


def variant_named(name: str) -> Variant:
    """Return the variant with a name.

    Raises:
        ValueError: There is none; the message says which there are.
    """
    for variant in VARIANTS:
        if variant.name == name:
            return variant
    known = ", ".join(repr(one.name) for one in VARIANTS)
    raise ValueError(f"prompt={name!r} must be one of {known}.")
