"""Is disabled: the name of its folder begins with an underscore."""


def park() -> str:
    return "parked"


def register(ctx) -> None:
    ctx.hook("park", park)
