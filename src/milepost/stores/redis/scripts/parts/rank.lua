-- The rank, newest first, right behind the job of that moment and id, which may be gone by now.
-- Ids of one moment are compared byte by byte, as a sorted set does: < goes by the locale.
local function is_before(one, other)
  for i = 1, math.min(#one, #other) do
    local a, b = string.byte(one, i), string.byte(other, i)
    if a ~= b then
      return a < b
    end
  end
  return #one < #other
end
local function rank_behind(jobs, moment, id)
  if moment == '' then
    return 0
  end
  local score = redis.call('ZSCORE', jobs, id)
  if score and tonumber(score) == tonumber(moment) then
    return redis.call('ZREVRANK', jobs, id) + 1
  end
  local low = redis.call('ZCOUNT', jobs, '(' .. moment, '+inf')
  local high = low + redis.call('ZCOUNT', jobs, moment, moment)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_before(redis.call('ZREVRANGE', jobs, middle, middle)[1], id) then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end
