"""The engine between files, observed interfaces and switches; its control socket and its watcher."""
