"""Backends: each lowers a graph to something that runs. A backend's package is imported only when it is used."""
