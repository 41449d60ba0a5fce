"""Converts prices; one rate is missing."""

RATES = {"USD": 1.08, "GBP": 0.85}
IN_USE = [RATES[currency] for currency in ("EUR", "USD", "GBP")]


def convert(euros: float, currency: str) -> float:
    return round(euros * RATES[currency], 2)


def register(ctx) -> None:
    ctx.hook("convert", convert)
