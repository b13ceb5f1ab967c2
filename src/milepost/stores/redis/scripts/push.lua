-- push: admit nobody for so long.
-- KEYS  1 window
-- ARGV  1 how long (us)
-- needs: ticks
local now = ticks()
local until_ = now + ARGV[1]
if until_ > tonumber(redis.call('HGET', KEYS[1], 'until') or 0) then
  redis.call('HSET', KEYS[1], 'until', string.format('%.0f', until_))
  redis.call('PEXPIRE', KEYS[1], math.max(math.ceil(ARGV[1] / 1000), redis.call('PTTL', KEYS[1])))
end
