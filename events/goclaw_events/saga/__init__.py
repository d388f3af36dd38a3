"""Sagas as users write them: steps with an action, and what undoes it.

Read `definition` (the model), `checking` (what one field cannot tell), `loading` (from a text),
`compiler` (to a plan).
"""

from goclaw_events.saga.compiler import compile_saga
from goclaw_events.saga.definition import (
    ActionDefinition,
    CompensationDefinition,
    SagaDefinition,
    StepDefinition,
)
from goclaw_events.saga.loading import load_saga, saga_from

__all__ = [
    "ActionDefinition",
    "CompensationDefinition",
    "SagaDefinition",
    "StepDefinition",
    "compile_saga",
    "load_saga",
    "saga_from",
]
