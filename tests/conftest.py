"""Its being here puts ``tests/`` on the import path, so that every suite finds ``services``."""
