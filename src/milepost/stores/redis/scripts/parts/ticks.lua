-- The store's clock, in whole microseconds since the epoch.
local function ticks()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
