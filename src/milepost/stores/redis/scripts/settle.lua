-- settle: end an attempt.
-- KEYS  1 record (the checkpoint is <record>:data)  2 index
-- ARGV  1 token, as for commit  2 job id  3 status  4 retention ms if it has ended, else ""
--       5 delay ms, "" for none  6 resend after ms  7 finishing: 1 or 0
--       8 progress, "" if unchanged  9 number of values for the record
--       10 number of fields to drop  11 line for the history, "" for none
--       then field, value, ... of the record, then a delta as for commit
-- Owns  status, reason, result, error, delivery, message, progress, strikes, moved_at,
--       ended_at, due_at, interruptions, settled, history; frees the lease; the checkpoint;
--       index entry; expiry.
-- Gives 'done' | 'lost'
-- needs: clock lease history delta
local record = redis.call('HMGET', KEYS[1], 'status', 'fence', 'resent', 'settled', 'lease_ms')
local status = ARGV[3]
if record[1] ~= 'running' or not holds(ARGV[1], record[2], record[3]) then
  local fence = string.match(ARGV[1], '^(%d+)%.')
  return fence and record[4] == fence .. ' ' .. status and 'done' or 'lost'
end
local values, drops, now = tonumber(ARGV[9]), tonumber(ARGV[10]), clock()
local due = ARGV[5] ~= '' and now + ARGV[5]
local changes = { 'status', status, 'settled', record[2] .. ' ' .. status }
local stale = { reason = true, result = true, error = true, due_at = true, ended_at = true }
local function change(field, value)
  changes[#changes + 1] = field
  changes[#changes + 1] = value
  stale[field] = nil
end
for i = 12, 11 + values, 2 do
  change(ARGV[i], ARGV[i + 1])
end
if due then
  change('due_at', due)
end
if ARGV[4] ~= '' then
  change('ended_at', now)
end
if ARGV[8] ~= '' then
  change('progress', ARGV[8])
end
if ARGV[8] ~= '' or #ARGV > 11 + values then
  change('moved_at', now)
end
if #ARGV > 11 + values + drops then
  change('strikes', 0)
end
if ARGV[11] ~= '' then
  change('history', noted(KEYS[1], now, ARGV[11]))
end
redis.call('HSET', KEYS[1], unpack(changes))
if status == 'interrupted' then
  redis.call('HINCRBY', KEYS[1], 'interruptions', 1)
end
local gone = { 'worker', 'heartbeat_at', 'signal', 'heard', 'resent' }
for field in pairs(stale) do
  gone[#gone + 1] = field
end
redis.call('HDEL', KEYS[1], unpack(gone))
apply(KEYS[1] .. ':data', 12 + values, drops)
local look = due and due + ARGV[6]
if ARGV[7] == '1' then
  look = now + record[5]
end
if look then
  redis.call('ZADD', KEYS[2], look, ARGV[2])
else
  redis.call('ZREM', KEYS[2], ARGV[2])
end
if ARGV[4] ~= '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  redis.call('PEXPIRE', KEYS[1] .. ':data', ARGV[4])
end
return 'done'
