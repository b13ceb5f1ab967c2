-- create: record a job that is about to be sent.
-- KEYS  1 record  2 index  3 jobs
-- ARGV  1 job id  2 status  3 task  4 message  5 delivery  6 delay ms  7 resend after ms
--       8 nonce: the same call sent again is told what the first one did
--       then field, value, ... of what else is known of it
-- Owns  the whole new record, its index entry and its place among the jobs.
-- Gives 1 created | 0 there was one
-- needs: clock
if redis.call('EXISTS', KEYS[1]) == 1 then
  return redis.call('HGET', KEYS[1], 'nonce') == ARGV[8] and 1 or 0
end
local now = clock()
local due = now + ARGV[6]
redis.call('HSET', KEYS[1], 'status', ARGV[2], 'task', ARGV[3], 'message', ARGV[4],
  'delivery', ARGV[5], 'created_at', now, 'due_at', due, 'nonce', ARGV[8], unpack(ARGV, 9))
redis.call('ZADD', KEYS[2], due + ARGV[7], ARGV[1])
redis.call('ZADD', KEYS[3], now, ARGV[1])
return 1
