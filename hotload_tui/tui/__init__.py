"""The console: shows facts, sends commands; it talks to a ``ManagerApi`` and to nothing else."""
