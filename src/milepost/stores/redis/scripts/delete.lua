-- delete: forget a job and its checkpoint.
-- KEYS  1 record (the checkpoint is <record>:data)  2 index  3 jobs
-- ARGV  1 job id
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return redis.call('UNLINK', KEYS[1], KEYS[1] .. ':data')
