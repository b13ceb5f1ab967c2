"""Stores in a SQL database: one implementation, one small dialect per driver."""
