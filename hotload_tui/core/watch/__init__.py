"""From notifications of the file system to the plugins that have changed."""
