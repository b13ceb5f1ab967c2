"""Where milepost meets the processes of others: Celery's worker, and later its command line."""
