-- find: the jobs one asks for in one stretch of all jobs, newest first.
-- KEYS  1 jobs (the records are <prefix><job id>}; those that have expired are skipped)
-- ARGV  1 prefix  2 moment and 3 id of the job to go on behind, "" to begin  4 how many jobs to
--       look at  5 how many records to return at most  6 oldest moment, "-inf" for any
--       then field, value, ...: what a record must have, any of several values of one field
-- Gives {moment, id of the last job looked at, id, record, ...}; an empty moment: no more follow
-- needs: clock snapshot rank
local first, now, oldest = rank_behind(KEYS[1], ARGV[2], ARGV[3]), clock(), ARGV[6]
local stretch = redis.call('ZREVRANGE', KEYS[1], first, first + ARGV[4] - 1, 'WITHSCORES')
local names, wanted, last = { 'status' }, {}, 0
for i = 7, #ARGV, 2 do
  if not wanted[ARGV[i]] then
    wanted[ARGV[i]] = {}
    names[#names + 1] = ARGV[i]
  end
  wanted[ARGV[i]][ARGV[i + 1]] = true
end
local function is_wanted(record)
  local values = redis.call('HMGET', record, unpack(names))
  for i = 2, #names do
    if not wanted[names[i]][values[i]] then
      return false
    end
  end
  return values[1]
end
local found = { '', '' }
for i = 1, #stretch, 2 do
  if oldest ~= '-inf' and tonumber(stretch[i + 1]) < tonumber(oldest) then
    return found
  end
  local record = ARGV[1] .. stretch[i] .. '}'
  if is_wanted(record) then
    found[#found + 1] = stretch[i]
    found[#found + 1] = snapshot(record, now)
  end
  if #found >= 2 + 2 * ARGV[5] or (i + 1 == #stretch and i + 1 >= 2 * ARGV[4]) then
    found[1], found[2] = stretch[i + 1], stretch[i]
    return found
  end
end
return found
