"""What carries a job: claim, run, checkpoint, settle, recover. Knows no Celery and no Redis."""
