"""A storm over a fleet of workers, and the check of what it left."""
