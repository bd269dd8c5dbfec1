"""`[[route]]` in the passes over a file: a checked line goes where the first rule that holds says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from claude_batch.core.catalog import DEFAULT_MODEL
from claude_batch.core.routing import Route, RouteTally, route
from claude_batch.storage.prompt_parse import input_tokens
from claude_batch.storage.prompt_shapes import Shape


@dataclass(slots=True, kw_only=True)
class Router:
    """Redirects the lines of one pass, and counts what went where.

    `default_model` is what lines without a model get.
    """

    rules: Sequence[Route]
    default_model: str = DEFAULT_MODEL
    tally: RouteTally = field(default_factory=RouteTally)

    def __call__(self, shape: Shape) -> Shape:
        """Return the line as it will be sent; one that no rule is about as it is."""
        named = {"model": shape.names_model, "max_tokens": shape.names_max_tokens}
        said = {key: value for key, value in shape.params.items() if named.get(key, True)}
        tokens = input_tokens(shape)
        routed = route(self.rules, said, shape.meta, tokens, default_model=self.default_model)
        params = {**routed.params}
        for key in named:
            params.setdefault(key, shape.params[key])
        self.tally.add(routed.rule, params["model"])
        return shape if routed.rule is None else replace(shape, params=params)
