-- Changes the checkpoint: drops the next `drops` fields of ARGV from `first` on, sets the rest.
-- Chunked: unpack() takes about 8,000 values at most.
local function apply(data, first, drops)
  local total, writes = #ARGV, first + drops
  for i = first, writes - 1, 1000 do
    redis.call('HDEL', data, unpack(ARGV, i, math.min(i + 999, writes - 1)))
  end
  for i = writes, total, 1000 do
    redis.call('HSET', data, unpack(ARGV, i, math.min(i + 999, total)))
  end
end
