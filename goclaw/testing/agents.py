"""The agents of a test: those that are registered, called as their scripts say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from goclaw.testing.script import Script
from goclaw_actors.executors.agents import Agent, AgentRegistry, Signature

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw.testing.script import Acting

ANY: Final = Signature(
    context_only=False, required=frozenset(), allowed=None, forbidden=frozenset()
)


class ScriptedAgents(AgentRegistry):
    """Give the agents of another registry, each in this process and by its script. Any thread."""

    def __init__(self, registered: AgentRegistry, acting: Acting) -> None:
        super().__init__()
        self._registered = registered
        self._acting = acting
        self._scripts: dict[str, Script] = {}
        self._made: dict[str, tuple[Agent | None, Agent]] = {}

    def script(self, name: str) -> Script:
        """Return the script of an agent, whether or not it is registered."""
        found = self._scripts.get(name)
        return self._scripts.setdefault(name, Script(name)) if found is None else found

    @property
    def scripts(self) -> list[Script]:
        """Return the scripts of all agents that were called, or were given one."""
        return list(self._scripts.values())

    def register(self, name: str, function: Callable[..., Any], **options: Any) -> Agent:
        """Register an agent where the others are."""
        return self._registered.register(name, function, **options)

    def get(self, name: str) -> Agent | None:
        """Return an agent; one that is not registered, too, if it has a script."""
        agent = self._registered.get(name)
        if agent is None and name not in self._scripts:
            return None
        return self._acted(name, agent)

    def lookup(self, name: str) -> Agent:
        """Return an agent, or raise `AgentUnknown`."""
        return self.get(name) or self._registered.lookup(name)

    def names(self) -> list[str]:
        """Return all names in order."""
        return sorted({*self._registered.names(), *self._scripts})

    def on_registered(self, listener: Callable[[Agent], None]) -> Callable[[], None]:
        """Call `listener` after each registration; return what ends this."""
        return self._registered.on_registered(
            lambda agent: listener(self._acted(agent.name, agent))
        )

    def _acted(self, name: str, agent: Agent | None) -> Agent:
        made = self._made.get(name)
        if made is not None and made[0] is agent:
            return made[1]
        script = self.script(name)
        if agent is None:
            acted = Agent(name, self._acting.on_loop(script, None), is_async=True, signature=ANY)
        else:
            act = self._acting.on_loop if agent.is_async else self._acting.in_thread
            here = replace(agent.options, executor="")
            acted = replace(agent, function=act(script, agent.function), options=here)
        self._made[name] = (agent, acted)
        return acted
