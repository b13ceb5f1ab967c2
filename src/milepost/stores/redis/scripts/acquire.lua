-- acquire: admit a call under a limit, or tell how long it has to wait.
-- KEYS  1 window  2 held  3 open
-- ARGV  1 nonce  2 per (us)  3 buckets  4 poll (us)  5 lease (us)
--       6 requests, 7 tokens, 8 concurrency: what is allowed, '' any number  9 tokens asked for
-- Gives {end of the bucket}, admitted | {us to wait, what stands in the way longest}
-- needs: ticks
-- The window's fields: end of a bucket -> '<requests> <tokens>'; 'longest', 'until'. The rules
-- are those of milepost.stores.windows.
local per, asked = tonumber(ARGV[2]), tonumber(ARGV[9])
local requests, tokens, places = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local now = ticks()

local function read()
  local window = { ends = {}, requests = {}, tokens = {}, longest = per, until_ = 0 }
  local flat, seen = redis.call('HGETALL', KEYS[1]), 0
  for at = 1, #flat, 2 do
    if flat[at] == 'longest' then
      seen = tonumber(flat[at + 1])
    elseif flat[at] == 'until' then
      window.until_ = tonumber(flat[at + 1])
    end
  end
  window.longest = math.max(per, seen)
  if per > seen and #flat > 0 then
    redis.call('HSET', KEYS[1], 'longest', ARGV[2])
    redis.call('PEXPIRE', KEYS[1], math.max(math.ceil(per / 500), redis.call('PTTL', KEYS[1])))
  end
  for at = 1, #flat, 2 do
    local ends = tonumber(flat[at])
    if ends and (ends <= now - window.longest or ends > now + window.longest) then
      redis.call('HDEL', KEYS[1], flat[at])
    elseif ends and ends > now - per then
      local space = string.find(flat[at + 1], ' ', 1, true)
      window.ends[#window.ends + 1] = ends
      window.requests[ends] = tonumber(string.sub(flat[at + 1], 1, space - 1))
      window.tokens[ends] = tonumber(string.sub(flat[at + 1], space + 1))
    end
  end
  return window
end

local window = read()

local function left(sums, room)
  local over, wait = -room, 0
  for _, ends in ipairs(window.ends) do
    over = over + sums[ends]
  end
  if over > 0 then
    table.sort(window.ends)
    for _, ends in ipairs(window.ends) do
      if over <= 0 then
        break
      end
      over, wait = over - sums[ends], ends + per - now
    end
  end
  return wait
end

local wait, which = window.until_ - now, 'pushed'
local function longer(other, name)
  if other > wait then
    wait, which = other, name
  end
end
if requests then
  longer(left(window.requests, requests - 1), 'requests')
end
if tokens then
  longer(left(window.tokens, tokens - asked), 'tokens')
end
if places then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  if redis.call('ZCARD', KEYS[2]) >= places then
    local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
    longer(math.min(first[2] - now, tonumber(ARGV[4])), 'concurrency')
  end
end
if wait > 0 then
  return { string.format('%.0f', wait), which }
end

local width = math.max(math.floor(per / ARGV[3]), 1)
local ends = (math.floor(now / width) + 2) * width
local name = string.format('%.0f', ends)
local sum = string.format('%.0f', (window.tokens[ends] or 0) + asked)
redis.call('HSET', KEYS[1], name, (window.requests[ends] or 0) + 1 .. ' ' .. sum,
  'longest', string.format('%.0f', window.longest))
local id = name .. '.' .. ARGV[1]
local keep = math.ceil((window.longest + 2 * width) / 1000)
redis.call('PEXPIRE', KEYS[1], keep)
if tokens then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
  redis.call('ZADD', KEYS[3], ends + per, id)
  redis.call('PEXPIRE', KEYS[3], keep)
end
if places then
  local lease = tonumber(ARGV[5])
  redis.call('ZADD', KEYS[2], now + lease, id)
  redis.call('PEXPIRE', KEYS[2], math.max(math.ceil(lease / 1000), redis.call('PTTL', KEYS[2])))
end
return { name }
