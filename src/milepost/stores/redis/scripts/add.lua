-- add: add to counters.
-- KEYS  1 counters
-- ARGV  1 field of the nonce  2 nonce  3... counter, amount, ...
-- Gives the new totals, in order
local first = redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2]
local totals = {}
for at = 3, #ARGV, 2 do
  if first then
    totals[#totals + 1] = redis.call('HINCRBY', KEYS[1], ARGV[at], ARGV[at + 1])
  else
    totals[#totals + 1] = redis.call('HGET', KEYS[1], ARGV[at])
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return totals
