"""Greets a guest."""


def greet(name: str) -> str:
    return f"Hello, {name}!"


def register(ctx) -> None:
    ctx.hook("greet", greet)
