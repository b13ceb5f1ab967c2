-- exchange: put values in the place of others, each only where it is still as it was read.
-- KEYS  1 record (the checkpoint is <record>:data)
-- ARGV  then, for each: 'data', 'record' or 'progress', name, before, after
-- Owns  the values; of the progress its message.
-- Gives nil unknown | how many were exchanged
if redis.call('EXISTS', KEYS[1]) == 0 then
  return false
end
local made = 0
for i = 1, #ARGV, 4 do
  local place = ARGV[i] == 'data' and KEYS[1] .. ':data' or KEYS[1]
  local name, before, after = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local found = redis.call('HGET', place, name)
  if ARGV[i] == 'progress' and found then
    local counts, message = string.match(found, '^(%d+/%d*)/(.*)$')
    found, after = message, counts and counts .. '/' .. after
  end
  if found == before then
    redis.call('HSET', place, name, after)
    made = made + 1
  end
end
return made
