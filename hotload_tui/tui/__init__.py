"""The console: it shows the plugins' state and sends commands, both through ``ManagerApi`` only."""
