-- claim: ask for the right to run a job.
-- KEYS  1 record (the checkpoint is <record>:data)  2 index  3 jobs
-- ARGV  1 job id  2 worker  3 delivery  4 lease ms  5 nonce: the same call sent again gets the
--       same grant  6 task  7 message (optional: may record the job)
-- Owns  status, fence, worker, the lease, attempts, crashes, strikes, begun_at, begun; the index
--       entry; history of a crash; the place among the jobs of a new one. A signal that a
--       crashed attempt heard, but did not obey, waits for this one.
-- Gives nil unknown | {'granted', has a checkpoint, record} | {why refused, 0 or 1, record}
-- needs: clock ended snapshot history
local record = redis.call('HMGET', KEYS[1], 'status', 'delivery', 'heartbeat_at', 'lease_ms',
  'strikes', 'crashes', 'attempts', 'fence', 'started_at', 'nonce', 'heard', 'progress', 'due_at')
local status, delivery = record[1], tonumber(record[2] or 0)
local number, now = tonumber(ARGV[3]), clock()

local function answer(word)
  return { word, redis.call('EXISTS', KEYS[1] .. ':data'), snapshot(KEYS[1], now) }
end

if not status and not ARGV[7] then
  return false
end
local running = status == 'running'
if running and record[10] == ARGV[5] then
  return answer('granted')
end
local live = running and tonumber(record[3] or 0) + tonumber(record[4]) > now
if ENDED[status] then
  return answer('settled')
elseif status == 'paused' then
  return answer('paused')
elseif status and number < delivery then
  return answer('stale')
elseif live and number <= delivery then
  return answer('held')
elseif status == 'scheduled' and number <= delivery and tonumber(record[13] or 0) > now then
  local look = redis.call('ZSCORE', KEYS[2], ARGV[1])
  if look and tonumber(look) <= tonumber(record[13]) then
    return answer('early')
  end
end

local crashed = running and not live and 1 or 0
local strikes = tonumber(record[5] or 0) + crashed
local lease = tonumber(ARGV[4]) * 2 ^ math.min(math.max(strikes - 1, 0), 6)
local changes = {
  'status', 'running', 'task', ARGV[6], 'delivery', math.max(number, delivery),
  'fence', tonumber(record[8] or 0) + 1, 'worker', ARGV[2],
  'heartbeat_at', now, 'lease_ms', lease, 'nonce', ARGV[5],
  'attempts', tonumber(record[7] or 0) + 1, 'crashes', tonumber(record[6] or 0) + crashed,
  'strikes', strikes, 'started_at', record[9] or now, 'begun_at', now,
}
local function change(field, value)
  changes[#changes + 1] = field
  changes[#changes + 1] = value
end
if not status then
  change('created_at', now)
  redis.call('ZADD', KEYS[3], now, ARGV[1])
end
if record[12] then
  change('begun', string.match(record[12], '^%-?%d+'))
end
if crashed == 1 then
  local worker = redis.call('HGET', KEYS[1], 'worker')
  change('history', noted(KEYS[1], now, line_of('crash', worker, 'its worker died')))
  if record[11] then
    redis.call('HSETNX', KEYS[1], 'signal', record[11])
  end
end
if ARGV[7] and (not status or ARGV[7] ~= '') then
  change('message', ARGV[7])
end
redis.call('HSET', KEYS[1], unpack(changes))
redis.call('HDEL', KEYS[1], 'reason', 'due_at', 'sends', 'resent', 'heard')
redis.call('ZADD', KEYS[2], now + lease, ARGV[1])
return answer('granted')
