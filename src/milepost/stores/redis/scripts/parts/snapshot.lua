-- The record as it is read: its fields, and the moment of reading as one more, 'now'.
local function snapshot(record, now)
  local flat = redis.call('HGETALL', record)
  flat[#flat + 1] = 'now'
  flat[#flat + 1] = now
  return flat
end
