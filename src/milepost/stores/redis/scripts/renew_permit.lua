-- renew_permit: keep a place for another lease, unless it has lapsed.
-- KEYS  1 held
-- ARGV  1 permit  2 lease (us)
-- Gives 1 kept | 0 there is none to keep
-- needs: ticks
local now, lease = ticks(), tonumber(ARGV[2])
local lapse = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not lapse or tonumber(lapse) <= now then
  return 0
end
redis.call('ZADD', KEYS[1], now + lease, ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.max(math.ceil(lease / 1000), redis.call('PTTL', KEYS[1])))
return 1
