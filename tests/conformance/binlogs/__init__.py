"""Binlogs by several readers: ours, mysql-replication, and the program that comes with each server."""
