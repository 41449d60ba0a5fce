"""A module of the program: what plugins put into its list stays there."""

callbacks: list[object] = []
