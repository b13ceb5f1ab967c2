-- settle_permit: replace what a permit was admitted for by what it was, once; and free its place.
-- KEYS  1 window  2 open  3 held; left out: it keeps its place
-- ARGV  1 permit  2 end of its bucket  3 tokens more than estimated
if KEYS[3] then
  redis.call('ZREM', KEYS[3], ARGV[1])
end
if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then
  return
end
local kept = redis.call('HGET', KEYS[1], ARGV[2])
if kept then
  local space = string.find(kept, ' ', 1, true)
  local tokens = string.sub(kept, space + 1) + ARGV[3]
  redis.call('HSET', KEYS[1], ARGV[2], string.sub(kept, 1, space) .. string.format('%.0f', tokens))
end
